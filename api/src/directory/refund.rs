//! What is kept beside refunds and disputes: what a gateway was asked and said, and what went back without us.
//!
//! For: the claims of those who ask gateways, the differences that a person looks at, the list of disputes.
//! May not touch: whether a refund is approved or done, or whose the credits are; that is on the log.
//! Claims: that a gateway is asked is written before it is asked; a refund is claimed by one process at a time, by raising
//! `claims` from what it read, and a claim ends by itself when its owner has died; an approved refund whose row was never
//! written gets one; the same difference told twice is one row; a dispute that has ended does not begin again.

use super::{Directory, DirectoryError, act, digest, now, words};
use crate::session::{Caller, actor};
use domain::{AccountId, ActorKind, ChannelName, ChargebackId, Label, Moment, Money, OrderId, RefundId};
use projections::{Row, Value};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long a claim lasts, in milliseconds: longer than the few calls at a gateway that it is for.
const CLAIM_MS: i64 = 40_000;

words! {
    /// What is known of a gateway's part in a refund.
    CallState {
        /// The gateway is about to be asked.
        Due = "due",
        /// It is being asked, or was by a process that died.
        Sending = "sending",
        /// It has taken the refund and is not done.
        Pending = "pending",
        /// It could not pass the money on, and waits for the merchant at its own console.
        Abnormal = "abnormal",
        /// Nobody knows whether the money went.
        Unknown = "unknown",
        /// It said no; a person decides.
        Refused = "refused",
        /// It is over; the refund says how.
        Done = "done",
    }

    /// Has somebody looked after a difference?
    OutsideRefundState {
        /// Nobody has.
        Open = "open",
        /// Somebody has.
        Resolved = "resolved",
    }

    /// How far a dispute is.
    DisputeState {
        /// The bank only asks; no money has moved.
        Inquiry = "inquiry",
        /// The money is taken back, and the credits with it.
        Open = "open",
        /// It was decided for us: both came back.
        Won = "won",
        /// It was decided for the payer.
        Lost = "lost",
    }
}

/// What is known of a gateway's part in a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundCall {
    /// The refund.
    pub refund: RefundId,
    /// Whose.
    pub account: AccountId,
    /// How far it is.
    pub state: CallState,
    /// How often the gateway was asked to pay.
    pub attempts: i64,
    /// When it is looked at next; `None`: not before a person says so, or never.
    pub next_at: Option<Moment>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When this last changed.
    pub updated_at: Moment,
    /// How often it was claimed: looked at.
    pub claims: i64,
}

/// Money that went back otherwise than the log knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideRefund {
    /// Its id.
    pub id: Uuid,
    /// Where.
    pub channel: ChannelName,
    /// The order, where it is ours.
    pub order: Option<OrderId>,
    /// Whose order.
    pub account: Option<AccountId>,
    /// The order's number as the gateway wrote it.
    pub order_number: Option<Label>,
    /// The refund's number as the gateway wrote it.
    pub refund_number: Option<Label>,
    /// The gateway's own number of the refund.
    pub provider_refund: Option<Label>,
    /// How much.
    pub amount: Money,
    /// In a sentence: what does not fit.
    pub what: String,
    /// Where the callback lies in INBOX; 0: it was an answer.
    pub inbox: u64,
    /// Has somebody looked after it?
    pub state: OutsideRefundState,
    /// What they said.
    pub note: Option<String>,
    /// Who.
    pub resolved_by: Option<AccountId>,
    /// When it was told.
    pub created_at: Moment,
    /// When somebody had looked after it.
    pub resolved_at: Option<Moment>,
}

/// A disputed payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Its id, also the chargeback's.
    pub id: ChargebackId,
    /// Where.
    pub channel: ChannelName,
    /// The gateway's name of it.
    pub reference: Label,
    /// The order, where it is ours.
    pub order: Option<OrderId>,
    /// Whose order.
    pub account: Option<AccountId>,
    /// The transaction that is disputed.
    pub provider_txn: Option<Label>,
    /// What is disputed.
    pub amount: Money,
    /// How far it is.
    pub state: DisputeState,
    /// What was told last.
    pub what: String,
    /// When it was first told.
    pub created_at: Moment,
    /// When it was last told.
    pub updated_at: Moment,
}

