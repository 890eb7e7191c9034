use crate::facts::{AtRisk, CountedUsage, Decision, Facts, LeaseMove, Said, TakenBack, said};
use crate::{DatabaseError, Halt, ProjectionError, Row, Set, Tx, Value};
use chrono::FixedOffset;
use domain::account::event::{Closer, Scope};
use domain::{AccountEvent, AccountId, Credits, EpochId, Event, LeaseId, Moment, Split, UsageRecord};
use ledger::Logged;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "leases";
const COLUMNS: [&str; 18] = [
    "lease",
    "account",
    "epoch",
    "scope",
    "credits",
    "ttl_ms",
    "granted_at",
    "touched",
    "status",
    "watermark",
    "spent",
    "beyond",
    "closed_spent",
    "closed_count",
    "closed_by",
    "closed_at",
    "event_seq",
    "at_risk",
];

/// The rows of the leases that a batch names.
#[derive(Debug, Default)]
pub(crate) struct LeaseRows {
    rows: BTreeMap<LeaseId, LeaseRow>,
}

/// A lease as it stands in its row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeaseRow {
    account: AccountId,
    granted: Option<Granted>,
    closed: Option<Closed>,
    /// The highest n up to which every record has been seen.
    watermark: u64,
    /// The cumulative spend of that record.
    spent: Credits,
    /// Records seen beyond a gap: n and cumulative spend. Empty but for a node that lost a report.
    beyond: BTreeMap<u64, Credits>,
    event_seq: u64,
    /// Counted, but a sweeper may still close the lease without them.
    at_risk: BTreeMap<u64, AtRisk>,
}

/// The open part of a lease. Absent: the log reports usage of a lease that it never granted, as after it lost its tail.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    epoch: EpochId,
    scope: Scope,
    credits: Credits,
    ttl_ms: u64,
    /// By the log's clock, like `touched`: the sweeper measures a lease's age by it.
    granted_at: Moment,
    touched: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Closed {
    spent: Credits,
    count: u64,
    by: Closer,
    at: Moment,
}

impl LeaseRows {
    /// Reads the rows that a batch needs to know before it can be folded, but for those that are known.
    pub(crate) async fn learn(&mut self, tx: &mut Tx, batch: &[Logged]) -> Result<(), DatabaseError> {
        let unknown = named(batch).into_iter().filter(|lease| !self.rows.contains_key(lease));
        let keys: Vec<Value> = unknown.map(Value::from).collect();
        let sql = format!("SELECT {} FROM {TABLE} WHERE", COLUMNS.join(", "));
        for row in tx.fetch_in(&sql, "lease", &keys).await? {
            self.rows.insert(row.parsed("lease")?, LeaseRow::read(&row)?);
        }
        Ok(())
    }

    /// How many rows are known.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A copy of some of the rows.
    pub(crate) fn only(&self, leases: &BTreeSet<LeaseId>) -> Self {
        let rows = leases.iter().filter_map(|lease| Some((*lease, self.rows.get(lease)?.clone())));
        Self { rows: rows.collect() }
    }

