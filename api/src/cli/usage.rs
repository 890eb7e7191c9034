//! `usage archive`, `usage archived`: calls that leave the database for files.

use super::print;
use crate::config::Config;
use crate::{serve, usage_archive};
use anyhow::{Context, bail};
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum UsageVerb {
    /// Move whole months of calls out of the database into Parquet files now, beside a running gateway.
    Archive {
        /// How many whole months stay; `usage_keep_months` unless it is said here.
        #[arg(long)]
        keep_months: Option<u32>,
    },
    /// List what was archived, and check every file.
    Archived,
}

pub(super) async fn run(config: &Config, verb: &UsageVerb) -> anyhow::Result<()> {
    let db = serve::open_database(config).await?;
    db.migrate().await.context("cannot migrate the database")?;
    let folder = usage_archive::folder(config);
    match verb {
        UsageVerb::Archive { keep_months } => {
            let keep = keep_months.unwrap_or(config.usage_keep_months);
            if keep == 0 {
                bail!("calls stay for ever: set usage_keep_months, or say --keep-months with at least 1");
            }
            let done = usage_archive::archive_due(&db, &folder, keep, crate::directory::now()).await?;
            for it in &done {
                print(&format!("{}: {} calls, {} credits, {}", it.month, it.rows, it.paid, it.file))?;
            }
            match done.len() {
                0 => print("no month is due"),
                _ => print(&format!("in {}", folder.display())),
            }
        }
        UsageVerb::Archived => {
            let (archives, mut faults) = (projections::usage::archives(&db).await?, 0);
            for it in &archives {
                let checked = usage_archive::check(&folder, it);
                faults += usize::from(checked.is_err());
                let state = match (checked, it.is_done()) {
                    (Err(fault), _) => format!("FINDING {fault}"),
                    (Ok(()), true) => "whole".to_owned(),
                    (Ok(()), false) => format!("whole; calls up to {} have left the database", it.removed_to),
                };
                let place = format!("position {}", it.position);
                print(&format!(
                    "{}: {} calls, {} credits, {place}, {}: {state}",
                    it.month, it.rows, it.paid, it.file
                ))?;
            }
            match (archives.len(), faults) {
                (0, _) => print("nothing was archived"),
                (_, 0) => Ok(()),
                (_, faults) => bail!("{faults} of {} files are not as they were written", archives.len()),
            }
        }
    }
}