/// The id of a dispute: made of what names it, so that whoever is told of it makes the same.
pub fn dispute_id(channel: &ChannelName, reference: &Label) -> ChargebackId {
    ChargebackId::from_uuid(named(&format!("dispute\n{channel}\n{reference}")))
}

/// The id of the chargeback that a difference becomes.
pub fn chargeback_of(difference: Uuid) -> ChargebackId {
    ChargebackId::from_uuid(named(&format!("refund difference\n{difference}")))
}

fn named(text: &str) -> Uuid {
    let hash = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// At most so many characters, none of them a control character: what a column takes.
fn short(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(1000).collect()
}

const CALL: &str = "refund_id, account, state, claims, attempts, next_at, last_error, updated_at";

fn call(row: &Row) -> Result<RefundCall, DirectoryError> {
    Ok(RefundCall {
        refund: row.parsed("refund_id")?,
        account: row.parsed("account")?,
        state: row.parsed("state")?,
        attempts: row.int("attempts")?,
        next_at: row.opt_moment("next_at")?,
        last_error: row.opt_text("last_error")?,
        updated_at: row.moment("updated_at")?,
        claims: row.int("claims")?,
    })
}

impl Directory {
    /// Gives rows to approved refunds that have none. Answers how many.
    pub async fn adopt_refunds(&self, limit: i64, at: Moment) -> Result<usize, DirectoryError> {
        let sql = "SELECT account, refund_id FROM refunds WHERE status = 'approved' AND NOT EXISTS \
                   (SELECT 1 FROM refund_calls WHERE refund_calls.refund_id = refunds.refund_id) \
                   ORDER BY created_at LIMIT ?";
        let rows = self.0.db.fetch_all(sql, &[limit.into()]).await?;
        for row in &rows {
            let insert = "INSERT INTO refund_calls (refund_id, account, state, claims, attempts, next_at, created_at, updated_at) \
                          VALUES (?, ?, 'due', 0, 0, ?, ?, ?)";
            let (refund, account): (RefundId, AccountId) = (row.parsed("refund_id")?, row.parsed("account")?);
            let values: [Value; 5] = [refund.into(), account.into(), at.into(), at.into(), at.into()];
            match self.0.db.execute(insert, &values).await {
                Ok(_) => {}
                Err(error) if error.is_unique_violation() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rows.len())
    }

    /// Claims refunds whose time has come.
    pub async fn claim_refunds(&self, limit: i64, at: Moment) -> Result<Vec<RefundCall>, DirectoryError> {
        let due =
            format!("SELECT {CALL} FROM refund_calls WHERE next_at <= ? ORDER BY next_at, refund_id LIMIT ?");
        let mut claimed = Vec::new();
        for row in self.0.db.fetch_all(&due, &[at.into(), limit.into()]).await? {
            let found = call(&row)?;
            let claim = "UPDATE refund_calls SET claims = ?, next_at = ? \
                         WHERE refund_id = ? AND claims = ? AND next_at <= ?";
            let values: [Value; 5] = [
                (found.claims + 1).into(),
                at.plus_ms(CLAIM_MS).into(),
                found.refund.into(),
                found.claims.into(),
                at.into(),
            ];
            if self.0.db.execute(claim, &values).await? == 1 {
                claimed.push(RefundCall { claims: found.claims + 1, ..found });
            }
        }
        Ok(claimed)
    }

    /// Writes that the gateway is asked now. `false`: somebody else has claimed the refund since; do not ask.
    pub async fn begin_refund_call(&self, claimed: &RefundCall) -> Result<bool, DirectoryError> {
        let sql = "UPDATE refund_calls SET state = 'sending', attempts = attempts + 1, updated_at = ? \
                   WHERE refund_id = ? AND claims = ?";
        let values: [Value; 3] = [now().into(), claimed.refund.into(), claimed.claims.into()];
        Ok(self.0.db.execute(sql, &values).await? == 1)
    }

    /// Writes what is known of a claimed refund, and when to look again. Nothing where somebody else has claimed it since.
    pub async fn note_refund_call(
        &self,
        claimed: &RefundCall,
        state: CallState,
        next_at: Option<Moment>,
        error: Option<&str>,
    ) -> Result<(), DirectoryError> {
        let sql = "UPDATE refund_calls SET state = ?, next_at = ?, last_error = ?, updated_at = ? \
                   WHERE refund_id = ? AND claims = ?";
        let values: [Value; 6] = [
            state.as_str().into(),
            next_at.into(),
            error.map(short).into(),
            now().into(),
            claimed.refund.into(),
            claimed.claims.into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// A refund is looked at now, whatever was to come: something was told of it.
    pub async fn hurry_refund(&self, refund: RefundId) -> Result<(), DirectoryError> {
        let sql = "UPDATE refund_calls SET next_at = ?, claims = claims + 1 WHERE refund_id = ? AND state <> 'done'";
        self.0.db.execute(sql, &[now().into(), refund.into()]).await?;
        Ok(())
    }

    /// What is known of a refund at its gateway.
    pub async fn refund_call(&self, refund: RefundId) -> Result<Option<RefundCall>, DirectoryError> {
        let sql = format!("SELECT {CALL} FROM refund_calls WHERE refund_id = ?");
        self.0.db.fetch_optional(&sql, &[refund.into()]).await?.as_ref().map(call).transpose()
    }

    /// The same of several, a page's worth.
    pub async fn refund_calls(&self, refunds: &[RefundId]) -> Result<Vec<RefundCall>, DirectoryError> {
        if refunds.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; refunds.len()].join(", ");
        let sql = format!("SELECT {CALL} FROM refund_calls WHERE refund_id IN ({places})");
        let values: Vec<Value> = refunds.iter().map(|it| (*it).into()).collect();
        self.0.db.fetch_all(&sql, &values).await?.iter().map(call).collect()
    }

    /// Lets the gateway be asked again, by an operator's word. `false`: the refund does not wait for one.
    pub async fn retry_refund(&self, refund: RefundId, by: &Caller) -> Result<bool, DirectoryError> {
        let mut change = self.change_aside().await?;
        // Their word makes up for what nobody knew: one that was never asked for is asked for now.
        let sql = "UPDATE refund_calls SET state = 'due', next_at = ?, claims = claims + 1, updated_at = ?, \
                   attempts = CASE WHEN attempts = 0 THEN 1 ELSE attempts END \
                   WHERE refund_id = ? AND state IN ('unknown', 'refused')";
        let at = now();
        if change.tx.execute(sql, &[at.into(), at.into(), refund.into()]).await? == 0 {
            change.tx.rollback().await?;
            return Ok(false);
        }
        let by = actor(ActorKind::Admin, by.user);
        change.acts.push(act(by, "refund.retry", refund.to_string(), None, None));
        self.finish(change).await?;
        Ok(true)
    }

    /// Notes how an operator says a refund ended, before it is booked. `false`: nobody has asked the gateway, or it is over.
    pub async fn settle_refund(
        &self,
        refund: RefundId,
        by: AccountId,
        outcome: &str,
        reference: Option<&Label>,
        reason: &str,
    ) -> Result<bool, DirectoryError> {
        let mut change = self.change_aside().await?;
        // Whoever has claimed it does not write any more; what comes of this, the next look sees.
        let sql = "UPDATE refund_calls SET next_at = ?, claims = claims + 1, updated_at = ? \
                   WHERE refund_id = ? AND state IN ('unknown', 'refused', 'pending', 'abnormal')";
        let at = now();
        let soon = at.plus_ms(5_000);
        if change.tx.execute(sql, &[soon.into(), at.into(), refund.into()]).await? == 0 {
            change.tx.rollback().await?;
            return Ok(false);
        }
        let after = json!({"outcome": outcome, "reference": reference, "reason": reason});
        let by = actor(ActorKind::Admin, by);
        change.acts.push(act(by, "refund.settle", refund.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(true)
    }

    /// Notes that an operator asked for a refund, or rejected one.
    pub async fn note_refund_act(
        &self,
        verb: &str,
        refund: RefundId,
        by: &Caller,
        after: serde_json::Value,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let by = actor(ActorKind::Admin, by.user);
        change.acts.push(act(by, verb, refund.to_string(), None, Some(after)));
        self.finish(change).await
    }
}

const OUTSIDE: &str = "id, channel, order_id, account, order_number, refund_number, provider_refund, currency, amount, \
                          what, inbox, state, note, resolved_by, created_at, resolved_at";

fn outside(row: &Row) -> Result<OutsideRefund, DirectoryError> {
    Ok(OutsideRefund {
        id: row.parsed("id")?,
        channel: row.parsed("channel")?,
        order: row.opt_parsed("order_id")?,
        account: row.opt_parsed("account")?,
        order_number: row.opt_parsed("order_number")?,
        refund_number: row.opt_parsed("refund_number")?,
        provider_refund: row.opt_parsed("provider_refund")?,
        amount: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        what: row.text("what")?,
        inbox: row.count("inbox")?,
        state: row.parsed("state")?,
        note: row.opt_text("note")?,
        resolved_by: row.opt_parsed("resolved_by")?,
        created_at: row.moment("created_at")?,
        resolved_at: row.opt_moment("resolved_at")?,
    })
}

impl Directory {
    /// Keeps a difference. `false`: it was told before.
    pub async fn note_outside_refund(&self, it: &OutsideRefund) -> Result<bool, DirectoryError> {
        let text = |label: &Option<Label>| label.as_ref().map_or(String::new(), ToString::to_string);
        // A gateway's number names the refund; without one all that is told does.
        let named = match &it.provider_refund {
            Some(number) => format!("{}\n{number}\n{}", it.channel, it.what),
            None => format!(
                "{}\n\n{}\n{}\n{}\n{}",
                it.channel,
                text(&it.order_number),
                text(&it.refund_number),
                it.amount,
                it.what
            ),
        };
        let sql = "INSERT INTO outside_refunds (id, fingerprint, channel, order_id, account, order_number, refund_number, \
                   provider_refund, currency, amount, what, inbox, state, created_at) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values: [Value; 14] = [
            it.id.to_string().into(),
            digest(&named).into(),
            it.channel.as_str().into(),
            it.order.into(),
            it.account.into(),
            it.order_number.as_ref().map(Label::as_str).into(),
            it.refund_number.as_ref().map(Label::as_str).into(),
            it.provider_refund.as_ref().map(Label::as_str).into(),
            it.amount.currency.code().into(),
            it.amount.minor.into(),
            short(&it.what).into(),
            Value::count(it.inbox),
            it.state.as_str().into(),
            it.created_at.into(),
        ];
        match self.0.db.execute(sql, &values).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Differences, newest first; `before`: older than the one with that id.
    pub async fn outside_refunds(
        &self,
        state: Option<OutsideRefundState>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<OutsideRefund>, DirectoryError> {
        let (sql, values) = listed("outside_refunds", OUTSIDE, state.map(|it| it.as_str()), before, limit);
        self.0.db.fetch_all(&sql, &values).await?.iter().map(outside).collect()
    }

    /// What went back of an order outside of what was asked here, in minor units.
    pub async fn went_back_outside(
        &self,
        channel: &ChannelName,
        order: OrderId,
    ) -> Result<i64, DirectoryError> {
        let sql = "SELECT amount FROM outside_refunds WHERE channel = ? AND order_id = ?";
        let rows = self.0.db.fetch_all(sql, &[channel.as_str().into(), order.into()]).await?;
        let amounts = rows.iter().map(|row| row.int("amount")).collect::<Result<Vec<_>, _>>()?;
        Ok(amounts.into_iter().fold(0, i64::saturating_add))
    }

    /// What went back outside under the gateway's own number.
    pub async fn outside_refunds_named(
        &self,
        channel: &ChannelName,
        provider_refund: &Label,
    ) -> Result<Vec<OutsideRefund>, DirectoryError> {
        let sql = format!("SELECT {OUTSIDE} FROM outside_refunds WHERE channel = ? AND provider_refund = ?");
        let values = [channel.as_str().into(), provider_refund.as_str().into()];
        self.0.db.fetch_all(&sql, &values).await?.iter().map(outside).collect()
    }

    /// One difference.
    pub async fn outside_refund(&self, id: Uuid) -> Result<OutsideRefund, DirectoryError> {
        let sql = format!("SELECT {OUTSIDE} FROM outside_refunds WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?;
        outside(&row.ok_or(DirectoryError::NotFound("difference"))?)
    }

    /// Notes that somebody has looked after a difference. `false`: somebody had before.
    pub async fn resolve_outside_refund(
        &self,
        id: Uuid,
        by: &Caller,
        note: &str,
        took_credits: bool,
    ) -> Result<bool, DirectoryError> {
        let mut change = self.change_aside().await?;
        let sql = "UPDATE outside_refunds SET state = 'resolved', note = ?, resolved_by = ?, resolved_at = ? \
                   WHERE id = ? AND state = 'open'";
        let values: [Value; 4] = [short(note).into(), by.user.into(), now().into(), id.to_string().into()];
        if change.tx.execute(sql, &values).await? == 0 {
            change.tx.rollback().await?;
            return Ok(false);
        }
        let after = json!({"note": note, "took_credits": took_credits});
        let by = actor(ActorKind::Admin, by.user);
        change.acts.push(act(by, "outside_refund.resolve", id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(true)
    }
}

const DISPUTE: &str = "id, channel, reference, order_id, account, provider_txn, currency, amount, state, what, created_at, updated_at";

fn dispute(row: &Row) -> Result<Dispute, DirectoryError> {
    Ok(Dispute {
        id: row.parsed("id")?,
        channel: row.parsed("channel")?,
        reference: row.parsed("reference")?,
        order: row.opt_parsed("order_id")?,
        account: row.opt_parsed("account")?,
        provider_txn: row.opt_parsed("provider_txn")?,
        amount: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        state: row.parsed("state")?,
        what: row.text("what")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
    })
}

impl Directory {
    /// Keeps what was told of a dispute, and answers how far it is by all that was told: events come in any order, and one that
    /// has ended does not begin again.
    pub async fn note_dispute(&self, it: &Dispute, by: Option<&Caller>) -> Result<Dispute, DirectoryError> {
        let mut change = self.change_aside().await?;
        let insert = format!("INSERT INTO disputes ({DISPUTE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let values: [Value; 12] = [
            it.id.into(),
            it.channel.as_str().into(),
            it.reference.as_str().into(),
            it.order.into(),
            it.account.into(),
            it.provider_txn.as_ref().map(Label::as_str).into(),
            it.amount.currency.code().into(),
            it.amount.minor.into(),
            it.state.as_str().into(),
            short(&it.what).into(),
            it.created_at.into(),
            it.updated_at.into(),
        ];
        if let Some(by) = by {
            let after = json!({"channel": it.channel, "order": it.order, "amount": it.amount.to_string(), "state": it.state,
                               "what": it.what});
            let by = actor(ActorKind::Admin, by.user);
            change.acts.push(act(by, "dispute.note", it.id.to_string(), None, Some(after)));
        }
        match change.tx.execute(&insert, &values).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {
                // PostgreSQL's transaction is over with that; the acts are written anew.
                change.tx.rollback().await?;
                let acts = std::mem::take(&mut change.acts);
                change = self.change_aside().await?;
                change.acts = acts;
                let earlier = match it.state {
                    DisputeState::Inquiry => "('inquiry')",
                    DisputeState::Open => "('inquiry', 'open')",
                    // What was won after an appeal is won; what came back is not taken again by itself.
                    DisputeState::Won => "('inquiry', 'open', 'won', 'lost')",
                    DisputeState::Lost => "('inquiry', 'open', 'lost')",
                };
                let update = format!(
                    "UPDATE disputes SET state = ?, what = ?, updated_at = ?, order_id = COALESCE(order_id, ?), \
                     account = COALESCE(account, ?) WHERE id = ? AND state IN {earlier}"
                );
                let values: [Value; 6] = [
                    it.state.as_str().into(),
                    short(&it.what).into(),
                    it.updated_at.into(),
                    it.order.into(),
                    it.account.into(),
                    it.id.into(),
                ];
                change.tx.execute(&update, &values).await?;
            }
            Err(error) => return Err(error.into()),
        }
        self.finish(change).await?;
        self.dispute(it.id).await
    }

    /// One dispute.
    pub async fn dispute(&self, id: ChargebackId) -> Result<Dispute, DirectoryError> {
        let sql = format!("SELECT {DISPUTE} FROM disputes WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.into()]).await?;
        dispute(&row.ok_or(DirectoryError::NotFound("dispute"))?)
    }

    /// Disputes, in the order of their ids; `before`: only lower ids.
    pub async fn disputes(
        &self,
        state: Option<DisputeState>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Dispute>, DirectoryError> {
        let (sql, values) = listed("disputes", DISPUTE, state.map(|it| it.as_str()), before, limit);
        self.0.db.fetch_all(&sql, &values).await?.iter().map(dispute).collect()
    }
}

/// The statement of a page of a list with a state and an id.
fn listed(
    table: &str,
    columns: &str,
    state: Option<&str>,
    before: Option<Uuid>,
    limit: u32,
) -> (String, Vec<Value>) {
    let mut sql = format!("SELECT {columns} FROM {table} WHERE 1 = 1");
    let mut values: Vec<Value> = Vec::new();
    if let Some(state) = state {
        sql.push_str(" AND state = ?");
        values.push(state.into());
    }
    if let Some(before) = before {
        sql.push_str(" AND id < ?");
        values.push(before.to_string().into());
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(i64::from(limit).into());
    (sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::secrets::Sealer;
    use projections::Database;

    async fn directory() -> (Directory, Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
        let db = Database::connect(&url).await.unwrap();
        db.migrate().await.unwrap();
        (Directory::open(db.clone(), Sealer::new(&[1; 32])).await.unwrap(), db, folder)
    }

    fn money(text: &str) -> Money {
        Money::parse(text, "CNY".parse().unwrap()).unwrap()
    }

    fn label(text: &str) -> Label {
        Label::try_new(text).unwrap()
    }

    fn operator() -> Caller {
        Caller {
            user: AccountId::from_uuid(Uuid::from_u128(9)),
            username: "finn".into(),
            role: Role::Finance,
            group: "default".into(),
            session: String::new(),
            confirmed_at: now(),
        }
    }

    async fn approved(db: &Database, n: u128) -> RefundId {
        let (account, refund) =
            (AccountId::from_uuid(Uuid::from_u128(n)), RefundId::from_uuid(Uuid::from_u128(n)));
        let sql = "INSERT INTO refunds (account, refund_id, order_id, channel, currency, amount, credits, reason, created_at, \
                   first_seq, status, updated_at, event_seq) VALUES (?, ?, 'o', 'epay', 'CNY', 1, 1, 'r', 1, 1, 'approved', 1, 1)";
        db.execute(sql, &[account.into(), refund.into()]).await.unwrap();
        refund
    }

    #[tokio::test]
    async fn an_approved_refund_is_adopted_once_and_claimed_by_one_at_a_time() {
        let (it, db, _folder) = directory().await;
        let refund = approved(&db, 1).await;
        let at = now();
        assert_eq!(it.adopt_refunds(10, at).await.unwrap(), 1);
        assert_eq!(it.adopt_refunds(10, at).await.unwrap(), 0);
        let (one, two) = tokio::join!(it.claim_refunds(10, at), it.claim_refunds(10, at));
        let claimed: Vec<RefundCall> = one.unwrap().into_iter().chain(two.unwrap()).collect();
        assert_eq!(claimed.len(), 1);
        assert!(it.begin_refund_call(&claimed[0]).await.unwrap());
        // Its owner dies; the next one finds that the gateway may have been asked.
        let again = it.claim_refunds(10, at.plus_ms(CLAIM_MS)).await.unwrap();
        assert_eq!((again[0].state, again[0].attempts), (CallState::Sending, 1));
        // It was only slow: its word does not count any more, and it may not ask again.
        assert!(!it.begin_refund_call(&claimed[0]).await.unwrap());
        it.note_refund_call(&claimed[0], CallState::Done, None, None).await.unwrap();
        assert_eq!(it.refund_call(refund).await.unwrap().unwrap().state, CallState::Sending);
        it.note_refund_call(&again[0], CallState::Unknown, None, Some("no answer")).await.unwrap();
        assert!(it.claim_refunds(10, at.plus_ms(100 * CLAIM_MS)).await.unwrap().is_empty());
        assert!(it.retry_refund(refund, &operator()).await.unwrap());
        assert!(!it.retry_refund(refund, &operator()).await.unwrap(), "it is under way");
        assert!(!it.settle_refund(refund, operator().user, "failed", None, "r").await.unwrap());
        assert_eq!(it.claim_refunds(10, now()).await.unwrap()[0].state, CallState::Due);
    }

    #[tokio::test]
    async fn a_difference_told_twice_is_one_and_is_resolved_once() {
        let (it, _db, _folder) = directory().await;
        let told = |number: Option<&str>, amount: &str| OutsideRefund {
            id: Uuid::now_v7(),
            channel: "epay".parse().unwrap(),
            order: None,
            account: None,
            order_number: Some(label("1")),
            refund_number: None,
            provider_refund: number.map(label),
            amount: money(amount),
            what: "made at the gateway".into(),
            inbox: 7,
            state: OutsideRefundState::Open,
            note: None,
            resolved_by: None,
            created_at: now(),
            resolved_at: None,
        };
        for (number, amount, is_new) in [
            (Some("re_1"), "5.00", true),
            (Some("re_1"), "5.00", false),
            (Some("re_2"), "5.00", true),
            (None, "5.00", true),
            (None, "5.00", false),
            (None, "6.00", true),
        ] {
            assert_eq!(
                it.note_outside_refund(&told(number, amount)).await.unwrap(),
                is_new,
                "{number:?} {amount}"
            );
        }
        let open = it.outside_refunds(Some(OutsideRefundState::Open), None, 10).await.unwrap();
        assert_eq!(open.len(), 4);
        assert!(it.resolve_outside_refund(open[0].id, &operator(), "looked", false).await.unwrap());
        assert!(!it.resolve_outside_refund(open[0].id, &operator(), "looked", false).await.unwrap());
        let after = it.outside_refund(open[0].id).await.unwrap();
        assert_eq!((after.state, after.note.as_deref()), (OutsideRefundState::Resolved, Some("looked")));
    }

    #[tokio::test]
    async fn a_dispute_that_has_ended_does_not_begin_again() {
        let (it, _db, _folder) = directory().await;
        let (channel, reference): (ChannelName, Label) = ("stripe".parse().unwrap(), label("dp_1"));
        let told = |state| Dispute {
            id: dispute_id(&channel, &reference),
            channel: channel.clone(),
            reference: reference.clone(),
            order: None,
            account: None,
            provider_txn: None,
            amount: money("5.00"),
            state,
            what: "told".into(),
            created_at: now(),
            updated_at: now(),
        };
        for (state, after) in [
            (DisputeState::Inquiry, DisputeState::Inquiry),
            (DisputeState::Open, DisputeState::Open),
            (DisputeState::Inquiry, DisputeState::Open),
            (DisputeState::Won, DisputeState::Won),
            (DisputeState::Open, DisputeState::Won),
            (DisputeState::Lost, DisputeState::Won),
        ] {
            assert_eq!(it.note_dispute(&told(state), None).await.unwrap().state, after, "{state:?}");
        }
        assert_eq!(it.disputes(Some(DisputeState::Won), None, 10).await.unwrap().len(), 1);
    }
}
