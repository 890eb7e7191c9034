//! Where each option's value comes from, and options that are changed while the gateway runs.
//!
//! Claims: what is changed at run time passes the very checks that the file passes; an option that is read once at the start
//! cannot be changed so; a secret is never shown.

use super::{Config, ConfigError, Kind, OPTIONS, OptionHelp, Raw, set};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Options with values that stand over the file and the environment.
pub type Overrides = BTreeMap<String, Json>;

/// The options that can be changed while the gateway runs: a key, or the beginning of keys.
const CHANGEABLE: [&str; 6] = ["public_url", "site.", "registration.", "topup.", "adjustments.", "referral."];

/// Parts of the names of options that are secrets, or hold some.
const SECRETS: [&str; 8] =
    ["password", "secret", "token", "master_key", "private_key", "api_key", "database_url", "redis_url"];

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File,
    /// The environment, or the command line.
    Environment,
    /// It was changed while the gateway ran.
    Database,
}

/// What was written, before it was checked. Never shown whole: there are secrets in it.
#[derive(Clone, Default)]
pub(crate) struct Written {
    table: toml::Table,
    origins: BTreeMap<&'static str, Origin>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Written")
    }
}

impl Written {
    /// Notes what the file says.
    pub(super) fn of_file(file: &toml::Table) -> Self {
        let given = OPTIONS.iter().filter(|option| value_at(file, option.key).is_some());
        let origins = given.map(|option| (option.key, Origin::File)).collect();
        Self { table: toml::Table::new(), origins }
    }

    /// Notes that the environment says something.
    pub(super) fn environment(&mut self, option: &OptionHelp) {
        self.origins.insert(option.key, Origin::Environment);
    }

    /// Keeps what all of them came to.
    pub(super) fn keep(mut self, table: &toml::Table) -> Self {
        self.table = table.clone();
        self
    }
}

/// An option as it is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The option.
    pub help: &'static str,
    /// Its key.
    pub key: &'static str,
    /// Its default, as one would write it; empty: none.
    pub default: &'static str,
    /// Its value; `None`: there is none, or it is a secret.
    pub value: Option<Json>,
    /// Is it a secret that is set?
    pub is_hidden: bool,
    /// Where the value comes from.
    pub origin: Origin,
    /// Can it be changed while the gateway runs?
    pub is_changeable: bool,
}

/// Can this option be changed while the gateway runs?
pub fn is_changeable(key: &str) -> bool {
    CHANGEABLE.iter().any(|it| if it.ends_with('.') { key.starts_with(it) } else { key == *it })
}

impl Config {
    /// This configuration with options changed: those that can be while the gateway runs, the rest stays.
    ///
    /// Errors: an option that is unknown or read once at the start, a value of another kind, and all that the file's checks
    /// refuse.
    pub fn with(&self, overrides: &Overrides) -> Result<Self, ConfigError> {
        if overrides.is_empty() {
            return Ok(self.clone());
        }
        let mut table = self.written.table.clone();
        for (key, value) in overrides {
            let option = OPTIONS.iter().find(|option| option.key == key);
            let option =
                option.ok_or_else(|| ConfigError::Wrong(format!("{key}: there is no such option")))?;
            if !is_changeable(key) {
                let fault =
                    format!("{key}: is read once at the start; set it in the file or the environment");
                return Err(ConfigError::Wrong(fault));
            }
            set(&mut table, option.key, value_of(option, value)?);
        }
        let raw: Raw = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Wrong(error.message().to_owned()))?;
        let changed = Self::check(raw)?;
        Ok(Self {
            public_url: changed.public_url,
            site_name: changed.site_name,
            registration: changed.registration,
            topup: changed.topup,
            adjustments: changed.adjustments,
            referral: changed.referral,
            ..self.clone()
        })
    }

    /// Every option as it is in force with these changes.
    pub fn shown(&self, overrides: &Overrides) -> Vec<Shown> {
        let shown = |option: &OptionHelp| {
            let changed = overrides.get(option.key);
            let value = changed.cloned().or_else(|| json(value_at(&self.written.table, option.key)?));
            let is_empty = matches!(&value, Some(Json::String(text)) if text.is_empty());
            let value = value.filter(|_| !is_empty);
            // Its default is made of another option.
            let made = || (option.key == "public_url").then(|| Json::from(self.public_url.as_str()));
            let value = value.or_else(made);
            let is_secret = is_secret(option.key);
            Shown {
                key: option.key,
                help: option.help,
                default: option.default,
                is_hidden: is_secret && value.is_some(),
                value: value.filter(|_| !is_secret).map(without_secrets),
                origin: match changed {
                    Some(_) => Origin::Database,
                    None => self.written.origins.get(option.key).copied().unwrap_or(Origin::Default),
                },
                is_changeable: is_changeable(option.key),
            }
        };
        OPTIONS.iter().map(shown).collect()
    }
}

fn is_secret(name: &str) -> bool {
    // A server's address may hold a name and a password.
    name == "nats_url" || SECRETS.iter().any(|part| name.contains(part))
}

/// The same without the values of names that sound like secrets.
fn without_secrets(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let field = |(name, value): (String, Json)| {
                let value = if is_secret(&name) { Json::Null } else { without_secrets(value) };
                (name, value)
            };
            Json::Object(fields.into_iter().map(field).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_secrets).collect()),
        other => other,
    }
}

