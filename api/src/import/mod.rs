//! Import: an existing New API or One API database becomes users, keys, providers, prices and opening balances here.
//!
//! For: reading the source ([`source`]), what its rows are here ([`plan`], [`prices`], [`channels`], [`units`]), doing it
//! ([`run`]) and telling of it ([`report`]).
//! May not touch: the source, other than to read it; balances, other than by grants on the ledger.
//! Claims: a dry run writes nothing; a second run imports nothing twice, and completes one that died; the credits on the
//! ledger are the quota of the source, to its last unit, and where they are not the report says by how much and why.

pub mod channels;
pub mod plan;
pub mod prices;
pub mod report;
pub mod source;
pub mod units;

use crate::config::Config;
use crate::directory::import::{ImportSource, Present, present};
use crate::directory::{now, words};
use crate::serve::{self, Foundation, command_line};
use anyhow::{Context, bail};
use domain::account::event::GrantSource;
use domain::{AccountEvent, Command, GrantId, IdempotencyKey, Reason};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ledger::{Audit, Ledger, LedgerError};
use plan::{Opening, Plan, Terms};
use projections::{Database, DatabaseError};
use report::{OnLedger, Report};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use source::Source;
use std::sync::Arc;
use uuid::Uuid;

words! {
    /// Which gateway a database is of.
    Kind {
        /// New API.
        NewApi = "new-api",
        /// One API.
        OneApi = "one-api",
    }
}

/// How to import.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportOptions {
    /// The database: the path of a SQLite file, postgres://… or mysql://…
    #[arg(long)]
    pub from: String,
    /// Which gateway's it is: new-api or one-api. Else its tables tell.
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Write nothing; print what would be imported.
    #[arg(long)]
    pub dry_run: bool,
    /// How much quota is one credit. Else what the source takes for a dollar, which is 500000 unless its admin changed it.
    #[arg(long)]
    pub quota_per_credit: Option<u32>,
    /// A name for this source, if there are several. Else the gateway's.
    #[arg(long)]
    pub source: Option<String>,
    /// What `GET /api/pricing` of the running site answered, in a file: the prices in force.
    #[arg(long, value_name = "FILE")]
    pub pricing: Option<std::path::PathBuf>,
    /// What output costs as a multiple of input where the source does not say; without it such models get no price.
    #[arg(long, value_name = "RATIO")]
    pub completion_ratio: Option<Decimal>,
    /// Take the source's word for it that e-mail addresses are proven.
    #[arg(long)]
    pub emails_verified: bool,
    /// Leave out the balances of the source's admins, who start with credit that nobody paid for.
    #[arg(long)]
    pub without_operator_balances: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Users or keys that are written in one transaction.
const CHUNK: usize = 200;
/// Accounts that are opened at the same time.
const AT_ONCE: usize = 16;

/// Runs an import and answers with its report.
pub async fn run(config: &Config, options: &ImportOptions) -> anyhow::Result<Report> {
    let source = Source::open(&source::url_of(&options.from)?).await?;
    let kind = options.kind.or_else(|| source.kind()).context(
        "the tables do not tell whether this is a New API or a One API database; say --kind new-api or one-api",
    )?;
    let name = options.source.clone().unwrap_or_else(|| kind.as_str().to_owned());
    if !(1..=32).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        bail!("--source must be 1 to 32 letters, digits or \"-\"");
    }
    let pricing = match &options.pricing {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => None,
    };
    let data = source.read().await?;
    let mut terms = Terms {
        kind,
        source: name,
        per_credit: options.quota_per_credit,
        dry_run: options.dry_run,
        completion: options.completion_ratio,
        emails_verified: options.emails_verified,
        without_operator_balances: options.without_operator_balances,
        allow_private: config.allow_private_providers,
        at: now(),
        pricing,
    };
    if options.dry_run {
        let present = present_if_any(config, &terms.source).await?;
        let is_new = present.is_none();
        let present = present.unwrap_or_default();
        check_source(&mut terms, &data, &present)?;
        let mut report = plan::plan(&data, &present, &terms)?.report;
        if is_new {
            report.tell(report::note::TARGET_NEW, "the database of this configuration");
        }
        return Ok(report);
    }
    let foundation = Foundation::open(config).await?;
    let present = present(foundation.db(), &terms.source).await?;
    if !present.has_operator {
        bail!(
            "there is no operator yet: start the gateway once, or run `nexusroute admin create`, then import"
        );
    }
    let fingerprint = check_source(&mut terms, &data, &present)?;
    let plan = plan::plan(&data, &present, &terms)?;
    let source = ImportSource {
        source: terms.source,
        kind: kind.as_str().to_owned(),
        fingerprint,
        quota_per_credit: plan.report.per_credit.get().into(),
    };
    // The log before the first row: an import that cannot open accounts should not begin.
    let access = serve::log_of(config).await?;
    let ledger = Ledger::new(access.log().clone(), Arc::new(foundation.db().clone()));
    let done = execute(&foundation, &ledger, &source, plan).await;
    foundation.directory().publish_acts(&Audit::new(access.log().clone())).await;
    access.end().await;
    done
}

/// The directory as it is, read only. `None`: there are no tables of this version yet.
async fn present_if_any(config: &Config, source: &str) -> anyhow::Result<Option<Present>> {
    if config.database_url.is_none() && !config.data_dir.join("nexusroute.db").exists() {
        return Ok(None);
    }
    let url = serve::database_url(config);
    let read = async { present(&Database::connect_to_read(&url).await?, source).await };
    match read.await {
        Ok(present) => Ok(Some(present)),
        Err(DatabaseError::Refused(_)) => Ok(None),
        Err(error) => Err(error).context("cannot read the database of this configuration"),
    }
}

