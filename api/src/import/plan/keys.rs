//! Keys, which work unchanged.

use super::*;

impl Planner<'_> {
    pub(super) fn keys(&mut self) {
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
