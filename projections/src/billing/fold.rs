use super::query::BillingKind;
use crate::calendar::{Calendar, local_day};
use crate::facts::{CountedUsage, Decision, Facts, TakenBack};
use crate::top_ups::OrderStatus;
use crate::{Halt, ProjectionError, Set, Tx, Value};
use chrono::FixedOffset;
use domain::account::event::GrantSource;
use domain::{AccountEvent, AccountId, Credits, Moment, Money};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use uuid::Uuid;

/// The columns of `billing_records`.
pub(crate) const COLUMNS: [&str; 18] = [
    "id",
    "user_id",
    "type",
    "reference",
    "amount",
    "currency",
    "quota_amount",
    "description",
    "transaction_id",
    "status",
    "created_at",
    "updated_at",
    "first_seq",
    "event_seq",
    "day",
    "day_start",
    "time_zone",
    "requests",
];

/// What a batch does to billing records.
#[derive(Debug, Default)]
pub(crate) struct BillingRows {
    /// Rows that begin in this batch, in the log's order.
    new: Vec<NewRow>,
    /// Where the row of an order or a refund lies in `new`.
    begun: BTreeMap<(AccountId, BillingKind, Uuid), usize>,
    /// Ends of orders and refunds that began in an earlier batch.
    ends: BTreeMap<(AccountId, BillingKind, Uuid), End>,
    /// Consumption, by account and the beginning of the day.
    days: BTreeMap<(AccountId, Moment), Day>,
}

#[derive(Debug)]
struct NewRow {
    id: String,
    account: AccountId,
    kind: BillingKind,
    /// The order, refund, grant or adjustment; with the kind it names the row within the account.
    reference: String,
    money: Option<Money>,
    credits: Credits,
    description: String,
    created_at: Moment,
    first_seq: u64,
    end: End,
}

/// The part of a row that its last event sets.
#[derive(Clone, Debug)]
struct End {
    transaction: Option<String>,
    status: OrderStatus,
    at: Moment,
    sequence: u64,
    /// The day that the row counts in: of its last event, so that a payment after midnight counts when it came.
    day: String,
    day_start: Moment,
    zone: String,
}

#[derive(Debug)]
struct Day {
    /// What names the row within its account and kind.
    reference: String,
    credits: Credits,
    requests: i64,
    created_at: Moment,
    updated_at: Moment,
    first_seq: u64,
    last_seq: u64,
    day: String,
    day_start: Moment,
}

impl BillingRows {
    /// What a batch means for billing; pure.
    pub(crate) fn fold(facts: &Facts<'_>) -> Result<Self, Halt> {
        let (mut rows, mut calendar) = (Self::default(), Calendar::new(facts.zone));
        for decision in &facts.decisions {
            rows.decided(decision, facts.zone);
        }
        for usage in &facts.usage {
            rows.consumed(usage, &mut calendar)?;
        }
        for it in &facts.taken_back {
            rows.taken_back(it, &mut calendar)?;
        }
        Ok(rows)
    }

