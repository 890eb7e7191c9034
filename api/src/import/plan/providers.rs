//! Channels, which become providers.

use super::*;

impl Planner<'_> {
    /// Plans providers; answers with the models and the names that they are sent under.
    pub(super) fn channels(&mut self) -> SentNames {
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
}
