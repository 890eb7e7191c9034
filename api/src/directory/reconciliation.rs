//! What reconciliation keeps: bills and their rows, runs, differences and who signed them off, and whose turn a day is.
//!
//! For: the tables. May not touch: what is a difference ([`crate::reconciliation::matching`] says) and what is done about one.
//! Claims: a bill's rows are written with it in one transaction and never changed; the same file is one bill; a day is worked on
//! by one process at a time, and by another when that one died; a difference that was signed off is never opened again: a later
//! import that shows it makes a new one; whoever proposes how a difference ends does not approve it; every step is an act on AUDIT.

mod bills;
mod days;
mod differences;
mod runs;

pub use bills::{NewBill, StoredBill};
pub use days::{DayEnd, DueDay};
pub use differences::{Difference, DifferenceAct, DifferenceState, StepFault};
pub use runs::{NewRun, StoredRun};

use super::{Directory, DirectoryError, words};
use crate::reconciliation::matching::Class;
use crate::session::{actor, gateway};
use chrono::NaiveDate;
use domain::{AccountId, Actor, ActorKind};
use projections::{Row, Value};
use uuid::Uuid;

words! {
    /// Where a bill came from.
    BillSource {
        /// Somebody sent the file.
        Upload = "upload",
        /// The channel was asked for it.
        Download = "download",
    }

    /// What became of a bill that came in.
    Import {
        /// It was not there yet, and stands for its day.
        New = "new",
        /// It was there, another one had taken its place, and now it stands again.
        StandsAgain = "stands_again",
        /// It was there and stands.
        Known = "known",
        /// The channel says that there is none, and one with rows stands: that one goes on.
        Kept = "kept",
    }

    /// Why a day was compared.
    RunCause {
        /// Somebody sent a bill.
        Upload = "upload",
        /// Somebody asked for the channel's bill.
        Download = "download",
        /// It was its time.
        Daily = "daily",
        /// A neighbouring day's bill came in, or somebody asked.
        Again = "again",
    }
}

impl Import {
    /// Does another bill than before stand for the day?
    pub fn is_change(self) -> bool {
        match self {
            Self::New | Self::StandsAgain => true,
            Self::Known | Self::Kept => false,
        }
    }
}

/// Which differences, runs or bills are listed; `None` does not filter.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Of this channel.
    pub channel: Option<String>,
    /// Of this day or later.
    pub from: Option<NaiveDate>,
    /// Of this day or earlier.
    pub to: Option<NaiveDate>,
    /// Of this kind.
    pub class: Option<Class>,
    /// That are this far.
    pub state: Option<DifferenceState>,
    /// That this person looks after.
    pub owner: Option<AccountId>,
    /// That this comparison found first.
    pub run: Option<Uuid>,
    /// Only those before this one.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// Who acts; `None`: nobody asked.
fn by(caller: Option<AccountId>) -> Actor {
    caller.map_or_else(|| gateway("reconciliation"), |user| actor(ActorKind::Admin, user))
}

impl Directory {
    async fn listed<T>(
        &self,
        columns: &str,
        table: &str,
        which: &Which,
        more: &[(&str, Option<Value>)],
        read: impl Fn(&Row) -> Result<T, DirectoryError>,
    ) -> Result<Vec<T>, DirectoryError> {
        let mut sql = format!("SELECT {columns} FROM {table} WHERE 1 = 1");
        let mut values: Vec<Value> = Vec::new();
        let day = |day: Option<NaiveDate>| day.map(|it| Value::from(it.to_string()));
        let common = [
            (" AND channel = ?", which.channel.as_ref().map(Value::from)),
            (" AND day >= ?", day(which.from)),
            (" AND day <= ?", day(which.to)),
            // Ids are made in the order of time.
            (" AND id < ?", which.before.map(|it| Value::from(it.to_string()))),
        ];
        for (text, value) in common {
            if let Some(value) = value {
                sql.push_str(text);
                values.push(value);
            }
        }
        for (column, value) in more {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(value.clone());
            }
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(which.limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests;
