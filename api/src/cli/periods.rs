//! `ledger verify-periods`: closed months judged.
//!
//! Claims: status 0 means that every closed month is what was signed, line by line, and that the log still holds the event that the
//! last one ends with. Whether the journal is what the log says is `ledger verify`'s question.

use super::print;
use super::verify::FOUND;
use crate::config::Config;
use crate::directory::period;
use crate::serve;
use std::process::ExitCode;

pub(super) async fn verify(config: &Config, public_key: Option<&str>) -> anyhow::Result<ExitCode> {
    let db = serve::open_database(config).await?;
    let (closed, mut faults, last) = period::verify(&db, public_key).await?;
    if let Some(document) = last {
        let (position, hash) = document.last_event();
        let log = serve::log_of(config).await?;
        let found = log.log().at(position).await;
        log.end().await;
        match found? {
            Some(logged) if hex::encode(logged.hash) == hash => {}
            Some(_) => {
                faults.push(format!("the log holds another event at {position} than the one that was signed"))
            }
            // Position 0: a month that was closed before anything happened.
            None if position == 0 => {}
            None => faults.push(format!("the log does not hold event {position} any more")),
        }
    }
    for it in &closed {
        print(&format!(
            "{} closed {} at position {}: {} lines, digest {}, key {}",
            it.month, it.closed_at, it.position, it.entries, it.digest, it.public_key
        ))?;
    }
    for fault in &faults {
        print(&format!("FINDING {fault}"))?;
    }
    match (closed.len(), faults.len()) {
        (0, _) => print("no month is closed")?,
        (months, 0) => print(&format!("{months} closed months, all as they were signed"))?,
        (_, found) => print(&format!("{found} findings"))?,
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
