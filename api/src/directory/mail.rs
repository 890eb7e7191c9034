//! The queue of mails: what is to be sent to whom, and how far it has come.
//!
//! For: asking for a mail, claiming the next ones, saying how they went; what operators see.
//! May not touch: words and servers; that is [`crate::mail`].
//! Claims: a mail is claimed by one process at a time, by raising `attempts` from what it read; a claim ends by itself when its
//! owner has died. Whom a mail is for, and whether there is anybody, is found when it is sent and not when it is asked for, so
//! that asking takes the same work for everybody. No token stands in this table but in development.

use super::{
    Directory, DirectoryError, Status, act, now,
    settings::Language,
    token::Purpose,
    user::{User, alias, fold},
    words,
};
use domain::{AccountId, Actor, Moment};
use projections::{Row, Tx, Value};
use relay::Secret;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

words! {
    /// What a mail was asked for.
    MailKind {
        /// To prove an address.
        Verify = "verify",
        /// The same, once more, for whoever has that address.
        Resend = "resend",
        /// To set a new password.
        Reset = "reset",
        /// The balance is below the threshold that the owner set.
        LowBalance = "low-balance",
        /// The password was changed.
        PasswordChanged = "password-changed",
        /// The address was changed; to the one before.
        EmailChanged = "email-changed",
        /// A way to log in besides the password was changed.
        LoginChanged = "login-changed",
        /// The operator announces something.
        Announcement = "announcement",
        /// A month's statement can be had.
        Statement = "statement",
        /// A key leaked and was revoked.
        KeyLeaked = "key-leaked",
        /// A refund was asked for.
        RefundRequested = "refund-requested",
        /// The money of a refund went back.
        RefundCompleted = "refund-completed",
        /// It did not.
        RefundFailed = "refund-failed",
        /// The account was deleted. The last mail; no trace of it stays.
        AccountDeleted = "account-deleted",
    }

    /// How far a mail has come.
    MailState {
        /// It waits for its time.
        Queued = "queued",
        /// A process sends it.
        Sending = "sending",
        /// The server took it.
        Sent = "sent",
        /// Given up, until an operator asks again.
        Failed = "failed",
    }
}

/// A mail, as operators see it: without its words, which may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Mail {
    /// Its id, also in its `Message-ID`.
    pub id: Uuid,
    /// Whom it is for.
    pub to: String,
    /// What was asked for.
    pub kind: MailKind,
    /// Its language.
    pub language: Language,
    /// Its subject line, once it was written.
    pub subject: Option<String>,
    /// How far it has come.
    pub state: MailState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next; null once it is sent or given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Moment>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When the server took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Moment>,
}

/// A mail that this process may send.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its id.
    pub id: Uuid,
    /// What was asked for.
    pub kind: MailKind,
    /// Whom it is for.
    pub to: String,
    language: Language,
    subject_id: Option<String>,
    /// What a notice's words are made of.
    details: Option<BTreeMap<String, String>>,
    /// How often it was tried, this time included.
    pub attempts: i64,
}

/// What a mail has to say.
#[derive(Debug)]
pub struct Letter {
    /// In which language.
    pub language: Language,
    /// Whom it addresses.
    pub username: String,
    /// What about.
    pub matter: Matter,
}

/// What a letter is about.
#[derive(Debug)]
pub enum Matter {
    /// Prove this address.
    Verify(Secret),
    /// Set a new password.
    Reset(Secret),
    /// Somebody tried to register with your address; you have an account.
    AccountExists,
    /// Something happened ([`super::notice`]): which template, and what it puts in.
    Notice(MailKind, BTreeMap<String, String>),
}

/// A mail in the development mailbox.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Kept {
    /// Its id.
    pub id: Uuid,
    /// Whom it is for.
    pub to: String,
    /// Its subject line.
    pub subject: String,
    /// Its words.
    pub text: String,
    /// When it was "sent".
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Moment>,
}

/// How long a claim lasts, in milliseconds: much longer than a try may take.
pub const CLAIM_MS: i64 = 5 * 60_000;
/// Sent and given-up mails are kept so long, in milliseconds.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Asks for a mail within a change.
pub(super) async fn queue(
    tx: &mut Tx,
    kind: MailKind,
    to: &str,
    language: Language,
    subject_id: Option<&str>,
) -> Result<(), DirectoryError> {
    let at = now();
    let values: [Value; 7] = [
        Uuid::now_v7().to_string().into(),
        kind.as_str().into(),
        to.into(),
        language.as_str().into(),
        subject_id.into(),
        at.into(),
        at.into(),
    ];
    let insert = "INSERT INTO mails (id, kind, recipient, language, subject_id, state, attempts, next_try_at, subject, \
                  body_text, body_html, last_error, created_at) VALUES (?, ?, ?, ?, ?, 'queued', 0, ?, '', '', '', '', ?)";
    tx.execute(insert, &values).await?;
    Ok(())
}

