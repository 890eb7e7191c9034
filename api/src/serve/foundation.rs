//! The foundation: the database and the directory on it. Enough for the command line's acts.

use crate::config::Config;
use crate::directory::Directory;
use crate::directory::password::{Passwords, check_password};
use crate::directory::user::{NewUser, Role, check_email, check_username};
use crate::secrets::Sealer;
use anyhow::{Context, bail};
use domain::Actor;
use projections::Database;

/// The user that the first start makes.
pub(super) const FIRST_ADMIN: &str = "admin";

/// The database and what stands on it: enough for the command line's acts.
pub struct Foundation {
    db: Database,
    directory: Directory,
    passwords: Passwords,
}

impl Foundation {
    /// Opens and migrates the database, and loads the directory.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        super::make_data_folder(config)?;
        Self::on(config, migrated(config).await?).await
    }

    /// Loads the directory of a migrated database.
    pub(super) async fn on(config: &Config, db: Database) -> anyhow::Result<Self> {
        let sealer = Sealer::from_environment_or_file(config.master_key.as_deref(), &config.data_dir)?;
        let directory = Directory::open(db.clone(), sealer).await?;
        let passwords = Passwords::new(config.password).beside(directory.imported_cost());
        Ok(Self { db, directory, passwords })
    }

    /// The database.
    pub(crate) fn db(&self) -> &Database {
        &self.db
    }

    /// People, keys, providers, models, prices.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Hashes and checks passwords.
    pub(super) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Makes an operator; answers with the role they have got, which is owner as long as there is none.
    pub async fn create_admin(
        &self,
        username: &str,
        email: &str,
        password: &str,
        role: Role,
    ) -> anyhow::Result<Role> {
        let role = if self.directory.has_owner().await? { role } else { Role::Owner };
        let fits = |checked: Result<(), &str>, what: &str| match checked {
            Ok(()) => Ok(()),
            Err(fault) => bail!("the {what} {fault}"),
        };
        fits(check_username(username), "username")?;
        fits(check_email(email), "e-mail address")?;
        fits(check_password(password), "password")?;
        let password_hash = self.passwords.hash(password.to_owned()).await?;
        let new = NewUser {
            username: username.to_owned(),
            email: email.to_owned(),
            password_hash,
            role,
            email_verified: true,
        };
        self.directory.create_user(new, Some(command_line())).await?;
        Ok(role)
    }

    /// Gives a user a new password and ends their sessions.
    pub async fn reset_password(&self, login: &str, password: &str) -> anyhow::Result<()> {
        let (user, _) =
            self.directory.credentials(login).await?.with_context(|| format!("no user {login}"))?;
        let hash = self.passwords.hash(password.to_owned()).await?;
        self.directory.set_password(user.id, hash, None, command_line()).await?;
        Ok(())
    }

    /// Takes a user's second factors away: the way back in of an owner who has lost theirs.
    pub async fn remove_second_factors(&self, login: &str, reason: &str) -> anyhow::Result<()> {
        let (user, _) =
            self.directory.credentials(login).await?.with_context(|| format!("no user {login}"))?;
        self.directory.remove_second_factors(user.id, reason, command_line(), Role::Owner).await?;
        Ok(())
    }

    /// Makes the user `admin` if there is no owner yet. `Some`: the one-time password to print, or `None` inside when
    /// the operator chose it.
    pub(super) async fn first_admin(&self, config: &Config) -> anyhow::Result<Option<FirstAdmin>> {
        if self.directory.has_owner().await? {
            return Ok(None);
        }
        let (password, one_time) = match &config.admin_password {
            Some(password) => (password.clone(), None),
            None => {
                let password = one_time_password();
                (password.clone(), Some(password))
            }
        };
        match self.create_admin(FIRST_ADMIN, "admin@localhost.localdomain", &password, Role::Owner).await {
            Ok(_) => Ok(Some(FirstAdmin { one_time })),
            // Another process of the cluster started at the same moment, and shows its password.
            Err(_) if self.directory.has_owner().await? => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Twenty random letters and digits: 119 bits.
pub fn one_time_password() -> String {
    use rand::distr::{Alphanumeric, SampleString};
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

/// The operator that this start has made.
pub(super) struct FirstAdmin {
    /// The password to print, unless the operator chose it.
    pub(super) one_time: Option<String>,
}

/// Whoever may run commands on this machine.
pub(crate) fn command_line() -> Actor {
    crate::session::gateway("command line")
}

/// The database that is configured, with its tables brought up to date.
pub(super) async fn migrated(config: &Config) -> anyhow::Result<Database> {
    let db = open_database(config).await?;
    db.migrate().await.context("cannot migrate the database")?;
    Ok(db)
}

/// Opens the database that is configured: the named one, or SQLite in the data folder.
pub async fn open_database(config: &Config) -> anyhow::Result<Database> {
    Database::connect(&database_url(config)).await.context("cannot open the database")
}

/// Where the database is that is configured.
pub(crate) fn database_url(config: &Config) -> String {
    match &config.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}?mode=rwc", config.data_dir.join("nexusroute.db").display()),
    }
}
