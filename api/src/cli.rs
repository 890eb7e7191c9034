//! The command line.
//!
//! Claims: every command says in one line what went wrong, and ends with a status that a script can use.

mod archive;
mod import;
mod periods;
mod tables;
mod usage;
mod verify;

use crate::config::Config;
use crate::directory::user::Role;
use crate::serve::{self, Foundation};
use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use domain::price::{Line, Per};
use domain::{AccountId, Event, NodeEvent, RequestId, UsageRecord};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tables::ProjectionsVerb;
use usage::UsageVerb;

/// A self-hosted LLM API gateway with a prepaid wallet.
#[derive(Parser)]
#[command(name = "nexusroute", version)]
struct Cli {
    /// The configuration file; otherwise NEXUSROUTE_CONFIG, or nexusroute.toml in this folder.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway (the default).
    Serve {
        /// What this process does, as a list: api, relay, projector. All of them unless the configuration says otherwise.
        #[arg(long, value_delimiter = ',')]
        role: Vec<String>,
    },
    /// Look at the log.
    #[command(subcommand)]
    Ledger(LedgerVerb),
    /// Look after the tables that are made of the log.
    #[command(subcommand)]
    Projections(ProjectionsVerb),
    /// Look after the table of calls.
    #[command(subcommand)]
    Usage(UsageVerb),
    /// Look after operators.
    #[command(subcommand)]
    Admin(AdminVerb),
    /// Look after the settings that were changed while the gateway ran (docs/operators.md).
    #[command(subcommand)]
    Settings(SettingsVerb),
    /// Bring users, keys, providers, prices and balances of a New API or One API database here (docs/migrating.md).
    Import(#[command(flatten)] crate::import::ImportOptions),
    /// Print every option, its variable, its default and what it does.
    Config,
}

#[derive(Subcommand)]
enum LedgerVerb {
    /// Print events, one JSON object a line.
    Tail {
        /// Only this account's decisions.
        #[arg(long)]
        account: Option<AccountId>,
        /// Begin behind this position.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Go on as new events come.
        #[arg(long, short)]
        follow: bool,
    },
    /// Show what a call's charge was made of.
    Explain {
        /// The request's id, as in `x-request-id`.
        request: RequestId,
    },
    /// Check every promise of the log: 0 it is clean, 1 something was found, 2 it could not be checked.
    Verify(#[command(flatten)] verify::VerifyArgs),
    /// Check closed months of the books: 0 they are what was signed, 1 something was found, 2 it could not be checked.
    VerifyPeriods {
        /// The public key that they must be signed with, in hexadecimal: as you noted it when a month was closed.
        #[arg(long, value_name = "HEX")]
        public_key: Option<String>,
    },
    /// Write the whole log to a new, compressed file with checksums.
    Export {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Bring the log of such a file back into an empty server.
    Import {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum SettingsVerb {
    /// Take them all back, so that the file and the environment count again.
    Reset,
}

#[derive(Subcommand)]
enum AdminVerb {
    /// Make an operator; prints a one-time password unless NEXUSROUTE_ADMIN_PASSWORD is set.
    Create {
        /// Name to log in with.
        username: String,
        /// E-mail address.
        email: String,
        /// support, finance, auditor, admin or owner (docs/permissions.md). The first operator is an owner, whatever is said here.
        #[arg(long, default_value_t = Role::Admin)]
        role: Role,
    },
    /// Give a user a new one-time password, and end their sessions.
    ResetPassword {
        /// Username or e-mail address.
        login: String,
    },
    /// Take a user's second factors away, so that the password alone lets them in.
    RemoveSecondFactors {
        /// Username or e-mail address.
        login: String,
        /// Why; it is kept in the audit log.
        #[arg(long, default_value = "by the command line")]
        reason: String,
    },
}

/// Runs the command line to its end.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Verb::Config) => print(&Config::documentation()).map(|()| ExitCode::SUCCESS),
        verb => work(verb.as_ref(), cli.config.as_deref()),
    };
    match done {
        Ok(status) => status,
        Err(error) => {
            // The last words of the process: there may be no log to write them to.
            writeln!(std::io::stderr(), "nexusroute: {error:#}").ok();
            match &cli.command {
                Some(Verb::Ledger(LedgerVerb::Verify(_) | LedgerVerb::VerifyPeriods { .. })) => {
                    ExitCode::from(verify::FAILED)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn work(verb: Option<&Verb>, file: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    let roles = match verb {
        Some(Verb::Serve { role }) => role.as_slice(),
        None
        | Some(
            Verb::Ledger(_)
            | Verb::Projections(_)
            | Verb::Usage(_)
            | Verb::Admin(_)
            | Verb::Settings(_)
            | Verb::Import(_)
            | Verb::Config,
        ) => &[],
    };
    let config = Config::load(file, roles)?;
    // One TLS provider for everything, chosen before anything can choose another.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("a TLS provider was installed before ours");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Some(Verb::Ledger(LedgerVerb::Verify(args))) => return verify::verify(&config, args).await,
            Some(Verb::Ledger(LedgerVerb::VerifyPeriods { public_key })) => {
                return periods::verify(&config, public_key.as_deref()).await;
            }
            Some(Verb::Ledger(LedgerVerb::Export { file })) => return archive::export(&config, file).await,
            Some(Verb::Ledger(LedgerVerb::Import { file })) => return archive::import(&config, file).await,
            Some(Verb::Import(options)) => return import::run(&config, options).await,
            None | Some(Verb::Serve { .. }) => serve::serve(config).await,
            Some(Verb::Ledger(LedgerVerb::Tail { account, after, follow })) => {
                tail(&config, *account, *after, *follow).await
            }
            Some(Verb::Ledger(LedgerVerb::Explain { request })) => explain(&config, *request).await,
            Some(Verb::Projections(verb)) => tables::run(&config, verb).await,
            Some(Verb::Usage(verb)) => usage::run(&config, verb).await,
            Some(Verb::Admin(AdminVerb::Create { username, email, role })) => {
                create_admin(config, username, email, *role).await
            }
            Some(Verb::Admin(AdminVerb::ResetPassword { login })) => reset_password(config, login).await,
            Some(Verb::Admin(AdminVerb::RemoveSecondFactors { login, reason })) => {
                remove_second_factors(config, login, reason).await
            }
            Some(Verb::Settings(SettingsVerb::Reset)) => reset_settings(config).await,
            Some(Verb::Config) => Ok(()),
        }
        .map(|()| ExitCode::SUCCESS)
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n").or_else(|_| out.flush())?;
    Ok(())
}

/// Prints events up to the log's present end, or for ever.
async fn tail(config: &Config, account: Option<AccountId>, after: u64, follow: bool) -> anyhow::Result<()> {
    let log = serve::log_of(config).await?;
    let filter = account.map(|account| ledger::Subject::Account(account).to_string());
    let end = match account {
        Some(account) => log
            .log()
            .last_on(&ledger::Subject::Account(account))
            .await?
            .map_or(0, |logged| logged.recorded.sequence),
        None => log.log().identity().await?.last_sequence,
    };
    let mut position = after;
    if follow || position < end {
        let mut tail = log.log().tail(after, filter.as_deref()).await?;
        while follow || position < end {
            for logged in tail.next_batch(500).await? {
                position = logged.recorded.sequence;
                let line =
                    format!(r#"{{"sequence":{position},"event":{}}}"#, String::from_utf8(logged.json()?)?);
                if print(&line).is_err() {
                    return Ok(()); // whoever read has gone away
                }
            }
        }
    }
    log.end().await;
    Ok(())
}

/// Finds a call's usage record by the projection, reads it from the log, and derives its charge again.
async fn explain(config: &Config, request: RequestId) -> anyhow::Result<()> {
    let db = serve::open_database(config).await?;
    let row = projections::usage::find(&db, request).await?.with_context(|| {
        format!(
            "no call {request} is known; a call made a moment ago may not be projected yet, an old one may have been archived \
             (nexusroute usage archived)"
        )
    })?;
    let log = serve::log_of(config).await?;
    let logged = log.log().at(row.event_seq).await?;
    log.end().await;
    let recorded = logged.with_context(|| format!("event {} is gone from the log", row.event_seq))?.recorded;
    let Event::Node(epoch, NodeEvent::UsageReported(report)) = &recorded.event else {
        bail!("event {} is no usage report", row.event_seq);
    };
    let record = report
        .records
        .iter()
        .find(|record| record.usage.request == request)
        .with_context(|| format!("event {} does not hold call {request}", row.event_seq))?;
    print(&format!(
        "event {} (node {epoch}, version {}), at {}",
        recorded.sequence, recorded.version, recorded.at
    ))?;
    print(&arithmetic(record)?)
}

/// A usage record's charge, line by line.
fn arithmetic(record: &UsageRecord) -> anyhow::Result<String> {
    use std::fmt::Write;
    let usage = &record.usage;
    let mut text = format!(
        "call {} of account {}\nmodel {} by {} ({}), {}, outcome {}\nprice version {}, tokens counted by {}\n\n",
        usage.request,
        record.account,
        usage.model,
        usage.provider,
        usage.upstream_model,
        usage.endpoint,
        word(&usage.outcome)?,
        usage.price_version,
        word(&usage.usage_source)?,
    );
    for line in usage.unit_prices.lines(&usage.tokens)? {
        let Line { class, quantity, price, per } = line;
        match per {
            Per::Call => continue,
            Per::Image => write!(text, "{class:>15}  {quantity} × {price}")?,
            Per::MillionTokens | Per::MillionCharacters => {
                write!(text, "{class:>15}  {quantity} × {price} ÷ 1,000,000")?;
            }
            Per::AudioMinute => write!(text, "{class:>15}  {quantity} × {price} ÷ 60")?,
        }
        writeln!(text, " = {}", line.amount()?)?;
    }
    writeln!(text, "{:>15}  {}", "per call", usage.unit_prices.per_call)?;
    writeln!(text, "{:>15}  × {}", "multiplier", usage.multiplier)?;
    let derived = usage.derived_charge()?;
    writeln!(text, "{:>15}  {} credits (rounded half to even to 0.000000001)", "charge", derived)?;
    if derived != usage.charge {
        writeln!(
            text,
            "{:>15}  {} credits, by the metering policy for this outcome",
            "charged", usage.charge
        )?;
    }
    writeln!(text, "{:>15}  {} credits", "paid", record.paid())?;
    if record.uncovered.is_positive() {
        writeln!(text, "{:>15}  {} credits, the operator's loss", "uncovered", record.uncovered)?;
    }
    write!(
        text,
        "{:>15}  {}, record {}, {} spent of it so far",
        "lease", record.lease, record.n, record.spent
    )?;
    Ok(text)
}

/// A unit variant's word, as in JSON.
fn word(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}

async fn create_admin(config: Config, username: &str, email: &str, role: Role) -> anyhow::Result<()> {
    let foundation = Foundation::open(&config).await?;
    let (password, was_given) = match &config.admin_password {
        Some(password) => (password.clone(), true),
        None => (serve::one_time_password(), false),
    };
    let role = foundation.create_admin(username, email, &password, role).await?;
    match was_given {
        true => print(&format!("{role} {username} is made, with the password of NEXUSROUTE_ADMIN_PASSWORD")),
        false => print(&format!("{role} {username} is made; one-time password: {password}")),
    }
}

async fn remove_second_factors(config: Config, login: &str, reason: &str) -> anyhow::Result<()> {
    Foundation::open(&config).await?.remove_second_factors(login, reason).await?;
    print(&format!("{login} logs in by password alone now"))
}

async fn reset_password(config: Config, login: &str) -> anyhow::Result<()> {
    let foundation = Foundation::open(&config).await?;
    let password = serve::one_time_password();
    foundation.reset_password(login, &password).await?;
    print(&format!("new one-time password of {login}: {password}"))
}

async fn reset_settings(config: Config) -> anyhow::Result<()> {
    let foundation = Foundation::open(&config).await?;
    let before = foundation.directory().options().version;
    let by = serve::command_line();
    match foundation.directory().put_options(before, &crate::config::Overrides::new(), by).await? {
        Ok(after) => print(&format!("version {}: the file and the environment count again", after.version)),
        Err(newest) => bail!("somebody changed the settings at this moment; version {newest} is in force"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::price::PriceList;
    use domain::usage::Usage;
    use domain::{Credits, KeyId, Label, LeaseId, Moment, Outcome, PriceVersionId, Tokens, UsageSource};
    use rust_decimal::Decimal;
    use uuid::Uuid;

    #[test]
    fn a_charge_is_explained_class_by_class() {
        let (nil, label) = (Uuid::nil(), || Label::try_new("x").unwrap());
        let list = PriceList {
            per_call: Some(Decimal::new(1, 3)),
            per_million_characters: Some(Decimal::from(15)),
            per_audio_minute: Some(Decimal::new(1, 2)),
            per_image: Some(Decimal::new(4, 2)),
            ..PriceList::plain(Decimal::from(3), Decimal::from(15))
        };
        let mut usage = Usage {
            request: RequestId::from_uuid(nil),
            at: Moment::from_micros(0),
            key: KeyId::from_uuid(nil),
            model: label(),
            provider: label(),
            upstream_model: label(),
            endpoint: label(),
            tokens: Tokens { input: 7, characters: 40, audio_seconds: 61, images: 2, ..Tokens::default() },
            price_version: PriceVersionId::from_uuid(nil),
            unit_prices: list.resolve(),
            multiplier: Decimal::ONE,
            charge: Credits::ZERO,
            cost: Credits::ZERO,
            cost_prices: None,
            outcome: Outcome::Completed,
            usage_source: UsageSource::Provider,
            stream: false,
            status: 200,
            ttft_ms: None,
            duration_ms: 1,
            attempts: Vec::new(),
        };
        usage.charge = usage.derived_charge().unwrap();
        let record = UsageRecord {
            account: AccountId::from_uuid(nil),
            lease: LeaseId::from_uuid(nil),
            n: 1,
            spent: usage.charge,
            uncovered: Credits::ZERO,
            usage,
        };
        let text = arithmetic(&record).unwrap();
        let lines: Vec<&str> = text.lines().skip(4).map(str::trim).collect();
        assert_eq!(
            lines[..7],
            [
                "input  7 × 3 ÷ 1,000,000 = 0.000021",
                "characters  40 × 15 ÷ 1,000,000 = 0.0006",
                "audio_seconds  61 × 0.01 ÷ 60 = 0.0305/3",
                "images  2 × 0.04 = 0.08",
                "per call  0.001",
                "multiplier  × 1",
                "charge  0.091787667 credits (rounded half to even to 0.000000001)",
            ],
            "{text}"
        );
        assert!(!text.contains("charged"), "{text}");
    }
}
