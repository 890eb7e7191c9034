//! Announcements: what the operator tells everybody, for a time.
//!
//! Claims: one that has not begun or is over is shown to nobody but operators. Whoever chose to be told is told of each once,
//! when it begins to be shown ([`super::bulletin`]); stated anew it is not told of again.

use super::{Directory, DirectoryError, act, now, words};
use domain::{Actor, Moment};
use projections::{Row, Value};
use serde_json::json;
use uuid::Uuid;

/// The most announcements there are.
pub const MAX_ANNOUNCEMENTS: i64 = 100;

words! {
    /// How much it matters.
    Level {
        /// Good to know.
        Info = "info",
        /// Something will change, or does not work well.
        Warning = "warning",
        /// Something does not work.
        Critical = "critical",
    }
}

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// How much it matters.
    pub level: Level,
    /// A few words.
    pub title: String,
    /// The rest, plain text.
    pub body: String,
    /// From when it is shown; `None`: at once.
    pub starts_at: Option<Moment>,
    /// Until when; `None`: until it is taken back.
    pub ends_at: Option<Moment>,
}

impl Announced {
    /// Does everybody see it at this moment?
    pub(super) fn is_shown(&self, at: Moment) -> bool {
        self.starts_at.is_none_or(|start| start <= at) && self.ends_at.is_none_or(|end| at < end)
    }
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub id: Uuid,
    /// What is announced.
    pub announced: Announced,
    /// When it was made.
    pub created_at: Moment,
    /// When it was last stated anew.
    pub updated_at: Moment,
}

pub(super) const COLUMNS: &str = "id, level, title, body, starts_at, ends_at, created_at, updated_at";

pub(super) fn announcement(row: &Row) -> Result<Announcement, DirectoryError> {
    Ok(Announcement {
        id: row.parsed("id")?,
        announced: Announced {
            level: row.parsed("level")?,
            title: row.text("title")?,
            body: row.text("body")?,
            starts_at: row.opt_moment("starts_at")?,
            ends_at: row.opt_moment("ends_at")?,
        },
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
    })
}

fn told(it: &Announced) -> serde_json::Value {
    json!({
        "level": it.level, "title": it.title, "body": it.body, "starts_at": it.starts_at, "ends_at": it.ends_at,
    })
}

impl Directory {
    /// Announces something.
    pub async fn announce(&self, announced: Announced, actor: Actor) -> Result<Announcement, DirectoryError> {
        let at = now();
        let made = Announcement { id: Uuid::now_v7(), announced, created_at: at, updated_at: at };
        let mut change = self.change_aside().await?;
        let count = change.tx.fetch_one("SELECT COUNT(*) AS n FROM announcements", &[]).await?;
        if count.int("n")? >= MAX_ANNOUNCEMENTS {
            return Err(DirectoryError::TooMany { what: "announcements", max: MAX_ANNOUNCEMENTS });
        }
        let it = &made.announced;
        let values: [Value; 8] = [
            made.id.to_string().into(),
            it.level.as_str().into(),
            it.title.as_str().into(),
            it.body.as_str().into(),
            it.starts_at.into(),
            it.ends_at.into(),
            at.into(),
            at.into(),
        ];
        // Empty: nobody has been told of it.
        let insert =
            format!("INSERT INTO announcements ({COLUMNS}, told_up_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')");
        change.tx.execute(&insert, &values).await?;
        change.acts.push(act(actor, "announcement.create", made.id.to_string(), None, Some(told(it))));
        self.finish(change).await?;
        Ok(made)
    }

    /// All announcements, newest first.
    pub async fn announcements(&self) -> Result<Vec<Announcement>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM announcements ORDER BY id DESC");
        self.0.db.fetch_all(&sql, &[]).await?.iter().map(announcement).collect()
    }

    /// Those that everybody sees at a moment, newest first.
    pub async fn announcements_at(&self, at: Moment) -> Result<Vec<Announcement>, DirectoryError> {
        Ok(self.announcements().await?.into_iter().filter(|it| it.announced.is_shown(at)).collect())
    }

    /// States an announcement anew.
    pub async fn announce_anew(
        &self,
        id: Uuid,
        announced: Announced,
        actor: Actor,
    ) -> Result<Announcement, DirectoryError> {
        let mut change = self.change_aside().await?;
        let before = locked(&mut change.tx, id).await?;
        let after = Announcement { announced, updated_at: now(), ..before.clone() };
        let it = &after.announced;
        let values: [Value; 7] = [
            it.level.as_str().into(),
            it.title.as_str().into(),
            it.body.as_str().into(),
            it.starts_at.into(),
            it.ends_at.into(),
            after.updated_at.into(),
            id.to_string().into(),
        ];
        let update = "UPDATE announcements SET level = ?, title = ?, body = ?, starts_at = ?, ends_at = ?, \
                      updated_at = ? WHERE id = ?";
        change.tx.execute(update, &values).await?;
        let (was, is) = (told(&before.announced), told(it));
        change.acts.push(act(actor, "announcement.change", id.to_string(), Some(was), Some(is)));
        self.finish(change).await?;
        Ok(after)
    }

    /// Takes an announcement back.
    pub async fn unannounce(&self, id: Uuid, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let before = locked(&mut change.tx, id).await?;
        change.tx.execute("DELETE FROM announcements WHERE id = ?", &[id.to_string().into()]).await?;
        let was = told(&before.announced);
        change.acts.push(act(actor, "announcement.delete", id.to_string(), Some(was), None));
        self.finish(change).await
    }
}

async fn locked(tx: &mut projections::Tx, id: Uuid) -> Result<Announcement, DirectoryError> {
    let sql = format!("SELECT {COLUMNS} FROM announcements WHERE id = ?");
    let row = tx.fetch_optional(&sql, &[id.to_string().into()]).await?;
    announcement(&row.ok_or(DirectoryError::NotFound("announcement"))?)
}
