//! `ledger export` and `ledger import`: the whole log in one file, and back.

use super::print;
use super::verify::FOUND;
use crate::config::Config;
use crate::serve;
use ledger::archive;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn export(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let access = serve::log_of(config).await?;
    let exported = archive::export(access.log(), path).await;
    access.end().await;
    let exported = exported?;
    print(&format!(
        "{}: {}; {} messages in {} bytes\ndigest {}",
        path.display(),
        archive::words(&exported.parts),
        exported.messages,
        exported.file_bytes,
        exported.digest
    ))?;
    for (stream, first, last) in &exported.missing {
        print(&format!("MISSING {stream} {first} to {last}: the log does not hold them"))?;
    }
    Ok(if exported.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

pub(super) async fn import(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let access = serve::log_for_import(config).await?;
    let imported = archive::import(access.log(), path).await;
    access.end().await;
    let imported = imported?;
    let continued = match imported.were_there {
        0 => String::new(),
        there => format!(", of which {there} were there from an import before this one"),
    };
    print(&format!(
        "imported {}: {} messages{continued}, all read back and compared\ndigest {}",
        archive::words(&imported.parts),
        imported.messages,
        imported.digest
    ))?;
    Ok(ExitCode::SUCCESS)
}
