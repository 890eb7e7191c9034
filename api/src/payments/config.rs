//! What an operator writes about payment channels: a table `[payments.<name>]` for each, or variables.
//!
//! For: reading those tables ([`ChannelConfig`]), the fields of each kind ([`FIELDS`]), and what counts as no secret.
//! Claims: an unknown field is refused; a secret is never shown; an empty one, or one that was left as a sample shows it, is none.

use domain::ChannelName;
use relay::Secret;
use std::collections::BTreeMap;

/// A protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Epay (易支付) and its like.
    Epay,
    /// Stripe Checkout.
    Stripe,
    /// Alipay (支付宝).
    Alipay,
    /// WeChat Pay (微信支付).
    Wechat,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Epay, Self::Stripe, Self::Alipay, Self::Wechat];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epay => "epay",
            Self::Stripe => "stripe",
            Self::Alipay => "alipay",
            Self::Wechat => "wechat",
        }
    }
}

/// One field of a channel's table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Whose; `None`: every kind's.
    pub kind: Option<Kind>,
    /// Its name.
    pub key: &'static str,
    /// Is it a secret, or a key or certificate that may stand in a file of its own, named by `<key>_file`?
    pub is_secret: bool,
    /// Its default, as one would write it; empty: none.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

macro_rules! fields {
    ($($kind:expr, $key:literal $(($secret:ident))? $default:literal $help:literal)*) => {
        /// Every field.
        pub const FIELDS: &[Field] = &[$(Field {
            kind: $kind, key: $key, is_secret: fields!(@ $($secret)?), default: $default, help: $help,
        }),*];
    };
    (@ secret) => { true };
    (@) => { false };
}

use Kind::{Alipay, Epay, Stripe, Wechat};

