//! When keys were last used: noted by calls in memory, written behind them.
//!
//! For: `last_used_at` of a key, to about a minute.
//! May not touch: the calls. They note a number and wait for nothing.
//! Claims: a key's row is written at most once a minute by each process, and never with an earlier moment; a process that
//! is killed forgets its last minute.

use super::{Directory, DirectoryError};
use domain::{KeyId, Moment};
use projections::Value;
use relay::LastUse;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The uses that this process knows of. Outlives the snapshots of the catalogue.
#[derive(Default)]
pub(super) struct LastUses(Mutex<HashMap<KeyId, Noted>>);

#[derive(Default)]
struct Noted {
    last: Arc<LastUse>,
    written: Option<Moment>,
}

impl LastUses {
    /// Where the uses of a key are noted.
    pub(super) fn of(&self, key: KeyId) -> Arc<LastUse> {
        Arc::clone(&self.lock().entry(key).or_default().last)
    }

    /// The last use of a key that this process saw.
    pub(super) fn seen(&self, key: KeyId) -> Option<Moment> {
        self.lock().get(&key)?.last.get()
    }

    fn unwritten(&self) -> Vec<(KeyId, Moment)> {
        let mut noted = self.lock();
        // One that no snapshot holds any more and that has been written is of a deleted key.
        noted.retain(|_, it| Arc::strong_count(&it.last) > 1 || it.last.get() > it.written);
        let fresh = noted.iter().filter(|(_, it)| it.last.get() > it.written);
        let mut fresh: Vec<_> = fresh.filter_map(|(key, it)| Some((*key, it.last.get()?))).collect();
        // In one order everywhere, so that processes do not wait for each other in a circle.
        fresh.sort_unstable_by_key(|(key, _)| key.to_string());
        fresh
    }

    fn are_written(&self, uses: &[(KeyId, Moment)]) {
        let mut noted = self.lock();
        for (key, at) in uses {
            if let Some(it) = noted.get_mut(key) {
                it.written = Some(*at);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Noted>> {
        // The map is whole at every point, so a panic elsewhere has not broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows written in one transaction.
const BATCH: usize = 200;

impl Directory {
    /// Writes the uses that are not in the table yet.
    pub async fn write_last_uses(&self) -> Result<(), DirectoryError> {
        for uses in self.0.last_uses.unwritten().chunks(BATCH) {
            let mut tx = self.0.db.begin().await?;
            for (key, at) in uses {
                let sql = "UPDATE api_keys SET last_used_at = ? \
                           WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)";
                let values: [Value; 3] = [(*at).into(), (*key).into(), (*at).into()];
                tx.execute(sql, &values).await?;
            }
            tx.commit().await?;
            self.0.last_uses.are_written(uses);
        }
        Ok(())
    }
}
