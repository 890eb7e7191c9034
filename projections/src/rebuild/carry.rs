//! What a rebuild keeps in memory from one batch to the next: leases and states instead of reading them again, sums instead
//! of writing them each time.
//!
//! Claims: what is written in the end is what one batch after the other would have written; memory does not grow with the
//! log: beyond a bound all is written, forgotten, and read again when it is needed.

use crate::balances::StateRows;
use crate::database::Aliases;
use crate::engine::Rows;
use crate::leases::{LeaseRows, named};
use crate::usage::Archived;
use crate::{Database, ProjectionError, Tx};
use chrono::FixedOffset;
use domain::{AccountId, LeaseId};
use ledger::Logged;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events and usage records of one transaction: enough that its fixed costs do not count, and little enough that on
    /// SQLite other writers wait for less than a second.
    pub(super) transaction: usize,
    /// Leases and states that are kept: some hundred bytes each.
    pub(super) kept: usize,
    /// Rows that wait to be written: sums, leases and states that changed.
    pub(super) waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transaction: 20_000, kept: 300_000, waiting: 50_000 }
    }
}

/// What is kept.
pub(super) struct Carry {
    zone: FixedOffset,
    limits: Limits,
    archived: Arc<Archived>,
    leases: LeaseRows,
    states: StateRows,
    /// Changed since they were written.
    changed_leases: BTreeSet<LeaseId>,
    changed_accounts: BTreeSet<AccountId>,
    sums: Rows,
    /// The tables hold leases or states that are not in memory.
    forgetful: bool,
}

/// What is written in one transaction.
pub(super) struct Portion {
    zone: FixedOffset,
    leases: LeaseRows,
    states: StateRows,
    sums: Rows,
    rows: Rows,
}

impl Carry {
    /// For empty tables, which calls that an archive holds stay out of.
    pub(super) fn new(zone: FixedOffset, limits: Limits, archived: Arc<Archived>) -> Self {
        Self {
            zone,
            limits,
            archived,
            leases: LeaseRows::default(),
            states: StateRows::default(),
            changed_leases: BTreeSet::new(),
            changed_accounts: BTreeSet::new(),
            sums: Rows::default(),
            forgetful: false,
        }
    }

    /// Must all that was handed out be committed before the next batch is folded? Else nothing is read for it.
    pub(super) fn reads(&self) -> bool {
        self.forgetful
    }

    /// Folds a batch; answers with what is to be written now. `all`: everything; else only what memory should not keep.
    pub(super) async fn fold(
        &mut self,
        tx: Option<&mut Tx>,
        batch: &[Logged],
        all: bool,
    ) -> Result<Portion, ProjectionError> {
        let facts = match tx {
            None => {
                let facts = self.leases.fold(batch, self.zone)?;
                self.states.begin(&facts);
                facts
            }
            Some(tx) => {
                self.leases.learn(tx, batch).await?;
                let facts = self.leases.fold(batch, self.zone)?;
                self.states.learn(tx, &facts).await?;
                facts
            }
        };
        self.states.fold(&facts)?;
        self.changed_leases.extend(named(batch));
        self.changed_accounts.extend(facts.decisions.iter().map(|decision| decision.account));
        let mut rows = Rows::fold(&facts, &self.archived)?;
        rows.move_sums(&mut self.sums)?;
        let waiting = self.sums.sums() + self.changed_leases.len() + self.changed_accounts.len();
        let kept = self.leases.len() + self.states.len();
        if !(all || waiting > self.limits.waiting || kept > self.limits.kept) {
            let zone = self.zone;
            let (leases, states, sums) = Default::default();
            return Ok(Portion { zone, leases, states, sums, rows });
        }
        let portion = Portion {
            zone: self.zone,
            leases: self.leases.only(&std::mem::take(&mut self.changed_leases)),
            states: self.states.only(&std::mem::take(&mut self.changed_accounts)),
            sums: std::mem::take(&mut self.sums),
            rows,
        };
        if kept > self.limits.kept {
            self.forget();
        }
        Ok(portion)
    }

    /// Forgets everything: what was not handed out is lost, what is needed again is read.
    pub(super) fn forget(&mut self) {
        *self = Self { forgetful: true, ..Self::new(self.zone, self.limits, self.archived.clone()) };
    }
}

impl Portion {
    /// Writes it.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<(), ProjectionError> {
        self.leases.write(tx).await?;
        self.states.write(tx).await?;
        self.sums.write(tx, self.zone).await?;
        self.rows.write(tx, self.zone).await
    }

    /// Writes it in a transaction of its own.
    pub(super) async fn commit(
        self,
        db: Database,
        aliases: Option<Arc<Aliases>>,
    ) -> Result<(), ProjectionError> {
        let mut tx = db.begin().await?;
        tx.set_aliases(aliases);
        self.write(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}
