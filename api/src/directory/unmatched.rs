//! What has no counterpart on the other side, as the tables tell it: open differences of reconciliation, money that went back
//! without us, and paid orders that no bill has. Payments in suspense are on the log alone; [`Item::held`] makes the same of them.
//!
//! May not touch: what is a difference, and what is done about one.
//! Claims: all of it is of the reader's one state; an order that a difference tells of, or told of until somebody signed it off,
//! is not told of twice; no more than a row is held. A payment in suspense whose bill's row is a difference is both: the file
//! tells it once while nobody looks after the difference ([`Item::is_payment_of`]).

use super::words;
use domain::suspense::Held;
use domain::{AccountId, ChannelName, Currency, Moment, Money, OrderId};
use projections::exports::Reader;
use projections::{DatabaseError, Row};

words! {
    /// What has no counterpart.
    UnmatchedKind {
        /// A payment that no order takes.
        Suspense = "suspense",
        /// A difference between a bill and the ledger.
        Difference = "difference",
        /// Money that went back, as a gateway says, and the ledger does not know why.
        OutsideRefund = "outside_refund",
        /// A paid order that no bill has.
        NotBilled = "not_billed",
    }
}

/// Something that waits for its counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: UnmatchedKind,
    /// At which channel.
    pub channel: ChannelName,
    /// Its id: of a payment in suspense its place on the log, of an order the order's.
    pub id: String,
    /// More exactly: the class of a difference, or why a payment was not credited.
    pub what: String,
    /// How far somebody got with it.
    pub state: String,
    /// Since when it waits.
    pub since: Moment,
    /// Whose it is, where that is known.
    pub account: Option<AccountId>,
    /// The order's number.
    pub order_number: Option<String>,
    /// The channel's number of the payment.
    pub transaction: Option<String>,
    /// The refund's number.
    pub refund_number: Option<String>,
    /// What the ledger says.
    pub ledger: Option<Money>,
    /// What the channel says.
    pub channel_says: Option<Money>,
    /// Who looks after it.
    pub owner: Option<AccountId>,
    /// A sentence.
    pub detail: Option<String>,
}

impl Item {
    /// A payment in suspense, if it waited when the log was at `position`.
    pub fn held(channel: &ChannelName, payment: u64, held: &Held, position: u64) -> Option<Self> {
        let is_over = held.resolved.as_ref().is_some_and(|it| it.sequence <= position);
        (payment <= position && !is_over).then(|| Self {
            kind: UnmatchedKind::Suspense,
            channel: channel.clone(),
            id: payment.to_string(),
            what: held.payment.reason.to_string(),
            state: "open".to_owned(),
            since: held.since,
            account: None,
            order_number: Some(held.payment.order.to_string()),
            transaction: Some(held.payment.provider_txn.to_string()),
            refund_number: None,
            ledger: None,
            channel_says: Some(held.payment.paid),
            owner: None,
            detail: None,
        })
    }

    /// Are both about one payment, of the same sum?
    pub fn is_payment_of(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.channel_says, it.transaction.is_some() && it.refund_number.is_none());
        self.channel == other.channel && self.transaction == other.transaction && key(self) == key(other)
    }
}

/// Differences first, then what went back, then orders; each the oldest first, as far as they came before `until`.
pub async fn read(
    reader: &mut Reader,
    until: Moment,
    mut with: impl FnMut(Item) -> Result<(), DatabaseError>,
) -> Result<(), DatabaseError> {
    let differences = "SELECT id, channel, class, state, created_at, account, order_number, txn, refund_number, ledger_currency, \
                       ledger_amount, provider_currency, provider_amount, owner, detail FROM reconciliation_differences \
                       WHERE state IN ('open', 'assigned', 'proposed') AND created_at < ? ORDER BY created_at, id";
    reader.each(differences, &[until.into()], |row| with(difference(&row)?)).await?;
    let refunds = "SELECT id, channel, created_at, account, order_number, refund_number, provider_refund, currency, amount, what \
                   FROM outside_refunds WHERE state = 'open' AND created_at < ? ORDER BY created_at, id";
    reader.each(refunds, &[until.into()], |row| with(outside_refund(&row)?)).await?;
    // A refund's row has the payment's transaction too. What is signed off is no more to be looked for in a bill; what cleared
    // itself has its row, perhaps of another day.
    let orders = "SELECT account, order_id, channel, currency, amount, provider_txn, completed_at FROM top_up_orders o \
                  WHERE status = 'completed' AND completed_at < ? AND NOT EXISTS (\
                  SELECT 1 FROM reconciliation_rows r JOIN reconciliation_bills b ON b.id = r.bill_id \
                  WHERE r.txn = o.provider_txn AND r.refund_number IS NULL AND b.channel = o.channel AND b.is_current = 1) \
                  AND NOT EXISTS (SELECT 1 FROM reconciliation_differences d WHERE d.order_id = o.order_id \
                  AND d.state <> 'cleared') ORDER BY completed_at, order_id";
    reader.each(orders, &[until.into()], |row| with(not_billed(&row)?)).await
}

fn difference(row: &Row) -> Result<Item, DatabaseError> {
    let money = |currency: &str, amount: &str| -> Result<Option<Money>, DatabaseError> {
        let currency: Option<Currency> = row.opt_parsed(currency)?;
        Ok(currency.zip(row.opt_int(amount)?).map(|(currency, minor)| Money { currency, minor }))
    };
    Ok(Item {
        kind: UnmatchedKind::Difference,
        channel: row.parsed("channel")?,
        id: row.text("id")?,
        what: row.text("class")?,
        state: row.text("state")?,
        since: row.moment("created_at")?,
        account: row.opt_parsed("account")?,
        order_number: row.opt_text("order_number")?,
        transaction: row.opt_text("txn")?,
        refund_number: row.opt_text("refund_number")?,
        ledger: money("ledger_currency", "ledger_amount")?,
        channel_says: money("provider_currency", "provider_amount")?,
        owner: row.opt_parsed("owner")?,
        detail: Some(row.text("detail")?),
    })
}

fn outside_refund(row: &Row) -> Result<Item, DatabaseError> {
    let refund_number = match row.opt_text("refund_number")? {
        Some(number) => Some(number),
        None => row.opt_text("provider_refund")?,
    };
    Ok(Item {
        kind: UnmatchedKind::OutsideRefund,
        channel: row.parsed("channel")?,
        id: row.text("id")?,
        what: "refund".to_owned(),
        state: "open".to_owned(),
        since: row.moment("created_at")?,
        account: row.opt_parsed("account")?,
        order_number: row.opt_text("order_number")?,
        transaction: None,
        refund_number,
        ledger: None,
        channel_says: Some(Money { currency: row.parsed("currency")?, minor: row.int("amount")? }),
        owner: None,
        detail: Some(row.text("what")?),
    })
}

fn not_billed(row: &Row) -> Result<Item, DatabaseError> {
    let order: OrderId = row.parsed("order_id")?;
    Ok(Item {
        kind: UnmatchedKind::NotBilled,
        channel: row.parsed("channel")?,
        id: order.to_string(),
        what: "no bill has it".to_owned(),
        state: "open".to_owned(),
        since: row.moment("completed_at")?,
        account: Some(row.parsed("account")?),
        order_number: Some(order.merchant_number()),
        transaction: row.opt_text("provider_txn")?,
        refund_number: None,
        ledger: Some(Money { currency: row.parsed("currency")?, minor: row.int("amount")? }),
        channel_says: None,
        owner: None,
        detail: None,
    })
}
