//! The body of an answer: all of it, or a stream of events.

use crate::fanout::Subscription;
use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What follows the head of an answer.
pub(crate) enum Body {
    /// Nothing or everything at once; emptied when it was taken.
    Whole(Bytes),
    /// The events of a subscription.
    Events(Subscription),
    /// Pieces as they come.
    Stream(BoxStream<'static, Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(std::mem::take(bytes)),
            Self::Events(events) => ready!(Pin::new(events).poll_next(context)),
            Self::Stream(pieces) => ready!(pieces.as_mut().poll_next(context)),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}
