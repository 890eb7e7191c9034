//! Rate limits: how much a key, a group, a model or a provider may be called.
//!
//! Claims: a subject without a row has no limit; a limit without any number has no row.

use super::{Directory, DirectoryError, act, words};
use domain::Actor;
use projections::{Row, Tx, Value};
use relay::limits::Limit;
use serde_json::json;
use std::collections::HashMap;

words! {
    /// What a limit is of.
    LimitKind {
        /// An API key.
        Key = "key",
        /// A group of users.
        Group = "group",
        /// A model, by the name that callers use.
        Model = "model",
        /// A provider.
        Provider = "provider",
    }
}

/// A limit and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What it is of.
    pub kind: LimitKind,
    /// The id of a key or provider, the name of a group or model.
    pub subject: String,
    /// How much.
    pub limit: Limit,
}

const COLUMNS: &str = "kind, subject, requests_per_minute, tokens_per_minute, concurrency";

pub(super) fn limit(row: &Row) -> Result<Limit, DirectoryError> {
    Ok(Limit {
        requests_per_minute: row.opt_count("requests_per_minute")?,
        tokens_per_minute: row.opt_count("tokens_per_minute")?,
        concurrency: row.opt_count("concurrency")?,
    })
}

/// Three columns with the limit of a row of another table, whose subject is `subject`.
pub(super) fn columns_of(kind: LimitKind, subject: &str) -> String {
    ["requests_per_minute", "tokens_per_minute", "concurrency"]
        .map(|column| {
            format!("(SELECT l.{column} FROM rate_limits l WHERE l.kind = '{kind}' AND l.subject = {subject}) AS {column}")
        })
        .join(", ")
}

/// States a limit anew within a change.
pub(super) async fn put(
    tx: &mut Tx,
    kind: LimitKind,
    subject: &str,
    limit: Limit,
) -> Result<(), DirectoryError> {
    let whose: [Value; 2] = [kind.as_str().into(), subject.into()];
    tx.execute("DELETE FROM rate_limits WHERE kind = ? AND subject = ?", &whose).await?;
    if limit.is_none() {
        return Ok(());
    }
    let number = |number: Option<u64>| number.map_or_else(|| None::<i64>.into(), Value::count);
    let [kind, subject] = whose;
    let values: [Value; 5] = [
        kind,
        subject,
        number(limit.requests_per_minute),
        number(limit.tokens_per_minute),
        number(limit.concurrency),
    ];
    let sql = format!("INSERT INTO rate_limits ({COLUMNS}) VALUES (?, ?, ?, ?, ?)");
    tx.execute(&sql, &values).await?;
    Ok(())
}

pub(super) fn told(limit: Limit) -> serde_json::Value {
    json!({
        "requests_per_minute": limit.requests_per_minute, "tokens_per_minute": limit.tokens_per_minute,
        "concurrency": limit.concurrency,
    })
}

impl Directory {
    /// All limits but those of keys, which stand with their keys.
    pub async fn rate_limits(&self) -> Result<Vec<RateLimit>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM rate_limits WHERE kind <> 'key' ORDER BY kind, subject");
        let rate = |row: &Row| {
            Ok(RateLimit { kind: row.parsed("kind")?, subject: row.text("subject")?, limit: limit(row)? })
        };
        self.0.db.fetch_all(&sql, &[]).await?.iter().map(rate).collect()
    }

    /// States a limit anew; one without any number is none.
    pub async fn put_rate_limit(&self, rate: &RateLimit, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        let sql = format!("SELECT {COLUMNS} FROM rate_limits WHERE kind = ? AND subject = ?");
        let values = [rate.kind.as_str().into(), rate.subject.as_str().into()];
        let before =
            change.tx.fetch_optional(&sql, &values).await?.as_ref().map(limit).transpose()?.map(told);
        put(&mut change.tx, rate.kind, &rate.subject, rate.limit).await?;
        let mut after = told(rate.limit);
        after["kind"] = json!(rate.kind);
        change.acts.push(act(actor, "rate_limit.put", rate.subject.clone(), before, Some(after)));
        self.finish(change).await
    }

    /// Every limit, by whose it is.
    pub(super) async fn load_limits(&self) -> Result<HashMap<(String, String), Limit>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM rate_limits");
        let rows = self.0.db.fetch_all(&sql, &[]).await?;
        rows.iter().map(|row| Ok(((row.text("kind")?, row.text("subject")?), limit(row)?))).collect()
    }
}
