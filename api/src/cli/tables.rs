//! `nexusroute projections …`: where the tables stand, and making them anew.
//!
//! Claims: works beside a running gateway and without one; says which rows differ; ends with status 1 when the tables are
//! not what the log says, or cannot be.

use crate::config::Config;
use crate::serve;
use anyhow::{Context, bail};
use clap::Subcommand;
use ledger::Log;
use projections::{
    Database, Difference, DifferenceKind, RebuildOptions, RebuildOutcome, RebuildReport, Status, TableReport,
};
use std::fmt::Write as _;
use std::io::Write as _;

/// What can be done with the projected tables.
#[derive(Subcommand)]
pub(super) enum ProjectionsVerb {
    /// Show where the tables stand on the log, and what they hold.
    Status {
        /// A checksum of each table, all of one position: equal logs give equal ones on every database.
        #[arg(long)]
        checksum: bool,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make all projected tables anew from the log, compare them with the ones in use, and put them in their place.
    ///
    /// The gateway may go on running. Tables that differ are left in use, with status 1, unless --replace is given.
    Rebuild {
        /// Only compare.
        #[arg(long)]
        dry_run: bool,
        /// Put the new tables in place also where they differ, or where the old ones are of another log.
        #[arg(long, conflicts_with = "dry_run")]
        replace: bool,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one of them to its end.
pub(super) async fn run(config: &Config, verb: &ProjectionsVerb) -> anyhow::Result<()> {
    let db = serve::open_database(config).await?;
    let access = serve::log_of(config).await?;
    let done = match verb {
        ProjectionsVerb::Status { checksum, json } => status(&db, access.log(), *checksum, *json).await,
        ProjectionsVerb::Rebuild { dry_run, replace, json } => {
            let options = RebuildOptions {
                time_zone: chrono::FixedOffset::east_opt(config.time_zone_offset_minutes * 60)
                    .context("the time zone is out of range")?,
                dry_run: *dry_run,
                replace: *replace,
                ..RebuildOptions::default()
            };
            rebuild(&db, access.log(), &options, *json).await
        }
    };
    access.end().await;
    done
}

async fn status(db: &Database, log: &Log, checksum: bool, json: bool) -> anyhow::Result<()> {
    let status = projections::status(db, log, checksum).await?;
    print(&if json { serde_json::to_string(&status)? } else { status_text(&status)? })?;
    match status.halted {
        None => Ok(()),
        Some(why) => bail!("the projections cannot go on: {why}"),
    }
}

fn status_text(status: &Status) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "position  {} of {}, lag {}", status.position, status.last_sequence, status.lag)?;
    if !status.stream.is_empty() {
        writeln!(text, "log       {} of {}", status.stream, status.created)?;
    }
    writeln!(text, "halted    {}", status.halted.as_deref().unwrap_or("no"))?;
    if let Some(position) = status.checksum_position {
        writeln!(text, "checksums at position {position}")?;
    }
    for table in &status.tables {
        let sum = table.sha256.as_deref().unwrap_or_default();
        write!(text, "\n  {}", format!("{:<18}{:>12} rows  {sum}", table.table, table.rows).trim_end())?;
    }
    Ok(text)
}

async fn rebuild(db: &Database, log: &Log, options: &RebuildOptions, json: bool) -> anyhow::Result<()> {
    db.migrate().await.context("cannot migrate the database")?;
    let report = projections::rebuild(db, log, options).await?;
    print(&if json { serde_json::to_string(&report)? } else { report_text(&report)? })?;
    match report.outcome {
        RebuildOutcome::Swapped => Ok(()),
        RebuildOutcome::DryRun if report.is_equal() => Ok(()),
        RebuildOutcome::DryRun => bail!("the tables in use are not what the log says"),
        RebuildOutcome::Differs => {
            bail!("the tables in use are not what the log says, and stay in use: --replace replaces them")
        }
    }
}

fn report_text(report: &RebuildReport) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "made from {} messages with {} usage records: filled in {} ms, compared in {} ms, indexed in {} ms, swapped in {} ms",
        report.position,
        report.records,
        report.filled_ms,
        report.compared_ms,
        report.indexed_ms,
        report.swapped_ms
    )?;
    match (&report.comparison, &report.not_compared) {
        (Some(comparison), _) => text.push_str(&comparison_text(comparison)?),
        (None, Some(why)) => writeln!(text, "not compared: {why}")?,
        (None, None) => {}
    }
    text.push_str(match report.outcome {
        RebuildOutcome::Swapped => "the new tables are in use",
        RebuildOutcome::DryRun => "a dry run: the tables in use are untouched",
        RebuildOutcome::Differs => "they differ: the tables in use are untouched",
    });
    Ok(text)
}

/// Each table with its counts, and the first differences.
pub(super) fn comparison_text(report: &TableReport) -> anyhow::Result<String> {
    let mut text = format!("the tables in use, compared at position {}:\n", report.position);
    for table in &report.tables {
        write!(text, "  {:<18}{:>12} rows", table.table, table.rows)?;
        if table.is_equal() {
            text.push_str("  equal\n");
            continue;
        }
        let (missing, extra, different) = (table.missing, table.extra, table.different);
        writeln!(text, "  {} equal, {missing} missing, {extra} extra, {different} different", table.equal)?;
        for difference in &table.differences {
            writeln!(text, "    {}", difference_text(difference))?;
        }
    }
    Ok(text)
}

fn difference_text(difference: &Difference) -> String {
    let shown =
        |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), |text| format!("{text:?}"));
    match (difference.kind, &difference.column) {
        (DifferenceKind::Different, Some(column)) => {
            let (found, expected) = (shown(&difference.found), shown(&difference.expected));
            format!("{}: {column} is {found}, should be {expected}", difference.key)
        }
        (DifferenceKind::Different, None) => format!("{}: differs", difference.key),
        (DifferenceKind::Missing, _) => format!("{}: missing", difference.key),
        (DifferenceKind::Extra, _) => format!("{}: should not be there", difference.key),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
