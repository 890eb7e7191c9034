//! Users: who may log in, what they may do, which price group they are in.
//!
//! A user's id is the id of their account on the ledger, which knows nothing else of them.
//! Claims: names and e-mails are unique whatever their case; there is always an active owner once there was one; nobody
//! changes, or makes, someone whom their role does not govern; whoever's password or address is changed is told.

use super::{
    Directory, DirectoryError, Status, act,
    notice::{self, Notice},
    now, taken, words,
};
use domain::{AccountId, Actor, Moment};
use projections::{Row, Tx, Value};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

words! {
    /// What a user may do.
    Role {
        /// Use their own account.
        User = "user",
        /// Help people: see them, their orders and the providers; switch users on and off.
        Support = "support",
        /// Move credits and see the books.
        Finance = "finance",
        /// See everything, change nothing.
        Auditor = "auditor",
        /// Operate the gateway.
        Admin = "admin",
        /// Operate the gateway, and say who else does.
        Owner = "owner",
    }
}

impl Role {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 6] =
        [Self::User, Self::Support, Self::Finance, Self::Auditor, Self::Admin, Self::Owner];

    /// May someone of this role change someone of that role, or give it?
    pub const fn governs(self, other: Self) -> bool {
        match (self, other) {
            (Self::Owner, _) => true,
            (Self::Admin, Self::Admin | Self::Owner) => false,
            (Self::Admin, Self::User | Self::Support | Self::Finance | Self::Auditor) => true,
            (Self::Support, other) => matches!(other, Self::User),
            (Self::User | Self::Finance | Self::Auditor, _) => false,
        }
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// The user's id, also that of the account.
    #[schema(value_type = Uuid)]
    pub id: AccountId,
    /// The name, as written at registration.
    pub username: String,
    /// The e-mail address.
    pub email: String,
    /// What they may do.
    pub role: Role,
    /// May they log in, and may their keys be used?
    pub status: Status,
    /// Was the address proven?
    pub email_verified: bool,
    /// The price group.
    pub group: String,
    /// When they registered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When they last logged in.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_login_at: Option<Moment>,
    /// When they were deleted; null: they are here. Name and address of the deleted are not kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deleted_at: Option<Moment>,
}

/// A user to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name; see [`check_username`].
    pub username: String,
    /// The address; see [`check_email`].
    pub email: String,
    /// The password's hash.
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
    /// Was the address proven?
    pub email_verified: bool,
}

/// What an admin changes about a user; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The status.
    pub status: Option<Status>,
    /// The group.
    pub group: Option<String>,
    /// The role.
    pub role: Option<Role>,
}

/// Which users are listed.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// A part of the name or the address, whatever its case.
    pub q: Option<String>,
    /// The status.
    pub status: Option<Status>,
    /// The role.
    pub role: Option<Role>,
    /// Those that were deleted, instead of those that are here.
    pub deleted: bool,
    /// Only users before this one.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// 3 to 32 letters, digits, `_` and `-`.
pub fn check_username(name: &str) -> Result<(), &'static str> {
    let fits = (3..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(()) } else { Err("must be 3 to 32 letters, digits, \"_\" or \"-\"") }
}

/// One `@`, something on both sides, a dot in the domain, no spaces. The proof is the mail that arrives.
pub fn check_email(email: &str) -> Result<(), &'static str> {
    let fault = Err("must be an e-mail address such as ann@example.org");
    let Some((local, domain)) = email.split_once('@') else { return fault };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | ',' | ';' | '"');
    let domain_fits = domain.split('.').count() >= 2 && domain.split('.').all(|label| !label.is_empty());
    let fits = !local.is_empty() && local.len() <= 64 && email.len() <= 254 && domain_fits;
    if fits && !local.chars().chain(domain.chars()).any(odd) { Ok(()) } else { fault }
}

pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// What an address is an alias of: in lower case, without what follows a `+`, and without the dots that Gmail ignores.
pub(super) fn alias(email: &str) -> String {
    let folded = fold(email);
    let Some((local, domain)) = folded.split_once('@') else { return folded };
    let local = match local.split_once('+') {
        Some((base, _)) if !base.is_empty() => base,
        _ => local,
    };
    match domain {
        "gmail.com" | "googlemail.com" => format!("{}@gmail.com", local.replace('.', "")),
        _ => format!("{local}@{domain}"),
    }
}

pub(super) const COLUMNS: &str = "id, username, email, role, status, email_verified, group_name, created_at, last_login_at, deleted_at, password_hash";

pub(super) fn user(row: &Row) -> Result<User, DirectoryError> {
    Ok(User {
        id: row.parsed("id")?,
        username: row.text("username")?,
        email: row.text("email")?,
        role: row.parsed("role")?,
        status: row.parsed("status")?,
        email_verified: row.truth("email_verified")?,
        group: row.text("group_name")?,
        created_at: row.moment("created_at")?,
        last_login_at: row.opt_moment("last_login_at")?,
        deleted_at: row.opt_moment("deleted_at")?,
    })
}

/// Writes a new user within a change. With `fold_aliases` an address whose alias is known is taken; two who register aliases of
/// one address at once wait for each other.
pub(super) async fn insert_user(
    tx: &mut Tx,
    id: AccountId,
    new: NewUser,
    fold_aliases: bool,
) -> Result<User, DirectoryError> {
    const WHICH: &str = "that username or e-mail address";
    let made = User {
        id,
        username: new.username,
        email: new.email,
        role: new.role,
        status: Status::Active,
        email_verified: new.email_verified,
        group: super::group::DEFAULT.to_owned(),
        created_at: now(),
        last_login_at: None,
        deleted_at: None,
    };
    let alias = alias(&made.email);
    if fold_aliases {
        tx.execute("UPDATE directory_revision SET revision = revision WHERE id = 1", &[]).await?;
        let known = "SELECT id FROM users WHERE email_alias = ?";
        if tx.fetch_optional(known, &[alias.as_str().into()]).await?.is_some() {
            return Err(DirectoryError::Taken(WHICH));
        }
    }
    let values: [Value; 12] = [
        made.id.into(),
        made.username.as_str().into(),
        fold(&made.username).into(),
        made.email.as_str().into(),
        fold(&made.email).into(),
        alias.into(),
        new.password_hash.into(),
        made.role.as_str().into(),
        made.status.as_str().into(),
        made.email_verified.into(),
        made.group.as_str().into(),
        made.created_at.into(),
    ];
    let insert = "INSERT INTO users (id, username, username_folded, email, email_folded, email_alias, password_hash, \
                  role, status, email_verified, group_name, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    tx.execute(insert, &values).await.map_err(taken(WHICH))?;
    Ok(made)
}

