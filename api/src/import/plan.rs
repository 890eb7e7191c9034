//! The plan: what every row of the source becomes here, decided before anything is written.
//!
//! For: the rows to be written, and the report of all that is not as one would think.
//! May not touch: any database, any clock. A dry run is a plan and nothing more.
//! Claims: every row of `users` is in exactly one sum of the report; a row that was imported before is not planned again, but
//! its account is opened again with what it was opened with, which changes nothing.

mod codes;
mod keys;
mod payments;
mod people;
mod providers;
mod rates;

use super::report::{Report, note};
use super::source::{Data, Record};
use super::units::{QuotaPerCredit, decimal};
use super::{Kind, channels, id_of, prices};
use crate::directory::address;
use crate::directory::import::{
    ImportedCode, ImportedKey, ImportedProvider, ImportedTopUp, ImportedUser, Mapped, Present,
};
use crate::directory::imported_password::{NO_PASSWORD, cost_of};
use crate::directory::key::KeyStatus;
use crate::directory::provider::{ApiFormat, NewProviderModel};
use crate::directory::user::{Role, check_email};
use crate::directory::{Status, group};
use domain::account::decide::MOST_CREDITS_IN;
use domain::{AccountId, Credits, KeyId, Label, Moment, Prices};
use ipnet::IpNet;
use prices::{Tables, Unpriced};
use relay::Secret;
use rust_decimal::{Decimal, RoundingStrategy};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Which gateway's database.
    pub kind: Kind,
    /// The source's name.
    pub source: String,
    /// What is one credit; `None`: what the source takes for a dollar.
    pub per_credit: Option<u32>,
    /// Will nothing be written?
    pub dry_run: bool,
    /// What a missing completion ratio counts as.
    pub completion: Option<Decimal>,
    /// Are addresses proven?
    pub emails_verified: bool,
    /// Are the balances of admins left out?
    pub without_operator_balances: bool,
    /// May providers be at private addresses?
    pub allow_private: bool,
    /// When this is: codes whose time is over are not imported.
    pub at: Moment,
    /// What `GET /api/pricing` answered.
    pub pricing: Option<String>,
}

/// An account to be opened with a balance.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The user's id there.
    pub source_id: String,
    /// The account.
    pub account: AccountId,
    /// Its balance, above zero.
    pub credits: Credits,
}

/// All that is to be written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Groups with their multipliers.
    pub groups: Vec<(String, Decimal)>,
    /// Providers.
    pub providers: Vec<ImportedProvider>,
    /// Prices of models.
    pub prices: Vec<(String, Prices)>,
    /// Users.
    pub users: Vec<ImportedUser>,
    /// Keys.
    pub keys: Vec<ImportedKey>,
    /// Payments of the past.
    pub top_ups: Vec<ImportedTopUp>,
    /// Redemption codes that nobody has redeemed.
    pub codes: Vec<ImportedCode>,
    /// Balances, also of users imported before.
    pub openings: Vec<Opening>,
    /// What is to be told.
    pub report: Report,
}

/// Makes the plan.
pub fn plan(data: &Data, present: &Present, terms: &Terms) -> anyhow::Result<Plan> {
    let option = |name: &str| data.options.get(name).map(String::as_str);
    let per_dollar = match option("QuotaPerUnit").and_then(decimal).map(u32::try_from) {
        Some(Ok(quota)) => QuotaPerCredit::try_new(quota),
        Some(Err(_)) => Err("is no whole number".to_owned()),
        None => Ok(QuotaPerCredit::DEFAULT),
    };
    let per_dollar = per_dollar.map_err(|fault| anyhow::anyhow!("the source's QuotaPerUnit {fault}"))?;
    let per_credit = match terms.per_credit {
        Some(quota) => {
            QuotaPerCredit::try_new(quota).map_err(|fault| anyhow::anyhow!("--quota-per-credit {fault}"))?
        }
        None => per_dollar,
    };
    let report = Report::new(terms.kind, &terms.source, per_credit, terms.dry_run);
    let mut planner = Planner {
        data,
        present,
        terms,
        per_credit,
        plan: Plan {
            groups: Vec::new(),
            providers: Vec::new(),
            prices: Vec::new(),
            users: Vec::new(),
            keys: Vec::new(),
            top_ups: Vec::new(),
            codes: Vec::new(),
            openings: Vec::new(),
            report,
        },
        people: HashMap::new(),
        multipliers: BTreeMap::new(),
    };
    let (tables, groups) = planner.tables()?;
    planner.users();
    planner.groups(&groups);
    planner.keys();
    let names = planner.channels();
    let price_terms =
        prices::Terms { kind: terms.kind, per_credit, per_dollar, completion: terms.completion };
    planner.prices(&tables, &price_terms, &names);
    planner.top_ups(per_dollar);
    planner.codes();
    planner.the_rest();
    Ok(planner.plan)
}

/// A user of the source, for the rows that belong to them.
#[derive(Clone, Debug)]
enum Person {
    /// Imported, now or before.
    Here { id: AccountId, quota: i64, group: String },
    /// Deleted there.
    Deleted,
    /// Not imported for another reason.
    Missing,
}

struct Planner<'a> {
    data: &'a Data,
    present: &'a Present,
    terms: &'a Terms,
    per_credit: QuotaPerCredit,
    plan: Plan,
    people: HashMap<i64, Person>,
    multipliers: BTreeMap<String, Decimal>,
}

/// Model → the names that channels send it under.
type SentNames = BTreeMap<String, BTreeSet<String>>;

impl Planner<'_> {
    fn report(&mut self) -> &mut Report {
        &mut self.plan.report
    }

    fn mapped(&self, kind: &str, id: &str) -> Option<Mapped> {
        self.present.mapped.get(&(kind.to_owned(), id.to_owned())).cloned()
    }
    /// What is not imported at all.
    fn the_rest(&mut self) {
        for (table, rows) in &self.data.left_behind {
            let count = u64::try_from(*rows).unwrap_or(0);
            self.plan.report.tell_many(note::LEFT_BEHIND, count, format!("{table}: {rows} rows"));
        }
        for table in &self.data.unknown_tables {
            self.plan.report.tell(note::UNKNOWN_TABLES, shown(table));
        }
        let is_secret = |name: &&String| {
            let name = name.to_lowercase();
            ["secret", "token", "password", "apikey", "private"].iter().any(|word| name.contains(word))
        };
        for (name, _) in self.data.options.iter().filter(|(name, value)| is_secret(name) && !value.is_empty())
        {
            self.plan.report.tell(note::SECRETS, shown(name));
        }
    }
}

impl Person {
    fn group(&self) -> Option<&str> {
        match self {
            Self::Here { group, .. } => Some(group),
            Self::Deleted | Self::Missing => None,
        }
    }
}

/// Seconds since 1970; 0 is never.
fn moment(seconds: i64) -> Option<Moment> {
    // Beyond the year 9999 lies a mistake.
    (1..=253_402_300_799).contains(&seconds).then(|| Moment::from_micros(seconds * 1_000_000))
}

/// A text for a report: one line, and not too long.
fn shown(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    clean.trim().to_owned()
}

/// A name as it can be one here; `None`: nothing is left of it.
fn name_of(text: &str, most: usize) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
    let clean = clean.trim();
    Label::try_new(clean).ok().map(String::from)
}

#[cfg(test)]
mod tests;
