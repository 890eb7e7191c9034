//! What is written in an outbox, and what is read from it after a restart.

use super::OutboxError;
use domain::usage::Usage;
use domain::{AccountId, Credits, EpochId, LeaseId, Moment, RequestId, UsageRecord};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a node tells its outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A run begins.
    Began {
        /// The run.
        epoch: EpochId,
    },
    /// A lease is about to be asked for. Written before the question, so that a run that dies in between finds it.
    Leasing {
        /// The lease.
        lease: LeaseId,
        /// Whose credits it lends.
        account: AccountId,
        /// The run that asks.
        epoch: EpochId,
    },
    /// A lease is over: the log has closed it, or it was never granted.
    Ended {
        /// The lease.
        lease: LeaseId,
    },
    /// A provider is about to be called.
    Opened {
        /// The lease that will be charged.
        lease: LeaseId,
        /// Who pays.
        account: AccountId,
        /// The credits held for the call.
        worst_case: Credits,
        /// The record as it would be if the process died now; `usage.request` names the call.
        usage: Usage,
    },
    /// How far a long stream has come: replaces the usage of the opened call of that request.
    Progressed {
        /// The record as it would be if the process died now.
        usage: Usage,
    },
    /// A call ended without a record.
    Released {
        /// The call.
        request: RequestId,
    },
    /// A call was charged: ends the call `record.usage.request` if it was opened, and stands alone too.
    Settled {
        /// What goes on the log.
        record: UsageRecord,
    },
    /// The log has acknowledged records.
    Reported {
        /// The stream sequence of the report that carries them.
        sequence: u64,
        /// The records, each by its lease and its number there.
        records: Vec<(LeaseId, u64)>,
    },
}

/// A settled record as JSON: made once, it goes to the outbox and to the log in the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordJson {
    lease: LeaseId,
    n: u64,
    json: Vec<u8>,
}

impl RecordJson {
    /// Of this record.
    ///
    /// Errors: [`OutboxError::Unwritable`], which no record is.
    pub fn of(record: &UsageRecord) -> Result<Self, OutboxError> {
        // Most records are of that size.
        let mut json = Vec::with_capacity(1024);
        serde_json::to_writer(&mut json, record)
            .map_err(|error| OutboxError::Unwritable { why: error.to_string() })?;
        Ok(Self { lease: record.lease, n: record.n, json })
    }

    /// Its lease and its number there.
    pub fn key(&self) -> (LeaseId, u64) {
        (self.lease, self.n)
    }

    /// The bytes.
    pub fn json(&self) -> &[u8] {
        &self.json
    }
}

/// What an outbox held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The runs in the order they began, from the first of which a lease may still be open; at least the last run.
    pub epochs: Vec<FormerEpoch>,
    /// Leases that did not end, by id.
    pub leases: Vec<RecoveredLease>,
    /// Settled records in the order they were written. Segments are dropped whole: records that the projections have passed
    /// may be among them.
    pub settled: Vec<RecoveredRecord>,
    /// Calls that were opened and neither settled nor released, by request.
    pub interrupted: Vec<InterruptedCall>,
    /// What had to be cut from the tail.
    pub cut: Option<Cut>,
}

/// A run of this node that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerEpoch {
    /// The run.
    pub epoch: EpochId,
    /// The highest stream sequence acknowledged while it ran or before; 0 when there was none.
    pub last_reported: u64,
}

/// A lease that did not end before the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredLease {
    /// The lease. It may never have been granted: only the log knows.
    pub lease: LeaseId,
    /// Whose credits it lends.
    pub account: AccountId,
    /// The run that asked for it.
    pub epoch: EpochId,
    /// The highest number among its settled records; 0 when there are none.
    pub count: u64,
    /// What it has spent with that record.
    pub spent: Credits,
}

/// A settled record that the projections may not have passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredRecord {
    /// The record.
    pub record: UsageRecord,
    /// The stream sequence at which the log acknowledged it, if it did.
    pub reported: Option<u64>,
}

/// A call in flight when the process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptedCall {
    /// The lease to charge.
    pub lease: LeaseId,
    /// Who pays.
    pub account: AccountId,
    /// The credits that were held.
    pub worst_case: Credits,
    /// The record as of its last mark.
    pub usage: Usage,
    /// The highest stream sequence acknowledged when it was opened: if the log has its record, then behind this.
    #[serde(default)]
    pub opened_at: u64,
}

/// A torn tail, cut off when the outbox was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the cut was made.
    pub offset: u64,
    /// How many bytes were dropped.
    pub bytes: u64,
}

/// The shape of [`Carried`] and of everything in the segments behind it.
pub(super) const FORMAT: u32 = 1;

/// The first frame of every segment: all that is still live of the segments before, so that they can be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    pub(super) format: u32,
    /// When the segment was begun.
    pub(super) at: Moment,
    pub(super) epochs: Vec<FormerEpoch>,
    pub(super) leases: Vec<RecoveredLease>,
    pub(super) calls: Vec<InterruptedCall>,
}

/// A payload to write.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Writing<'a> {
    Carried(&'a Carried),
    Entry(&'a Entry),
    /// Says nothing: it is written for its header, which tells how much of the segment is on disk.
    Mark,
}

/// What stands before and behind the JSON of a record where the payload is [`Entry::Settled`].
pub(super) const SETTLED: [&[u8]; 2] = [br#"{"entry":{"settled":{"record":"#, b"}}}"];

/// A payload as read.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stored {
    Carried(Carried),
    Entry(Box<Entry>),
    Mark,
}