fields! {
    None, "kind" "" "`epay`, `stripe`, `alipay` or `wechat`. Empty: the table's name."
    None, "title" "" "What payers read. Empty: the kind's own title."
    None, "enabled" "true" "`false` takes the channel off; its callbacks are kept and not believed."
    None, "return_url" "" "Where the browser goes after a payment. Empty: `public_url`."
    None, "allow_private" "false" "The gateway is on a private address: a simulator."
    None, "fee" "" "What the channel was agreed to keep of each payment, which reconciliation compares with its bills: `0.6%`, or `2.9% + 0.30`. Empty: it is compared with the rate that the bill itself names, if it does."
    Some(Epay), "base_url" "" "The interface's address, with its path: `https://pay.example.com`."
    Some(Epay), "pid" "" "The merchant's number."
    Some(Epay), "version" "1" "`1` (MD5) or `2` (RSA)."
    Some(Epay), "key" (secret) "" "Version 1: the merchant's key."
    Some(Epay), "private_key" (secret) "" "Version 2: the merchant's private key."
    Some(Epay), "platform_public_key" (secret) "" "Version 2: the platform's public key."
    Some(Epay), "methods" "alipay,wxpay" "What a payer may choose: `alipay`, `wxpay`, `qqpay`, `bank`, `jdpay`, `usdt`; the first is the default. Empty: the site asks."
    Some(Epay), "mode" "form" "How a payment begins: `form` (the browser posts to the site), `redirect` (it opens the same as an address), `api` (we ask the site for an address or a QR code)."
    Some(Epay), "submit_path" "" "Empty: `submit.php`, or `api/pay/submit` in version 2."
    Some(Epay), "create_path" "" "Empty: `mapi.php`, or `api/pay/create` in version 2."
    Some(Epay), "success_word" "success" "What the site wants to hear."
    Some(Epay), "confirm" "false" "Ask the site about an order before its callback is believed: whoever knows the key cannot forge a payment then."
    Some(Stripe), "base_url" "https://api.stripe.com" "The API's address."
    Some(Stripe), "files_url" "https://files.stripe.com" "Where reports are downloaded."
    Some(Stripe), "secret_key" (secret) "" "`sk_…` or `rk_…`."
    Some(Stripe), "webhook_secret" (secret) "" "The endpoint's signing secret, `whsec_…`. Two, with a comma between them, while one is being replaced."
    Some(Stripe), "api_version" "2025-09-30.clover" "What is sent as `Stripe-Version`."
    Some(Stripe), "currencies" "USD,EUR,GBP,HKD,SGD,JPY,CNY" "What may be paid with, of those that `topup.rates` has."
    Some(Stripe), "product" "Credits" "What stands on the payment page."
    Some(Alipay), "base_url" "https://openapi.alipay.com/gateway.do" "The gateway."
    Some(Alipay), "app_id" "" "The application's id."
    Some(Alipay), "seller_id" "" "The merchant's PID, `2088…`: a callback for another is refused."
    Some(Alipay), "private_key" (secret) "" "The application's private key, PKCS#8 or PKCS#1, PEM or bare base64."
    Some(Alipay), "alipay_public_key" (secret) "" "Public-key mode: Alipay's public key, not the application's."
    Some(Alipay), "app_cert" (secret) "" "Certificate mode: `appCertPublicKey_….crt`."
    Some(Alipay), "alipay_cert" (secret) "" "Certificate mode: `alipayCertPublicKey_RSA2.crt`."
    Some(Alipay), "alipay_root_cert" (secret) "" "Certificate mode: `alipayRootCert.crt`."
    Some(Alipay), "methods" "page,qr" "What a payer may choose: `page`, `qr`; the first is the default."
    Some(Alipay), "bill_hosts" "dwbillcenter.alipay.com" "Where bills may be downloaded from."
    Some(Alipay), "subject" "Credits" "What stands on the payment page."
    Some(Wechat), "base_url" "https://api.mch.weixin.qq.com" "The API's address."
    Some(Wechat), "appid" "" "The application's id, `wx…`."
    Some(Wechat), "mchid" "" "The merchant's number."
    Some(Wechat), "serial_no" "" "The serial number of the merchant's certificate."
    Some(Wechat), "private_key" (secret) "" "The merchant's private key, `apiclient_key.pem`."
    Some(Wechat), "api_v3_key" (secret) "" "The APIv3 key: 32 bytes."
    Some(Wechat), "public_key_id" "" "Public-key mode: `PUB_KEY_ID_…`."
    Some(Wechat), "public_key" (secret) "" "Public-key mode: WeChat Pay's public key."
    Some(Wechat), "platform_cert" (secret) "" "Certificate mode: platform certificates to begin with. Empty: they are fetched, and proven by the APIv3 key."
    Some(Wechat), "methods" "native" "What a payer may choose: `native` (QR code), `h5`, `jsapi`; the first is the default."
    Some(Wechat), "description" "Credits" "What stands on the payment page."
}

/// A channel's table, checked for its shape.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// The table's name: the channel's.
    pub name: ChannelName,
    /// The protocol.
    pub kind: Kind,
    /// What was written; all of it may be secret as far as a log line is concerned.
    fields: BTreeMap<&'static str, Secret>,
}

/// Why a channel cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A secret is missing, or the operator took it off: it is off, and says so.
    Off(String),
    /// A field is wrong: the gateway does not start.
    Wrong(String),
}

