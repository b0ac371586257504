//! A webhook: the batch's state by POST, signed as [Standard Webhooks](https://www.standardwebhooks.com) says.
//!
//! In scope: the body, its signature, what is checked of the settings.
//! Out of scope: lists of receivers (make a sink each), how HTTP travels (`post`).

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use crate::{Event, Interest, Pace, PublishError, Sink, Undelivered, post::Target, publisher::now_ms};

/// Posts a batch's state to a URL. Made by [`Webhook::builder`].
///
/// The body is `{"type":"batch.ended","timestamp":…,"data":STATE}`, with `batch.progress` before the end and the state as
/// `GET /api/batches/:id` answers it. The headers `webhook-id` ([`Event::id`]), `webhook-timestamp` and
/// `webhook-signature` are those of Standard Webhooks, whose libraries check them. Any 2xx is a delivery; 410 gives the
/// state up; everything else is tried again. Redirections are not followed.
///
/// ```
/// use batchcast_publisher::{Publisher, Webhook, WebhookSecrets};
///
/// let secrets = WebhookSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// let webhook = Webhook::builder("http://localhost:3000/hooks", secrets).allow_private(true).build()?;
/// let builder = Publisher::builder("redis://localhost:6379").sink(webhook);
/// # let _ = builder;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Webhook {
    name: String,
    target: Target,
    secrets: WebhookSecrets,
    interest: Interest,
    pace: Pace,
    with_photos: bool,
}

/// Settings of a [`Webhook`], each with its default.
///
/// ```
#[doc = include_str!("../examples/webhook.txt")]
/// let webhook = Webhook::builder(url, secrets)
///     .name("billing") // A second webhook needs a name of its own.
///     .photos(false) // Its receiver wants the counts alone.
///     .allow_private(true)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct WebhookBuilder {
    name: String,
    url: String,
    secrets: WebhookSecrets,
    allow_private: bool,
    interest: Interest,
    pace: Pace,
    with_photos: bool,
}

/// The secrets that sign: each of them, so that a receiver who knows one of them is content. So a secret is changed
/// without a delivery being refused: the new one is added, and the old one goes when the receiver knows the new one. It
/// can't be printed.
///
/// ```
/// use batchcast_publisher::WebhookSecrets;
///
/// // While the secret is changed: signed by both, until the receiver has the new one.
/// let (new, old) = ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
/// let secrets = WebhookSecrets::parse(&format!("{new} {old}"))?;
/// assert!(!format!("{secrets:?}").contains("MfKQ"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WebhookSecrets(Arc<[hmac::Key]>);

/// A secret that is none of Standard Webhooks, or no secret at all.
///
/// ```
/// use batchcast_publisher::WebhookSecrets;
///
/// let error = WebhookSecrets::parse("hunter2").unwrap_err();
/// assert!(error.to_string().contains("openssl rand")); // It says how to make one, and nothing of the text.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is whsec_ and 24 to 64 bytes in base64: `echo whsec_$(openssl rand -base64 32)` makes one")]
#[non_exhaustive]
pub struct SecretError;

impl WebhookSecrets {
    /// Reads one secret, or several with white space between them.
    ///
    /// ```
    /// use batchcast_publisher::WebhookSecrets;
    ///
    /// let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"; // Of an environment variable, say.
    /// let secrets = WebhookSecrets::parse(text)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SecretError`], which does not show the text.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let keys: Result<Vec<_>, _> = text.split_whitespace().map(key).collect();
        let keys = keys?;
        if keys.is_empty() { Err(SecretError) } else { Ok(Self(keys.into())) }
    }

    /// The value of `webhook-signature`: a signature by each secret.
    fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        let signature = |key| {
            let mut context = hmac::Context::with_key(key);
            for part in [id, ".", timestamp, ".", body] {
                context.update(part.as_bytes());
            }
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Result<hmac::Key, SecretError> {
    let bytes = text.strip_prefix("whsec_").and_then(|text| BASE64_STANDARD.decode(text).ok()).ok_or(SecretError)?;
    if (24..=64).contains(&bytes.len()) { Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)) } else { Err(SecretError) }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecrets(…)")
    }
}

