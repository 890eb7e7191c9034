//! Channels of the old gateways as providers here: what each type speaks and where it is, and the forms of their columns.
//!
//! Claims: a type that nobody here speaks is no provider in use; of two gateways' equal numbers each means its own.

use super::Kind;
use crate::directory::provider::ApiFormat;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a type of channel is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// How it speaks.
    pub format: ApiFormat,
    /// Where it is when the channel does not say; empty: nowhere.
    pub home: &'static str,
    /// What stands between the address and `/chat/completions`.
    pub path: &'static str,
}

const fn openai(home: &'static str) -> Option<Spoken> {
    at(home, "/v1")
}

const fn at(home: &'static str, path: &'static str) -> Option<Spoken> {
    Some(Spoken { format: ApiFormat::OpenAi, home, path })
}

const CLAUDE: Option<Spoken> =
    Some(Spoken { format: ApiFormat::Claude, home: "https://api.anthropic.com", path: "" });
const GEMINI: Option<Spoken> =
    Some(Spoken { format: ApiFormat::Gemini, home: "https://generativelanguage.googleapis.com", path: "" });
const ALI: Option<Spoken> = at("https://dashscope.aliyuncs.com", "/compatible-mode/v1");
const BAIDU: Option<Spoken> = at("https://qianfan.baidubce.com", "/v2");
const ARK: Option<Spoken> = at("https://ark.cn-beijing.volces.com", "/api/v3");
const MISTRAL: Option<Spoken> = openai("https://api.mistral.ai");
const DEEPSEEK: Option<Spoken> = openai("https://api.deepseek.com");
const SILICONFLOW: Option<Spoken> = openai("https://api.siliconflow.cn");
const XAI: Option<Spoken> = openai("https://api.x.ai");
const MINIMAX: Option<Spoken> = openai("https://api.minimax.chat");
const OLLAMA: Option<Spoken> = openai("http://localhost:11434");
/// `{other}` is the channel's account.
const CLOUDFLARE: Option<Spoken> = at("https://api.cloudflare.com", "/client/v4/accounts/{other}/ai/v1");

/// What a type speaks; `None`: nothing that is spoken here.
pub fn spoken(kind: Kind, channel_type: i64) -> Option<Spoken> {
    match (kind, channel_type) {
        (_, 1) => openai("https://api.openai.com"),
        (_, 14) => CLAUDE,
        (_, 24) => GEMINI,
        (_, 17) => ALI,
        (_, 19) => openai("https://api.360.cn"),
        (_, 20) => openai("https://openrouter.ai/api"),
        (_, 25) => openai("https://api.moonshot.cn"),
        (_, 31) => openai("https://api.lingyiwanwu.com"),
        (Kind::OneApi, 8) => openai(""),
        (Kind::NewApi, 4) => OLLAMA,
        (Kind::NewApi, 23) => openai("https://api.hunyuan.cloud.tencent.com"),
        (Kind::NewApi, 26) => at("https://open.bigmodel.cn", "/api/paas/v4"),
        (Kind::NewApi, 27) => at("https://api.perplexity.ai", ""),
        (Kind::NewApi, 35) => MINIMAX,
        (Kind::NewApi, 38) => openai("https://api.jina.ai"),
        (Kind::NewApi, 39) => CLOUDFLARE,
        (Kind::NewApi, 40) => SILICONFLOW,
        (Kind::NewApi, 42) => MISTRAL,
        (Kind::NewApi, 43) => DEEPSEEK,
        (Kind::NewApi, 44) => openai("https://api.moka.ai"),
        (Kind::NewApi, 45) => ARK,
        (Kind::NewApi, 46) => BAIDU,
        // Xinference, Submodel, Sub2API and New API itself are where their operator put them.
        (Kind::NewApi, 47 | 53 | 59 | 60) => openai(""),
        (Kind::NewApi, 48) => XAI,
        (Kind::OneApi, 26) => openai("https://api.baichuan-ai.com"),
        (Kind::OneApi, 27) => MINIMAX,
        (Kind::OneApi, 28) => MISTRAL,
        (Kind::OneApi, 29) => openai("https://api.groq.com/openai"),
        (Kind::OneApi, 30) => OLLAMA,
        (Kind::OneApi, 32) => openai("https://api.stepfun.com"),
        (Kind::OneApi, 36) => DEEPSEEK,
        (Kind::OneApi, 37) => CLOUDFLARE,
        (Kind::OneApi, 39) => openai("https://api.together.xyz"),
        (Kind::OneApi, 40) => ARK,
        (Kind::OneApi, 41) => at("https://api.novita.ai", "/v3/openai"),
        (Kind::OneApi, 44) => SILICONFLOW,
        (Kind::OneApi, 45) => XAI,
        (Kind::OneApi, 47) => BAIDU,
        (Kind::OneApi, 48) => openai("https://spark-api-open.xf-yun.com"),
        (Kind::OneApi, 49) => ALI,
        // Here the address replaces the version, too.
        (Kind::OneApi, 50 | 51) => at("", ""),
        (Kind::NewApi | Kind::OneApi, _) => None,
    }
}

