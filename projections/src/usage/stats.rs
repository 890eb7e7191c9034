use crate::calendar::HOUR;
use crate::{Database, DatabaseError, Row};
use domain::{AccountId, Credits, KeyId, Label, Moment, Tokens};
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

/// Tokens by class and units of media in `usage_hourly`.
pub(crate) const TOKEN_COLUMNS: [&str; 13] = [
    "tokens_input",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_output",
    "tokens_reasoning",
    "tokens_image_input",
    "tokens_image_output",
    "tokens_audio_input",
    "tokens_audio_output",
    "characters",
    "audio_seconds",
    "images",
];

/// What statistics are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// An hour; the bucket is its first moment (RFC 3339, UTC).
    Hour,
    /// A day in the operator's time zone: `2026-11-22`.
    Day,
    /// A model's name.
    Model,
    /// A key's id.
    Key,
    /// A provider's name; for operators.
    Provider,
}

/// Which usage statistics count; `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsFilter {
    /// Whose; `None`: everybody's, for operators.
    pub account: Option<AccountId>,
    /// By which key.
    pub key: Option<KeyId>,
    /// Of which model.
    pub model: Option<Label>,
    /// Hours that end after this moment: the hour that it lies in counts whole.
    pub from: Option<Moment>,
    /// Hours that begin before this moment: the hour that it lies in counts whole, unless it begins there.
    pub to: Option<Moment>,
}

/// Usage in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageStat {
    /// The hour, day, model, key or provider: see [`UsageBy`].
    pub bucket: String,
    /// Calls.
    pub calls: u64,
    /// Calls that the gateway or a provider failed.
    pub errors: u64,
    /// Tokens by class, and units of media.
    pub tokens: Tokens,
    /// What the calls cost by the price list.
    pub charge: Credits,
    /// What accounts paid of it.
    pub paid: Credits,
    /// What the operator bore of it.
    pub uncovered: Credits,
    /// What providers take from the operator; a call whose cost is not known counts as nothing.
    pub cost: Credits,
}

impl UsageStat {
    /// What is left to the operator: what was paid, less what providers take. Below zero where providers took more; `None`:
    /// it does not fit.
    pub fn margin(&self) -> Option<Credits> {
        self.paid.checked_sub(self.cost)
    }
}

/// Statistics; hours and days newest first, models, keys and providers by what was paid, most first.
pub async fn stats(
    db: &Database,
    filter: &StatsFilter,
    by: UsageBy,
) -> Result<Vec<UsageStat>, DatabaseError> {
    let mut query = Query::select();
    query.from("usage_hourly");
    for column in ["calls", "errors", "charge", "paid", "uncovered", "cost"].into_iter().chain(TOKEN_COLUMNS)
    {
        query.expr_as(Expr::cust(db.dialect().sum(column)), format!("{column}_sum"));
    }
    if let Some(account) = filter.account {
        query.and_where(Expr::col("account").eq(account.to_string()));
    }
    if let Some(key) = filter.key {
        query.and_where(Expr::col("key_id").eq(key.to_string()));
    }
    if let Some(model) = &filter.model {
        query.and_where(Expr::col("model").eq(model.as_str()));
    }
    only_touching(&mut query, "hour", HOUR, filter.from, filter.to);
    let (bucket, by_time) = match by {
        UsageBy::Hour => ("hour", true),
        UsageBy::Day => ("day", true),
        UsageBy::Model => ("model", false),
        UsageBy::Key => ("key_id", false),
        UsageBy::Provider => ("provider", false),
    };
    query.column(bucket).group_by_col(bucket);
    if !by_time {
        query.order_by("paid_sum", Order::Desc);
    }
    query.order_by(bucket, if by_time { Order::Desc } else { Order::Asc });
    db.select(&query).await?.iter().map(|row| read(row, by)).collect()
}