impl Webhook {
    /// Settings of a webhook to this https URL.
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// let builder = Webhook::builder("https://example.com/hooks/batches", secrets);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(url: &str, secrets: WebhookSecrets) -> WebhookBuilder {
        WebhookBuilder {
            name: "webhook".to_owned(),
            url: url.to_owned(),
            secrets,
            allow_private: false,
            interest: Interest::Ends,
            pace: Pace::default(),
            with_photos: true,
        }
    }

    /// The same whenever the same state is told.
    fn body(&self, event: &Event) -> String {
        let state = event.state();
        let kind = if state.is_terminal() { "batch.ended" } else { "batch.progress" };
        let timestamp = serde_json::to_string(&state.head().updated_at).unwrap_or_default();
        let data =
            if self.with_photos { state.to_json() } else { serde_json::to_string(state.head()).unwrap_or_default() };
        format!(r#"{{"type":"{kind}","timestamp":{timestamp},"data":{data}}}"#)
    }

    fn headers(&self, event: &Event, body: &str, now_secs: u64) -> Result<HeaderMap, Undelivered> {
        let timestamp = now_secs.to_string();
        let signature = self.secrets.sign(event.id(), &timestamp, body);
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("webhook-id", event.id()), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)]
        {
            // An id is ASCII, and so are the others.
            let value =
                HeaderValue::from_str(value).map_err(|_| Undelivered::give_up(format!("{name} is no header")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

impl WebhookBuilder {
    /// Default `webhook`. See [`Sink::name`].
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// // Two receivers, told each for itself.
    /// let billing = Webhook::builder(url, secrets.clone()).name("billing");
    /// let archive = Webhook::builder(url, secrets).name("archive");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Also addresses of private networks and of this machine may be asked, and `http`; default: they are refused, by
    /// what the name resolves to.
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// assert!(Webhook::builder("http://localhost:3000/hooks", secrets.clone()).build().is_err());
    /// // The receiver is a neighbour, and the URL is no user's.
    /// let webhook = Webhook::builder("http://localhost:3000/hooks", secrets).allow_private(true).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_private(mut self, allow: bool) -> Self {
        self.allow_private = allow;
        self
    }

    /// Of what it is told; default [`Interest::Ends`].
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// // `batch.progress` at most every 10 s, then `batch.ended`.
    /// let builder = Webhook::builder(url, secrets).interest(Interest::Changes { every: Duration::from_secs(10) });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn interest(mut self, interest: Interest) -> Self {
        self.interest = interest;
        self
    }

    /// How fast, and how long it is tried.
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// let mut pace = Pace::default();
    /// pace.within = Duration::from_secs(60); // A slow receiver.
    /// let builder = Webhook::builder(url, secrets).pace(pace);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Whether `data` has the photos; default: it has. A batch takes at most 4 MiB with them, and 1 KiB without.
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// let builder = Webhook::builder(url, secrets).photos(false); // Its receiver takes bodies of 64 KiB.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn photos(mut self, with_photos: bool) -> Self {
        self.with_photos = with_photos;
        self
    }

    /// Checks the settings. Nothing is asked yet.
    ///
    /// ```
    #[doc = include_str!("../examples/webhook.txt")]
    /// let error = Webhook::builder("example.com/hooks?key=hunter2", secrets).build().unwrap_err().to_string();
    /// assert!(error.contains("https://example.com/hooks say") && !error.contains("hunter2"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Config`] says what is wrong with the URL, and does not show it.
    pub fn build(self) -> Result<Webhook, PublishError> {
        let target = Target::parse("the webhook's URL", &self.url, self.allow_private)?;
        let Self { name, secrets, interest, pace, with_photos, .. } = self;
        Ok(Webhook { name, target, secrets, interest, pace, with_photos })
    }
}

impl fmt::Debug for WebhookBuilder {
    /// Without the URL: it may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        self.interest
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    async fn deliver(&self, event: &Event) -> Result<(), Undelivered> {
        let body = self.body(event);
        let headers = self.headers(event, &body, Duration::from_millis(now_ms()).as_secs())?;
        self.target.post(headers, body).await?.judge()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Made by the reference library, npm's `standardwebhooks` 1.1.1.
    #[test]
    fn a_signature_is_that_of_the_reference_library() {
        let sign = |secrets: &str| {
            let secrets = WebhookSecrets::parse(secrets).unwrap();
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(SECRET), expected);
        let both = sign(&format!("{SECRET}\n whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"));
        let (first, second) = both.split_once(' ').unwrap();
        assert!(first == expected && second.starts_with("v1,") && second != expected, "{both}");
    }

    #[test]
    fn a_bad_secret_is_refused_and_none_is_shown() {
        let long = format!("whsec_{}", BASE64_STANDARD.encode([7; 65]));
        for bad in ["", " ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_no base64!", &long] {
            assert_eq!(WebhookSecrets::parse(bad).err(), Some(SecretError), "{bad}");
        }
        let secrets = WebhookSecrets::parse(SECRET).unwrap();
        let webhook = Webhook::builder("http://127.0.0.1/path-secret", secrets).allow_private(true).build().unwrap();
        let shown = format!("{webhook:?}");
        assert!(!shown.contains("MfKQ") && !shown.contains("path-secret"), "{shown}");
    }
}