    /// Sorts out what a batch says; pure. Goes before all other rooms, since it tells new usage from old.
    pub(crate) fn fold<'a>(&mut self, batch: &'a [Logged], zone: FixedOffset) -> Result<Facts<'a>, Halt> {
        let mut facts = Facts {
            decisions: Vec::new(),
            usage: Vec::new(),
            suspended: Vec::new(),
            taken_back: Vec::new(),
            lease_moves: Vec::new(),
            zone,
        };
        for logged in batch {
            match said(logged) {
                Said::Decided(decision) => {
                    facts.lease_moves.extend(self.decided(&decision, &mut facts.taken_back)?);
                    facts.decisions.push(decision);
                }
                Said::Reported(report) => {
                    let used = report.records.iter().filter_map(|record| self.used(record, logged));
                    facts.usage.extend(used);
                }
                Said::Suspended(recorded) => facts.suspended.push(recorded),
                Said::Nothing => {}
            }
        }
        Ok(facts)
    }

    fn decided(
        &mut self,
        decision: &Decision<'_>,
        taken_back: &mut Vec<TakenBack>,
    ) -> Result<Option<LeaseMove>, Halt> {
        let (account, sequence) = (decision.account, decision.sequence());
        let stored_at = decision.logged.stored_at;
        let overflow = || Halt::Overflow { account, sequence };
        let moved = |leased, spent_closed| Some(LeaseMove { account, leased, spent_closed, sequence });
        Ok(match decision.event {
            AccountEvent::LeaseGranted(it) => {
                let row = self.rows.entry(it.lease).or_insert_with(|| LeaseRow::unknown(account));
                if row.granted.is_some() {
                    return Err(Halt::LeaseTwice { lease: it.lease, sequence });
                }
                row.account = account;
                row.granted = Some(Granted {
                    epoch: it.epoch,
                    scope: it.scope.clone(),
                    credits: it.credits,
                    ttl_ms: it.ttl_ms,
                    granted_at: stored_at,
                    touched: stored_at,
                });
                row.event_seq = sequence;
                moved(it.credits, Credits::ZERO)
            }
            AccountEvent::LeaseAmended(it) => {
                let (row, granted) = self.open(it.lease, sequence)?;
                let more = it.credits.checked_sub(granted.credits).ok_or_else(overflow)?;
                row.granted =
                    Some(Granted { credits: it.credits, ttl_ms: it.ttl_ms, touched: stored_at, ..granted });
                row.event_seq = sequence;
                moved(more, Credits::ZERO)
            }
            AccountEvent::LeaseClosed(it) => {
                let (row, granted) = self.open(it.lease, sequence)?;
                row.closed = Some(Closed { spent: it.spent, count: it.count, by: it.by, at: stored_at });
                row.event_seq = sequence;
                // What decides is n, not the order on the log: else a record that lands between a sweeper's look and its
                // close would be paid although the close gave its credits back.
                let lost = std::mem::take(&mut row.at_risk).split_off(&it.count.saturating_add(1));
                for (n, record) in lost {
                    let (lease, paid) = (it.lease, record.paid);
                    tracing::error!(%lease, %account, n, %paid, sequence, "a lease was closed without a record that was counted: the operator bears it");
                    taken_back.push(TakenBack { account, lease, n, sequence, record });
                }
                if (row.watermark, row.spent) != (it.count, it.spent) {
                    // Not ours to judge: records may still come late. `ledger verify` names what stays missing.
                    let (seen, count) = (row.watermark, it.count);
                    tracing::warn!(lease = %it.lease, %account, seen, count, "a lease was closed before all of its usage records were on the log");
                }
                moved(granted.credits.checked_neg().ok_or_else(overflow)?, it.spent)
            }
            AccountEvent::TopUpInitiated(_)
            | AccountEvent::TopUpCompleted(_)
            | AccountEvent::TopUpClosed(_)
            | AccountEvent::CreditGranted(_)
            | AccountEvent::RefundRequested(_)
            | AccountEvent::RefundApproved(_)
            | AccountEvent::RefundCompleted(_)
            | AccountEvent::RefundFailed(_)
            | AccountEvent::ChargebackPosted(_)
            | AccountEvent::ChargebackReversed(_)
            | AccountEvent::AdjustmentPosted(_) => None,
        })
    }

    /// The row of a lease that must be open, with its open part.
    fn open(&mut self, lease: LeaseId, sequence: u64) -> Result<(&mut LeaseRow, Granted), Halt> {
        match self.rows.get_mut(&lease) {
            Some(row) if row.closed.is_none() => match row.granted.clone() {
                Some(granted) => Ok((row, granted)),
                None => Err(Halt::LeaseNotOpen { lease, sequence }),
            },
            Some(_) | None => Err(Halt::LeaseNotOpen { lease, sequence }),
        }
    }

    /// A usage record as it counts; `None`: it was counted before.
    fn used<'a>(&mut self, record: &'a UsageRecord, logged: &Logged) -> Option<CountedUsage<'a>> {
        let sequence = logged.recorded.sequence;
        let row = self.rows.entry(record.lease).or_insert_with(|| LeaseRow::unknown(record.account));
        if !row.see(record.n, record.spent) {
            tracing::debug!(lease = %record.lease, n = record.n, sequence, "a usage record was reported again");
            return None;
        }
        row.event_seq = sequence;
        let late = match &row.closed {
            Some(closed) => record.n > closed.count,
            None => row.granted.is_none(),
        };
        if late {
            let (request, charge) = (record.usage.request, record.usage.charge);
            tracing::error!(lease = %record.lease, n = record.n, %request, %charge, sequence, "usage came too late for its lease: the operator bears it");
        }
        let Split { paid, uncovered } = if late { Split::late(record) } else { Split::reported(record) };
        let reporter = match &logged.recorded.event {
            Event::Node(epoch, _) => Some(*epoch),
            Event::Account(..) | Event::Suspense(..) | Event::Channel(..) => None,
        };
        let is_own = row.granted.as_ref().map(|granted| granted.epoch) == reporter;
        if row.closed.is_none() && !late && (!is_own || record.n > row.watermark) {
            let usage = &record.usage;
            let (model, provider) = (usage.model.clone(), usage.provider.clone());
            row.at_risk.insert(record.n, AtRisk { at: usage.at, key: usage.key, model, provider, paid });
        }
        Some(CountedUsage { record, sequence, reported_at: logged.recorded.at, paid, uncovered, late })
    }

    /// Writes all rows back.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), ProjectionError> {
        let mut values = Vec::with_capacity(self.rows.len() * COLUMNS.len());
        for (lease, row) in &self.rows {
            values.extend(row.values(*lease)?);
        }
        let sets: Vec<Set<'_>> = COLUMNS[1..].iter().map(|column| Set::New(column)).collect();
        let tail = tx.dialect().upsert(TABLE, &["lease"], &sets);
        tx.insert(TABLE, &COLUMNS, &values, &tail).await?;
        Ok(())
    }
}