/// Asks for a mail that tells a user what happened, within the change that it happened in. Its words are made of `details`, a
/// JSON object of texts, and of nothing that is looked up later.
pub(super) async fn queue_notice(
    tx: &mut Tx,
    kind: MailKind,
    to: &str,
    language: Language,
    user: AccountId,
    details: &str,
) -> Result<(), DirectoryError> {
    let at = now();
    let values: [Value; 8] = [
        Uuid::now_v7().to_string().into(),
        kind.as_str().into(),
        to.into(),
        language.as_str().into(),
        user.into(),
        details.into(),
        at.into(),
        at.into(),
    ];
    let insert = "INSERT INTO mails (id, kind, recipient, language, subject_id, details, state, attempts, next_try_at, \
                  subject, body_text, body_html, last_error, created_at) \
                  VALUES (?, ?, ?, ?, ?, ?, 'queued', 0, ?, '', '', '', '', ?)";
    tx.execute(insert, &values).await?;
    Ok(())
}

const COLUMNS: &str =
    "id, kind, recipient, language, state, attempts, next_try_at, subject, last_error, created_at, sent_at";

fn mail(row: &Row) -> Result<Mail, DirectoryError> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let state: MailState = row.parsed("state")?;
    let waits = matches!(state, MailState::Queued | MailState::Sending);
    Ok(Mail {
        id: row.parsed("id")?,
        to: row.text("recipient")?,
        kind: row.parsed("kind")?,
        language: row.parsed("language")?,
        subject: some(row.text("subject")?),
        state,
        attempts: row.int("attempts")?,
        next_try_at: if waits { Some(row.moment("next_try_at")?) } else { None },
        last_error: some(row.text("last_error")?),
        created_at: row.moment("created_at")?,
        sent_at: row.opt_moment("sent_at")?,
    })
}

impl Directory {
    /// Asks for a mail to an address, whoever has it. It is the same work for every address.
    pub async fn ask_for_mail(
        &self,
        kind: MailKind,
        to: &str,
        language: Language,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        queue(&mut change.tx, kind, to, language, None).await?;
        self.finish(change).await
    }

    /// Claims mails whose time has come, oldest first.
    pub async fn claim_mails(&self, limit: i64) -> Result<Vec<Claimed>, DirectoryError> {
        self.claim_mails_at(limit, now()).await
    }

    pub(super) async fn claim_mails_at(
        &self,
        limit: i64,
        at: Moment,
    ) -> Result<Vec<Claimed>, DirectoryError> {
        let due = "SELECT id, kind, recipient, language, subject_id, details, attempts FROM mails \
                   WHERE state IN ('queued', 'sending') AND next_try_at <= ? ORDER BY next_try_at, id LIMIT ?";
        let mut claimed = Vec::new();
        for row in self.0.db.fetch_all(due, &[at.into(), limit.into()]).await? {
            let (id, attempts) = (row.text("id")?, row.int("attempts")?);
            let claim = "UPDATE mails SET state = 'sending', attempts = ?, next_try_at = ? \
                         WHERE id = ? AND attempts = ? AND state IN ('queued', 'sending') AND next_try_at <= ?";
            let values: [Value; 5] = [
                (attempts + 1).into(),
                at.plus_ms(CLAIM_MS).into(),
                id.as_str().into(),
                attempts.into(),
                at.into(),
            ];
            if self.0.db.execute(claim, &values).await? == 1 {
                claimed.push(Claimed {
                    id: row.parsed("id")?,
                    kind: row.parsed("kind")?,
                    to: row.text("recipient")?,
                    language: row.parsed("language")?,
                    subject_id: row.opt_text("subject_id")?,
                    details: row.opt_json("details")?,
                    attempts: attempts + 1,
                });
            }
        }
        Ok(claimed)
    }