    fn decided(&mut self, decision: &Decision<'_>, zone: FixedOffset) {
        let account = decision.account;
        match decision.event {
            AccountEvent::TopUpInitiated(it) => {
                self.begun.insert((account, BillingKind::TopUp, it.order.uuid()), self.new.len());
                self.new.push(NewRow {
                    money: Some(it.pay),
                    ..NewRow::new(
                        BillingKind::TopUp,
                        it.order.to_string(),
                        it.credits,
                        format!("Top-up through {}", it.channel),
                        End::new(OrderStatus::Pending, decision, zone),
                        decision,
                    )
                });
            }
            AccountEvent::TopUpCompleted(it) => {
                let transaction = Some(it.provider_txn.as_str().to_owned());
                let end = End { transaction, ..End::new(OrderStatus::Completed, decision, zone) };
                self.end((account, BillingKind::TopUp, it.order.uuid()), end);
            }
            AccountEvent::TopUpClosed(it) => {
                let end = End::new(OrderStatus::of_close(it.reason), decision, zone);
                self.end((account, BillingKind::TopUp, it.order.uuid()), end);
            }
            AccountEvent::RefundRequested(it) => {
                self.begun.insert((account, BillingKind::Refund, it.refund.uuid()), self.new.len());
                self.new.push(NewRow {
                    money: Some(it.pay),
                    ..NewRow::new(
                        BillingKind::Refund,
                        it.refund.to_string(),
                        it.credits,
                        format!("Refund through {}: {}", it.channel, it.reason),
                        End::new(OrderStatus::Pending, decision, zone),
                        decision,
                    )
                });
            }
            AccountEvent::RefundApproved(_) => {}
            AccountEvent::RefundCompleted(it) => {
                let transaction = it.provider_refund.as_ref().map(|it| it.as_str().to_owned());
                let end = End { transaction, ..End::new(OrderStatus::Completed, decision, zone) };
                self.end((account, BillingKind::Refund, it.refund.uuid()), end);
            }
            AccountEvent::RefundFailed(it) => {
                let end = End::new(OrderStatus::Failed, decision, zone);
                self.end((account, BillingKind::Refund, it.refund.uuid()), end);
            }
            AccountEvent::ChargebackPosted(it) => {
                let transaction = Some(it.reference.as_str().to_owned());
                self.new.push(NewRow {
                    money: Some(it.pay),
                    ..NewRow::new(
                        BillingKind::Refund,
                        it.chargeback.to_string(),
                        it.credits,
                        format!("Disputed payment through {}", it.channel),
                        End { transaction, ..End::new(OrderStatus::Completed, decision, zone) },
                        decision,
                    )
                });
            }
            // Below zero, so that the two lines of a dispute that was won are nothing together.
            AccountEvent::ChargebackReversed(it) => self.new.push(NewRow {
                money: Some(Money { minor: it.pay.minor.saturating_neg(), ..it.pay }),
                ..NewRow::new(
                    BillingKind::Refund,
                    format!("{} reversed", it.chargeback.uuid().simple()),
                    Credits::from_nano(it.credits.nano().saturating_neg()),
                    format!("Disputed payment through {} came back", it.channel),
                    End::new(OrderStatus::Completed, decision, zone),
                    decision,
                )
            }),
            AccountEvent::CreditGranted(it) => {
                let source = match it.source {
                    GrantSource::Signup => "Welcome gift",
                    GrantSource::Redemption => "Redemption code",
                    GrantSource::Referral => "Referral reward",
                    GrantSource::Promotion => "Promotion",
                    GrantSource::Import => "Balance brought forward",
                    GrantSource::Admin => "Gift",
                };
                let description = match &it.reason {
                    Some(reason) => format!("{source}: {reason}"),
                    None => source.to_owned(),
                };
                self.new.push(NewRow::new(
                    BillingKind::Grant,
                    it.grant.to_string(),
                    it.credits,
                    description,
                    End::new(OrderStatus::Completed, decision, zone),
                    decision,
                ));
            }
            AccountEvent::AdjustmentPosted(it) => self.new.push(NewRow::new(
                BillingKind::Adjustment,
                it.adjustment.to_string(),
                it.credits,
                format!("Adjustment: {}", it.reason),
                End::new(OrderStatus::Completed, decision, zone),
                decision,
            )),
            AccountEvent::LeaseGranted(_) | AccountEvent::LeaseAmended(_) | AccountEvent::LeaseClosed(_) => {}
        }
    }

    fn end(&mut self, what: (AccountId, BillingKind, Uuid), end: End) {
        let here = self.begun.get(&what).and_then(|index| self.new.get_mut(*index));
        match here {
            Some(row) => row.end = end,
            None => {
                self.ends.insert(what, end);
            }
        }
    }

    fn consumed(&mut self, usage: &CountedUsage<'_>, calendar: &mut Calendar) -> Result<(), Halt> {
        let (account, sequence) = (usage.record.account, usage.sequence);
        let day = self.day(account, usage.record.usage.at, sequence, calendar);
        let sum = day.credits.checked_add(usage.paid).zip(day.requests.checked_add(1));
        (day.credits, day.requests) = sum.ok_or(Halt::Overflow { account, sequence })?;
        Ok(())
    }

    /// The call stays counted; what it was charged does not.
    fn taken_back(&mut self, it: &TakenBack, calendar: &mut Calendar) -> Result<(), Halt> {
        let (account, sequence) = (it.account, it.sequence);
        let day = self.day(account, it.record.at, sequence, calendar);
        day.credits = day.credits.checked_sub(it.record.paid).ok_or(Halt::Overflow { account, sequence })?;
        Ok(())
    }

    /// The day of a call, with the event that changes it noted.
    fn day(&mut self, account: AccountId, at: Moment, sequence: u64, calendar: &mut Calendar) -> &mut Day {
        let zone = calendar.zone();
        let local = calendar.at(at);
        let day = self.days.entry((account, local.starts)).or_insert_with(|| Day {
            // The zone is part of the name: after a change of zone a new row begins instead of two kinds of day mixing.
            reference: format!("{}{zone}", local.day),
            credits: Credits::ZERO,
            requests: 0,
            created_at: at,
            updated_at: at,
            first_seq: sequence,
            last_seq: sequence,
            day: local.day.clone(),
            day_start: local.starts,
        });
        day.first_seq = day.first_seq.min(sequence);
        day.updated_at = day.updated_at.max(at);
        day.last_seq = day.last_seq.max(sequence);
        day
    }

