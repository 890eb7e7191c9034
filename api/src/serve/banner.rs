//! What a person sees at the start: where it listens, what it keeps where, and which durability is in force.

use super::foundation::{FIRST_ADMIN, FirstAdmin};
use super::log::LogAccess;
use crate::config::Config;
use std::io::Write;
use std::net::SocketAddr;

/// What a person sees at the start.
pub(super) struct Banner<'a> {
    pub(super) config: &'a Config,
    pub(super) access: &'a LogAccess,
    pub(super) first_admin: Option<FirstAdmin>,
}

impl Banner<'_> {
    pub(super) fn print(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let data = std::path::absolute(&self.config.data_dir)?;
        let durability = self.access.log().durability();
        let server = if self.access.is_supervised() { "supervised" } else { "external" };
        let roles = self.config.roles;
        let database = match &self.config.database_url {
            Some(url) => url.split(':').next().unwrap_or_default().to_owned(),
            None => "SQLite in the data folder".into(),
        };
        writeln!(out, "NexusRoute {}", env!("CARGO_PKG_VERSION"))?;
        if !roles.are_all() {
            writeln!(out, "  roles       {roles}")?;
        }
        let documented = if roles.api { " (API documentation: /api/docs)" } else { "" };
        writeln!(out, "  address     {}{documented}", self.config.public_url)?;
        writeln!(out, "  data        {}", data.display())?;
        writeln!(out, "  database    {database}")?;
        writeln!(
            out,
            "  log         nats-server {} ({server}), durability: replicas {}, sync {}",
            durability.server_version, durability.replicas, durability.sync
        )?;
        if self.config.sandbox_enabled && roles.api {
            writeln!(out, "  payments    sandbox channel (development: nobody pays)")?;
        }
        if roles.api {
            match &self.config.smtp {
                Some(smtp) => writeln!(out, "  mail        by {}:{}", smtp.host, smtp.port)?,
                None if self.config.production => writeln!(out, "  mail        none: smtp.host is not set")?,
                None => writeln!(out, "  mail        to the log, and to /api/dev/mailbox (development)")?,
            }
        }
        match &self.first_admin {
            Some(FirstAdmin { one_time: Some(password) }) => {
                writeln!(
                    out,
                    "  operator    user {FIRST_ADMIN}, one-time password {password} (shown this once; change it)"
                )?;
            }
            Some(FirstAdmin { one_time: None }) => {
                writeln!(out, "  operator    user {FIRST_ADMIN}, with the configured password")?;
            }
            None => {}
        }
        writeln!(out, "NexusRoute is ready on http://{address}")?;
        out.flush()?;
        Ok(())
    }
}