/// Leaves only spans of time, beginning at `column` and lasting `length` microseconds, that touch `from..to`.
pub(crate) fn only_touching(
    query: &mut SelectStatement,
    column: &'static str,
    length: i64,
    from: Option<Moment>,
    to: Option<Moment>,
) {
    if let Some(from) = from {
        query.and_where(Expr::col(column).gt(from.micros().saturating_sub(length)));
    }
    if let Some(to) = to {
        query.and_where(Expr::col(column).lt(to.micros()));
    }
}

fn read(row: &Row, by: UsageBy) -> Result<UsageStat, DatabaseError> {
    let [
        input,
        cache_read,
        cache_write,
        cache_write_1h,
        output,
        reasoning,
        image_input,
        image_output,
        audio_input,
        audio_output,
        characters,
        audio_seconds,
        images,
    ] = TOKEN_COLUMNS.map(|column| row.count(&format!("{column}_sum")));
    Ok(UsageStat {
        bucket: match by {
            UsageBy::Hour => row.moment("hour")?.to_string(),
            UsageBy::Day => row.text("day")?,
            UsageBy::Model => row.text("model")?,
            UsageBy::Key => row.text("key_id")?,
            UsageBy::Provider => row.text("provider")?,
        },
        calls: row.count("calls_sum")?,
        errors: row.count("errors_sum")?,
        tokens: Tokens {
            input: input?,
            cache_read: cache_read?,
            cache_write: cache_write?,
            cache_write_1h: cache_write_1h?,
            output: output?,
            reasoning: reasoning?,
            image_input: image_input?,
            image_output: image_output?,
            audio_input: audio_input?,
            audio_output: audio_output?,
            characters: characters?,
            audio_seconds: audio_seconds?,
            images: images?,
        },
        charge: row.credits("charge_sum")?,
        paid: row.credits("paid_sum")?,
        uncovered: row.credits("uncovered_sum")?,
        cost: row.credits("cost_sum")?,
    })
}

/// How long calls took, from the newest of a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Milliseconds to the first byte, shortest first; only calls that had one.
    pub ttft_ms: Vec<u64>,
    /// Milliseconds from the request to the end, shortest first.
    pub duration_ms: Vec<u64>,
}

/// How long the newest `most` calls took that ended at `from` or later and before `to`. A sample, so that a busy day costs no
/// more than a quiet one.
pub async fn latencies(
    db: &Database,
    from: Moment,
    to: Moment,
    most: u32,
) -> Result<Latencies, DatabaseError> {
    let sql = "SELECT ttft_ms, duration_ms FROM usage_records WHERE at >= ? AND at < ? \
               ORDER BY at DESC, request_id DESC LIMIT ?";
    let mut latencies = Latencies::default();
    for row in db.fetch_all(sql, &[from.into(), to.into(), i64::from(most).into()]).await? {
        latencies.ttft_ms.extend(row.opt_count("ttft_ms")?);
        latencies.duration_ms.push(row.count("duration_ms")?);
    }
    latencies.ttft_ms.sort_unstable();
    latencies.duration_ms.sort_unstable();
    Ok(latencies)
}

/// How many calls of a model there were on a day, and how many of them failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOfModel {
    /// The model.
    pub model: String,
    /// The day in the operator's time zone: `2026-11-22`.
    pub day: String,
    /// Calls.
    pub calls: u64,
    /// Calls that the gateway or a provider failed.
    pub errors: u64,
}

/// Calls and failures of each model by day, over all accounts: hours that begin at `from` or later. By model, newest day first.
pub async fn days_of_models(db: &Database, from: Moment) -> Result<Vec<DayOfModel>, DatabaseError> {
    let sum = |column| db.dialect().sum(column);
    let sql = format!(
        "SELECT model, day, {} AS calls_sum, {} AS errors_sum FROM usage_hourly WHERE hour >= ? \
         GROUP BY model, day ORDER BY model, day DESC",
        sum("calls"),
        sum("errors")
    );
    let rows = db.fetch_all(&sql, &[from.into()]).await?;
    let read = |row: &Row| {
        let (calls, errors) = (row.count("calls_sum")?, row.count("errors_sum")?);
        Ok(DayOfModel { model: row.text("model")?, day: row.text("day")?, calls, errors })
    };
    rows.iter().map(read).collect()
}