impl LeaseRow {
    fn unknown(account: AccountId) -> Self {
        Self {
            account,
            granted: None,
            closed: None,
            watermark: 0,
            spent: Credits::ZERO,
            beyond: BTreeMap::new(),
            event_seq: 0,
            at_risk: BTreeMap::new(),
        }
    }

    /// Notes record n; `false`: it was noted before.
    fn see(&mut self, n: u64, spent: Credits) -> bool {
        if n <= self.watermark || self.beyond.contains_key(&n) {
            return false;
        }
        self.beyond.insert(n, spent);
        while let Some(spent) = self.beyond.remove(&self.watermark.saturating_add(1)) {
            self.watermark += 1;
            self.spent = spent;
        }
        true
    }

    fn status(&self) -> &'static str {
        match (&self.granted, &self.closed) {
            (_, Some(_)) => "closed",
            (Some(_), None) => "open",
            (None, None) => "unknown",
        }
    }

    fn values(&self, lease: LeaseId) -> Result<[Value; COLUMNS.len()], ProjectionError> {
        let json = |error: serde_json::Error| Halt::Unreadable(format!("lease {lease}: {error}"));
        let granted = self.granted.as_ref();
        let closed = self.closed.as_ref();
        let scope = granted.map(|it| serde_json::to_string(&it.scope)).transpose().map_err(json)?;
        let beyond: Vec<(u64, i64)> = self.beyond.iter().map(|(n, spent)| (*n, spent.nano())).collect();
        let at_risk: Vec<_> = self.at_risk.iter().collect();
        let at_risk =
            (!at_risk.is_empty()).then(|| serde_json::to_string(&at_risk)).transpose().map_err(json)?;
        Ok([
            lease.into(),
            self.account.into(),
            granted.map(|it| it.epoch).into(),
            scope.into(),
            granted.map_or(Credits::ZERO, |it| it.credits).into(),
            Value::count(granted.map_or(0, |it| it.ttl_ms)),
            granted.map(|it| it.granted_at).into(),
            granted.map(|it| it.touched).into(),
            self.status().into(),
            Value::count(self.watermark),
            self.spent.into(),
            serde_json::to_string(&beyond).map_err(json)?.into(),
            closed.map(|it| it.spent).into(),
            Value::opt_count(closed.map(|it| it.count)),
            closed.map(|it| closer_text(it.by)).into(),
            closed.map(|it| it.at).into(),
            Value::count(self.event_seq),
            at_risk.into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DatabaseError> {
        let granted = match row.opt_parsed("epoch")? {
            None => None,
            Some(epoch) => Some(Granted {
                epoch,
                scope: row.json("scope")?,
                credits: row.credits("credits")?,
                ttl_ms: row.count("ttl_ms")?,
                granted_at: row.moment("granted_at")?,
                touched: row.moment("touched")?,
            }),
        };
        let closed = match row.opt_text("closed_by")? {
            None => None,
            Some(by) => Some(Closed {
                spent: row.credits("closed_spent")?,
                count: row.count("closed_count")?,
                by: closer_of_text(&by).ok_or_else(|| DatabaseError::column("closed_by", "is no closer"))?,
                at: row.moment("closed_at")?,
            }),
        };
        let beyond: Vec<(u64, i64)> = row.json("beyond")?;
        let at_risk: Vec<(u64, AtRisk)> = match row.opt_text("at_risk")? {
            None => Vec::new(),
            Some(_) => row.json("at_risk")?,
        };
        Ok(Self {
            account: row.parsed("account")?,
            granted,
            closed,
            watermark: row.count("watermark")?,
            spent: row.credits("spent")?,
            beyond: beyond.into_iter().map(|(n, nano)| (n, Credits::from_nano(nano))).collect(),
            event_seq: row.count("event_seq")?,
            at_risk: at_risk.into_iter().collect(),
        })
    }
}

/// The leases that a batch names.
pub(crate) fn named(batch: &[Logged]) -> BTreeSet<LeaseId> {
    let mut leases = BTreeSet::new();
    for logged in batch {
        match said(logged) {
            Said::Decided(decision) => leases.extend(lease_of(decision.event)),
            Said::Reported(report) => leases.extend(report.records.iter().map(|record| record.lease)),
            Said::Suspended(_) | Said::Nothing => {}
        }
    }
    leases
}

/// The lease that a decision changes.
fn lease_of(event: &AccountEvent) -> Option<LeaseId> {
    match event {
        AccountEvent::LeaseGranted(it) => Some(it.lease),
        AccountEvent::LeaseAmended(it) => Some(it.lease),
        AccountEvent::LeaseClosed(it) => Some(it.lease),
        AccountEvent::TopUpInitiated(_)
        | AccountEvent::TopUpCompleted(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::CreditGranted(_)
        | AccountEvent::RefundRequested(_)
        | AccountEvent::RefundApproved(_)
        | AccountEvent::RefundCompleted(_)
        | AccountEvent::RefundFailed(_)
        | AccountEvent::ChargebackPosted(_)
        | AccountEvent::ChargebackReversed(_)
        | AccountEvent::AdjustmentPosted(_) => None,
    }
}

fn closer_text(by: Closer) -> &'static str {
    match by {
        Closer::Holder => "holder",
        Closer::Sweeper => "sweeper",
    }
}

fn closer_of_text(text: &str) -> Option<Closer> {
    [Closer::Holder, Closer::Sweeper].into_iter().find(|by| closer_text(*by) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_new_once_whatever_the_order() {
        let mut row = LeaseRow::unknown(AccountId::from_uuid(uuid::Uuid::nil()));
        let spent = |n: u64| Credits::from_nano(i64::try_from(n).unwrap() * 10);
        let mut see = |n| row.see(n, spent(n));
        assert_eq!([1, 2, 2, 5, 4, 5, 1].map(&mut see), [true, true, false, true, true, false, false]);
        assert_eq!((row.watermark, row.spent, row.beyond.len()), (2, spent(2), 2));
        assert!(row.see(3, spent(3)));
        assert_eq!((row.watermark, row.spent, row.beyond.len()), (5, spent(5), 0));
        assert!(!row.see(0, spent(0)) && !row.see(4, spent(4)));
    }
}
