//! Tries at guessing, counted by all processes together.
//!
//! Claims: a try is counted before anybody acts on it; two at once are two; what is counted by stands here only as a hash.

use super::{Directory, DirectoryError, now};
use domain::Moment;
use projections::Dialect;

/// A window of tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many there were, this one among them.
    pub tries: i64,
    /// When the first was.
    pub started_at: Moment,
}

/// Windows older than this are forgotten, in milliseconds; no rule's is longer.
const KEPT_MS: i64 = 24 * 3_600_000;

impl Directory {
    /// Counts one more try in the window of this id, which lasts so long from its first.
    pub(crate) async fn count_try(
        &self,
        id: &str,
        window_ms: i64,
        at: Moment,
    ) -> Result<Window, DirectoryError> {
        let over = at.plus_ms(-window_ms);
        // MySQL assigns one after the other, so what looks at the start stands before what moves it.
        let end = match self.0.db.dialect() {
            Dialect::Sqlite | Dialect::Postgres => {
                "ON CONFLICT (id) DO UPDATE SET \
                 tries = CASE WHEN tries.started_at <= ? THEN 1 ELSE tries.tries + 1 END, \
                 started_at = CASE WHEN tries.started_at <= ? THEN excluded.started_at ELSE tries.started_at END"
            }
            Dialect::MySql => {
                "ON DUPLICATE KEY UPDATE \
                 tries = CASE WHEN started_at <= ? THEN 1 ELSE tries + 1 END, \
                 started_at = CASE WHEN started_at <= ? THEN VALUES(started_at) ELSE started_at END"
            }
        };
        let sql = format!("INSERT INTO tries (id, tries, started_at) VALUES (?, 1, ?) {end}");
        self.0.db.execute(&sql, &[id.into(), at.into(), over.into(), over.into()]).await?;
        let read = "SELECT tries, started_at FROM tries WHERE id = ?";
        match self.0.db.fetch_optional(read, &[id.into()]).await? {
            Some(row) => Ok(Window { tries: row.int("tries")?, started_at: row.moment("started_at")? }),
            // Cleared in between: its owner has shown up.
            None => Ok(Window { tries: 1, started_at: at }),
        }
    }

    /// Takes a counted try back.
    pub(crate) async fn forgive_try(&self, id: &str) -> Result<(), DirectoryError> {
        let sql = "UPDATE tries SET tries = tries - 1 WHERE id = ? AND tries > 0";
        self.0.db.execute(sql, &[id.into()]).await?;
        Ok(())
    }

    /// Forgets the tries of an id.
    pub(crate) async fn clear_tries(&self, id: &str) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM tries WHERE id = ?", &[id.into()]).await?;
        Ok(())
    }

    /// Deletes windows that no rule looks at any more.
    pub(super) async fn purge_tries(&self) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM tries WHERE started_at < ?";
        self.0.db.execute(sql, &[now().plus_ms(-KEPT_MS).into()]).await?;
        Ok(())
    }
}
