//! `import`: an existing New API or One API database, brought here.

use super::print;
use super::verify::FOUND;
use crate::config::Config;
use crate::import::{self, ImportOptions};
use std::process::ExitCode;

pub(super) async fn run(config: &Config, options: &ImportOptions) -> anyhow::Result<ExitCode> {
    let report = import::run(config, options).await?;
    print(&if options.json { serde_json::to_string_pretty(&report.json())? } else { report.text() })?;
    Ok(if report.adds_up() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