impl ChannelConfig {
    /// Reads a table; the error names what is wrong.
    pub fn try_new(name: &str, table: &toml::Table) -> Result<Self, String> {
        let at = |key: &str| format!("payments.{name}.{key}");
        let channel = ChannelName::try_new(name).map_err(|error| format!("payments.{name}: {error}"))?;
        if name == super::sandbox::NAME {
            return Err(format!("payments.{name}: the sandbox has that name"));
        }
        let word =
            table.get("kind").and_then(toml::Value::as_str).filter(|it| !it.is_empty()).unwrap_or(name);
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == word);
        let kind = kind
            .ok_or_else(|| format!("{}: {word:?} is none of epay, stripe, alipay and wechat", at("kind")))?;
        let mut fields = BTreeMap::new();
        for (key, value) in table {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Boolean(it) => it.to_string(),
                toml::Value::Integer(it) => it.to_string(),
                toml::Value::Array(items) => {
                    let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                    items.ok_or_else(|| format!("{}: is not a list of texts", at(key)))?.join(",")
                }
                toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
                    return Err(format!("{}: is neither a text, a number, true nor false", at(key)));
                }
            };
            let (field, in_file) = match named(kind, key) {
                Some(field) => (field, false),
                None => {
                    match key.strip_suffix("_file").and_then(|it| named(kind, it)).filter(|it| it.is_secret) {
                        Some(field) => (field, true),
                        None => {
                            return Err(format!(
                                "{}: there is no such field of a channel of kind {word}",
                                at(key)
                            ));
                        }
                    }
                }
            };
            let text = match in_file && !text.is_empty() {
                true => std::fs::read_to_string(&text)
                    .map_err(|error| format!("{}: cannot read {text}: {error}", at(key)))?,
                false => text,
            };
            let text = text.trim().to_owned();
            if !text.is_empty() && fields.insert(field.key, Secret::new(text)).is_some() {
                return Err(format!("{}: is given twice, as a text and as a file", at(field.key)));
            }
        }
        Ok(Self { name: channel, kind, fields })
    }

    /// A field, or its default.
    pub fn text(&self, key: &str) -> &str {
        match self.fields.get(key) {
            Some(text) => text.expose(),
            None => named(self.kind, key).map_or("", |field| field.default),
        }
    }

    /// A field that must not be empty.
    pub fn needed(&self, key: &str) -> Result<&str, Unusable> {
        match self.text(key) {
            "" => Err(self.wrong(key, "must be set")),
            text => Ok(text),
        }
    }

    /// A secret of at least `least` bytes. Without one the channel is off.
    pub fn secret(&self, key: &str, least: usize) -> Result<Secret, Unusable> {
        let text = self.text(key);
        match is_placeholder(text) || text.len() < least {
            true if text.is_empty() => Err(Unusable::Off(format!("{key} is empty"))),
            true => Err(Unusable::Off(format!("{key} is a placeholder or too short"))),
            false => Ok(Secret::new(text)),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Result<bool, Unusable> {
        self.text(key).parse().map_err(|_| self.wrong(key, "is neither true nor false"))
    }

    /// A list, whose items are checked by `known`.
    pub fn list<T>(&self, key: &str, known: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Unusable> {
        let items = self.text(key).split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| {
                known(item)
                    .ok_or_else(|| self.wrong(key, &format!("{item:?} is not one of those that there are")))
            })
            .collect()
    }

    /// A field is wrong.
    pub fn wrong(&self, key: &str, what: &str) -> Unusable {
        Unusable::Wrong(format!("payments.{}.{key}: {what}", self.name))
    }
}

fn named(kind: Kind, key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.key == key && field.kind.is_none_or(|it| it == kind))
}

/// Reads `NEXUSROUTE_PAYMENTS_EPAY_KEY` as the table's name and the field's: `epay`, `key`. An underscore in the channel's part
/// is a hyphen in its name. `None`: there is no such field.
pub fn of_variable(rest: &str) -> Option<(String, String)> {
    let rest = rest.to_lowercase();
    let mut keys: Vec<String> = FIELDS.iter().map(|field| field.key.to_owned()).collect();
    keys.extend(FIELDS.iter().filter(|field| field.is_secret).map(|field| format!("{}_file", field.key)));
    // The longest field that fits: `stripe_secret_key` is `secret_key` of `stripe`, not `key` of `stripe-secret`.
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.len()));
    keys.into_iter().find_map(|key| {
        let name = rest.strip_suffix(&key)?.strip_suffix('_')?;
        (!name.is_empty()).then(|| (name.replace('_', "-"), key))
    })
}