impl Directory {
    /// Makes a user in the group `default`. Taken names and addresses are one answer, so that it says less about who
    /// is here.
    pub async fn create_user(&self, new: NewUser, actor: Option<Actor>) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        let id = AccountId::from_uuid(Uuid::now_v7());
        let made = insert_user(&mut change.tx, id, new, false).await?;
        if let Some(actor) = actor {
            let after = json!({"username": made.username, "role": made.role});
            change.acts.push(act(actor, "user.create", made.id.to_string(), None, Some(after)));
        }
        self.finish(change).await?;
        Ok(made)
    }

    /// A user by id.
    pub async fn user(&self, id: AccountId) -> Result<Option<User>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
        self.0.db.fetch_optional(&sql, &[id.into()]).await?.as_ref().map(user).transpose()
    }

    /// A user and the hash of their password, by name or address, whatever its case.
    pub async fn credentials(&self, login: &str) -> Result<Option<(User, String)>, DirectoryError> {
        // Only an address holds "@", so a name can never be mistaken for another's address.
        let column = if login.contains('@') { "email_folded" } else { "username_folded" };
        let sql = format!("SELECT {COLUMNS} FROM users WHERE {column} = ?");
        let row = self.0.db.fetch_optional(&sql, &[fold(login).into()]).await?;
        row.as_ref().map(|row| Ok((user(row)?, row.text("password_hash")?))).transpose()
    }

    /// Users, newest first.
    pub async fn users(&self, filter: &UserFilter) -> Result<Vec<User>, DirectoryError> {
        let mut sql = format!("SELECT {COLUMNS} FROM users WHERE deleted_at IS");
        sql.push_str(if filter.deleted { " NOT NULL" } else { " NULL" });
        let mut values: Vec<Value> = Vec::new();
        if let Some(q) = &filter.q {
            // "!" escapes: a backslash means different things to the three databases.
            let escaped = fold(q).replace('!', "!!").replace('%', "!%").replace('_', "!_");
            sql.push_str(" AND (username_folded LIKE ? ESCAPE '!' OR email_folded LIKE ? ESCAPE '!')");
            values.extend([format!("%{escaped}%").into(), format!("%{escaped}%").into()]);
        }
        if let Some(status) = filter.status {
            sql.push_str(" AND status = ?");
            values.push(status.as_str().into());
        }
        if let Some(role) = filter.role {
            sql.push_str(" AND role = ?");
            values.push(role.as_str().into());
        }
        if let Some(before) = filter.before {
            sql.push_str(" AND id < ?");
            values.push(before.to_string().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(filter.limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(user).collect()
    }

    /// Changes a user as someone of the role `by` may. Disabling a user ends their sessions and stops their keys.
    pub async fn change_user(
        &self,
        id: AccountId,
        wanted: UserChange,
        actor: Actor,
        by: Role,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change().await?;
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
        let row =
            change.tx.fetch_optional(&sql, &[id.into()]).await?.ok_or(DirectoryError::NotFound("user"))?;
        let before = user(&row)?;
        let after = User {
            status: wanted.status.unwrap_or(before.status),
            group: wanted.group.unwrap_or_else(|| before.group.clone()),
            role: wanted.role.unwrap_or(before.role),
            ..before.clone()
        };
        if after == before {
            return Ok(before); // the transaction rolls back as it is dropped
        }
        if before.deleted_at.is_some() {
            return Err(DirectoryError::NotAllowed("this user is deleted"));
        }
        if !by.governs(before.role) || !by.governs(after.role) {
            return Err(DirectoryError::NotAllowed("only an owner makes and changes owners and admins"));
        }
        if by == Role::Support && (&after.group, after.role) != (&before.group, before.role) {
            return Err(DirectoryError::NotAllowed("support switches users on and off and no more"));
        }
        let group = "SELECT name FROM user_groups WHERE name = ?";
        if change.tx.fetch_optional(group, &[after.group.as_str().into()]).await?.is_none() {
            return Err(DirectoryError::NotFound("group"));
        }
        let values: [Value; 4] = [
            after.status.as_str().into(),
            after.group.as_str().into(),
            after.role.as_str().into(),
            id.into(),
        ];
        let update = "UPDATE users SET status = ?, group_name = ?, role = ? WHERE id = ?";
        change.tx.execute(update, &values).await?;
        let owners = "SELECT COUNT(*) AS n FROM users WHERE role = 'owner' AND status = 'active'";
        if before.role == Role::Owner && change.tx.fetch_one(owners, &[]).await?.int("n")? == 0 {
            return Err(DirectoryError::LastOwner);
        }
        if after.status == Status::Disabled {
            change.tx.execute("DELETE FROM sessions WHERE user_id = ?", &[id.into()]).await?;
        }
        let told = |it: &User| json!({"status": it.status, "group": it.group, "role": it.role});
        change.acts.push(act(actor, "user.change", id.to_string(), Some(told(&before)), Some(told(&after))));
        self.finish(change).await?;
        Ok(after)
    }

    /// Changes one's own name or address. A new address is not proven.
    pub async fn rename_user(
        &self,
        id: AccountId,
        username: Option<String>,
        email: Option<String>,
        actor: Actor,
    ) -> Result<User, DirectoryError> {
        let before = self.user(id).await?.ok_or(DirectoryError::NotFound("user"))?;
        let address_before = before.email.clone();
        let email_verified = before.email_verified && email.as_ref().is_none_or(|it| *it == before.email);
        let username_changed = username.as_ref().is_some_and(|it| *it != before.username);
        let email_changed = email.as_ref().is_some_and(|it| *it != before.email);
        let after = User {
            username: username.unwrap_or_else(|| before.username.clone()),
            email: email.unwrap_or_else(|| before.email.clone()),
            email_verified,
            ..before
        };
        let mut change = self.change_aside().await?;
        let values: [Value; 7] = [
            after.username.as_str().into(),
            fold(&after.username).into(),
            after.email.as_str().into(),
            fold(&after.email).into(),
            alias(&after.email).into(),
            email_verified.into(),
            id.into(),
        ];
        let update = "UPDATE users SET username = ?, username_folded = ?, email = ?, email_folded = ?, email_alias = ?, \
                      email_verified = ? WHERE id = ?";
        change.tx.execute(update, &values).await.map_err(taken("that username or e-mail address"))?;
        if email_changed {
            // What was wanted before is not wanted any more.
            let forget = "UPDATE users SET email_wanted = NULL WHERE id = ?";
            change.tx.execute(forget, &[id.into()]).await?;
            let changed = Notice::EmailChanged { before: address_before };
            notice::notify(&mut change.tx, id, &changed, now()).await?;
        }
        // Which of the two, not what: a person's data is erased in one place only.
        let told = json!({"username_changed": username_changed, "email_changed": email_changed});
        change.acts.push(act(actor, "user.rename", id.to_string(), None, Some(told)));
        self.finish(change).await?;
        Ok(after)
    }

    /// The hash of a user's password.
    pub async fn password_hash(&self, id: AccountId) -> Result<Option<String>, DirectoryError> {
        let row =
            self.0.db.fetch_optional("SELECT password_hash FROM users WHERE id = ?", &[id.into()]).await?;
        row.map(|row| Ok(row.text("password_hash")?)).transpose()
    }

    /// Sets a user's password and ends their sessions, except one.
    pub async fn set_password(
        &self,
        id: AccountId,
        password_hash: String,
        keep_session: Option<&str>,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        // Who changes a password because somebody else knows it does not want the address that those asked for.
        let update = "UPDATE users SET password_hash = ?, email_wanted = NULL WHERE id = ?";
        if change.tx.execute(update, &[password_hash.into(), id.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("user"));
        }
        let end = "DELETE FROM sessions WHERE user_id = ? AND id <> ?";
        change.tx.execute(end, &[id.into(), keep_session.unwrap_or_default().into()]).await?;
        // A link that waits in a mailbox must not undo this.
        let links =
            "UPDATE email_tokens SET used_at = ? WHERE subject = ? AND purpose = 'reset' AND used_at IS NULL";
        change.tx.execute(links, &[now().into(), id.into()]).await?;
        notice::notify(&mut change.tx, id, &Notice::PasswordChanged, now()).await?;
        change.acts.push(act(actor, "user.set_password", id.to_string(), None, None));
        self.finish(change).await
    }

    /// Replaces the hash of a password by a stronger one of the same password, if it is still there.
    pub async fn upgrade_password(
        &self,
        id: AccountId,
        old_hash: &str,
        new_hash: &str,
    ) -> Result<(), DirectoryError> {
        let update = "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?";
        self.0.db.execute(update, &[new_hash.into(), id.into(), old_hash.into()]).await?;
        Ok(())
    }

    /// Is there an owner, active or not?
    pub async fn has_owner(&self) -> Result<bool, DirectoryError> {
        let row = self.0.db.fetch_one("SELECT COUNT(*) AS n FROM users WHERE role = 'owner'", &[]).await?;
        Ok(row.int("n")? > 0)
    }
}