    /// What a claimed mail has to say; `None`: nothing, for there is nobody whom it concerns. Makes the token.
    pub async fn letter(&self, mail: &Claimed, fold_aliases: bool) -> Result<Option<Letter>, DirectoryError> {
        let at = now();
        let id = mail.subject_id.as_deref();
        match mail.kind {
            MailKind::Reset => {
                let Some(user) = self.user_of_address(&mail.to).await? else { return Ok(None) };
                if user.status != Status::Active {
                    return Ok(None);
                }
                // To the address as it stands with the user, not as somebody wrote it.
                if fold(&user.email) != fold(&mail.to) {
                    return Ok(None);
                }
                let token = self.make_email_token(Purpose::Reset, &user.id.to_string(), &user.email).await?;
                let language = self.language_of(&user, mail.language).await?;
                Ok(Some(Letter { language, username: user.username, matter: Matter::Reset(token) }))
            }
            MailKind::Verify | MailKind::Resend => {
                if let Some(pending) = self.pending(id, &mail.to, at).await? {
                    let owner = self.user_of_address(&mail.to).await?;
                    let alias_owner = match (owner, fold_aliases) {
                        (Some(user), _) => Some(user),
                        (None, true) => self.user_of_alias(&mail.to).await?,
                        (None, false) => None,
                    };
                    if let Some(user) = alias_owner {
                        let language = self.language_of(&user, mail.language).await?;
                        return Ok(Some(Letter {
                            language,
                            username: user.username,
                            matter: Matter::AccountExists,
                        }));
                    }
                    self.prolong(&pending.id, at).await?;
                    let token = self.make_email_token(Purpose::Verify, &pending.id, &pending.email).await?;
                    let (language, username) = (pending.language, pending.username);
                    return Ok(Some(Letter { language, username, matter: Matter::Verify(token) }));
                }
                let Some((user, address)) = self.user_to_prove(id, &mail.to).await? else { return Ok(None) };
                let token = self.make_email_token(Purpose::Verify, &user.id.to_string(), &address).await?;
                let language = self.language_of(&user, mail.language).await?;
                Ok(Some(Letter { language, username: user.username, matter: Matter::Verify(token) }))
            }
            MailKind::LowBalance
            | MailKind::PasswordChanged
            | MailKind::EmailChanged
            | MailKind::LoginChanged
            | MailKind::Announcement
            | MailKind::Statement
            | MailKind::KeyLeaked
            | MailKind::RefundRequested
            | MailKind::RefundCompleted
            | MailKind::RefundFailed
            | MailKind::AccountDeleted => {
                let mut details = mail.details.clone().unwrap_or_default();
                let username = details.remove("username").unwrap_or_default();
                let matter = Matter::Notice(mail.kind, details);
                Ok(Some(Letter { language: mail.language, username, matter }))
            }
        }
    }

    /// The user who is to prove an address: it is theirs and not proven, or they have asked for it.
    async fn user_to_prove(
        &self,
        id: Option<&str>,
        email: &str,
    ) -> Result<Option<(User, String)>, DirectoryError> {
        let folded = fold(email);
        let mut sql = format!(
            "SELECT {}, email_wanted FROM users WHERE status = 'active' AND ((email_folded = ? AND email_verified = 0) \
             OR email_wanted = ?)",
            super::user::COLUMNS
        );
        let mut values: Vec<Value> = vec![folded.as_str().into(), folded.as_str().into()];
        if let Some(id) = id {
            sql.push_str(" AND id = ?");
            values.push(id.into());
        }
        sql.push_str(" ORDER BY id LIMIT 1");
        let Some(row) = self.0.db.fetch_optional(&sql, &values).await? else { return Ok(None) };
        let user = super::user::user(&row)?;
        // Wanted by one, but meanwhile another's: nothing to prove.
        if fold(&user.email) != folded && self.user_of_address(email).await?.is_some() {
            return Ok(None);
        }
        Ok(Some((user, email.to_owned())))
    }

    async fn user_of_address(&self, email: &str) -> Result<Option<User>, DirectoryError> {
        Ok(self.credentials(email).await?.map(|(user, _)| user))
    }

    async fn user_of_alias(&self, email: &str) -> Result<Option<User>, DirectoryError> {
        let sql =
            format!("SELECT {} FROM users WHERE email_alias = ? ORDER BY id LIMIT 1", super::user::COLUMNS);
        let row = self.0.db.fetch_optional(&sql, &[alias(email).into()]).await?;
        row.as_ref().map(super::user::user).transpose()
    }

    async fn language_of(&self, user: &User, otherwise: Language) -> Result<Language, DirectoryError> {
        Ok(self.settings(user.id).await?.map_or(otherwise, |settings| settings.language))
    }