/// Is it the database that was imported under this name before, at the same worth? Answers with its fingerprint.
fn check_source(terms: &mut Terms, data: &source::Data, present: &Present) -> anyhow::Result<String> {
    let fingerprint = fingerprint(terms.kind, data);
    let Some(before) = &present.source else { return Ok(fingerprint) };
    let name = &terms.source;
    if before.kind != terms.kind.as_str() || before.fingerprint != fingerprint {
        bail!(
            "another database was imported as source {name:?}; give this one a name of its own by --source"
        );
    }
    let worth = u32::try_from(before.quota_per_credit).ok();
    match terms.per_credit {
        Some(asked) if Some(asked) != worth => {
            bail!("source {name:?} was imported at {} quota a credit, which stays", before.quota_per_credit)
        }
        Some(_) => {}
        None => terms.per_credit = worth,
    }
    Ok(fingerprint)
}

/// What two databases of one gateway differ in: their first user, by the invitation code that was drawn for them.
fn fingerprint(kind: Kind, data: &source::Data) -> String {
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    if let Some(first) = data.users.first() {
        let code = Some(first.text("aff_code")).filter(|code| !code.is_empty());
        for part in [first.text("id"), code.unwrap_or_else(|| first.text("username"))] {
            hash.update([0]);
            hash.update(part);
        }
    }
    hex::encode(hash.finalize())
}

/// The id that a row gets here: the same for ever, also in another database beside the same log. It sorts by the time at which
/// the row was made there, if that is known.
pub(crate) fn id_of(source: &str, what: &str, id: &str, created_s: i64) -> Uuid {
    let mut hash = Sha256::new();
    for part in ["nexusroute import", source, what, id] {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(created_s).unwrap_or(0).saturating_mul(1000);
    uuid::Builder::from_unix_timestamp_millis(millis & 0xFFFF_FFFF_FFFF, &random).into_uuid()
}

async fn execute(
    foundation: &Foundation,
    ledger: &Ledger,
    source: &ImportSource,
    plan: Plan,
) -> anyhow::Result<Report> {
    let (directory, name) = (foundation.directory(), source.source.as_str());
    let mut report = plan.report;
    directory.begin_import(source, &plan.users, command_line()).await?;
    directory.import_groups(name, &plan.groups).await.context("groups")?;
    for provider in &plan.providers {
        let what = || format!("channel {}", provider.source_id);
        directory.import_provider(name, provider).await.with_context(what)?;
    }
    directory.import_price_lists(name, &plan.prices, &command_line()).await.context("prices")?;
    for users in plan.users.chunks(CHUNK) {
        directory.import_users(name, users).await.context("users")?;
    }
    for keys in plan.keys.chunks(CHUNK) {
        directory.import_keys(name, keys).await.context("keys")?;
    }
    for top_ups in plan.top_ups.chunks(CHUNK) {
        directory.import_top_ups(name, top_ups).await.context("top-ups")?;
    }
    for codes in plan.codes.chunks(CHUNK) {
        directory.import_codes(name, codes).await.context("redemption codes")?;
    }
    let opened = stream::iter(&plan.openings).map(|opening| open(ledger, source, opening));
    let opened: Vec<(i64, bool)> = opened.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut on_ledger = OnLedger::default();
    for (nano, is_new) in opened {
        on_ledger.accounts += 1;
        on_ledger.nano += i128::from(nano);
        on_ledger.new += u64::from(is_new);
    }
    report.on_ledger = Some(on_ledger);
    let mut told = report.json();
    // What the log keeps of it names nobody.
    if let Some(anomalies) = told["anomalies"].as_array_mut() {
        anomalies.iter_mut().for_each(|it| it["rows"] = serde_json::Value::Null);
    }
    directory.finish_import(name, told, command_line()).await?;
    Ok(report)
}

/// Opens an account with its balance: the one that stands on the ledger, if this was done before. Answers with its
/// nano-credits, and whether they are new.
async fn open(ledger: &Ledger, source: &ImportSource, opening: &Opening) -> anyhow::Result<(i64, bool)> {
    let name = &source.source;
    let key = IdempotencyKey::try_new(format!("import:{name}:user:{}", opening.source_id))?;
    let command = Command::GrantCredit {
        grant: GrantId::from_uuid(id_of(name, "grant", &opening.source_id, 0)),
        source: GrantSource::Import,
        credits: opening.credits,
        reason: Some(Reason::try_new(format!("balance at {}", source.kind))?),
    };
    let mut tries = 0;
    let receipt = loop {
        let done = ledger.execute(opening.account, command.clone(), command_line(), Some(key.clone())).await;
        match done {
            Ok(receipt) => break receipt,
            // The same key finds out what became of it.
            Err(LedgerError::Unavailable(_) | LedgerError::Contended { .. }) if tries < 10 => {
                tries += 1;
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            Err(error) => {
                let what = format!("the balance of user {} cannot be opened", opening.source_id);
                return Err(error).context(what);
            }
        }
    };
    match &receipt.recorded.event {
        AccountEvent::CreditGranted(granted) => Ok((granted.credits.nano(), !receipt.repeated)),
        other => bail!("the key of user {}'s balance stands for another event: {other:?}", opening.source_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_id_is_the_same_for_ever_and_sorts_by_its_age() {
        let id = id_of("new-api", "user", "7", 1_700_000_000);
        assert_eq!(id, id_of("new-api", "user", "7", 1_700_000_000));
        assert_eq!(id.get_version_num(), 7);
        for other in [id_of("other", "user", "7", 1_700_000_000), id_of("new-api", "key", "7", 1_700_000_000)]
        {
            assert_ne!(id, other);
        }
        assert!(id < id_of("new-api", "user", "1", 1_700_000_001));
        assert!(id_of("new-api", "user", "1", -1) < id);
    }
}
