//! `ledger verify`: the whole log judged, and what a script needs to know of it.
//!
//! Claims: status 0 means that all was read and nothing was found, 1 that something was, 2 that it could not be judged.

use super::print;
use super::tables::comparison_text;
use crate::chores::{Note, Verified};
use crate::config::Config;
use crate::serve;
use anyhow::Context;
use ledger::verify::{FINDINGS_LISTED, Report};
use ledger::{Log, Stream, Verifier, archive};
use projections::{ProjectionError, TableReport, VerifyOptions};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something was found.
pub(super) const FOUND: u8 = 1;
/// The log could not be judged.
pub(super) const FAILED: u8 = 2;

/// What to verify, and how to say it.
#[derive(clap::Args)]
pub(super) struct VerifyArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Verify this archive instead of the log, its own checksums first.
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Judge the log alone, and not whether the SQL tables say what it says.
    #[arg(long)]
    no_tables: bool,
}

/// What became of the comparison with the SQL tables.
enum Tables {
    /// There was none, and why.
    NotCompared(&'static str),
    /// They cannot be what the log says, and why.
    Unlike(String),
    /// Row by row.
    Compared(TableReport),
}

impl Tables {
    /// Nothing speaks against them.
    fn are_clean(&self) -> bool {
        match self {
            Self::NotCompared(_) => true,
            Self::Unlike(_) => false,
            Self::Compared(report) => report.is_equal(),
        }
    }
}

pub(super) async fn verify(config: &Config, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let (report, from, tables) = match &args.archive {
        Some(path) => {
            let (report, from) = of_archive(path)?;
            (report, from, Tables::NotCompared("an archive was verified"))
        }
        None => {
            let access = serve::log_of(config).await?;
            let verified = of_log(config, access.log(), args).await;
            access.end().await;
            let (report, tables) = verified?;
            let unlike = u64::from(!tables.are_clean());
            let findings = report.findings_total.saturating_add(unlike);
            Verified { at: chrono::Utc::now().timestamp(), findings }.leave(&config.data_dir);
            (report, json!({ "log": "LEDGER" }), tables)
        }
    };
    match args.json {
        true => print(&as_json(&report, from, &tables)?)?,
        false => print(&as_text(&report, &from, &tables)?)?,
    }
    Ok(if report.clean && tables.are_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// Judges LEDGER up to its last message now; a running gateway goes on meanwhile.
async fn of_log(config: &Config, log: &Log, args: &VerifyArgs) -> anyhow::Result<(Report, Tables)> {
    let end = log.identity().await?.last_sequence;
    let (mut scan, mut verifier) = (log.scan(Stream::Ledger, 0, end), Verifier::new());
    let mut position = 0;
    while let Some(batch) = scan.next_batch().await? {
        for message in &batch {
            verifier.take(message);
            position = message.sequence;
        }
    }
    if position < end {
        verifier.lost_tail(position, end);
    }
    let tables = match args.no_tables {
        true => Tables::NotCompared("--no-tables"),
        false => compare_tables(config, log).await?,
    };
    Ok((verifier.finish(), tables))
}

/// Compares the SQL tables with the log, at the position that they are at.
async fn compare_tables(config: &Config, log: &Log) -> anyhow::Result<Tables> {
    let db = serve::open_database(config).await?;
    let options = VerifyOptions { time_zone: serve::time_zone(config)?, most_differences: FINDINGS_LISTED };
    match projections::verify_tables(&db, log, &options).await {
        Ok(report) => Ok(Tables::Compared(report)),
        // The tables are of another log, or the log holds what cannot be projected: that is an answer.
        Err(ProjectionError::Halt(halt)) => Ok(Tables::Unlike(halt.to_string())),
        Err(error) => Err(error).context("the SQL tables could not be compared"),
    }
}

fn of_archive(path: &Path) -> anyhow::Result<(Report, Value)> {
    let mut verifier = Verifier::new();
    let (parts, digest) = archive::verify(path, &mut verifier)?;
    let from =
        json!({ "archive": path.display().to_string(), "holds": archive::words(&parts), "digest": digest });
    Ok((verifier.finish(), from))
}

fn as_json(report: &Report, from: Value, tables: &Tables) -> anyhow::Result<String> {
    let mut json = serde_json::to_value(report)?;
    json["of"] = from;
    json["tables"] = match tables {
        Tables::NotCompared(why) => json!({ "compared": false, "why": why }),
        Tables::Unlike(why) => json!({ "compared": true, "equal": false, "why": why }),
        Tables::Compared(report) => {
            json!({ "compared": true, "equal": report.is_equal(), "report": serde_json::to_value(report)? })
        }
    };
    json["clean"] = (report.clean && tables.are_clean()).into();
    Ok(serde_json::to_string_pretty(&json)?)
}

fn as_text(report: &Report, from: &Value, tables: &Tables) -> anyhow::Result<String> {
    let (mut text, counts, wallets) = (String::new(), &report.counts, &report.wallets);
    if let Some(archive) = from["archive"].as_str() {
        writeln!(text, "archive {archive}: {}", from["holds"].as_str().unwrap_or_default())?;
        writeln!(
            text,
            "digest {}",
            from["digest"].as_str().unwrap_or("unknown: it could not be read to its end")
        )?;
    }
    let (first, last) = (report.first_sequence.unwrap_or(0), report.last_sequence.unwrap_or(0));
    writeln!(text, "LEDGER {first} to {last}: {} messages, {} bytes", counts.messages, counts.bytes)?;
    writeln!(
        text,
        "{} accounts, {} node runs ({} sealed), {} leases granted and {} closed, {} usage records",
        counts.accounts,
        counts.nodes,
        counts.sealed_nodes,
        counts.leases_granted,
        counts.leases_closed,
        counts.usage_records
    )?;
    let credits = ledger::verify::credits_text;
    writeln!(
        text,
        "credits: {} in, {} out, {} spent of closed leases, {} in open leases, {} available",
        credits(wallets.credits_in),
        credits(wallets.credits_out),
        credits(wallets.spent_of_closed_leases),
        credits(wallets.leased),
        credits(wallets.available)
    )?;
    for (unit, total) in &report.totals {
        let in_unit = if unit == "credits" { "credits".to_owned() } else { format!("{unit} minor units") };
        writeln!(
            text,
            "postings in {in_unit}: {} debit, {} credit",
            total.debit_text(),
            total.credit_text()
        )?;
    }
    match tables {
        Tables::NotCompared(why) => writeln!(text, "SQL tables: not compared ({why})")?,
        Tables::Unlike(why) => writeln!(text, "FINDING SQL tables: {why}")?,
        Tables::Compared(compared) => {
            text.push_str(&comparison_text(compared)?);
        }
    }
    for note in &report.notes {
        writeln!(text, "note {}: {}", note.code, note.sentence)?;
    }
    for finding in &report.findings {
        let place = finding.sequence.map_or_else(String::new, |sequence| format!(" {sequence}"));
        writeln!(text, "FINDING {} at {}{place}: {}", finding.code, finding.subject, finding.sentence)?;
    }
    match report.findings_total {
        0 if tables.are_clean() => write!(text, "clean")?,
        0 => write!(text, "the log is clean, the SQL tables are not")?,
        1 => write!(text, "1 finding")?,
        total if report.findings.len() == FINDINGS_LISTED => {
            write!(text, "{total} findings, the first {FINDINGS_LISTED} listed")?;
        }
        total => write!(text, "{total} findings")?,
    }
    Ok(text)
}