    /// A claimed mail was taken. `words`: its text and its page, kept in development only.
    pub async fn mail_sent(
        &self,
        mail: &Claimed,
        subject: &str,
        words: Option<(&str, &str)>,
    ) -> Result<(), DirectoryError> {
        let (text, html) = words.unwrap_or_default();
        if mail.kind == MailKind::AccountDeleted && words.is_none() {
            return self.forget_mail(mail).await;
        }
        let sql = "UPDATE mails SET state = 'sent', subject = ?, body_text = ?, body_html = ?, last_error = '', \
                   sent_at = ? WHERE id = ? AND attempts = ?";
        let values: [Value; 6] = [
            subject.into(),
            text.into(),
            html.into(),
            now().into(),
            mail.id.to_string().into(),
            mail.attempts.into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// A claimed mail was not taken. `again_at`: when it is tried next; `None`: it is given up.
    pub async fn mail_failed(
        &self,
        mail: &Claimed,
        error: &str,
        again_at: Option<Moment>,
    ) -> Result<(), DirectoryError> {
        if mail.kind == MailKind::AccountDeleted && again_at.is_none() {
            return self.forget_mail(mail).await;
        }
        let state = if again_at.is_some() { MailState::Queued } else { MailState::Failed };
        let error: String = error.chars().filter(|c| !c.is_control()).take(1000).collect();
        let sql = "UPDATE mails SET state = ?, next_try_at = ?, last_error = ? WHERE id = ? AND attempts = ?";
        let values: [Value; 5] = [
            state.as_str().into(),
            again_at.unwrap_or_else(now).into(),
            error.into(),
            mail.id.to_string().into(),
            mail.attempts.into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// A claimed mail concerns nobody: it is forgotten, and never was.
    pub async fn forget_mail(&self, mail: &Claimed) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM mails WHERE id = ? AND attempts = ?";
        self.0.db.execute(sql, &[mail.id.to_string().into(), mail.attempts.into()]).await?;
        Ok(())
    }

    /// Mails, newest first.
    pub async fn mails(
        &self,
        state: Option<MailState>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Mail>, DirectoryError> {
        let mut sql = format!("SELECT {COLUMNS} FROM mails WHERE 1 = 1");
        let mut values: Vec<Value> = Vec::new();
        if let Some(state) = state {
            sql.push_str(" AND state = ?");
            values.push(state.as_str().into());
        }
        if let Some(before) = before {
            sql.push_str(" AND id < ?");
            values.push(before.to_string().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(mail).collect()
    }

    /// Tries a mail at once that was given up, or that waits.
    pub async fn retry_mail(&self, id: Uuid, actor: Actor) -> Result<Mail, DirectoryError> {
        let mut change = self.change_aside().await?;
        let sql = format!("SELECT {COLUMNS} FROM mails WHERE id = ?");
        let key: [Value; 1] = [id.to_string().into()];
        let row = change.tx.fetch_optional(&sql, &key).await?.ok_or(DirectoryError::NotFound("mail"))?;
        let before = mail(&row)?;
        // `attempts` goes on: it is what a claim is made of.
        let retry = "UPDATE mails SET state = 'queued', next_try_at = ? WHERE id = ? AND state IN ('queued', 'failed')";
        let values: [Value; 2] = [now().into(), id.to_string().into()];
        if change.tx.execute(retry, &values).await? == 0 {
            return Err(DirectoryError::MailNotWaiting(before.state));
        }
        let row = change.tx.fetch_one(&sql, &key).await?;
        let after = mail(&row)?;
        change.acts.push(act(
            actor,
            "mail.retry",
            id.to_string(),
            Some(json!({"state": before.state})),
            None,
        ));
        self.finish(change).await?;
        Ok(after)
    }

    /// The development mailbox: mails whose words were kept, newest first.
    pub async fn mailbox(&self, limit: u32) -> Result<Vec<Kept>, DirectoryError> {
        let sql = "SELECT id, recipient, subject, body_text, sent_at FROM mails WHERE body_text <> '' \
                   ORDER BY id DESC LIMIT ?";
        let kept = |row: &Row| {
            Ok(Kept {
                id: row.parsed("id")?,
                to: row.text("recipient")?,
                subject: row.text("subject")?,
                text: row.text("body_text")?,
                sent_at: row.opt_moment("sent_at")?,
            })
        };
        self.0.db.fetch_all(sql, &[i64::from(limit).into()]).await?.iter().map(kept).collect()
    }

    /// Deletes mails that are done with.
    pub(super) async fn purge_mails(&self) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM mails WHERE state IN ('sent', 'failed') AND created_at < ?";
        self.0.db.execute(sql, &[now().plus_ms(-KEPT_MS).into()]).await?;
        Ok(())
    }
}
