//! Whose turn a day is, and how far the daily run got with it.
//!
//! Claims: a day is worked on by one process at a time, and by another when that one died.

use crate::directory::{Directory, DirectoryError, now};
use chrono::NaiveDate;
use domain::{ChannelName, Moment};
use projections::Value;
use uuid::Uuid;

/// A day that the daily run has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDay {
    /// The day.
    pub day: NaiveDate,
    /// How often it was tried.
    pub tries: i64,
}

/// How a process lets go of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayEnd<'a> {
    /// The daily run has nothing more to do with it.
    Done,
    /// The daily run tries it again.
    Again {
        /// Then.
        at: Moment,
        /// Why.
        error: &'a str,
    },
    /// What was done does not answer for what the daily run does: that has it, or has had it, as before.
    AsBefore,
}

impl Directory {
    /// Takes a day of a channel for this process, until that moment; `false`: another process has it.
    pub async fn claim_day(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        claim: Uuid,
        until: Moment,
    ) -> Result<bool, DirectoryError> {
        let (channel, day) = (channel.as_str(), day.to_string());
        let first = "INSERT INTO reconciliation_days (channel, day, claimed_until, is_done, tries, next_try_at) \
                     VALUES (?, ?, 0, 0, 0, 0)";
        match self.0.db.execute(first, &[channel.into(), (&day).into()]).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {}
            Err(error) => return Err(error.into()),
        }
        let sql = "UPDATE reconciliation_days SET claim = ?, claimed_until = ? WHERE channel = ? AND day = ? AND claimed_until < ?";
        let values: [Value; 5] =
            [claim.to_string().into(), until.into(), channel.into(), day.into(), now().into()];
        Ok(self.0.db.execute(sql, &values).await? == 1)
    }

    /// Lets go of a day.
    pub async fn release_day(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        claim: Uuid,
        end: DayEnd<'_>,
    ) -> Result<(), DirectoryError> {
        let key: [Value; 3] = [channel.as_str().into(), day.to_string().into(), claim.to_string().into()];
        let (is_done, at, error) = match end {
            DayEnd::Done => (true, 0, None),
            DayEnd::Again { at, error } => (false, at.micros(), Some(error)),
            DayEnd::AsBefore => {
                let sql = "UPDATE reconciliation_days SET claimed_until = 0 WHERE channel = ? AND day = ? AND claim = ?";
                self.0.db.execute(sql, &key).await?;
                return Ok(());
            }
        };
        let sql = "UPDATE reconciliation_days SET claimed_until = 0, is_done = ?, tries = tries + 1, next_try_at = ?, \
                   last_error = ? WHERE channel = ? AND day = ? AND claim = ?";
        let mut values: Vec<Value> = vec![is_done.into(), at.into(), error.into()];
        values.extend(key);
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// The days from `from` to `to` that the daily run has to do now. Of a channel that never had one, only the last.
    pub async fn due_days(
        &self,
        channel: &ChannelName,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DueDay>, DirectoryError> {
        let sql = "SELECT day, claimed_until, is_done, tries, next_try_at FROM reconciliation_days WHERE channel = ? AND day <= ? \
                   ORDER BY day DESC LIMIT 60";
        let rows = self.0.db.fetch_all(sql, &[channel.as_str().into(), to.to_string().into()]).await?;
        let (at, mut due) = (now().micros(), Vec::new());
        let known =
            |day: NaiveDate| rows.iter().find(|row| row.text("day").is_ok_and(|it| it == day.to_string()));
        for day in from.iter_days().take_while(|day| *day <= to) {
            match known(day) {
                Some(row) => {
                    let waits = row.int("next_try_at")? > at || row.int("claimed_until")? >= at;
                    if !row.truth("is_done")? && !waits {
                        due.push(DueDay { day, tries: row.int("tries")? });
                    }
                }
                // A process that slept over a day makes up for it; a channel that is new owes nothing of before.
                None if day == to
                    || rows
                        .last()
                        .is_some_and(|row| row.text("day").is_ok_and(|it| it < day.to_string())) =>
                {
                    due.push(DueDay { day, tries: 0 });
                }
                None => {}
            }
        }
        Ok(due)
    }
}
