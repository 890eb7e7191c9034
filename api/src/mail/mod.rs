//! Mail: the words of a mail, and the post that takes mails from the queue to the server.
//!
//! For: sending what stands in the queue ([`crate::directory::mail`]), by SMTP where a server is configured; else, in
//! development, to the log and the mailbox page.
//! May not touch: SQL; who gets a mail and why.
//! Claims: a mail that the server took is not sent again by anybody; one that it did not take is tried again, ever more rarely,
//! under the same `Message-ID`, and given up after [`MAX_ATTEMPTS`]; a server that hangs holds up nobody for longer than
//! [`TRY_LIMIT`]. A process that dies between the server's word and its own note of it is the one way to a second copy.

pub mod words;

use crate::config::{Config, SmtpConfig, SmtpSecurity};
use crate::directory::{
    Directory, DirectoryError,
    mail::{Claimed, Matter},
    now,
};
use crate::live::{Live, LiveError};
use futures_util::StreamExt;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use relay::Secret;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use words::Words;

/// A mail is given up after so many tries: with the pauses between them, after about nine hours.
pub const MAX_ATTEMPTS: i64 = 20;
/// How long one try may take.
pub const TRY_LIMIT: Duration = Duration::from_secs(60);
/// How often the queue is looked at; a mail asked for in this process is seen at once.
const WATCH: Duration = Duration::from_secs(1);
/// How many mails are sent at once, and claimed at once.
const AT_ONCE: usize = 4;
const BATCH: i64 = 16;
/// How long a stop waits for a mail under way: one that is broken off may be sent twice.
const GRACE: Duration = Duration::from_secs(5);

/// Why mails cannot be sent as configured.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The file of certificates.
    #[error("smtp.ca_file cannot be used: {0}")]
    CaFile(String),
    /// The server's name.
    #[error("smtp.host cannot be used: {0}")]
    Host(String),
    /// Changed settings do not go with it.
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// The post. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Post(Arc<Inner>);

struct Inner {
    directory: Directory,
    door: Door,
    live: Live,
    wake: Notify,
}

/// Where mails leave.
enum Door {
    Smtp {
        server: AsyncSmtpTransport<Tokio1Executor>,
        from: Mailbox,
    },
    /// Development: the log and the mailbox page.
    Mailbox,
    /// Production without a server.
    Nowhere,
}

/// How a try ended.
enum Tried {
    Taken,
    /// A retry can help.
    Later(String),
    /// The server does not want it, however often it is asked.
    Never(String),
}

impl Post {
    /// As configured.
    pub fn try_new(config: &Config, directory: Directory) -> Result<Self, PostError> {
        let door = match &config.smtp {
            Some(smtp) => Door::Smtp { server: server(smtp)?, from: smtp.from.clone() },
            None if config.production => Door::Nowhere,
            None => Door::Mailbox,
        };
        let live = Live::try_new(Arc::new(config.clone()), directory.clone())?;
        Ok(Self(Arc::new(Inner { directory, door, live, wake: Notify::new() })))
    }

    /// Does a mail that is asked for go anywhere?
    pub fn delivers(&self) -> bool {
        !matches!(self.0.door, Door::Nowhere)
    }

    /// Do mails end in the development mailbox?
    pub fn has_mailbox(&self) -> bool {
        matches!(self.0.door, Door::Mailbox)
    }

