//! The directory: the plain tables of people, sessions, keys, groups, providers, models and prices.
//!
//! For: typed reads and writes of those tables, and the catalogue that the relay reads ([`catalogue`]).
//! May not touch: balances, projections' tables (what warns of a low balance reads them), HTTP.
//! Claims: a change, the act that tells of it and the raised revision are one transaction; after a change the catalogue
//! of this process is new before the caller has its answer, and that of any other process within a second; a
//! price version is never changed.

pub mod address;
pub mod announcement;
pub mod approval;
pub mod balance_alert;
pub mod bonus;
pub mod bulletin;
pub mod catalogue;
pub mod deletion;
pub mod export;
pub mod group;
pub mod identity;
pub mod import;
pub mod imported_password;
pub mod invitation;
pub mod key;
mod last_use;
pub mod mail;
pub mod model;
pub mod notice;
pub mod options;
pub mod passkey;
pub mod password;
pub mod payment;
pub mod period;
pub mod price_import;
pub mod provider;
pub mod rate_limit;
pub mod reconciliation;
pub mod redemption;
pub mod referral;
pub mod refund;
pub mod refund_notice;
pub mod registration;
pub mod second_factor;
pub mod session;
pub mod settings;
pub mod suspense;
pub mod token;
pub mod tries;
pub mod unmatched;
pub mod user;
pub mod webhook;

use crate::secrets::{SealError, Sealer};
use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use domain::{Actor, EventId, Moment};
use ledger::{Act, Audit};
use projections::{Database, DatabaseError, Tx, Value};
use relay::Catalogue;
use sha2::{Digest, Sha256};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why the directory could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No such thing; the text names its kind: "key".
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A name that must be unique is not.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// Nobody could say any more who operates the gateway.
    #[error("this is the last active owner; make another one first")]
    LastOwner,
    /// The role of whoever asks does not reach that far; the text says how far it does.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// Nobody could log in as this user any more.
    #[error("this is the last way to log in; set a password first, or add another way")]
    LastWayIn,
    /// A list is full.
    #[error("there may be at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        max: i64,
    },
    /// Two things that are told of a provider do not go together.
    #[error("{field}: {fault}")]
    Mismatch {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Too many passwords wait to be checked.
    #[error("too many people are logging in at this moment")]
    Busy,
    /// The database failed.
    #[error("the directory's tables cannot be used")]
    Database(#[from] DatabaseError),
    /// A row does not hold what it must.
    #[error("{what} does not hold what it must: {fault}")]
    Corrupt {
        /// Which row and column.
        what: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A provider's key, or a second factor's secret, could not be sealed or opened.
    #[error("a sealed secret cannot be used")]
    Seal(#[from] SealError),
    /// Hashing a password failed.
    #[error("a password could not be hashed: {0}")]
    Password(String),
    /// A mail's token is none, of another purpose, of another address, used, or over; which, nobody is told.
    #[error(
        "this link is not valid: it has been used, it is too old, or it was never given out; ask for a new mail"
    )]
    BadToken,
    /// An invitation's code is none, used up, or over.
    #[error("this invitation is not valid: it is used up, too old, or was never given out")]
    BadInvitation,
    /// A code of an app or a recovery code is none, or was used.
    #[error("this code is wrong, too old, or has been used")]
    WrongCode,
    /// A passkey, or what it signed, is not good here; the text says why, for the log.
    #[error("this passkey was not accepted")]
    BadPasskey(String),
    /// A login that waits for a second factor, or a passkey's question, is over; why, nobody is told.
    #[error("this took too long, was tried too often, or was never asked; begin again")]
    BadChallenge,
    /// An authenticator app is set up already.
    #[error("an authenticator app is set up already; remove it before you set up another one")]
    TotpOn,
    /// There is no second factor.
    #[error("there is no second factor")]
    NoSecondFactor,
    /// A mail that is to be tried again is under way, or has arrived.
    #[error("this mail is {0}")]
    MailNotWaiting(mail::MailState),
}

/// The directory. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    db: Database,
    sealer: Sealer,
    catalogue: Arc<ArcSwap<Catalogue>>,
    /// The revision that the catalogue was built from, and the next moment at which it changes by itself.
    seen: AtomicI64,
    due: AtomicI64,
    /// Two reloads at once could swap the older result in last.
    reloading: Mutex<()>,
    writer: String,
    wake: Notify,
    last_uses: last_use::LastUses,
    imported_cost: imported_password::ImportedCost,
    options: ArcSwap<options::OptionsVersion>,
    notes: payment::Notes,
}

/// A change under way.
struct Change {
    tx: Tx,
    acts: Vec<Act>,
    /// The revision that it makes; `None`: no call depends on what is changed.
    revision: Option<i64>,
}

/// The wall clock, in the ledger's microseconds.
pub fn now() -> Moment {
    Utc::now().into()
}

