//! The streams and their guards.
//!
//! Claims: every setting that could delete, rewrite or refuse a message is off, compared with the server's own JSON, so
//! that a setting unknown to this client is seen too. A stream that an import has not finished is refused: it holds a part
//! of a log that looks like a whole one.

use super::{ApiError, Log};
use crate::LedgerError;
use serde_json::{Map, Value, json};

/// The stream of events.
pub(super) const LEDGER: &str = "LEDGER";
/// The stream of raw payment callbacks.
pub(crate) const INBOX: &str = "INBOX";
/// The stream of admin and security acts.
pub(crate) const AUDIT: &str = "AUDIT";

/// A stream of the log, where it matters which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Events.
    Ledger,
    /// Raw payment callbacks, kept for a time.
    Inbox,
    /// Admin and security acts.
    Audit,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ledger, Self::Inbox, Self::Audit];

    /// Its name on the server.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger => LEDGER,
            Self::Inbox => INBOX,
            Self::Audit => AUDIT,
        }
    }

    /// The stream of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    const fn subjects(self) -> &'static str {
        match self {
            Self::Ledger => "ledger.>",
            Self::Inbox => "inbox.>",
            Self::Audit => "audit.>",
        }
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// From where to where a stream reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// When the stream was created, as the server wrote it: an imported stream keeps the time of its original.
    pub created: String,
    /// The sequence of its first message; of its next one, where it holds none.
    pub first: u64,
    /// The sequence of its last message, one below `first` where it holds none.
    pub last: u64,
    /// How many messages it holds.
    pub messages: u64,
}

/// Metadata of an imported stream: when its original was created. It is the same log, so it keeps its identity.
pub(super) const CREATED: &str = "nexusroute-created";
/// Metadata of a stream that an import is filling: the archive's digest.
pub(super) const IMPORTING: &str = "nexusroute-importing";

/// When a stream was created; of an imported one, when its original was.
pub(super) fn created(info: &Value) -> String {
    let original = info["config"]["metadata"][CREATED].as_str();
    original.or(info["created"].as_str()).unwrap_or_default().to_owned()
}

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
        for stream in Stream::ALL {
            self.prepare_stream(stream.name(), &self.wanted(stream)).await?;
        }
        Ok(())
    }

    /// The configuration that a stream must have.
    pub(super) fn wanted(&self, stream: Stream) -> Value {
        let max_age = match stream {
            Stream::Inbox => u64::from(self.inner.options.inbox_days) * DAY_NS,
            Stream::Ledger | Stream::Audit => 0,
        };
        json!({
            "name": stream.name(),
            "subjects": [stream.subjects()],
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
        if info["config"]["metadata"][IMPORTING].is_string() {
            return Err(LedgerError::Unfit(format!(
                "stream {name} holds a part of an archive: its import was not finished; run `nexusroute ledger import` with \
                 the same archive again, or begin with an empty server"
            )));
        }
        check_configuration(name, wanted, &info["config"])
    }

    /// From where to where a stream reaches; `None`: there is no such stream. Answered by the stream's leader.
    pub async fn extent(&self, stream: Stream) -> Result<Option<Extent>, LedgerError> {
        let Some(info) = self.stream_info(stream.name()).await? else { return Ok(None) };
        let state = &info["state"];
        match (state["last_seq"].as_u64(), state["messages"].as_u64()) {
            (Some(last), Some(messages)) => {
                let first = if messages == 0 { last + 1 } else { state["first_seq"].as_u64().unwrap_or(1) };
                Ok(Some(Extent { created: created(&info), first, last, messages }))
            }
            _ => Err(LedgerError::Unavailable(format!("the information of stream {stream} is not whole"))),
        }
    }

    pub(super) async fn stream_info(&self, name: &str) -> Result<Option<Value>, LedgerError> {
        self.api_if_there(&format!("STREAM.INFO.{name}"), &Value::Null, ApiError::STREAM_NOT_FOUND).await
    }
}

/// Refuses a stream that is not configured as a ledger's must be.
pub(super) fn check_configuration(name: &str, wanted: &Value, found: &Value) -> Result<(), LedgerError> {
    let differences = differences(wanted, found);
    if differences.is_empty() {
        return Ok(());
    }
    Err(LedgerError::Unfit(format!("stream {name} is not fit for a ledger: {}", differences.join("; "))))
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
        let harmless = match name.as_str() {
            "metadata" | "description" | "placement" | "compression" => true,
            // An archive of INBOX begins where its retention had come to; events refer to those sequences.
            "first_seq" => wanted["name"] == INBOX,
            _ => false,
        };
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
        let mut wanted = json!({"name": "LEDGER", "discard": "new", "max_age": 0, "duplicate_window": 5, "deny_delete": true});
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
            ("first_seq", json!(58)),
            ("unheard_of", json!(7)),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            let found = differences(&wanted, &bad);
            assert!(found.len() == 1 && found[0].starts_with(name), "{name}: {found:?}");
        }
        let mut begins_later = good.clone();
        (wanted["name"], begins_later["name"]) = (json!("INBOX"), json!("INBOX"));
        begins_later["first_seq"] = json!(58);
        assert_eq!(differences(&wanted, &begins_later), Vec::<String>::new(), "INBOX may begin later");
    }
}