fn value_at<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => value_at(table.get(section)?.as_table()?, rest),
    }
}

fn json(value: &toml::Value) -> Option<Json> {
    serde_json::to_value(value).ok()
}

/// A value of the option's kind.
fn value_of(option: &OptionHelp, value: &Json) -> Result<toml::Value, ConfigError> {
    let wrong = |what: &str| ConfigError::Wrong(format!("{}: must be {what}", option.key));
    let text = |value: &Json, what: &str| match value {
        Json::String(text) => Ok(toml::Value::String(text.clone())),
        Json::Number(number) if number.is_i64() => Ok(toml::Value::String(number.to_string())),
        Json::Number(_) | Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => Err(wrong(what)),
    };
    match option.kind {
        Kind::Text => text(value, "a text; an amount is one too"),
        Kind::Bool => value.as_bool().map(Into::into).ok_or_else(|| wrong("true or false")),
        Kind::Integer => value.as_i64().map(Into::into).ok_or_else(|| wrong("a whole number")),
        Kind::List => {
            let items = value.as_array().ok_or_else(|| wrong("a list"))?;
            let items = items.iter().map(|it| text(it, "a list of texts or whole numbers"));
            Ok(toml::Value::Array(items.collect::<Result<_, _>>()?))
        }
        Kind::Pairs => {
            let pairs = value.as_object().ok_or_else(|| wrong("an object"))?;
            let pairs = pairs.iter().map(|(name, it)| Ok((name.clone(), text(it, "an object of texts")?)));
            Ok(toml::Value::Table(pairs.collect::<Result<_, ConfigError>>()?))
        }
        Kind::Tables => Err(wrong("set in the file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Config {
        let file = "[topup]\nmin = 5\n[smtp]\nhost = \"m\"\nfrom = \"a@b.c\"\nusername = \"u\"\npassword = \"hush\"\n";
        let variables = [("NEXUSROUTE_DATABASE_URL".to_owned(), "postgres://u:hush@h/d".to_owned())];
        Config::from_parts(file, variables).unwrap()
    }

    fn overrides(pairs: Json) -> Overrides {
        serde_json::from_value(pairs).unwrap()
    }

    #[test]
    fn what_is_changed_passes_the_checks_of_the_file() {
        let it = base();
        let changes = json!({"topup.min": "2", "topup.rates": {"CNY": "7", "EUR": "1"}, "topup.presets": [10, 20],
            "registration.mode": "closed", "referral.enabled": true, "adjustments.daily": {"finance": "3"}});
        let changed = it.with(&overrides(changes)).unwrap();
        assert_eq!((changed.topup.min.as_str(), changed.topup.presets.as_slice()), ("2", &[10, 20][..]));
        assert_eq!(changed.topup.rates.keys().collect::<Vec<_>>(), ["CNY", "EUR"]);
        assert!(changed.referral.enabled);
        let daily = changed.adjustments.daily;
        assert_eq!(
            (daily.of(Role::Finance).to_string(), daily.of(Role::Owner)),
            ("3".into(), domain::Credits::ZERO)
        );
        for (key, value, named) in [
            ("topup.min", json!("0"), "topup.min"),
            ("topup.min", json!(1.5), "topup.min"),
            ("topup.rates", json!({"USD": "1"}), "topup.currency"),
            ("topup.presets", json!(["x"]), "topup.presets"),
            ("registration.mode", json!("open"), "registration.mode"),
            ("adjustments.daily", json!({"user": "1"}), "adjustments.daily"),
            ("adjustments.daily", json!({"owner": "-1"}), "adjustments.daily"),
            ("referral.enabled", json!("yes"), "referral.enabled"),
            ("referral.reward", json!("much"), "referral.reward"),
            ("public_url", json!("ftp://x"), "public_url"),
            ("site.name", json!(""), "site.name"),
            ("listen", json!("127.0.0.1:1"), "listen"),
            ("nonsense", json!(1), "nonsense"),
        ] {
            let error = it.with(&overrides(json!({ key: value }))).unwrap_err().to_string();
            assert!(error.contains(named), "{key}: {error}");
        }
    }

    use crate::directory::user::Role;

    #[test]
    fn every_option_is_shown_with_its_origin_and_no_secret_is() {
        let it = base();
        let shown = it.shown(&overrides(json!({"site.name": "Ours"})));
        assert_eq!(shown.len(), OPTIONS.len());
        let of = |key: &str| shown.iter().find(|it| it.key == key).unwrap();
        assert_eq!((of("topup.min").origin, of("topup.max").origin), (Origin::File, Origin::Default));
        assert_eq!(
            (of("site.name").origin, &of("site.name").value),
            (Origin::Database, &Some(json!("Ours")))
        );
        assert_eq!(of("smtp.host").value, Some(json!("m")));
        for key in ["smtp.password", "database_url"] {
            assert!(of(key).is_hidden && of(key).value.is_none(), "{key}");
        }
        assert_eq!(of("database_url").origin, Origin::Environment);
        assert!(!of("admin_password").is_hidden, "it is not set");
        assert!(!format!("{shown:?} {:?}", it.written).contains("hush"));
        // A name that sounds like a secret is one: whoever adds such an option need not think of this place.
        for key in ["oidc.client_secret", "wechat.private_key", "telegram.bot_token"] {
            assert!(is_secret(key), "{key}");
        }
    }
}