    /// Something was asked for: looks at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Sends what stands in the queue, until told to stop. Run it as a task of its own.
    pub async fn keep_delivering(self, stop: CancellationToken) {
        loop {
            let claimed = self.0.directory.claim_mails(BATCH).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the queue of mails cannot be read; it is looked at again");
                Vec::new()
            });
            let is_full = i64::try_from(claimed.len()) == Ok(BATCH);
            let post = &self;
            let sending = futures_util::stream::iter(claimed)
                .for_each_concurrent(AT_ONCE, |mail| async move { post.deliver(&mail).await });
            tokio::select! {
                () = sending => {}
                () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => break,
            }
            if is_full && !stop.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(WATCH) => {}
            }
        }
    }

    /// Sends one mail and notes how it went. What cannot be noted is tried again when the claim is over.
    async fn deliver(&self, mail: &Claimed) {
        if let Err(error) = self.try_deliver(mail).await {
            tracing::warn!(mail = %mail.id, %error, "a mail waits for the database");
        }
    }

    async fn try_deliver(&self, mail: &Claimed) -> Result<(), DirectoryError> {
        let directory = &self.0.directory;
        let Some(letter) = directory.letter(mail, self.0.live.now().registration.fold_aliases).await? else {
            return directory.forget_mail(mail).await;
        };
        let link = self.link(&letter.matter);
        let words = words::write(&letter.matter, letter.language, &letter.username, link.expose());
        let tried = match &self.0.door {
            Door::Smtp { server, from } => send(server, from, mail, &words).await,
            Door::Mailbox => {
                // The link is a secret; here, in development, it is what the log is read for.
                tracing::info!(mail = %mail.id, to = mail.to, subject = words.subject, link = link.expose(), "a mail");
                Tried::Taken
            }
            Door::Nowhere => Tried::Never("there is no server to send it: smtp.host is not set".into()),
        };
        match tried {
            Tried::Taken => {
                let kept = self.has_mailbox().then_some((words.text.as_str(), words.html.as_str()));
                directory.mail_sent(mail, &words.subject, kept).await
            }
            Tried::Later(error) if mail.attempts < MAX_ATTEMPTS => {
                let pause_ms = pause_ms(mail.attempts);
                tracing::warn!(mail = %mail.id, attempts = mail.attempts, pause_ms, error, "a mail was not taken; it is tried again");
                directory.mail_failed(mail, &error, Some(now().plus_ms(pause_ms))).await
            }
            Tried::Later(error) | Tried::Never(error) => {
                tracing::error!(mail = %mail.id, attempts = mail.attempts, error, "a mail was given up");
                directory.mail_failed(mail, &error, None).await
            }
        }
    }

    /// Where a letter's button leads. The token of a password stands behind `#`, where no server and no log sees it.
    fn link(&self, matter: &Matter) -> Secret {
        let base = &self.0.live.now().public_url;
        Secret::new(match matter {
            Matter::Verify(token) => format!("{base}/api/user/verify-email?token={}", token.expose()),
            Matter::Reset(token) => format!("{base}/reset#token={}", token.expose()),
            Matter::AccountExists | Matter::Notice(..) => format!("{base}/"),
        })
    }
}

/// The pause after the n-th try: 2 seconds, doubled up to an hour.
fn pause_ms(attempts: i64) -> i64 {
    let exponent = u32::try_from(attempts.clamp(1, 12)).unwrap_or(12);
    2_i64.pow(exponent).saturating_mul(1_000).min(3_600_000)
}

fn server(smtp: &SmtpConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>, PostError> {
    let tls = || -> Result<TlsParameters, PostError> {
        let mut tls = TlsParameters::builder(smtp.host.clone());
        if let Some(path) = &smtp.ca_file {
            let wrong =
                |error: &dyn std::fmt::Display| PostError::CaFile(format!("{}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            tls = tls.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| wrong(&error))?);
        }
        tls.build_rustls().map_err(|error| PostError::Host(error.to_string()))
    };
    let tls = match smtp.security {
        SmtpSecurity::StartTls => Tls::Required(tls()?),
        SmtpSecurity::Tls => Tls::Wrapper(tls()?),
        SmtpSecurity::None => Tls::None,
    };
    let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.host.clone())
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(TRY_LIMIT / 2));
    if let Some((name, password)) = &smtp.login {
        server = server.credentials(Credentials::new(name.clone(), password.expose().to_owned()));
    }
    Ok(server.build())
}

async fn send(
    server: &AsyncSmtpTransport<Tokio1Executor>,
    from: &Mailbox,
    mail: &Claimed,
    words: &Words,
) -> Tried {
    let message = match message(from, mail, words) {
        Ok(message) => message,
        Err(fault) => return Tried::Never(fault),
    };
    match tokio::time::timeout(TRY_LIMIT, server.send(message)).await {
        Err(_) => Tried::Later(format!("the server did not answer within {} s", TRY_LIMIT.as_secs())),
        Ok(Ok(_)) => Tried::Taken,
        Ok(Err(error)) => {
            let code = error.status().map(u16::from);
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            // What is wrong with this recipient stays wrong. Any other refusal (a login, a policy, a full server) can be
            // mended there, and the mails are wanted then.
            match code {
                Some(501 | 510 | 511 | 515 | 550 | 551 | 553 | 556) => Tried::Never(text),
                _ => Tried::Later(text),
            }
        }
    }
}

/// The message, under an id of its own that every try repeats.
fn message(from: &Mailbox, mail: &Claimed, words: &Words) -> Result<Message, String> {
    let to: Address = mail.to.parse().map_err(|error| format!("{:?} is not an address: {error}", mail.to))?;
    let mut message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(words.subject.clone())
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .multipart(MultiPart::alternative_plain_html(words.text.clone(), words.html.clone()))
        .map_err(|error| error.to_string())?;
    // So that no out-of-office note comes back (RFC 3834).
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".into()));
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_about_nine() {
        assert_eq!([1, 2, 3].map(pause_ms), [2_000, 4_000, 8_000]);
        assert_eq!(pause_ms(12), 3_600_000);
        let hours = (1..MAX_ATTEMPTS).map(pause_ms).sum::<i64>() / 3_600_000;
        assert_eq!(hours, 9);
    }
}