/// Is it a type that the old gateway itself knows, though nobody here speaks it?
pub fn is_known(kind: Kind, channel_type: i64) -> bool {
    let most = if kind == Kind::NewApi { 60 } else { 51 };
    spoken(kind, channel_type).is_some()
        || ((1..=most).contains(&channel_type)
            && !matches!((kind, channel_type), (Kind::NewApi, 28..=30 | 32)))
}

impl Spoken {
    /// The base URL of a provider. `None`: the channel would have to say where it is, and does not.
    pub fn base_url(&self, given: &str, other: &str) -> Option<String> {
        let given = given.trim().trim_end_matches('/');
        let base = if given.is_empty() { self.home } else { given };
        let path = self.path.replace("{other}", other.trim());
        if base.is_empty() || path.contains("//") {
            return None;
        }
        // Some operators write the version although the old gateway adds it.
        Some(if base.ends_with(&path) { base.to_owned() } else { format!("{base}{path}") })
    }
}

/// A list with commas, without blanks and repetitions.
pub fn list(text: &str) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let names = text.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
    names.filter(|name| seen.insert(name.to_owned())).map(str::to_owned).collect()
}

/// A channel's keys: those in use, and how many are not.
pub fn keys(channel_type: i64, key: &str, channel_info: &str) -> (Vec<String>, usize) {
    let info: Value = serde_json::from_str(channel_info).unwrap_or(Value::Null);
    let key = key.trim();
    // A service account is one JSON text with line breaks of its own.
    if channel_type == 41 || key.starts_with('{') {
        return (vec![key.to_owned()], 0);
    }
    let all: Vec<String> = match serde_json::from_str::<Vec<String>>(key) {
        Ok(all) => all,
        Err(_) => key.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect(),
    };
    let is_enabled = |at: &usize| match &info["multi_key_status_list"][at.to_string()] {
        Value::Null => true,
        status => status == 1,
    };
    let all_count = all.len();
    let enabled: Vec<String> =
        all.into_iter().enumerate().filter(|(at, _)| is_enabled(at)).map(|(_, key)| key).collect();
    let disabled = all_count - enabled.len();
    (enabled, disabled)
}

/// What is wrong with a `model_mapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingFault {
    /// It is no JSON object of texts.
    NoObject,
    /// A name leads back to itself by way of others.
    Cycle,
}

/// A channel's `model_mapping`: asked → sent.
pub fn mapping(text: &str) -> Result<BTreeMap<String, String>, MappingFault> {
    match text.trim() {
        "" | "null" => Ok(BTreeMap::new()),
        text => serde_json::from_str(text).map_err(|_| MappingFault::NoObject),
    }
}

