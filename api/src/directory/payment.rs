//! What is kept beside orders at payment channels: when to ask about one next, and what became of callbacks.
//!
//! For: the poller's claims, the gateway's own names of orders, the list of callbacks that operators read.
//! May not touch: whether an order is paid; that is on the log.
//! Claims: an order is claimed by one process at a time, by raising `polls` from what it read; a claim ends by itself when its
//! owner has died; an order on the log whose row was never written gets one.

use super::{Directory, DirectoryError, now};
use domain::{AccountId, ChannelName, Label, Moment, OrderId};
use projections::{Row, Value};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// How long a claim lasts, in milliseconds: longer than the few calls at a gateway that it is for.
const CLAIM_MS: i64 = 120_000;

/// How many notes of callbacks are written by one statement.
const NOTES_AT_ONCE: usize = 50;

/// Notes of callbacks that wait to be written, and the turn to write them.
#[derive(Default)]
pub(super) struct Notes {
    waiting: Mutex<Vec<CallbackNote>>,
    writing: tokio::sync::Mutex<()>,
}

/// An order that this process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedOrder {
    /// The order.
    pub order: OrderId,
    /// Whose.
    pub account: AccountId,
    /// The method chosen.
    pub method: Option<String>,
    /// The gateway's own name of it.
    pub reference: Option<Label>,
    polls: i64,
}

/// A callback, and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CallbackNote {
    /// Its id here.
    pub id: Uuid,
    /// Its sequence in INBOX.
    pub inbox: u64,
    /// The channel whose route it came in by.
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// `credited`, `closed`, `noted`, or why it was refused, such as `bad_signature`.
    pub verdict: String,
    /// The order number as the gateway wrote it, where the callback was believed.
    pub order_number: Option<String>,
    /// A sentence.
    pub detail: String,
    /// When it was judged.
    #[schema(value_type = String, format = DateTime)]
    pub at: Moment,
}

/// Verdicts of callbacks that are not believed: kept, and nothing is done about them.
pub const QUARANTINED: [&str; 7] = [
    "bad_signature",
    "unknown_key",
    "unreadable",
    "stale",
    "wrong_merchant",
    "malformed",
    "channel_has_no_secret",
];

/// Which notes of callbacks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WhichNotes<'a> {
    /// Of this channel.
    pub channel: Option<&'a str>,
    /// With this verdict.
    pub verdict: Option<&'a str>,
    /// Of this order, as the gateway wrote its number.
    pub order: Option<&'a str>,
    /// Of the callback at this place of INBOX.
    pub inbox: Option<u64>,
    /// Only those that are not believed, or only the others.
    pub quarantined: Option<bool>,
    /// Older than the note with this id.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// How many callbacks of one kind are not believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QuarantineCount {
    /// The channel whose route they came in by.
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// Why they are not believed.
    pub verdict: String,
    /// How many judgements.
    pub count: i64,
    /// The first.
    #[schema(value_type = String, format = DateTime)]
    pub first_at: Moment,
    /// The last.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Moment,
    /// Where the last lies in INBOX.
    pub last_inbox: u64,
}

