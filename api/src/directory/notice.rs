//! Notices: what happened that a user wants to know of, and by which ways it reaches them.
//!
//! For: the kinds of notices, a user's choices among the ways, and [`notify`], which puts a notice into the queues of mails and
//! of webhook calls within the change that it tells of. May not touch: words of mails, servers.
//! Claims: a notice and what it tells of are one transaction; a mail about security or about a refund is always sent, whatever was
//! chosen; no notice holds a secret, and none for a webhook an address.
//!
//! A new notice is a variant of [`Notice`]: its kind, its event's name and data and, where it has one, its [`MailKind`], which
//! wants a template in each language.

use super::{
    DirectoryError, announcement::Level, corrupt, mail, mail::MailKind, refund_notice::RefundStage,
    settings::Language, webhook, words,
};
use domain::{AccountId, Credits, KeyId, Moment, Money, OrderId, RefundId};
use projections::Tx;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// By which ways a kind of notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ways {
    /// By mail.
    pub mail: bool,
    /// To the webhook, if there is one.
    pub webhook: bool,
}

/// What a user wants to be told of, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choices {
    /// The balance has fallen below the threshold of `low_balance_alert`; a refund has come further, whose mails cannot be
    /// switched off.
    pub balance: Ways,
    /// The password, the address or another way to log in was changed, a key leaked, the account was deleted. Its mails cannot
    /// be switched off.
    pub security: Ways,
    /// What the operator tells everybody, when it begins to be shown.
    pub announcements: Ways,
    /// A month is over, by the account's own time zone, and its statement can be had.
    pub statements: Ways,
}

impl Default for Choices {
    fn default() -> Self {
        let (all, none) = (Ways { mail: true, webhook: true }, Ways { mail: false, webhook: false });
        Self { balance: all, security: all, announcements: none, statements: none }
    }
}

words! {
    /// What became of the ways to log in, besides the password.
    LoginChange {
        /// Codes of an app are asked for.
        TotpOn = "totp_on",
        /// Codes of an app are not asked for any more.
        TotpOff = "totp_off",
        /// There are new recovery codes.
        RecoveryCodesMade = "recovery_codes_made",
        /// A recovery code was used.
        RecoveryCodeUsed = "recovery_code_used",
        /// A passkey was added.
        PasskeyAdded = "passkey_added",
        /// A passkey was removed.
        PasskeyRemoved = "passkey_removed",
        /// A passkey's counter fell: it may have been copied.
        PasskeyRegressed = "passkey_regressed",
        /// An operator has removed the app and the passkeys.
        SecondFactorsRemoved = "second_factors_removed",
        /// An account elsewhere opens this one.
        IdentityLinked = "identity_linked",
        /// An account elsewhere does not open this one any more.
        IdentityUnlinked = "identity_unlinked",
    }
}

/// Something that a user is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The balance is below the threshold that its owner set.
    BalanceLow {
        /// What is left, of calls under way included.
        balance: Credits,
        /// The threshold.
        threshold: Credits,
        /// The position of the tables that say so.
        position: u64,
    },
    /// The password was changed, by its owner, by a link or by the operator.
    PasswordChanged,
    /// The address was changed; the mail goes to the one before.
    EmailChanged {
        /// The address before.
        before: String,
    },
    /// Another way to log in than the password was changed.
    LoginChanged(LoginChange),
    /// An announcement has begun to be shown.
    Announced {
        /// Its id.
        announcement: Uuid,
        /// How much it matters.
        level: Level,
        /// A few words.
        title: String,
        /// The rest, plain text.
        body: String,
    },
    /// A month's statement can be had.
    StatementReady {
        /// The month: `2026-10`.
        month: String,
    },
    /// Somebody showed a secret of a key; it does not work any more.
    KeyLeaked {
        /// The key.
        key: KeyId,
        /// What its owner calls it.
        name: String,
        /// The secret's beginning and end.
        prefix: String,
    },
    /// A refund was asked for, or has ended.
    Refund {
        /// How far it is.
        stage: RefundStage,
        /// The refund.
        refund: RefundId,
        /// The order that was paid.
        order: OrderId,
        /// What goes back.
        pay: Money,
        /// The credits that this takes.
        credits: Credits,
        /// Why it failed.
        failure: Option<String>,
    },
    /// The account was deleted. There is no webhook any more that could be told.
    AccountDeleted,
    /// The owner wants to see whether the webhook works.
    Test,
}

