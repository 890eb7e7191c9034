//! The streams and their guards.
//!
//! Claims: every setting that could delete, rewrite or refuse a message is off, compared with the server's own JSON, so
//! that a setting unknown to this client is seen too.

use super::{ApiError, Log};
use crate::LedgerError;
use serde_json::{Map, Value, json};

/// The stream of events.
pub(super) const LEDGER: &str = "LEDGER";
/// The stream of raw payment callbacks.
pub(crate) const INBOX: &str = "INBOX";
/// The stream of admin and security acts.
pub(crate) const AUDIT: &str = "AUDIT";

/// The oldest server whose options are all understood rather than silently dropped.
const OLDEST_SERVER: (u64, u64) = (2, 12);
/// How long JetStream remembers message ids: a convenience only, the fold knows its own keys.
const DUPLICATE_WINDOW_NS: u64 = 120_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;

impl Log {
    pub(super) fn check_version(&self) -> Result<(), LedgerError> {
        let version = self.inner.wire.server_version();
        let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST_SERVER {
            let (major, minor) = OLDEST_SERVER;
            return Err(LedgerError::Unfit(format!(
                "nats-server {version} is too old: it ignores safety options without a word; {major}.{minor} or newer is needed"
            )));
        }
        Ok(())
    }

    pub(super) async fn prepare_streams(&self) -> Result<(), LedgerError> {
        let inbox_age = u64::from(self.inner.options.inbox_days) * DAY_NS;
        for (name, subjects, max_age) in
            [(LEDGER, "ledger.>", 0), (INBOX, "inbox.>", inbox_age), (AUDIT, "audit.>", 0)]
        {
            self.prepare_stream(name, &self.wanted(name, subjects, max_age)).await?;
        }
        Ok(())
    }

    fn wanted(&self, name: &str, subjects: &str, max_age: u64) -> Value {
        json!({
            "name": name,
            "subjects": [subjects],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_age": max_age,
            "num_replicas": self.inner.options.replicas,
            "duplicate_window": DUPLICATE_WINDOW_NS,
            "deny_delete": true,
            "deny_purge": true,
            "allow_direct": true,
        })
    }

    async fn prepare_stream(&self, name: &str, wanted: &Value) -> Result<(), LedgerError> {
        let info = match self.stream_info(name).await? {
            Some(info) => info,
            None => self.api(&format!("STREAM.CREATE.{name}"), wanted).await?,
        };
        let differences = differences(wanted, &info["config"]);
        if differences.is_empty() {
            return Ok(());
        }
        Err(LedgerError::Unfit(format!("stream {name} is not fit for a ledger: {}", differences.join("; "))))
    }

    async fn stream_info(&self, name: &str) -> Result<Option<Value>, LedgerError> {
        self.api_if_there(&format!("STREAM.INFO.{name}"), &Value::Null, ApiError::STREAM_NOT_FOUND).await
    }
}

/// Where the stream's configuration is not as wanted, in words. A setting that this list does not know must be off.
fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let empty = Map::new();
    let (wanted, found) = (wanted.as_object().unwrap_or(&empty), found.as_object().unwrap_or(&empty));
    let mut all = Vec::new();
    for (name, value) in wanted {
        let is = found.get(name).unwrap_or(&Value::Null);
        let same = match name.as_str() {
            // The server may cap it; it must only not be off.
            "duplicate_window" => is.as_u64().is_some_and(|window| window > 0),
            "max_age" => is == value || (*value == 0 && is.is_null()),
            _ => is == value,
        };
        if !same {
            all.push(format!("{name} is {is}, must be {value}"));
        }
    }
    for (name, value) in found {
        let harmless = matches!(name.as_str(), "metadata" | "description" | "placement" | "compression");
        if !wanted.contains_key(name) && !harmless && !is_off(value) {
            all.push(format!("{name} is {value}, must be off"));
        }
    }
    all
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0) || number.as_i64() == Some(-1),
        Value::String(text) => text.is_empty() || text == "default",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_could_lose_messages_is_refused_by_setting() {
        let wanted = json!({"name": "LEDGER", "discard": "new", "max_age": 0, "duplicate_window": 5, "deny_delete": true});
        let good = json!({"name": "LEDGER", "discard": "new", "duplicate_window": 3, "deny_delete": true, "sealed": false,
            "consumer_limits": {}, "metadata": {"_nats.level": "1"}});
        assert_eq!(differences(&wanted, &good), Vec::<String>::new());
        for (name, value) in [
            ("discard", json!("old")),
            ("max_age", json!(1)),
            ("deny_delete", json!(false)),
            ("sealed", json!(true)),
            ("persist_mode", json!("async")),
            ("allow_msg_ttl", json!(true)),
            ("mirror", json!({"name": "X"})),
            ("unheard_of", json!(7)),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            let found = differences(&wanted, &bad);
            assert!(found.len() == 1 && found[0].starts_with(name), "{name}: {found:?}");
        }
    }
}