impl Directory {
    /// Keeps what a gateway calls an order, and by which method it is paid.
    pub async fn note_order(
        &self,
        account: AccountId,
        order: OrderId,
        method: Option<&str>,
        reference: Option<&Label>,
        first_poll_at: Moment,
    ) -> Result<(), DirectoryError> {
        self.begin_polls(account, order, first_poll_at).await?;
        let sql = "UPDATE payment_orders SET method = ?, reference = ? WHERE order_id = ?";
        let values = [method.into(), reference.map(Label::as_str).into(), order.into()];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// The gateway's own name of an order.
    pub async fn payment_reference(&self, order: OrderId) -> Result<Option<Label>, DirectoryError> {
        let sql = "SELECT reference FROM payment_orders WHERE order_id = ?";
        let row = self.0.db.fetch_optional(sql, &[order.into()]).await?;
        Ok(row.map(|row| row.opt_parsed("reference")).transpose()?.flatten())
    }

    /// Gives a row to an order that has none.
    async fn begin_polls(
        &self,
        account: AccountId,
        order: OrderId,
        at: Moment,
    ) -> Result<(), DirectoryError> {
        let sql = "INSERT INTO payment_orders (order_id, account, polls, next_poll_at, created_at) VALUES (?, ?, 0, ?, ?)";
        match self.0.db.execute(sql, &[order.into(), account.into(), at.into(), now().into()]).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_unique_violation() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives rows to pending orders that have none: their process died between the log and the row. Answers how many.
    pub async fn adopt_orders(&self, limit: i64, first_poll_at: Moment) -> Result<usize, DirectoryError> {
        let sql = "SELECT account, order_id FROM top_up_orders WHERE status = 'pending' AND NOT EXISTS \
                   (SELECT 1 FROM payment_orders WHERE payment_orders.order_id = top_up_orders.order_id) \
                   ORDER BY created_at LIMIT ?";
        let rows = self.0.db.fetch_all(sql, &[limit.into()]).await?;
        for row in &rows {
            self.begin_polls(row.parsed("account")?, row.parsed("order_id")?, first_poll_at).await?;
        }
        Ok(rows.len())
    }

    /// Claims orders whose time has come.
    pub async fn claim_orders(&self, limit: i64, at: Moment) -> Result<Vec<ClaimedOrder>, DirectoryError> {
        let due = "SELECT order_id, account, method, reference, polls FROM payment_orders \
                   WHERE next_poll_at <= ? ORDER BY next_poll_at, order_id LIMIT ?";
        let mut claimed = Vec::new();
        for row in self.0.db.fetch_all(due, &[at.into(), limit.into()]).await? {
            let polls = row.int("polls")?;
            let claim = "UPDATE payment_orders SET polls = ?, next_poll_at = ? \
                         WHERE order_id = ? AND polls = ? AND next_poll_at <= ?";
            let order: OrderId = row.parsed("order_id")?;
            let values: [Value; 5] =
                [(polls + 1).into(), at.plus_ms(CLAIM_MS).into(), order.into(), polls.into(), at.into()];
            if self.0.db.execute(claim, &values).await? == 1 {
                claimed.push(ClaimedOrder {
                    order,
                    account: row.parsed("account")?,
                    method: row.opt_text("method")?,
                    reference: row.opt_parsed("reference")?,
                    polls: polls + 1,
                });
            }
        }
        Ok(claimed)
    }

    /// A claimed order is asked about again at that time; `None`: never. Nothing where somebody else has claimed it since.
    pub async fn release_order(
        &self,
        claimed: &ClaimedOrder,
        again_at: Option<Moment>,
    ) -> Result<(), DirectoryError> {
        let sql = "UPDATE payment_orders SET next_poll_at = ? WHERE order_id = ? AND polls = ?";
        let values = [again_at.into(), claimed.order.into(), claimed.polls.into()];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// Keeps what became of a callback.
    ///
    /// A storm of callbacks must not be one of transactions: whoever finds nobody writing writes for all that have come by then.
    /// The others return at once, so a death may lose notes; the callbacks themselves are in INBOX.
    pub async fn note_callback(&self, note: CallbackNote) -> Result<(), DirectoryError> {
        let Notes { waiting, writing } = &self.0.notes;
        let pile = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
        pile().push(note);
        loop {
            let Ok(turn) = writing.try_lock() else { return Ok(()) };
            let notes = std::mem::take(&mut *pile());
            for some in notes.chunks(NOTES_AT_ONCE) {
                self.write_notes(some).await?;
            }
            drop(turn);
            // Who came while we wrote saw our turn and left.
            if pile().is_empty() {
                return Ok(());
            }
        }
    }

    async fn write_notes(&self, notes: &[CallbackNote]) -> Result<(), DirectoryError> {
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; notes.len()].join(", ");
        let sql = format!(
            "INSERT INTO payment_callbacks (id, inbox, channel, verdict, order_number, detail, at) VALUES {rows}"
        );
        let mut values: Vec<Value> = Vec::new();
        for note in notes {
            let detail: String = note.detail.chars().filter(|it| !it.is_control()).take(1000).collect();
            values.extend([
                note.id.to_string().as_str().into(),
                Value::count(note.inbox),
                note.channel.as_str().into(),
                note.verdict.as_str().into(),
                note.order_number.as_deref().into(),
                detail.as_str().into(),
                note.at.into(),
            ]);
        }
        self.0.db.execute(&sql, &values).await?;
        Ok(())
    }

    /// Callbacks, newest first; `before`: older than the note with that id.
    pub async fn callbacks(&self, which: &WhichNotes<'_>) -> Result<Vec<CallbackNote>, DirectoryError> {
        let WhichNotes { channel, verdict, order, inbox, quarantined, before, limit } = *which;
        let mut sql = String::from(
            "SELECT id, inbox, channel, verdict, order_number, detail, at FROM payment_callbacks WHERE 1 = 1",
        );
        let mut values: Vec<Value> = Vec::new();
        for (column, value) in [("channel", channel), ("verdict", verdict), ("order_number", order)] {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(value.into());
            }
        }
        if let Some(inbox) = inbox {
            sql.push_str(" AND inbox = ?");
            values.push(Value::count(inbox));
        }
        if let Some(quarantined) = quarantined {
            let not = if quarantined { "" } else { "NOT " };
            sql.push_str(&format!(" AND verdict {not}IN ({})", vec!["?"; QUARANTINED.len()].join(", ")));
            values.extend(QUARANTINED.map(Value::from));
        }
        // Ids are made in the order of time.
        if let Some(before) = before {
            sql.push_str(" AND id < ?");
            values.push(before.to_string().as_str().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(note).collect()
    }

    /// How many judgements since a moment found that a callback is not to be believed, by channel and verdict.
    pub async fn quarantine(&self, since: Moment) -> Result<Vec<QuarantineCount>, DirectoryError> {
        let words = vec!["?"; QUARANTINED.len()].join(", ");
        let sql = format!(
            "SELECT channel, verdict, COUNT(*) AS number, MIN(at) AS first_at, MAX(at) AS last_at, MAX(inbox) AS last_inbox \
             FROM payment_callbacks WHERE at >= ? AND verdict IN ({words}) GROUP BY channel, verdict ORDER BY channel, verdict"
        );
        let values: Vec<Value> = std::iter::once(since.into()).chain(QUARANTINED.map(Value::from)).collect();
        let rows = self.0.db.fetch_all(&sql, &values).await?;
        rows.iter()
            .map(|row| {
                Ok(QuarantineCount {
                    channel: row.parsed("channel")?,
                    verdict: row.text("verdict")?,
                    count: row.int("number")?,
                    first_at: row.moment("first_at")?,
                    last_at: row.moment("last_at")?,
                    last_inbox: row.count("last_inbox")?,
                })
            })
            .collect()
    }

    /// Forgets what became of callbacks that INBOX does not hold any more.
    pub async fn forget_callbacks(&self, before: Moment) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM payment_callbacks WHERE at < ?", &[before.into()]).await?;
        Ok(())
    }
}

fn note(row: &Row) -> Result<CallbackNote, DirectoryError> {
    Ok(CallbackNote {
        id: row.parsed("id")?,
        inbox: row.count("inbox")?,
        channel: row.parsed("channel")?,
        verdict: row.text("verdict")?,
        order_number: row.opt_text("order_number")?,
        detail: row.text("detail")?,
        at: row.moment("at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Sealer;
    use projections::Database;

    async fn directories() -> (Directory, Directory, Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
        let db = Database::connect(&url).await.unwrap();
        db.migrate().await.unwrap();
        let sealer = || Sealer::new(&[1; 32]);
        let (here, there) =
            tokio::join!(Directory::open(db.clone(), sealer()), Directory::open(db.clone(), sealer()));
        (here.unwrap(), there.unwrap(), db, folder)
    }

    fn ids(n: u128) -> (AccountId, OrderId) {
        (AccountId::from_uuid(Uuid::from_u128(n)), OrderId::from_uuid(Uuid::from_u128(n)))
    }

    #[tokio::test]
    async fn an_order_is_claimed_by_one_process_at_a_time_and_by_another_when_that_one_died() {
        let (here, there, _db, _folder) = directories().await;
        let at = now();
        for n in 0..40 {
            let (account, order) = ids(n);
            here.note_order(account, order, Some("page"), None, at).await.unwrap();
        }
        let (one, two) = tokio::join!(here.claim_orders(30, at), there.claim_orders(30, at));
        let mut claimed: Vec<ClaimedOrder> = one.unwrap().into_iter().chain(two.unwrap()).collect();
        claimed.extend(here.claim_orders(100, at).await.unwrap());
        assert_eq!(claimed.len(), 40, "none twice");
        claimed.sort_by_key(|it| it.order);
        claimed.dedup_by_key(|it| it.order);
        assert_eq!(claimed.len(), 40, "none left out");
        assert!(there.claim_orders(100, at.plus_ms(CLAIM_MS - 1)).await.unwrap().is_empty());
        let again = there.claim_orders(100, at.plus_ms(CLAIM_MS)).await.unwrap();
        assert_eq!(again.len(), 40);
        // The first owner was only slow: its word does not count any more.
        here.release_order(&claimed[0], None).await.unwrap();
        there.release_order(&again[1], None).await.unwrap();
        let late = here.claim_orders(100, at.plus_ms(3 * CLAIM_MS)).await.unwrap();
        assert_eq!(late.len(), 39);
    }

    #[tokio::test]
    async fn an_order_without_a_row_is_adopted_and_keeps_what_is_noted_later() {
        let (here, _, db, _folder) = directories().await;
        let (account, order) = ids(7);
        let sql = "INSERT INTO top_up_orders (account, order_id, channel, currency, amount, credits, expires_at, created_at, \
                   first_seq, status, updated_at, event_seq) VALUES (?, ?, 'stripe', 'USD', 1, 1, 1, 1, 1, 'pending', 1, 1)";
        db.execute(sql, &[account.into(), order.into()]).await.unwrap();
        let at = now();
        assert_eq!(here.adopt_orders(100, at).await.unwrap(), 1);
        assert_eq!(here.adopt_orders(100, at).await.unwrap(), 0);
        let reference = Label::try_new("cs_1").unwrap();
        here.note_order(account, order, None, Some(&reference), at).await.unwrap();
        assert_eq!(here.payment_reference(order).await.unwrap(), Some(reference.clone()));
        assert_eq!(here.claim_orders(1, at).await.unwrap()[0].reference, Some(reference));
    }
}
