//! Users and their groups: names and addresses that can be, and what each account opens with.

use super::*;

impl Planner<'_> {
    pub(super) fn users(&mut self) {
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

    pub(super) fn groups(&mut self, ratios: &prices::Ratios) {
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
}

/// The end of an address that no mail reaches.
const NOWHERE: &str = ".import.invalid";
