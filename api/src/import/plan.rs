//! The plan: what every row of the source becomes here, decided before anything is written.
//!
//! For: the rows to be written, and the report of all that is not as one would think.
//! May not touch: any database, any clock. A dry run is a plan and nothing more.
//! Claims: every row of `users` is in exactly one sum of the report; a row that was imported before is not planned again, but
//! its account is opened again with what it was opened with, which changes nothing.

use super::report::{Report, note};
use super::source::{Data, Record};
use super::units::{QuotaPerCredit, decimal};
use super::{Kind, channels, id_of, prices};
use crate::directory::address;
use crate::directory::import::{ImportedKey, ImportedProvider, ImportedTopUp, ImportedUser, Mapped, Present};
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

    /// The ratio tables, and the groups' ratios.
    fn tables(&mut self) -> anyhow::Result<(Tables, prices::Ratios)> {
        let mut read = |name: &str| {
            let Some(text) = self.data.options.get(name).filter(|text| !text.trim().is_empty()) else {
                return prices::Ratios::new();
            };
            let (mut table, odd) = match prices::ratios(text) {
                Ok(read) => read,
                Err(_) => (prices::Ratios::new(), vec!["the whole table".to_owned()]),
            };
            let report = &mut self.plan.report;
            odd.iter().for_each(|entry| report.tell(note::RATIO_ODD, format!("{name}: {entry}")));
            table.retain(|model, _| {
                let is_pattern = model.contains('*') || (model.contains('(') && model.ends_with(')'));
                if is_pattern {
                    report.tell(note::RATIO_PATTERN, format!("{name}: {model}"));
                }
                !is_pattern
            });
            table
        };
        let mut tables = Tables {
            model: read("ModelRatio"),
            completion: read("CompletionRatio"),
            cache: read("CacheRatio"),
            create_cache: read("CreateCacheRatio"),
            image: read("ImageRatio"),
            audio: read("AudioRatio"),
            audio_completion: read("AudioCompletionRatio"),
            per_call: read("ModelPrice"),
            ..Tables::default()
        };
        let groups = read("GroupRatio");
        if let Some(modes) = self.data.options.get("billing_setting.billing_mode") {
            let modes: BTreeMap<String, String> = serde_json::from_str(modes).unwrap_or_default();
            tables.tiered =
                modes.into_iter().filter(|(_, mode)| mode == "tiered_expr").map(|(model, _)| model).collect();
        }
        let pairs = self.data.options.get("GroupGroupRatio").map_or("", |text| text.trim());
        if !matches!(pairs, "" | "{}" | "null") {
            self.report().tell(note::GROUP_PAIRS, "GroupGroupRatio");
        }
        if let Some(pricing) = &self.terms.pricing {
            let differ = tables.take_pricing(pricing);
            for model in differ.map_err(|error| anyhow::anyhow!("--pricing: {error}"))? {
                self.report().tell(note::PRICE_DIFFERS, model);
            }
        }
        Ok((tables, groups))
    }

    fn users(&mut self) {
        if self.data.consumed.is_empty() && !self.data.users.is_empty() {
            self.report().tell(note::LOGS_MISSING, "logs");
        }
        let mut names = self.present.usernames.clone();
        let mut emails = self.present.emails.clone();
        for row in &self.data.users {
            self.report().count("users").source += 1;
            if let Err(fault) = self.user(row, &mut names, &mut emails) {
                let who = format!("user {}: {fault}", row.text("id"));
                self.report().tell(note::UNREADABLE, who);
                let quota = row.int("quota").unwrap_or(0);
                self.left_out("unreadable", quota);
                if let Ok(id) = row.int("id") {
                    self.people.insert(id, Person::Missing);
                }
            }
        }
    }

    fn left_out(&mut self, why: &'static str, quota: i64) {
        self.plan.report.total.add(quota);
        self.plan.report.left_out.entry(why).or_default().add(quota);
    }

    fn user(
        &mut self,
        row: &Record,
        names: &mut HashSet<String>,
        emails: &mut HashSet<String>,
    ) -> Result<(), String> {
        let id = row.int("id")?;
        let (quota, used, status, role) =
            (row.int("quota")?, row.int("used_quota")?, row.int("status")?, row.int("role")?);
        let created_s = row.int("created_at")?;
        let name = row.text("username");
        let who = format!("user {id} ({})", shown(name));
        let is_deleted = row.opt("deleted_at").is_some_and(|at| !at.trim().is_empty())
            || (self.terms.kind == Kind::OneApi && status == 3);
        if is_deleted {
            self.report().tell_sum(note::DELETED_USERS, quota, format!("{who}: {quota}"));
            self.left_out("deleted", quota);
            self.people.insert(id, Person::Deleted);
            return Ok(());
        }
        for (column, value) in [("quota", quota), ("used_quota", used)] {
            if self.terms.kind == Kind::NewApi && value.unsigned_abs() >= i32::MAX.unsigned_abs().into() {
                self.report().tell(note::QUOTA_BOUND, format!("{who}: {column} {value}"));
            }
        }
        if !self.data.consumed.is_empty() {
            let logged = self.data.consumed.get(&id).copied().unwrap_or(0);
            if logged != used {
                let difference = used.saturating_sub(logged);
                let line = format!("{who}: used_quota {used}, logs {logged}");
                self.report().tell_sum(note::USED_QUOTA, difference, line);
            }
        }
        let aff_quota = row.int("aff_quota")?;
        if aff_quota > 0 {
            self.report().tell_sum(note::REFERRAL_QUOTA, aff_quota, format!("{who}: {aff_quota}"));
        }
        if status != 1 {
            self.report().tell_sum(note::DISABLED_USERS, quota, format!("{who}: {quota}"));
        }
        let is_operator = role >= 10;
        if is_operator {
            self.report().tell(note::OPERATORS, format!("{who}: role {role}"));
        }
        let group = match row.text("group").trim() {
            "" => group::DEFAULT.to_owned(),
            given => given.to_owned(),
        };
        if group.chars().count() > 64 || Label::try_new(group.as_str()).is_err() {
            return Err(format!("its group {:?} cannot be one", shown(&group)));
        }

        if let Some(before) = self.mapped("user", row.text("id")) {
            return self.known_user(row, id, quota, &who, group, &before);
        }
        let opening = self.opening(quota, is_operator, &who);
        let account = AccountId::from_uuid(id_of(&self.terms.source, "user", row.text("id"), created_s));
        if opening.is_positive() {
            let source_id = row.text("id").to_owned();
            self.plan.openings.push(Opening { source_id, account, credits: opening });
        }
        let username = self.username(name, id, names, &who);
        let email = self.email(row.text("email"), id, emails, &who);
        let password_hash = match row.text("password") {
            hash if cost_of(hash).is_some() => hash.to_owned(),
            _ => {
                self.report().tell(note::NO_PASSWORD, who.clone());
                NO_PASSWORD.to_owned()
            }
        };
        let known_role = matches!(role, 1 | 10 | 100);
        if !known_role {
            self.report().tell(note::UNKNOWN_ROLE, format!("{who}: role {role}"));
        }
        self.people.insert(id, Person::Here { id: account, quota, group: group.clone() });
        self.report().count("users").imported += 1;
        if quota == 0 || opening.is_positive() {
            self.plan.report.groups.entry(group.clone()).or_default().add(quota);
        }
        self.plan.users.push(ImportedUser {
            source_id: row.text("id").to_owned(),
            id: account,
            username,
            email_verified: self.terms.emails_verified && !email.ends_with(NOWHERE),
            email,
            password_hash,
            role: if is_operator && known_role { Role::Admin } else { Role::User },
            status: if status == 1 && known_role { Status::Active } else { Status::Disabled },
            group,
            created_at: moment(created_s),
            quota: if opening.is_positive() { quota } else { 0 },
            credits: opening,
        });
        Ok(())
    }

    /// A user who was imported before: their account is opened again with what it was opened with.
    fn known_user(
        &mut self,
        row: &Record,
        id: i64,
        quota: i64,
        who: &str,
        group: String,
        before: &Mapped,
    ) -> Result<(), String> {
        let account: AccountId = before.target.parse().map_err(|error| format!("{error}"))?;
        let imported_of = if before.credits.is_positive() { before.quota } else { 0 };
        self.report().count("users").already += 1;
        if !self.present.users.contains(&before.target) {
            self.report().tell(note::GONE_HERE, who.to_owned());
        }
        if before.credits.is_positive() {
            self.plan.report.total.add(quota);
            self.plan.report.imported.add(imported_of);
            self.plan.report.groups.entry(group.clone()).or_default().add(imported_of);
            let source_id = row.text("id").to_owned();
            self.plan.openings.push(Opening { source_id, account, credits: before.credits });
            if quota != before.quota {
                let difference = quota.saturating_sub(before.quota);
                let line = format!("{who}: {} then, {quota} now", before.quota);
                self.report().tell_sum(note::CHANGED, difference, line);
                self.plan.report.left_out.entry("changed since").or_default().add(difference);
            }
        } else if quota == 0 {
            self.plan.report.total.add(0);
            self.plan.report.imported.add(0);
            self.plan.report.groups.entry(group.clone()).or_default().add(0);
        } else {
            self.left_out("without a balance before", quota);
        }
        self.people.insert(id, Person::Here { id: account, quota, group });
        Ok(())
    }

    /// What an account opens with, and the quota in its place of the report.
    fn opening(&mut self, quota: i64, is_operator: bool, who: &str) -> Credits {
        let line = format!("{who}: {quota}");
        if quota < 0 {
            self.report().tell_sum(note::NEGATIVE_QUOTA, quota, line);
            self.left_out("below zero", quota);
            return Credits::ZERO;
        }
        if is_operator && self.terms.without_operator_balances && quota > 0 {
            self.report().tell_sum(note::OPERATOR_BALANCE, quota, line);
            self.left_out("operators", quota);
            return Credits::ZERO;
        }
        match self.per_credit.credits(quota).filter(|(credits, _)| *credits <= MOST_CREDITS_IN) {
            None => {
                self.report().tell_sum(note::QUOTA_OVERFLOW, quota, line);
                self.left_out("too large", quota);
                Credits::ZERO
            }
            // Less than half a billionth: nothing to grant.
            Some((credits, false)) if !credits.is_positive() => {
                self.report().tell_sum(note::QUOTA_ROUNDED, quota, line);
                self.left_out("rounded to nothing", quota);
                Credits::ZERO
            }
            Some((credits, is_exact)) => {
                if !is_exact {
                    self.report().tell_sum(note::QUOTA_ROUNDED, quota, line);
                }
                self.plan.report.total.add(quota);
                self.plan.report.imported.add(quota);
                credits
            }
        }
    }

    /// The name, if it can be one and is free; else the nearest that is.
    fn username(&mut self, name: &str, id: i64, names: &mut HashSet<String>, who: &str) -> String {
        let can_be = |name: &str| {
            (1..=32).contains(&name.to_lowercase().chars().count())
                && !name.contains('@')
                && Label::try_new(name).is_ok()
        };
        let short: String = name.chars().take(20).collect();
        let further = (1..).map(|n| format!("user-{id}-{n}"));
        let beside = if short.is_empty() { String::new() } else { format!("{short}-{id}") };
        let candidates = [name.to_owned(), beside, format!("user-{id}")];
        let free = |it: &String| can_be(it) && !names.contains(&it.to_lowercase());
        let chosen = candidates.into_iter().chain(further).find(free).unwrap_or_default();
        names.insert(chosen.to_lowercase());
        if chosen != name {
            self.report().tell(note::RENAMED, format!("{who}: now {chosen}"));
        }
        chosen
    }

    /// The address, if it is one and free; else one that no mail reaches.
    fn email(&mut self, given: &str, id: i64, emails: &mut HashSet<String>, who: &str) -> String {
        let email = given.trim().to_lowercase();
        let fault = if email.is_empty() {
            Some(note::NO_EMAIL)
        } else if check_email(&email).is_err() {
            Some(note::BAD_EMAIL)
        } else if emails.contains(&email) {
            Some(note::SAME_EMAIL)
        } else {
            None
        };
        let chosen = match fault {
            None => email,
            Some(fault) => {
                self.report().tell(fault, format!("{who}: {:?}", shown(given)));
                format!("user-{id}@{}{NOWHERE}", self.terms.source.to_lowercase())
            }
        };
        emails.insert(chosen.clone());
        chosen
    }

    fn groups(&mut self, ratios: &prices::Ratios) {
        let used: BTreeSet<String> =
            self.people.values().filter_map(Person::group).map(str::to_owned).collect();
        let names: BTreeSet<&String> = used.iter().chain(ratios.keys()).collect();
        for name in names {
            self.report().count("groups").source += 1;
            if !ratios.contains_key(name) && (name != group::DEFAULT || !ratios.is_empty()) {
                self.report().tell(note::GROUP_UNPRICED, name.as_str());
            }
            let asked = ratios.get(name).copied().unwrap_or(Decimal::ONE);
            let rounded = asked.round_dp_with_strategy(6, RoundingStrategy::MidpointNearestEven);
            let most = Decimal::from(1000);
            let multiplier = if rounded.is_sign_negative() || rounded > most { most } else { rounded };
            if multiplier != asked {
                self.report().tell(note::GROUP_RATIO, format!("{name}: {asked}, now {multiplier}"));
            }
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
                self.report().tell(note::ODD_GROUP, name.as_str());
            }
            self.multipliers.insert(name.clone(), multiplier);
            if self.mapped("group", name).is_some() {
                self.report().count("groups").already += 1;
                continue;
            }
            match self.present.groups.get(name) {
                // The group that every gateway begins with, as it begins.
                Some(here) if name == group::DEFAULT && *here == Decimal::ONE => {}
                Some(here) if *here != multiplier => {
                    let line = format!("{name}: {here} here, {multiplier} there");
                    self.report().tell(note::GROUP_KEPT, line);
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            if name.chars().count() > 64 || Label::try_new(name.as_str()).is_err() {
                continue;
            }
            self.report().count("groups").imported += 1;
            self.plan.groups.push((name.clone(), multiplier));
        }
    }

    fn keys(&mut self) {
        let mut hashes = self.present.keys.clone();
        for row in &self.data.tokens {
            self.report().count("keys").source += 1;
            if let Err(fault) = self.key(row, &mut hashes) {
                self.report().tell(note::UNREADABLE, format!("key {}: {fault}", row.text("id")));
            }
        }
    }

    fn key(&mut self, row: &Record, hashes: &mut HashSet<String>) -> Result<(), String> {
        let (id, owner) = (row.int("id")?, row.int("user_id")?);
        let which = format!("key {id} ({}) of user {owner}", shown(row.text("name")));
        let is_deleted = row.opt("deleted_at").is_some_and(|at| !at.trim().is_empty());
        let (account, balance, group) = match self.people.get(&owner).cloned() {
            Some(Person::Here { id, quota, group }) if !is_deleted => (id, quota, group),
            Some(Person::Here { .. } | Person::Deleted) => {
                self.report().tell(note::DELETED_KEYS, which);
                return Ok(());
            }
            Some(Person::Missing) | None => {
                self.report().tell(note::ORPHAN_KEYS, which);
                return Ok(());
            }
        };
        let (remain, unlimited) = (row.int("remain_quota")?, row.truth("unlimited_quota")?);
        if !unlimited && remain < 0 {
            self.report().tell_sum(note::KEY_NEGATIVE, remain, format!("{which}: {remain}"));
        }
        if !unlimited && remain > balance {
            let line = format!("{which}: {remain}, its user has {balance}");
            self.report().tell_sum(note::KEY_ABOVE_BALANCE, remain.saturating_sub(balance), line);
        }
        let its_group = row.text("group").trim();
        if !its_group.is_empty() && its_group != group {
            let multiplier =
                |name: &str| self.multipliers.get(name).map_or("no ratio".to_owned(), ToString::to_string);
            let (there, here) = (multiplier(its_group), multiplier(&group));
            let line = format!("{which}: {} ({there}), here {group} ({here})", shown(its_group));
            self.report().tell(note::KEY_GROUP, line);
        }
        if self.mapped("key", row.text("id")).is_some() {
            self.report().count("keys").already += 1;
            return Ok(());
        }
        let Some(minted) = relay::key::imported(row.text("key")) else {
            self.report().tell(note::KEY_UNUSABLE, which);
            return Ok(());
        };
        if !hashes.insert(hex::encode(minted.hash)) {
            self.report().tell(note::KEY_TAKEN, which);
            return Ok(());
        }
        let (ip_allow, bad_networks) =
            networks(&format!("{}\n{}", row.text("allow_ips"), row.text("subnet")));
        for network in &bad_networks {
            self.report().tell(note::KEY_NETWORK, format!("{which}: {:?}", shown(network)));
        }
        // 3 (expired) and 4 (used up) are what the time and the budget say anyway.
        let is_disabled = row.int("status")? == 2;
        if is_disabled {
            self.report().tell(note::DISABLED_KEYS, which.clone());
        }
        let lost_all = ip_allow.is_empty() && !bad_networks.is_empty();
        let models = match self.terms.kind {
            Kind::NewApi if row.truth("model_limits_enabled")? => {
                Some(channels::list(row.text("model_limits")))
            }
            Kind::NewApi => None,
            Kind::OneApi => Some(channels::list(row.text("models"))).filter(|models| !models.is_empty()),
        };
        let budget = match unlimited {
            true => None,
            // More than an account can hold is no limit that anyone could reach.
            false => Some(self.per_credit.credits(remain.max(0)).map_or(MOST_CREDITS_IN, |(it, _)| it)),
        };
        let created_s = row.int("created_time")?;
        let expires_at = match row.int("expired_time")? {
            -1 => None,
            at => Some(Moment::from_micros(at.max(0).saturating_mul(1_000_000))),
        };
        self.report().count("keys").imported += 1;
        self.plan.keys.push(ImportedKey {
            source_id: row.text("id").to_owned(),
            id: KeyId::from_uuid(id_of(&self.terms.source, "key", row.text("id"), created_s)),
            user: account,
            name: name_of(row.text("name"), 100).unwrap_or_else(|| format!("imported key {id}")),
            hash: minted.hash,
            prefix: minted.prefix,
            status: if is_disabled || lost_all { KeyStatus::Disabled } else { KeyStatus::Active },
            expires_at,
            models,
            ip_allow,
            budget,
            created_at: moment(created_s),
        });
        Ok(())
    }

    /// Plans providers; answers with the models and the names that they are sent under.
    fn channels(&mut self) -> SentNames {
        let mut names = self.present.providers.clone();
        let mut sent = SentNames::new();
        for row in &self.data.channels {
            self.report().count("providers").source += 1;
            if let Err(fault) = self.channel(row, &mut names, &mut sent) {
                self.report().tell(note::UNREADABLE, format!("channel {}: {fault}", row.text("id")));
            }
        }
        sent
    }

    fn channel(
        &mut self,
        row: &Record,
        names: &mut HashSet<String>,
        sent: &mut SentNames,
    ) -> Result<(), String> {
        let (id, number) = (row.int("id")?, row.int("type")?);
        let which = format!("channel {id} ({})", shown(row.text("name")));
        let mut is_active = row.int("status")? == 1;
        if !is_active {
            self.report().tell(note::CHANNEL_DISABLED, which.clone());
        }
        let models = self.models(row, &which, sent);
        if self.mapped("provider", row.text("id")).is_some() {
            self.report().count("providers").already += 1;
            return Ok(());
        }
        let (base_url, api_format, is_spoken) = self.address(row, number, &which);
        is_active &= is_spoken;
        let (keys, disabled_keys) =
            channels::keys(number, row.text("key"), row.opt("channel_info").unwrap_or_default());
        let can_be_sent =
            |key: &String| (1..=4096).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        let given = keys.len();
        // What is not spoken here keeps its key, whatever it looks like, for the operator to go on from.
        let keys: Vec<Secret> = keys
            .into_iter()
            .filter(|key| if is_spoken { can_be_sent(key) } else { !key.is_empty() })
            .map(Secret::new)
            .collect();
        if disabled_keys > 0 || keys.len() < given || keys.is_empty() {
            let line = format!("{which}: {} imported, {disabled_keys} disabled", keys.len());
            self.report().tell(note::CHANNEL_KEY, line);
        }
        is_active &= !keys.is_empty();
        let keys = if keys.is_empty() { vec![Secret::new("none")] } else { keys };
        is_active &= self.serves_default(row, &which);
        self.options_of(row, &which);
        let (priority, weight) = (row.int("priority")?, row.int("weight")?);
        let fitting = i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX });
        let share = u32::try_from(weight.clamp(1, 1000)).unwrap_or(1);
        if i64::from(fitting) != priority || !(0..=1000).contains(&weight) {
            self.report()
                .tell(note::CHANNEL_NUMBERS, format!("{which}: priority {priority}, weight {weight}"));
        }
        self.report().count("providers").imported += 1;
        self.report().count("provider keys").imported += keys.len() as u64;
        self.report().count("provider keys").source += (keys.len() + disabled_keys) as u64;
        let name = self.provider_name(row.text("name"), id, names, &which);
        self.plan.providers.push(ImportedProvider {
            source_id: row.text("id").to_owned(),
            id: id_of(&self.terms.source, "provider", row.text("id"), 0),
            name,
            base_url,
            api_format,
            status: if is_active { Status::Active } else { Status::Disabled },
            priority: fitting,
            weight: share,
            keys,
            models,
        });
        Ok(())
    }

    /// What a channel serves, and under which names it is sent.
    fn models(&mut self, row: &Record, which: &str, sent: &mut SentNames) -> Vec<NewProviderModel> {
        let mapping = channels::mapping(row.text("model_mapping")).unwrap_or_else(|_| {
            self.report().tell(note::MAPPING, which.to_owned());
            BTreeMap::new()
        });
        let mut models = Vec::new();
        for model in channels::list(row.text("models")) {
            let upstream = channels::sent(self.terms.kind, &mapping, &model).unwrap_or_else(|_| {
                self.plan.report.tell(note::MAPPING, format!("{which}: {}", shown(&model)));
                model.clone()
            });
            if Label::try_new(model.as_str()).is_err() || Label::try_new(upstream.as_str()).is_err() {
                self.report().tell(note::MODEL_NAME, format!("{which}: {}", shown(&model)));
                continue;
            }
            sent.entry(model.clone()).or_default().insert(upstream.clone());
            models.push(NewProviderModel {
                model_name: model,
                upstream_name: upstream,
                display_name: None,
                cost: None,
            });
        }
        models
    }

    /// Where a provider is and how it speaks, and whether that can be used.
    fn address(&mut self, row: &Record, number: i64, which: &str) -> (String, ApiFormat, bool) {
        let (given, other) = (row.text("base_url").trim(), row.text("other"));
        // A type of several formats has a key of several parts, or a template for an address.
        let is_template = self.terms.kind == Kind::NewApi && number == 8;
        let spoken = match channels::spoken(self.terms.kind, number) {
            Some(_) if number == 23 && row.text("key").contains('|') => None,
            None if is_template => given
                .strip_suffix("/chat/completions")
                .and_then(|base| (!base.contains('{')).then(|| (base.to_owned(), ApiFormat::OpenAi))),
            Some(spoken) => spoken.base_url(given, other).map(|url| (url, spoken.format)),
            None => None,
        };
        let nowhere = || "https://nowhere.import.invalid".to_owned();
        let (url, format) = match spoken {
            Some(found) => found,
            None => {
                let kind = self.terms.kind;
                let note = match (channels::is_known(kind, number), channels::spoken(kind, number)) {
                    (false, _) => note::UNKNOWN_TYPE,
                    (true, None) => note::UNSPOKEN_TYPE,
                    (true, Some(_)) if number == 23 => note::UNSPOKEN_TYPE,
                    (true, Some(_)) => note::CHANNEL_ADDRESS,
                };
                self.report().tell(note, format!("{which}: type {number}"));
                let url = if given.is_empty() { nowhere() } else { given.to_owned() };
                (url, ApiFormat::Custom)
            }
        };
        let is_spoken = format != ApiFormat::Custom;
        match address::check_literal(&url, self.terms.allow_private) {
            Ok(url) => (url, format, is_spoken),
            Err(fault) => {
                if is_spoken {
                    self.report().tell(note::CHANNEL_ADDRESS, format!("{which}: {} {fault}", shown(&url)));
                }
                let fits = !url.is_empty() && url.len() <= 1000;
                (if fits { url } else { nowhere() }, format, false)
            }
        }
    }

    /// Did it serve the group that new users are in?
    fn serves_default(&mut self, row: &Record, which: &str) -> bool {
        let groups: BTreeSet<String> = match channels::list(row.text("group")) {
            none if none.is_empty() => [group::DEFAULT.to_owned()].into(),
            some => some.into_iter().collect(),
        };
        let all = |people: &HashMap<i64, Person>| {
            people.values().filter_map(Person::group).all(|group| groups.contains(group))
        };
        let serves_default = groups.contains(group::DEFAULT);
        if !serves_default || !all(&self.people) {
            let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.report().tell(note::CHANNEL_GROUPS, format!("{which}: {}", shown(&groups)));
        }
        serves_default
    }

    /// Names the options that are lost, without their values, which may be secrets.
    fn options_of(&mut self, row: &Record, which: &str) {
        const LOST: [&str; 9] = [
            "open_ai_organization",
            "status_code_mapping",
            "setting",
            "settings",
            "param_override",
            "header_override",
            "config",
            "system_prompt",
            "other",
        ];
        let is_used = |column: &&str| !matches!(row.text(column).trim(), "" | "{}" | "null" | "[]");
        let lost: Vec<&str> = LOST.into_iter().filter(is_used).collect();
        if !lost.is_empty() {
            self.report().tell(note::CHANNEL_OPTIONS, format!("{which}: {}", lost.join(", ")));
        }
    }

    fn provider_name(&mut self, name: &str, id: i64, names: &mut HashSet<String>, which: &str) -> String {
        let base = name_of(name, 60).unwrap_or_else(|| "channel".to_owned());
        let further = (1..).map(|n| format!("{base} ({id}.{n})"));
        let candidates = [base.clone(), format!("{base} ({id})")].into_iter().chain(further);
        let chosen = candidates.into_iter().find(|it| !names.contains(it)).unwrap_or_default();
        names.insert(chosen.clone());
        if chosen != name {
            self.report().tell(note::CHANNEL_RENAMED, format!("{which}: now {chosen}"));
        }
        chosen
    }

    fn prices(&mut self, tables: &Tables, terms: &prices::Terms, sent: &SentNames) {
        for (model, upstream) in sent {
            self.report().count("models").source += 1;
            if self.mapped("price", model).is_some() {
                self.report().count("prices").already += 1;
                continue;
            }
            if self.present.priced.contains(model) {
                self.report().tell(note::PRICE_KEPT, model.as_str());
                continue;
            }
            let priced = match terms.kind {
                Kind::NewApi => prices::price_of(tables, model, terms),
                Kind::OneApi => self.dearest(tables, terms, model, upstream),
            };
            let note = match priced {
                Ok((prices, was_rounded)) => {
                    if was_rounded {
                        self.report().tell(note::PRICE_ROUNDED, model.as_str());
                    }
                    self.report().count("prices").imported += 1;
                    self.plan.prices.push((model.clone(), prices));
                    continue;
                }
                Err(Unpriced::Unknown) => note::NO_PRICE,
                Err(Unpriced::Output) => note::NO_OUTPUT_PRICE,
                Err(Unpriced::Tiered) => note::PRICE_TIERED,
                Err(Unpriced::OutOfRange) => note::PRICE_RANGE,
            };
            self.report().tell(note, model.as_str());
        }
    }

    /// One API prices the name that is sent. Where channels send several, the dearest counts; one without a price leaves the
    /// model without one.
    fn dearest(
        &mut self,
        tables: &Tables,
        terms: &prices::Terms,
        model: &str,
        sent: &BTreeSet<String>,
    ) -> prices::Priced {
        let mut dearest: Option<(Prices, bool)> = None;
        let mut differ = false;
        for name in sent {
            let (prices, rounded) = prices::price_of(tables, name, terms)?;
            let worth = |prices: &Prices| (prices.base.output, prices.base.input, prices.base.per_call);
            dearest = match dearest {
                Some((best, was)) => {
                    differ |= best != prices;
                    Some(if worth(&prices) > worth(&best) { (prices, rounded) } else { (best, was) })
                }
                None => Some((prices, rounded)),
            };
        }
        if differ {
            self.report().tell(note::PRICE_AMBIGUOUS, model);
        }
        dearest.ok_or(Unpriced::Unknown)
    }

    fn top_ups(&mut self, per_dollar: QuotaPerCredit) {
        let mut numbers = HashSet::new();
        for row in &self.data.top_ups {
            self.report().count("top-ups").source += 1;
            if let Err(fault) = self.top_up(row, per_dollar, &mut numbers) {
                self.report().tell(note::UNREADABLE, format!("top-up {}: {fault}", row.text("id")));
            }
        }
    }

    fn top_up(
        &mut self,
        row: &Record,
        per_dollar: QuotaPerCredit,
        numbers: &mut HashSet<String>,
    ) -> Result<(), String> {
        let (id, payer, amount) = (row.int("id")?, row.int("user_id")?, row.int("amount")?);
        let (created, completed) = (row.int("create_time")?, row.int("complete_time")?);
        let (status, trade_no) = (row.text("status"), row.text("trade_no"));
        let which = format!("top-up {id} ({}) of user {payer}", shown(trade_no));
        if !trade_no.is_empty() && !numbers.insert(trade_no.to_owned()) {
            self.report().tell(note::TOP_UP_TWICE, which.clone());
        }
        if status == "pending" {
            self.report().tell(note::TOP_UP_PENDING, which.clone());
        }
        if status == "success" && (completed == 0 || completed < created) {
            self.report().tell(note::TOP_UP_TIME, which.clone());
        }
        let Some(Person::Here { id: user, .. }) = self.people.get(&payer).cloned() else {
            self.report().tell(note::TOP_UP_ORPHAN, which);
            return Ok(());
        };
        if self.mapped("top_up", row.text("id")).is_some() {
            self.report().count("top-ups").already += 1;
            return Ok(());
        }
        let money = decimal(row.text("money")).ok_or("money is no number")?;
        let money = money.round_dp_with_strategy(6, RoundingStrategy::MidpointNearestEven).normalize();
        let channel = provider_of(row);
        // What was credited: dollars of the site, or quota.
        let dollars = |dollars: Decimal| {
            let quota = dollars.checked_mul(per_dollar.get().into())?;
            let per_credit = Decimal::from(self.per_credit.get());
            let nano = quota.checked_mul(Decimal::from(Credits::NANO_PER_CREDIT))?.checked_div(per_credit)?;
            i64::try_from(nano.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven))
                .ok()
                .map(Credits::from_nano)
        };
        let credits = match channel.as_str() {
            _ if amount == 0 => None,
            "creem" => self.per_credit.credits(amount).map(|(credits, _)| credits),
            "stripe" => dollars(money),
            "epay" | "waffo" | "waffo_pancake" | "balance" => dollars(amount.into()),
            _ => None,
        };
        self.report().count("top-ups").imported += 1;
        self.plan.top_ups.push(ImportedTopUp {
            source_id: row.text("id").to_owned(),
            user,
            trade_no: trade_no.chars().filter(|c| !c.is_control()).take(255).collect(),
            channel,
            paid: money.to_string(),
            credits,
            status: name_of(status, 32).unwrap_or_else(|| "unknown".to_owned()),
            created_at: moment(created).unwrap_or(Moment::from_micros(0)),
            completed_at: moment(completed),
        });
        Ok(())
    }

    /// What is not imported at all.
    fn the_rest(&mut self) {
        for row in &self.data.redemptions {
            self.report().count("redemption codes").source += 1;
            let (id, quota) = (row.text("id").to_owned(), row.int("quota").unwrap_or(0));
            let is_deleted = row.opt("deleted_at").is_some_and(|at| !at.trim().is_empty());
            let ends = row.int("expired_time").unwrap_or(0);
            let is_unused = row.int("status") == Ok(1) && !is_deleted;
            let note = if is_unused { note::REDEMPTIONS } else { note::REDEMPTIONS_USED };
            let end = if ends > 0 { format!(", expires at {ends}") } else { String::new() };
            self.report().tell_sum(note, quota, format!("code {id}: {quota}{end}"));
        }
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

/// The end of an address that no mail reaches.
const NOWHERE: &str = ".import.invalid";

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

/// Networks, one a line or between commas, and what is none.
fn networks(text: &str) -> (Vec<IpNet>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in text.split(['\n', ',', ' ', ';']).map(str::trim).filter(|entry| !entry.is_empty()) {
        let network = entry.parse::<IpNet>().map(|it| it.trunc());
        match network.or_else(|_| entry.parse::<std::net::IpAddr>().map(IpNet::from)) {
            Ok(network) if good.contains(&network) => {}
            Ok(network) => good.push(network),
            Err(_) => bad.push(entry.to_owned()),
        }
    }
    (good, bad)
}

/// Which payment gateway an order went to: old rows tell it by the form of their number.
fn provider_of(row: &Record) -> String {
    let (stated, method, number) =
        (row.text("payment_provider"), row.text("payment_method"), row.text("trade_no"));
    if let Some(stated) = name_of(stated, 64) {
        return stated;
    }
    let found = match number {
        _ if number.starts_with("SUBBALUSR") || number.starts_with("SUBUSR") => "subscription",
        _ if number.starts_with("WAFFO-") => "waffo",
        _ if number.starts_with("USR") => "epay",
        _ if number.starts_with("ref_") && method.eq_ignore_ascii_case("creem") => "creem",
        _ if number.starts_with("ref_") && method.eq_ignore_ascii_case("stripe") => "stripe",
        _ => "",
    };
    found.to_owned()
}

#[cfg(test)]
mod tests;
