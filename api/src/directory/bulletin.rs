//! Bulletins: notices that go to everybody who chose them, announcements as they begin and statements as a month ends.
//!
//! For: finding who has not been told yet, page by page, and telling them. May not touch: words, sending.
//! Claims: each is told of once, however many processes look and whatever dies in between: the mark of how far one has come and
//! the notices of a page are one transaction. Nobody is told of what was over before they chose to be told.

use super::{
    Directory, DirectoryError,
    announcement::{self, Announcement},
    notice::{self, Choices, Notice, Ways},
};
use chrono::{Datelike, Months, NaiveDate};
use domain::{AccountId, Moment};
use projections::{Row, Value};
use relay::zone::Zone;

/// How many users are looked at in one transaction.
const PAGE: i64 = 200;
/// Those who have chosen anything; everybody else has what is usual, which has no bulletins.
const CHOOSERS: &str = "SELECT s.user_id, s.time_zone, s.notifications, s.statement_told FROM user_settings s \
                        JOIN users u ON u.id = s.user_id \
                        WHERE s.notifications IS NOT NULL AND u.status = 'active' AND u.deleted_at IS NULL \
                        AND s.user_id > ? ORDER BY s.user_id LIMIT ?";

fn wants(row: &Row, kind: impl Fn(&Choices) -> Ways) -> Result<bool, DirectoryError> {
    let choices: Option<Choices> = row.opt_json("notifications")?;
    Ok(choices.is_some_and(|it| kind(&it).mail || kind(&it).webhook))
}

/// The month that was over last, by a zone: `2026-10`.
fn month_before(zone: Zone, at: Moment) -> Option<String> {
    let day: NaiveDate = zone.date(at).checked_sub_months(Months::new(1))?;
    Some(format!("{:04}-{:02}", day.year(), day.month()))
}

impl Directory {
    /// Tells of the announcements that are shown at a moment. Answers how many users were told of one.
    pub async fn tell_announcements(&self, at: Moment) -> Result<usize, DirectoryError> {
        let sql = format!(
            "SELECT {}, told_up_to FROM announcements WHERE told_up_to IS NOT NULL",
            announcement::COLUMNS
        );
        let mut told = 0;
        for row in self.0.db.fetch_all(&sql, &[]).await? {
            let it = announcement::announcement(&row)?;
            let mut up_to = Some(row.text("told_up_to")?).filter(|_| it.announced.is_shown(at));
            while let Some(before) = up_to {
                let page;
                (page, up_to) = self.tell_page(&it, &before, at).await?;
                told += page;
            }
        }
        Ok(told)
    }

    /// Tells the users behind one of an announcement. Answers how many, and whom the next page is behind, unless this was the
    /// last or somebody else tells.
    async fn tell_page(
        &self,
        it: &Announcement,
        before: &str,
        at: Moment,
    ) -> Result<(usize, Option<String>), DirectoryError> {
        let mut change = self.change_aside().await?;
        let rows = change.tx.fetch_all(CHOOSERS, &[before.into(), PAGE.into()]).await?;
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= PAGE;
        let last = rows.last().filter(|_| is_full).map(|row| row.text("user_id")).transpose()?;
        let claim = "UPDATE announcements SET told_up_to = ? WHERE id = ? AND told_up_to = ?";
        let values: [Value; 3] = [last.clone().into(), it.id.to_string().into(), before.into()];
        if change.tx.execute(claim, &values).await? == 0 {
            return Ok((0, None));
        }
        let mut told = 0;
        for row in &rows {
            if !wants(row, |choices| choices.announcements)? {
                continue;
            }
            let notice = Notice::Announced {
                announcement: it.id,
                level: it.announced.level,
                title: it.announced.title.clone(),
                body: it.announced.body.clone(),
            };
            notice::notify(&mut change.tx, row.parsed("user_id")?, &notice, at).await?;
            told += 1;
        }
        self.finish(change).await?;
        Ok((told, last))
    }

    /// Tells of the month that is over, each by their own time zone. Whoever has just chosen so hears of the next one first.
    /// Answers how many users were told.
    pub async fn tell_statements(&self, at: Moment) -> Result<usize, DirectoryError> {
        let (mut told, mut behind) = (0, String::new());
        loop {
            let rows = self.0.db.fetch_all(CHOOSERS, &[behind.as_str().into(), PAGE.into()]).await?;
            for row in &rows {
                if wants(row, |choices| choices.statements)? {
                    told += usize::from(self.tell_statement(row, at).await?);
                }
            }
            match rows.last() {
                Some(row) => behind = row.text("user_id")?,
                None => return Ok(told),
            }
        }
    }

    async fn tell_statement(&self, row: &Row, at: Moment) -> Result<bool, DirectoryError> {
        let (user, zone): (AccountId, Zone) = (row.parsed("user_id")?, row.parsed("time_zone")?);
        let before = row.opt_text("statement_told")?;
        let Some(month) = month_before(zone, at) else { return Ok(false) };
        // A zone further west may be in a month that was told of already.
        if before.as_deref().is_some_and(|before| before >= month.as_str()) {
            return Ok(false);
        }
        let mut change = self.change_aside().await?;
        let claim = "UPDATE user_settings SET statement_told = ? WHERE user_id = ? AND COALESCE(statement_told, '') = ?";
        let was = before.as_deref().unwrap_or_default();
        if change.tx.execute(claim, &[month.as_str().into(), user.into(), was.into()]).await? == 0 {
            return Ok(false);
        }
        if before.is_some() {
            notice::notify(&mut change.tx, user, &Notice::StatementReady { month }, at).await?;
        }
        self.finish(change).await?;
        Ok(before.is_some())
    }
}

#[cfg(test)]
mod tests;