impl Notice {
    /// The event's name in a webhook's call.
    pub const fn event(&self) -> &'static str {
        match self {
            Self::BalanceLow { .. } => "balance.low",
            Self::PasswordChanged => "security.password_changed",
            Self::EmailChanged { .. } => "security.email_changed",
            Self::LoginChanged(_) => "security.login_changed",
            Self::Announced { .. } => "announcement",
            Self::StatementReady { .. } => "statement.ready",
            Self::KeyLeaked { .. } => "security.key_leaked",
            Self::Refund { stage: RefundStage::Requested, .. } => "refund.requested",
            Self::Refund { stage: RefundStage::Completed, .. } => "refund.completed",
            Self::Refund { stage: RefundStage::Failed, .. } => "refund.failed",
            Self::AccountDeleted => "security.account_deleted",
            Self::Test => "test",
        }
    }

    /// By which ways somebody who chose so is told of it.
    fn ways(&self, choices: &Choices) -> Ways {
        match self {
            Self::BalanceLow { .. } => choices.balance,
            Self::PasswordChanged
            | Self::EmailChanged { .. }
            | Self::LoginChanged(_)
            | Self::KeyLeaked { .. } => Ways { mail: true, ..choices.security },
            Self::Announced { .. } => choices.announcements,
            Self::StatementReady { .. } => choices.statements,
            Self::Refund { .. } => Ways { mail: true, ..choices.balance },
            Self::AccountDeleted => Ways { mail: true, webhook: false },
            Self::Test => Ways { mail: false, webhook: true },
        }
    }

    fn mail(&self) -> Option<MailKind> {
        match self {
            Self::BalanceLow { .. } => Some(MailKind::LowBalance),
            Self::PasswordChanged => Some(MailKind::PasswordChanged),
            Self::EmailChanged { .. } => Some(MailKind::EmailChanged),
            Self::LoginChanged(_) => Some(MailKind::LoginChanged),
            Self::Announced { .. } => Some(MailKind::Announcement),
            Self::StatementReady { .. } => Some(MailKind::Statement),
            Self::KeyLeaked { .. } => Some(MailKind::KeyLeaked),
            Self::Refund { stage: RefundStage::Requested, .. } => Some(MailKind::RefundRequested),
            Self::Refund { stage: RefundStage::Completed, .. } => Some(MailKind::RefundCompleted),
            Self::Refund { stage: RefundStage::Failed, .. } => Some(MailKind::RefundFailed),
            Self::AccountDeleted => Some(MailKind::AccountDeleted),
            Self::Test => None,
        }
    }

    /// What the mail's template puts in, by the placeholders' names.
    fn details(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            Self::BalanceLow { balance, threshold, .. } => {
                vec![("balance", balance.to_string()), ("threshold", threshold.to_string())]
            }
            Self::LoginChanged(change) => vec![("change", change.to_string())],
            Self::Announced { title, body, .. } => vec![("title", title.clone()), ("body", body.clone())],
            Self::StatementReady { month } => vec![("month", month.clone())],
            Self::KeyLeaked { name, prefix, .. } => vec![("key", name.clone()), ("prefix", prefix.clone())],
            Self::Refund { order, pay, credits, failure, .. } => vec![
                ("order", order.merchant_number()),
                ("amount", pay.to_string()),
                ("credits", credits.to_string()),
                ("failure", failure.clone().unwrap_or_default()),
            ],
            Self::PasswordChanged | Self::EmailChanged { .. } | Self::AccountDeleted | Self::Test => vec![],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What the webhook's call tells besides who and when.
    fn data(&self) -> Value {
        match self {
            Self::BalanceLow { balance, threshold, position } => {
                json!({"balance": balance, "threshold": threshold, "position": position})
            }
            Self::LoginChanged(change) => json!({"change": change}),
            Self::Announced { announcement, level, title, body } => {
                json!({"announcement": announcement, "level": level, "title": title, "body": body})
            }
            Self::StatementReady { month } => json!({"month": month}),
            Self::KeyLeaked { key, name, prefix } => {
                json!({"key": key, "name": name, "prefix": prefix})
            }
            Self::Refund { refund, order, pay, credits, failure, .. } => json!({
                "refund": refund, "order": order, "amount": pay.amount(), "currency": pay.currency.code(),
                "credits": credits, "failure": failure,
            }),
            Self::PasswordChanged | Self::EmailChanged { .. } | Self::AccountDeleted | Self::Test => {
                json!({})
            }
        }
    }
}

/// Puts a notice for a user into the queues within a change, by the ways that they chose. Answers the call of their webhook,
/// if there is to be one. Somebody who is deleted is told nothing more.
pub(super) async fn notify(
    tx: &mut Tx,
    user: AccountId,
    notice: &Notice,
    at: Moment,
) -> Result<Option<webhook::Delivery>, DirectoryError> {
    let sql = "SELECT u.username, u.email, s.language, s.notifications FROM users u \
               LEFT JOIN user_settings s ON s.user_id = u.id WHERE u.id = ? AND u.deleted_at IS NULL";
    let Some(row) = tx.fetch_optional(sql, &[user.into()]).await? else { return Ok(None) };
    let choices: Choices = row.opt_json("notifications")?.unwrap_or_default();
    let ways = notice.ways(&choices);
    if let (true, Some(kind)) = (ways.mail, notice.mail()) {
        let to = match notice {
            Notice::EmailChanged { before } => before.clone(),
            Notice::BalanceLow { .. }
            | Notice::PasswordChanged
            | Notice::LoginChanged(_)
            | Notice::Announced { .. }
            | Notice::StatementReady { .. }
            | Notice::KeyLeaked { .. }
            | Notice::Refund { .. }
            | Notice::AccountDeleted
            | Notice::Test => row.text("email")?,
        };
        let language = row.opt_parsed("language")?.unwrap_or(Language::English);
        let mut details = notice.details();
        details.insert("username".into(), row.text("username")?);
        let details = serde_json::to_string(&details).map_err(|error| corrupt("a notice", error))?;
        mail::queue_notice(tx, kind, &to, language, user, &details).await?;
    }
    match ways.webhook {
        true => webhook::queue(tx, user, notice.event(), &notice.data(), at).await,
        false => Ok(None),
    }
}
