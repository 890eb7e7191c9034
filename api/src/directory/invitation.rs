//! Invitations: codes that let people register.
//!
//! Claims: the table holds a code's SHA-256 only; a code lets in as many as it says, however many try at once; it is used up
//! with the registration, or not at all.

use super::{Directory, DirectoryError, act, digest, now, random_token};
use domain::{Actor, Moment};
use projections::{Row, Tx, Value};
use relay::Secret;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// An invitation, without its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Invitation {
    /// Its id.
    pub id: Uuid,
    /// What the operator wrote about it.
    pub note: String,
    /// How many it lets in.
    pub max_uses: i64,
    /// How many have used it.
    pub uses: i64,
    /// When it ends; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Moment>,
    /// The admin who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
}

fn invitation(row: &Row) -> Result<Invitation, DirectoryError> {
    Ok(Invitation {
        id: row.parsed("id")?,
        note: row.text("note")?,
        max_uses: row.int("max_uses")?,
        uses: row.int("uses")?,
        expires_at: row.opt_moment("expires_at")?,
        created_by: row.text("created_by")?,
        created_at: row.moment("created_at")?,
    })
}

/// Uses an invitation once, within the change that registers somebody.
pub(super) async fn redeem(tx: &mut Tx, code: &str) -> Result<(), DirectoryError> {
    redeem_hash(tx, &digest(code)).await
}

/// The same by a code's SHA-256.
pub(super) async fn redeem_hash(tx: &mut Tx, hash: &str) -> Result<(), DirectoryError> {
    let sql = "UPDATE invitations SET uses = uses + 1 WHERE code_hash = ? AND uses < max_uses \
               AND (expires_at IS NULL OR expires_at > ?)";
    match tx.execute(sql, &[hash.into(), now().into()]).await? {
        0 => Err(DirectoryError::BadInvitation),
        _ => Ok(()),
    }
}

impl Directory {
    /// Makes an invitation; answers its code, which is not kept.
    pub async fn invite(
        &self,
        note: String,
        max_uses: i64,
        expires_at: Option<Moment>,
        actor: Actor,
    ) -> Result<(Invitation, Secret), DirectoryError> {
        let code = random_token();
        let made = Invitation {
            id: Uuid::now_v7(),
            note,
            max_uses,
            uses: 0,
            expires_at,
            created_by: actor.id.to_string(),
            created_at: now(),
        };
        let values: [Value; 8] = [
            made.id.to_string().into(),
            digest(&code).into(),
            made.note.as_str().into(),
            made.max_uses.into(),
            made.uses.into(),
            made.expires_at.into(),
            made.created_by.as_str().into(),
            made.created_at.into(),
        ];
        let mut change = self.change_aside().await?;
        let insert = "INSERT INTO invitations (id, code_hash, note, max_uses, uses, expires_at, created_by, created_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await?;
        let after = json!({"note": made.note, "max_uses": made.max_uses, "expires_at": made.expires_at});
        change.acts.push(act(actor, "invitation.create", made.id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok((made, Secret::new(code)))
    }

    /// Invitations, newest first.
    pub async fn invitations(
        &self,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Invitation>, DirectoryError> {
        let mut sql =
            "SELECT id, note, max_uses, uses, expires_at, created_by, created_at FROM invitations".to_owned();
        let mut values: Vec<Value> = Vec::new();
        if let Some(before) = before {
            sql.push_str(" WHERE id < ?");
            values.push(before.to_string().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(invitation).collect()
    }

    /// Takes an invitation back. Whoever has used it stays.
    pub async fn revoke_invitation(&self, id: Uuid, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let sql = "DELETE FROM invitations WHERE id = ?";
        if change.tx.execute(sql, &[id.to_string().into()]).await? == 0 {
            return Err(DirectoryError::NotFound("invitation"));
        }
        change.acts.push(act(actor, "invitation.revoke", id.to_string(), None, None));
        self.finish(change).await
    }
}