/// The name that is sent for the one that is asked. New API follows chains and stops where a name stands for itself; One API
/// takes one step.
pub fn sent(kind: Kind, mapping: &BTreeMap<String, String>, asked: &str) -> Result<String, MappingFault> {
    let (mut name, mut seen) = (asked, vec![asked]);
    while let Some(next) = mapping.get(name).map(String::as_str).filter(|next| !next.is_empty()) {
        if kind == Kind::OneApi {
            return Ok(next.to_owned());
        }
        if next == name {
            break;
        }
        if seen.contains(&next) {
            return Err(MappingFault::Cycle);
        }
        seen.push(next);
        name = next;
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_mean_each_gateways_own() {
        let format = |kind, number| spoken(kind, number).map(|it| it.format);
        assert_eq!(format(Kind::NewApi, 14), Some(ApiFormat::Claude));
        assert_eq!(format(Kind::OneApi, 24), Some(ApiFormat::Gemini));
        assert_eq!(spoken(Kind::NewApi, 27).unwrap().home, "https://api.perplexity.ai");
        assert_eq!(spoken(Kind::OneApi, 27).unwrap().home, "https://api.minimax.chat");
        assert_eq!(spoken(Kind::NewApi, 43), spoken(Kind::OneApi, 36));
        for (kind, number) in [
            (Kind::NewApi, 3),
            (Kind::NewApi, 2),
            (Kind::NewApi, 33),
            (Kind::NewApi, 41),
            (Kind::OneApi, 42),
            (Kind::OneApi, 23),
            (Kind::NewApi, 999),
        ] {
            assert_eq!(spoken(kind, number), None, "{kind} {number}");
        }
        assert!(is_known(Kind::NewApi, 33) && is_known(Kind::OneApi, 43));
        assert!(!is_known(Kind::NewApi, 999) && !is_known(Kind::OneApi, 52) && !is_known(Kind::NewApi, 0));
    }

    #[test]
    fn an_address_gets_what_its_type_adds() {
        let url = |kind, number, given, other| spoken(kind, number).unwrap().base_url(given, other);
        for (found, expected) in [
            (url(Kind::NewApi, 1, "", ""), Some("https://api.openai.com/v1")),
            (url(Kind::NewApi, 1, "https://x.example/", ""), Some("https://x.example/v1")),
            (url(Kind::NewApi, 1, "https://x.example/v1", ""), Some("https://x.example/v1")),
            (url(Kind::NewApi, 14, "", ""), Some("https://api.anthropic.com")),
            (url(Kind::NewApi, 26, "", ""), Some("https://open.bigmodel.cn/api/paas/v4")),
            (url(Kind::OneApi, 50, "https://x.example/v7", ""), Some("https://x.example/v7")),
            (url(Kind::OneApi, 50, "", ""), None),
            (
                url(Kind::NewApi, 39, "", "acc"),
                Some("https://api.cloudflare.com/client/v4/accounts/acc/ai/v1"),
            ),
            (url(Kind::NewApi, 39, "", ""), None),
        ] {
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn the_keys_of_a_channel_are_its_lines_that_are_in_use() {
        let owned = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(1, "a", ""), (owned(&["a"]), 0));
        assert_eq!(keys(1, "a\nb\r\n\n c ", "{}"), (owned(&["a", "b", "c"]), 0));
        assert_eq!(keys(1, r#"["a","b"]"#, ""), (owned(&["a", "b"]), 0));
        let info = r#"{"is_multi_key":true,"multi_key_status_list":{"1":2}}"#;
        assert_eq!(keys(1, "a\nb\nc", info), (owned(&["a", "c"]), 1));
        let account = "{\n\"type\": \"service_account\"\n}";
        assert_eq!(keys(41, account, ""), (owned(&[account]), 0));
        assert_eq!(keys(1, "", ""), (Vec::new(), 0));
    }

    #[test]
    fn a_mapping_is_followed_as_the_old_gateway_did() {
        let map = mapping(r#"{"a":"b","b":"c","self":"self","x":"y","y":"x"}"#).unwrap();
        for (kind, asked, expected) in [
            (Kind::NewApi, "a", Ok("c")),
            (Kind::OneApi, "a", Ok("b")),
            (Kind::NewApi, "self", Ok("self")),
            (Kind::NewApi, "other", Ok("other")),
            (Kind::NewApi, "x", Err(MappingFault::Cycle)),
            (Kind::OneApi, "x", Ok("y")),
        ] {
            assert_eq!(sent(kind, &map, asked).as_deref(), expected.as_deref(), "{kind} {asked}");
        }
        assert_eq!(mapping(""), Ok(BTreeMap::new()));
        assert_eq!(mapping("[1]"), Err(MappingFault::NoObject));
        assert_eq!(list("a, b,,a\nc"), ["a", "b", "c"]);
    }
}