/// Is it what samples hold where a secret belongs?
pub fn is_placeholder(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let first = text.chars().next();
    let samples = [
        "change_me",
        "changeme",
        "change-me",
        "placeholder",
        "example",
        "your_",
        "your-",
        "todo",
        "xxxx",
        "...",
    ];
    text.is_empty()
        || text.chars().all(|it| Some(it) == first)
        || text.starts_with(['<', '$', '{'])
        || samples.iter().any(|sample| text.starts_with(sample) || text.ends_with(sample))
        || matches!(
            text.as_str(),
            "secret" | "password" | "none" | "null" | "test" | "key" | "whsec_" | "sk_live_" | "sk_test_"
        )
}

/// The tables of `docs/payments.md`.
pub fn documentation(kind: Option<Kind>) -> String {
    let mut text = String::from("| field | default | what it does |\n|---|---|---|\n");
    for field in FIELDS.iter().filter(|field| field.kind == kind) {
        let default =
            if field.default.is_empty() { "—".to_owned() } else { format!("`{}`", field.default) };
        let file = if field.is_secret { format!(" (or `{}_file`)", field.key) } else { String::new() };
        text.push_str(&format!("| `{}`{file} | {default} | {} |\n", field.key, field.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<ChannelConfig, String> {
        ChannelConfig::try_new(name, &text.parse().unwrap())
    }

    #[test]
    fn a_table_is_a_channel() {
        let config = read(
            "epay-two",
            "kind = \"epay\"\npid = 1001\nmethods = [\"alipay\"]\nkey = \"0123456789abcdef\"",
        )
        .unwrap();
        assert_eq!((config.kind, config.text("pid"), config.text("version")), (Kind::Epay, "1001", "1"));
        assert!(config.secret("key", 8).is_ok());
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        assert_eq!(read("stripe", "").unwrap().kind, Kind::Stripe);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, text, named) in [
            ("shop", "", "kind"),
            ("sandbox", "", "sandbox"),
            ("Epay", "kind = \"epay\"", "Epay"),
            ("epay", "keys = \"x\"", "payments.epay.keys"),
            ("epay", "secret_key = \"x\"", "secret_key"),
            ("epay", "pid = 1.5", "pid"),
            ("epay", "pid_file = \"/x\"", "pid_file"),
            ("epay", "key_file = \"/no/such/file\"", "/no/such/file"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(named), "{name} {text}: {error}");
        }
    }

    #[test]
    fn a_secret_may_stand_in_a_file_but_not_in_two_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let file = format!("key_file = {path:?}");
        assert_eq!(read("epay", &file).unwrap().text("key"), "0123456789abcdef");
        assert!(read("epay", &format!("{file}\nkey = \"another key\"")).unwrap_err().contains("twice"));
    }

    #[test]
    fn variables_name_a_channel_and_a_field() {
        for (rest, name, key) in [
            ("EPAY_KEY", "epay", "key"),
            ("STRIPE_SECRET_KEY", "stripe", "secret_key"),
            ("STRIPE_SECRET_KEY_FILE", "stripe", "secret_key_file"),
            ("EPAY_SHOP_TWO_PLATFORM_PUBLIC_KEY", "epay-shop-two", "platform_public_key"),
            ("WECHAT_API_V3_KEY", "wechat", "api_v3_key"),
        ] {
            assert_eq!(of_variable(rest), Some((name.to_owned(), key.to_owned())), "{rest}");
        }
        for rest in ["EPAY_KEYS", "KEY", "_KEY", ""] {
            assert_eq!(of_variable(rest), None, "{rest}");
        }
    }

    #[test]
    fn a_sample_is_no_secret() {
        for text in [
            "",
            " ",
            "changeme",
            "CHANGE_ME",
            "xxxxxxxxxxxxxxxx",
            "<key>",
            "${EPAY_KEY}",
            "your_key_here",
            "whsec_",
            "whsec_xxxx",
            "sk_live_...",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in
            ["89unJUB8HZ54Hj7x4nUj56HN4nUzUJ8i", "whsec_test_secret", "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"]
        {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn the_documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/payments.md");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for kind in [None].into_iter().chain(Kind::ALL.map(Some)) {
            let table = documentation(kind);
            assert!(text.contains(&table), "docs/payments.md lacks this table:\n{table}");
        }
    }
}
