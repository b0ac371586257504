//! `batchcast token`: a token for a user, a script or a look at one batch.

use std::{env, fs, io, path::PathBuf};

use batchcast_publisher::{
    BatchId,
    token::{Batches, Claims, Expected, Grant, KeySet, Secrets, TokenError, WeakSecret, mint, verify},
};
use clap::Args;

use crate::time::{Span, now_ms};

/// Whom the token is for. Its secret is no argument: those stand in the list of processes, for all to read.
#[derive(Args)]
pub(crate) struct Order {
    #[command(flatten)]
    grant: Granted,
    /// How long it is good: seconds, minutes, hours or days (90s, 15m, 1h, 7d)
    #[arg(long, value_name = "TIME", default_value = "1h")]
    expires_in: Span,
    /// Who makes it (iss), where AUTH_ISSUER asks for it
    #[arg(long)]
    issuer: Option<String>,
    /// Whom it is for (aud), where AUTH_AUDIENCE asks for it; may be repeated
    #[arg(long)]
    audience: Vec<String>,
    /// A file with the secret, instead of the variable AUTH_SECRET
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// At least one of these: a token without any of them opens nothing.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Granted {
    /// The user (sub): sees and changes the batches that they own
    #[arg(long)]
    user: Option<String>,
    /// A batch to be seen, whoever owns it; may be repeated
    #[arg(long, value_name = "ID")]
    batch: Vec<BatchId>,
    /// Every batch, to be seen and changed
    #[arg(long, conflicts_with = "batch")]
    all: bool,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error(
        "AUTH_SECRET is not set: set it to the edge's, or name a file that holds it by --secret-file. \
         `openssl rand -base64 32` makes a new one"
    )]
    NoSecret,
    #[error("{from}: {problem}")]
    Weak { from: String, problem: WeakSecret },
    #[error("{}: {problem}: --secret-file names a file with the secret, as text", file.display())]
    File { file: PathBuf, problem: io::Error },
    #[error("nobody would take this token: {0}")]
    Refused(TokenError),
}

/// The token.
pub(crate) fn token(order: &Order) -> Result<String, OrderError> {
    let secrets = secrets(order)?;
    let now = now_ms() / 1_000;
    let token = mint(&secrets, &order.claims(now));
    // As whoever gets it will check it: better no token than one that is refused later.
    let expected = Expected::new(order.issuer.clone(), order.audience.first().cloned());
    verify(&token, Some(&secrets), &KeySet::default(), &expected, now * 1_000).map_err(OrderError::Refused)?;
    Ok(token)
}

impl Order {
    /// `now` is in seconds since the Unix epoch.
    fn claims(&self, now: u64) -> Claims {
        let Granted { user, batch, all } = &self.grant;
        let batches = if *all { Batches::All } else { Batches::These(batch.clone()) };
        let grant = Grant::new(user.clone(), batches);
        let mut claims = Claims::new(grant, (now + self.expires_in.secs()) * 1_000);
        claims.issuer.clone_from(&self.issuer);
        claims.audience.clone_from(&self.audience);
        claims
    }
}

fn secrets(order: &Order) -> Result<Secrets, OrderError> {
    let (from, text) = match &order.secret_file {
        Some(file) => {
            let read = fs::read_to_string(file);
            (file.display().to_string(), read.map_err(|problem| OrderError::File { file: file.clone(), problem })?)
        }
        None => ("AUTH_SECRET".to_owned(), env::var("AUTH_SECRET").unwrap_or_default()),
    };
    if order.secret_file.is_none() && text.trim().is_empty() {
        return Err(OrderError::NoSecret);
    }
    Secrets::parse(&text).map_err(|problem| OrderError::Weak { from, problem })
}
