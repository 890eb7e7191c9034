//! The projections as far as metering sees them: leases with their watermarks, snapshots of accounts, a position.
//!
//! The rules are those of the projections' own rooms. Claims: the tables trail the log, never lead it; a position that was
//! answered is not taken back.

use super::server::{Server, Stored, moment};
use super::world::{Shared, lock};
use super::{Micros, node::Clock};
use crate::{LedgerError, Projected, Snapshot, Snapshots, StaleLease, StaleLeases};
use domain::account::Account;
use domain::{AccountEvent, AccountId, Credits, EpochId, Event, LeaseId, Moment, NodeEvent};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Tables {
    position: u64,
    leases: BTreeMap<LeaseId, Row>,
    accounts: BTreeMap<AccountId, Snapshot>,
}

struct Row {
    account: AccountId,
    epoch: EpochId,
    ttl_ms: i64,
    touched: Moment,
    open: bool,
    watermark: u64,
    spent: Credits,
    beyond: BTreeMap<u64, Credits>,
}

impl Tables {
    /// Projects what was stored until then.
    pub(super) fn advance(&mut self, server: &Server, until: Micros) {
        for stored in server.behind(self.position) {
            if stored.at > until {
                break;
            }
            self.apply(stored);
            self.position = stored.sequence;
        }
    }

    fn apply(&mut self, stored: &Stored) {
        match &stored.recorded.event {
            Event::Account(account, event) => {
                let snapshot = self.accounts.entry(*account).or_insert_with(|| Snapshot {
                    account: Account::default(),
                    sequence: 0,
                    hash: String::new(),
                });
                snapshot.account.apply(&stored.recorded.with(event.clone()));
                (snapshot.sequence, snapshot.hash) = (stored.sequence, hex::encode(stored.hash));
                self.decided(*account, event, moment(stored.at));
            }
            Event::Node(_, NodeEvent::UsageReported(report)) => {
                for record in &report.records {
                    if let Some(row) = self.leases.get_mut(&record.lease) {
                        row.see(record.n, record.spent);
                    }
                }
            }
            Event::Node(_, NodeEvent::NodeSealed(_)) | Event::Suspense(..) | Event::Channel(..) => {}
        }
    }

    fn decided(&mut self, account: AccountId, event: &AccountEvent, at: Moment) {
        match event {
            AccountEvent::LeaseGranted(it) => {
                let row = Row {
                    account,
                    epoch: it.epoch,
                    ttl_ms: i64::try_from(it.ttl_ms).unwrap(),
                    touched: at,
                    open: true,
                    watermark: 0,
                    spent: Credits::ZERO,
                    beyond: BTreeMap::new(),
                };
                self.leases.insert(it.lease, row);
            }
            AccountEvent::LeaseAmended(it) => {
                let row = self.leases.get_mut(&it.lease).unwrap();
                (row.ttl_ms, row.touched) = (i64::try_from(it.ttl_ms).unwrap(), at);
            }
            AccountEvent::LeaseClosed(it) => self.leases.get_mut(&it.lease).unwrap().open = false,
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
            | AccountEvent::AdjustmentPosted(_) => {}
        }
    }

    fn stale(&self, now: Moment, most: usize) -> StaleLeases {
        let stale = |row: &&Row| row.open && row.touched.plus_ms(2 * row.ttl_ms) < now;
        let mut leases: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, row)| stale(row))
            .map(|(lease, row)| StaleLease {
                lease: *lease,
                account: row.account,
                epoch: row.epoch,
                spent: row.spent,
                count: row.watermark,
                touched: row.touched,
            })
            .collect();
        leases.sort_by_key(|it| (it.touched, it.lease));
        leases.truncate(most);
        StaleLeases { position: self.position, leases }
    }
}

impl Row {
    fn see(&mut self, n: u64, spent: Credits) {
        if n > self.watermark {
            self.beyond.insert(n, spent);
        }
        while let Some(spent) = self.beyond.remove(&(self.watermark + 1)) {
            (self.watermark, self.spent) = (self.watermark + 1, spent);
        }
    }
}

/// The tables as one node asks them.
pub(super) struct Connection {
    pub(super) world: Shared,
    pub(super) clock: Arc<Clock>,
}

impl Connection {
    /// Asks the tables: takes its time, and may fail.
    async fn ask<T>(&self, read: impl FnOnce(&Tables) -> T + Send) -> Result<T, LedgerError> {
        let time = lock(&self.world).tables_time();
        tokio::time::sleep(Duration::from_micros(time)).await;
        let mut world = lock(&self.world);
        let now = self.clock.global().max(world.now);
        match world.project(now) {
            true => Ok(read(&world.tables)),
            false => Err(LedgerError::Unavailable("the tables cannot be read".into())),
        }
    }
}

impl Projected for Connection {
    fn position(&self) -> BoxFuture<'_, Result<u64, LedgerError>> {
        self.ask(|tables| tables.position).boxed()
    }

    fn stale_leases(&self, now: Moment, most: usize) -> BoxFuture<'_, Result<StaleLeases, LedgerError>> {
        self.ask(move |tables| tables.stale(now, most)).boxed()
    }
}

impl Snapshots for Connection {
    fn load(&self, account: AccountId) -> BoxFuture<'_, Option<Snapshot>> {
        self.ask(move |tables| tables.accounts.get(&account).cloned()).map(|it| it.ok().flatten()).boxed()
    }
}
