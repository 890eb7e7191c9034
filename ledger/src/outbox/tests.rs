//! The outbox under restarts, cuts, flipped bits, full disks and bounds.

use std::io;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Faults {}
impl Faults {
    pub(super) fn of(_path: &Path) -> Arc<Self> {
        Arc::default()
    }
    pub(super) fn write(&self, _length: usize) -> Option<(usize, io::Error)> {
        None
    }
    pub(super) fn cut(&self) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
use super::*;
use domain::{AccountId, Credits, LeaseId};

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, recovered) = Outbox::open(OutboxOptions::at(dir.path())).unwrap();
    assert_eq!(recovered, Recovered::default());
    let usage = crate::testing::usage(Credits::ZERO);
    let lease = LeaseId::from_uuid(uuid::Uuid::now_v7());
    let account = AccountId::from_uuid(uuid::Uuid::now_v7());
    let _ = outbox
        .append(&Entry::Opened { lease, account, worst_case: Credits::ZERO, usage: usage.clone() })
        .unwrap();
    drop(outbox);
    let (_, recovered) = Outbox::open(OutboxOptions::at(dir.path())).unwrap();
    assert_eq!(recovered.interrupted.len(), 1);
}