    /// Moves the days to those of earlier batches; the other rows stay.
    pub(crate) fn move_sums(&mut self, earlier: &mut Self) -> Result<(), Halt> {
        for (key, later) in std::mem::take(&mut self.days) {
            match earlier.days.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(later);
                }
                Entry::Occupied(mut entry) => {
                    let account = entry.key().0;
                    let day = entry.get_mut();
                    let sum =
                        day.credits.checked_add(later.credits).zip(day.requests.checked_add(later.requests));
                    (day.credits, day.requests) =
                        sum.ok_or(Halt::Overflow { account, sequence: later.last_seq })?;
                    day.updated_at = day.updated_at.max(later.updated_at);
                    day.last_seq = later.last_seq;
                }
            }
        }
        Ok(())
    }

    /// How many days it is.
    pub(crate) fn sums(&self) -> usize {
        self.days.len()
    }

    /// New rows in one insert, days in one upsert, ends of older orders by an update each.
    pub(crate) async fn write(&self, tx: &mut Tx, zone: FixedOffset) -> Result<(), ProjectionError> {
        let new: Vec<Value> = self.new.iter().flat_map(NewRow::values).collect();
        tx.insert("billing_records", &COLUMNS, &new, "").await?;

        let days = self.days.iter().flat_map(|((account, _), day)| day.values(*account, zone));
        let days: Vec<Value> = days.collect();
        let sets = [
            Set::Add("quota_amount"),
            Set::Add("requests"),
            Set::Larger("updated_at"),
            Set::New("event_seq"),
        ];
        let tail = tx.dialect().upsert("billing_records", &["user_id", "type", "reference"], &sets);
        tx.insert("billing_records", &COLUMNS, &days, &tail).await?;

        for ((account, kind, id), end) in &self.ends {
            let sql = "UPDATE billing_records SET transaction_id = ?, status = ?, updated_at = ?, event_seq = ?, \
                       day = ?, day_start = ?, time_zone = ? WHERE user_id = ? AND type = ? AND reference = ?";
            let values: [Value; 10] = [
                end.transaction.clone().into(),
                end.status.as_str().into(),
                end.at.into(),
                Value::count(end.sequence),
                end.day.as_str().into(),
                end.day_start.into(),
                end.zone.as_str().into(),
                (*account).into(),
                kind.as_str().into(),
                id.to_string().into(),
            ];
            if tx.execute(sql, &values).await? != 1 {
                return Err(Halt::UnknownOrder { account: *account, order: id.to_string() }.into());
            }
        }
        Ok(())
    }
}

impl NewRow {
    fn new(
        kind: BillingKind,
        reference: String,
        credits: Credits,
        description: String,
        end: End,
        decision: &Decision<'_>,
    ) -> Self {
        Self {
            // An event begins at most one row, and its id is unique over all accounts and kinds.
            id: decision.recorded.id.to_string(),
            account: decision.account,
            kind,
            reference,
            money: None,
            credits,
            description,
            created_at: decision.at(),
            first_seq: decision.sequence(),
            end,
        }
    }

    fn values(&self) -> [Value; COLUMNS.len()] {
        [
            self.id.as_str().into(),
            self.account.into(),
            self.kind.as_str().into(),
            self.reference.as_str().into(),
            self.money.map(|money| money.minor).into(),
            self.money.as_ref().map(|money| money.currency.code()).into(),
            self.credits.into(),
            self.description.as_str().into(),
            self.end.transaction.clone().into(),
            self.end.status.as_str().into(),
            self.created_at.into(),
            self.end.at.into(),
            Value::count(self.first_seq),
            Value::count(self.end.sequence),
            self.end.day.as_str().into(),
            self.end.day_start.into(),
            self.end.zone.as_str().into(),
            0_i64.into(),
        ]
    }
}

impl End {
    fn new(status: OrderStatus, decision: &Decision<'_>, zone: FixedOffset) -> Self {
        let local = local_day(decision.at(), zone);
        Self {
            transaction: None,
            status,
            at: decision.at(),
            sequence: decision.sequence(),
            day: local.day,
            day_start: local.starts,
            zone: zone.to_string(),
        }
    }
}

impl Day {
    fn values(&self, account: AccountId, zone: FixedOffset) -> [Value; COLUMNS.len()] {
        [
            consumption_id(account, &self.reference).into(),
            account.into(),
            BillingKind::Consumption.as_str().into(),
            self.reference.as_str().into(),
            Value::NullInt,
            Value::NullText,
            self.credits.into(),
            format!("Usage on {}", self.day).into(),
            Value::NullText,
            OrderStatus::Completed.as_str().into(),
            self.created_at.into(),
            self.updated_at.into(),
            Value::count(self.first_seq),
            Value::count(self.last_seq),
            self.day.as_str().into(),
            self.day_start.into(),
            zone.to_string().into(),
            self.requests.into(),
        ]
    }
}

/// The id of a day's row: made of what names it, so that a rebuild gives it again.
fn consumption_id(account: AccountId, reference: &str) -> String {
    let digest = Sha256::digest(format!("consumption {account} {reference}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