/// An act, to be recorded with the change that it tells of.
pub fn act(
    actor: Actor,
    verb: &str,
    subject: impl Into<String>,
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
) -> Act {
    Act { at: now(), actor, act: verb.to_owned(), subject: subject.into(), before, after }
}

impl Directory {
    /// How often the other processes' changes are looked for. What is switched off must be off everywhere within a second,
    /// and reading the catalogue takes its time too.
    const WATCH: Duration = Duration::from_millis(400);
    /// How often it is written when keys were last used.
    const WRITE_USES: Duration = Duration::from_secs(60);
    /// An act that its own writer has not published for this long is published by whoever sees it.
    const OVERDUE_MS: i64 = 60_000;

    /// Opens the directory on a migrated database and loads the catalogue.
    pub async fn open(db: Database, sealer: Sealer) -> Result<Self, DirectoryError> {
        let directory = Self(Arc::new(Inner {
            db,
            sealer,
            catalogue: Arc::default(),
            seen: AtomicI64::new(0),
            due: AtomicI64::new(i64::MAX),
            reloading: Mutex::new(()),
            writer: Uuid::new_v4().to_string(),
            wake: Notify::new(),
            last_uses: last_use::LastUses::default(),
            imported_cost: imported_password::ImportedCost::default(),
            options: ArcSwap::default(),
            notes: payment::Notes::default(),
        }));
        directory.reload().await?;
        Ok(directory)
    }

    /// The snapshot that the relay reads; swapped whole at every change.
    pub fn catalogue_handle(&self) -> Arc<ArcSwap<Catalogue>> {
        Arc::clone(&self.0.catalogue)
    }

    /// Builds the catalogue anew and swaps it in.
    pub async fn reload(&self) -> Result<(), DirectoryError> {
        self.reload_to(i64::MAX).await
    }

    /// Builds the catalogue anew unless it holds this revision already: of a crowd of changes that wait here, the next
    /// one reads for all.
    async fn reload_to(&self, wanted: i64) -> Result<(), DirectoryError> {
        let _one_at_a_time = self.0.reloading.lock().await;
        if self.0.seen.load(Ordering::Relaxed) >= wanted {
            return Ok(());
        }
        // The revision is read first: a change that lands while the tables are read is seen at the next look.
        let revision = self.revision().await?;
        let (catalogue, due) = self.load_catalogue(now()).await?;
        self.load_imported_cost().await?;
        self.load_options().await?;
        self.0.catalogue.store(Arc::new(catalogue));
        self.0.due.store(due.map_or(i64::MAX, Moment::micros), Ordering::Relaxed);
        self.0.seen.store(revision, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the catalogue fresh and publishes acts, until told to stop. Run it as a task of its own.
    pub async fn keep_fresh(self, audit: Option<Audit>, stop: CancellationToken) {
        let mut next_purge = tokio::time::Instant::now();
        let mut next_uses = tokio::time::Instant::now() + Self::WRITE_USES;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(Self::WATCH) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the catalogue could not be refreshed; calls go on with the last one");
            }
            if let Some(audit) = &audit {
                self.publish_acts(audit).await;
            }
            if tokio::time::Instant::now() >= next_uses {
                next_uses += Self::WRITE_USES;
                self.write_uses().await;
            }
            if tokio::time::Instant::now() >= next_purge {
                next_purge += Duration::from_secs(3600);
                if let Err(error) = self.purge().await {
                    tracing::warn!(%error, "what has ended could not be deleted; it stays unusable");
                }
                if let Err(error) = self.forget_imported_cost().await {
                    tracing::warn!(%error, "it is not known whether imported passwords are left; logins go on costing as if");
                }
            }
        }
        if let Some(audit) = &audit {
            self.publish_acts(audit).await;
        }
        self.write_uses().await;
    }

    async fn write_uses(&self) {
        if let Err(error) = self.write_last_uses().await {
            tracing::warn!(%error, "when keys were last used could not be written; it is tried again");
        }
    }

    /// Deletes what has ended by itself.
    async fn purge(&self) -> Result<(), DirectoryError> {
        self.purge_sessions().await?;
        self.purge_registrations().await?;
        self.purge_mails().await?;
        self.purge_deliveries().await?;
        self.purge_attempts().await?;
        self.purge_challenges().await?;
        self.purge_tries().await
    }

    /// Reloads if someone changed something, or a price begins.
    pub async fn refresh(&self) -> Result<(), DirectoryError> {
        let changed = self.revision().await? != self.0.seen.load(Ordering::Relaxed);
        if changed || now().micros() >= self.0.due.load(Ordering::Relaxed) {
            self.reload().await?;
        }
        Ok(())
    }

    async fn revision(&self) -> Result<i64, DirectoryError> {
        let row = self.0.db.fetch_one("SELECT revision FROM directory_revision WHERE id = 1", &[]).await?;
        Ok(row.int("revision")?)
    }

    /// Starts a change of what calls depend on. Raising the revision first makes such changes wait for each other.
    async fn change(&self) -> Result<Change, DirectoryError> {
        let mut tx = self.0.db.begin().await?;
        tx.execute("UPDATE directory_revision SET revision = revision + 1 WHERE id = 1", &[]).await?;
        let row = tx.fetch_one("SELECT revision FROM directory_revision WHERE id = 1", &[]).await?;
        Ok(Change { revision: Some(row.int("revision")?), tx, acts: Vec::new() })
    }

    /// Starts a change that the catalogue does not show.
    async fn change_aside(&self) -> Result<Change, DirectoryError> {
        Ok(Change { tx: self.0.db.begin().await?, acts: Vec::new(), revision: None })
    }

    /// Commits a change with its acts; the catalogue is new when this returns.
    async fn finish(&self, mut change: Change) -> Result<(), DirectoryError> {
        let told = !change.acts.is_empty();
        for act in &change.acts {
            let json = serde_json::to_string(act).map_err(|error| corrupt("an act", error))?;
            let values: [Value; 4] = [
                Uuid::now_v7().to_string().into(),
                self.0.writer.as_str().into(),
                json.into(),
                act.at.into(),
            ];
            let insert = "INSERT INTO audit_outbox (id, writer, act, created_at) VALUES (?, ?, ?, ?)";
            change.tx.execute(insert, &values).await?;
        }
        change.tx.commit().await?;
        if told {
            self.0.wake.notify_one();
        }
        let Some(revision) = change.revision else { return Ok(()) };
        // The change is made; a catalogue that cannot be read now is read at the next look.
        if let Err(error) = self.reload_to(revision).await {
            tracing::warn!(%error, "the catalogue could not be reloaded after a change");
        }
        Ok(())
    }

    /// Records an act that changes nothing here: it happened elsewhere, on the ledger or at a provider.
    pub async fn tell(&self, act: Act) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        change.acts.push(act);
        self.finish(change).await
    }

    /// Publishes the acts that wait, oldest first. An act may be published twice after a crash, never zero times.
    pub(crate) async fn publish_acts(&self, audit: &Audit) {
        if let Err(error) = self.try_publish_acts(audit).await {
            tracing::warn!(%error, "acts wait to be published to AUDIT");
        }
    }

    async fn try_publish_acts(&self, audit: &Audit) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let overdue = now().plus_ms(-Self::OVERDUE_MS);
        let waiting =
            "SELECT id, act FROM audit_outbox WHERE writer = ? OR created_at < ? ORDER BY id LIMIT 100";
        for row in self.0.db.fetch_all(waiting, &[self.0.writer.as_str().into(), overdue.into()]).await? {
            let act: Act = serde_json::from_str(&row.text("act")?)?;
            // The row's id is the message's: an act that a crash lets be published again within minutes stands there once.
            let id = row.text("id")?;
            audit.record_as(EventId::from_uuid(id.parse()?), &act).await?;
            self.0.db.execute("DELETE FROM audit_outbox WHERE id = ?", &[id.into()]).await?;
        }
        Ok(())
    }

    /// A setting of the gateway, if it was ever set.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        let row =
            self.0.db.fetch_optional("SELECT value FROM settings WHERE name = ?", &[name.into()]).await?;
        row.map(|row| Ok(row.text("value")?)).transpose()
    }

    /// Sets a setting of the gateway.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        change.tx.execute("DELETE FROM settings WHERE name = ?", &[name.into()]).await?;
        let values = [name.into(), value.into()];
        change.tx.execute("INSERT INTO settings (name, value) VALUES (?, ?)", &values).await?;
        self.finish(change).await
    }
}

/// SHA-256 of a token, in hexadecimal: what a table keeps of it.
pub(crate) fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// 256 random bits, as they stand in a cookie or a link.
fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Names the row and column that does not hold what it must.
fn corrupt(what: impl Into<String>, fault: impl std::fmt::Display) -> DirectoryError {
    DirectoryError::Corrupt { what: what.into(), fault: fault.to_string() }
}

/// A unique violation is the caller's; anything else is ours.
fn taken(what: &'static str) -> impl FnOnce(DatabaseError) -> DirectoryError {
    move |error| if error.is_unique_violation() { DirectoryError::Taken(what) } else { error.into() }
}

/// Words that are stored as text and read back strictly.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:tt,)+ })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// As stored and as written in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is not one of {:?}", [$($word),+])),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
pub(crate) use words;

words! {
    /// Is it in use?
    Status {
        /// Yes.
        Active = "active",
        /// Switched off.
        Disabled = "disabled",
    }
}

#[cfg(test)]
mod tests;
