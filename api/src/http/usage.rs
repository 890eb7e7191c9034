//! Usage: the caller's calls, their sums, and a receipt for each.
//!
//! May not touch: what providers take from the operator, nor who they are; that is the operator's.
//! Claims: a receipt's lines add up to its charge exactly, with the one rounding shown; nobody sees another's, though a
//! report on the log holds the calls of many.

use crate::app::App;
use crate::body::{Json, Page, Path, Query};
use crate::directory::words;
use crate::http::billing::{LedgerEvent, PostingView, SumTooLarge, own_postings};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{Period, page_of, paging, parameter, reached};
use crate::http::topup::OneQuery;
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use domain::posting::of_usage;
use domain::price::{Line, PriceError};
use domain::usage::{Attempt, Usage};
use domain::{
    Credits, Event, KeyId, Label, Moment, NodeEvent, Outcome, RequestId, Split, Tokens, UsageRecord,
    UsageSource,
};
use ledger::{LedgerError, Logged};
use projections::usage::{self, Receipt, StatsFilter, UsageBy, UsageFilter, UsageStat};
use serde::{Deserialize, Serialize};
use serde_json::value::{Value, to_raw_value};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(list_usage))
        .guarded(Permission::SelfRead, routes!(get_usage_stats))
        .guarded(Permission::SelfRead, routes!(get_key_stats))
        .guarded(Permission::SelfRead, routes!(get_receipt))
}

words! {
    /// How a call ended.
    UsageOutcome {
        /// The caller got a whole answer.
        Completed = "completed",
        /// The caller left before the end.
        ClientGone = "client_gone",
        /// The provider failed or broke off.
        ProviderError = "provider_error",
        /// The gateway itself ended during the call.
        Interrupted = "interrupted",
        /// The provider refused the request.
        Refused = "refused",
    }

    /// Where the token counts come from.
    CountSource {
        /// The provider's own counts.
        Provider = "provider",
        /// The gateway's estimate from what was delivered.
        Estimated = "estimated",
    }

    /// What statistics are grouped by.
    UsageGroup {
        /// An hour.
        Hour = "hour",
        /// A day in the operator's time zone.
        Day = "day",
        /// A model.
        Model = "model",
        /// A key.
        Key = "key",
    }
}

impl From<Outcome> for UsageOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::ClientGone => Self::ClientGone,
            Outcome::ProviderError => Self::ProviderError,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Refused => Self::Refused,
        }
    }
}

impl From<UsageOutcome> for Outcome {
    fn from(outcome: UsageOutcome) -> Self {
        match outcome {
            UsageOutcome::Completed => Self::Completed,
            UsageOutcome::ClientGone => Self::ClientGone,
            UsageOutcome::ProviderError => Self::ProviderError,
            UsageOutcome::Interrupted => Self::Interrupted,
            UsageOutcome::Refused => Self::Refused,
        }
    }
}

impl From<UsageSource> for CountSource {
    fn from(source: UsageSource) -> Self {
        match source {
            UsageSource::Provider => Self::Provider,
            UsageSource::Estimated => Self::Estimated,
        }
    }
}

impl From<UsageGroup> for UsageBy {
    fn from(group: UsageGroup) -> Self {
        match group {
            UsageGroup::Hour => Self::Hour,
            UsageGroup::Day => Self::Day,
            UsageGroup::Model => Self::Model,
            UsageGroup::Key => Self::Key,
        }
    }
}

/// Tokens, each in exactly one class, and units of media where those are what is billed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TokensView {
    /// Plain prompt tokens.
    input: u64,
    /// Prompt tokens read from a cache.
    cache_read: u64,
    /// Prompt tokens written to a cache.
    cache_write: u64,
    /// Prompt tokens written to a cache for an hour.
    cache_write_1h: u64,
    /// Visible generated tokens.
    output: u64,
    /// Generated tokens spent on reasoning.
    reasoning: u64,
    /// Image tokens in the prompt.
    image_input: u64,
    /// Generated image tokens.
    image_output: u64,
    /// Audio tokens in the prompt.
    audio_input: u64,
    /// Generated audio tokens.
    audio_output: u64,
    /// Characters made into speech.
    characters: u64,
    /// Seconds of audio heard.
    audio_seconds: u64,
    /// Images generated.
    images: u64,
    /// All tokens of the prompt.
    input_total: u64,
    /// All tokens that were generated.
    output_total: u64,
}

impl From<Tokens> for TokensView {
    fn from(it: Tokens) -> Self {
        Self {
            input: it.input,
            cache_read: it.cache_read,
            cache_write: it.cache_write,
            cache_write_1h: it.cache_write_1h,
            output: it.output,
            reasoning: it.reasoning,
            image_input: it.image_input,
            image_output: it.image_output,
            audio_input: it.audio_input,
            audio_output: it.audio_output,
            characters: it.characters,
            audio_seconds: it.audio_seconds,
            images: it.images,
            input_total: it.input_total(),
            output_total: it.output_total(),
        }
    }
}

/// A call.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct UsageView {
    /// Its id: the `x-request-id` of its answer.
    #[schema(value_type = Uuid)]
    id: RequestId,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The key that made it.
    #[schema(value_type = Uuid)]
    key: KeyId,
    /// The model asked for.
    model: String,
    /// The endpoint called.
    #[schema(example = "/v1/chat/completions")]
    endpoint: String,
    /// Tokens by class.
    tokens: TokensView,
    /// What it costs, a decimal string of credits.
    #[schema(example = "0.000465")]
    charge: String,
    /// What the account paid of it.
    paid: String,
    /// What the operator bore of it, because nothing was left to pay with.
    uncovered: String,
    /// How it ended.
    outcome: UsageOutcome,
    /// Where the counts come from.
    usage_source: CountSource,
    /// Streamed?
    stream: bool,
    /// The HTTP status of the answer.
    status: u16,
    /// Time to the first byte, in milliseconds.
    ttft_ms: Option<u64>,
    /// Time from the request to the end, in milliseconds.
    duration_ms: u64,
    /// Where it stands on the log.
    event_seq: u64,
}

impl From<&Receipt> for UsageView {
    fn from(receipt: &Receipt) -> Self {
        let usage = &receipt.record.usage;
        Self {
            id: usage.request,
            at: usage.at,
            key: usage.key,
            model: usage.model.to_string(),
            endpoint: usage.endpoint.to_string(),
            tokens: usage.tokens.into(),
            charge: usage.charge.to_string(),
            paid: receipt.record.paid().to_string(),
            uncovered: receipt.record.uncovered.to_string(),
            outcome: usage.outcome.into(),
            usage_source: usage.usage_source.into(),
            stream: usage.stream,
            status: usage.status,
            ttft_ms: usage.ttft_ms,
            duration_ms: usage.duration_ms,
            event_seq: receipt.event_seq,
        }
    }
}

/// Which calls are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// Ended at this moment or later: RFC 3339, or a date in the operator's time zone.
    from: Option<String>,
    /// Ended before this moment; a date includes that day.
    to: Option<String>,
    /// Only by this key.
    key: Option<Uuid>,
    /// Only of this model.
    model: Option<String>,
    /// Only with this outcome.
    outcome: Option<UsageOutcome>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's calls, newest first.
#[utoipa::path(
    get,
    path = "/api/user/usage",
    tag = "usage",
    params(UsageQuery),
    responses((status = 200, body = Page<UsageView>))
)]
async fn list_usage(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<UsageQuery>,
) -> Result<Json<Page<UsageView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let filter = UsageFilter {
        account: Some(caller.user),
        key: query.key.map(KeyId::from_uuid),
        model: label("model", query.model)?,
        outcome: query.outcome.map(Into::into),
        from: period.from,
        to: period.to,
    };
    reached(&app, query.after).await?;
    let page = usage::list(&app.db, &filter, &paging).await?;
    Ok(Json(page_of(page, |receipt| UsageView::from(&receipt))))
}

fn label(name: &str, text: Option<String>) -> Result<Option<Label>, Problem> {
    text.map(|text| parameter(name, Label::try_new(text))).transpose()
}

/// A call with the arithmetic of its charge, its event and its place in the books.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ReceiptDetail {
    /// The arithmetic.
    #[serde(flatten)]
    receipt: ReceiptView,
    /// The event that reported the call, with this one record of it; null when the log did not answer.
    events: Option<Vec<LedgerEvent>>,
    /// What it means for the caller's account in the books; nothing where nothing was paid.
    postings: Vec<PostingView>,
}

/// A call with the arithmetic of its charge.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ReceiptView {
    /// The call.
    #[serde(flatten)]
    usage: UsageView,
    /// What each class of tokens and each unit of media costs.
    lines: Vec<ReceiptLine>,
    /// The lines together, exactly: a decimal, or a third of one (`0.0005/3`) where seconds at a price by the minute have no
    /// end in decimals.
    #[schema(example = "0.000465")]
    sum: String,
    /// The multiplier of the caller's group.
    #[schema(example = "1")]
    multiplier: String,
    /// `sum × multiplier`, exactly, as `sum` is written.
    #[schema(example = "0.000465")]
    exact: String,
    /// The one rounding.
    #[schema(example = "half to even, to 0.000000001")]
    rounding: &'static str,
    /// `exact`, rounded. It differs from `charge` where the metering policy charges nothing.
    #[schema(example = "0.000465")]
    rounded: String,
    /// The version of the price list.
    #[schema(value_type = Uuid)]
    price_version: domain::PriceVersionId,
    /// Every try to get an answer and every route that was skipped, in order; the last try is the answer.
    attempts: Vec<AttemptView>,
    /// The lease that was charged.
    #[schema(value_type = Uuid)]
    lease: domain::LeaseId,
    /// The record's number within the lease.
    n: u64,
    /// When it was reported to the ledger.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Moment,
}

/// A line of a receipt.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
struct ReceiptLine {
    /// A class of tokens, a unit of media, or `per_call`.
    #[schema(example = "input")]
    class: &'static str,
    /// How many; 1 for `per_call`.
    quantity: u64,
    /// Credits per `per`.
    #[schema(example = "3")]
    unit_price: String,
    /// What the price is for.
    #[schema(example = "1000000 tokens")]
    per: String,
    /// `quantity × unit_price ÷ per`, exactly: a decimal, or a third of one (`0.0005/3`).
    #[schema(example = "0.000036")]
    amount: String,
}

/// One try to get an answer, or a route that was skipped: then without a status, and `error` says why.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AttemptView {
    /// The HTTP status of the answer, if there was one.
    status: Option<u16>,
    /// What went wrong, if anything; a short code.
    error: Option<String>,
    /// Time it took, in milliseconds.
    duration_ms: u64,
}

impl From<&Attempt> for AttemptView {
    fn from(it: &Attempt) -> Self {
        let error = it.error.as_ref().map(ToString::to_string);
        Self { status: it.status, error, duration_ms: it.duration_ms }
    }
}

/// A charge that cannot be derived again from its record.
#[derive(Debug, thiserror::Error)]
#[error("the charge of a usage record cannot be derived again")]
struct Underivable(#[from] PriceError);

/// The receipt of one of the caller's calls: how its charge follows from its tokens, with the event and the postings behind
/// it.
#[utoipa::path(
    get,
    path = "/api/user/usage/{id}",
    tag = "usage",
    params(("id" = Uuid, Path, description = "The `x-request-id` of the call"), OneQuery),
    responses((status = 200, body = ReceiptDetail))
)]
async fn get_receipt(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<OneQuery>,
) -> Result<Json<ReceiptDetail>, Problem> {
    reached(&app, query.after).await?;
    let receipt = usage::get(&app.db, caller.user, RequestId::from_uuid(id)).await?;
    let receipt = receipt.ok_or_else(|| Problem::not_found("no such usage record"))?;
    let view = receipt_view(&receipt).map_err(|error| Problem::internal(&error))?;
    // As it was counted: of a late record everything is uncovered.
    let lines = of_usage(&receipt.record, Split::reported(&receipt.record));
    Ok(Json(ReceiptDetail {
        receipt: view,
        events: events(&app, &receipt).await?,
        postings: own_postings(caller.user, receipt.event_seq, &lines),
    }))
}

/// The event behind a receipt. The receipt itself is read from the tables, so it is shown also while the log is away.
async fn events(app: &App, receipt: &Receipt) -> Result<Option<Vec<LedgerEvent>>, Problem> {
    match app.ledger.log().at(receipt.event_seq).await {
        Ok(found) => {
            let event = found.map(|logged| of_record(&logged, receipt)).transpose();
            Ok(Some(event.map_err(|error| Problem::internal(&error))?.flatten().into_iter().collect()))
        }
        Err(error @ LedgerError::Unavailable(_)) => {
            let request = receipt.record.usage.request;
            tracing::warn!(call = %request, "a receipt is shown without its event: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A report as one of those whose calls are in it may see it: with that one call.
fn of_record(logged: &Logged, receipt: &Receipt) -> Result<Option<LedgerEvent>, serde_json::Error> {
    let Event::Node(_, NodeEvent::UsageReported(report)) = &logged.recorded.event else { return Ok(None) };
    let wanted = &receipt.record;
    let is_it = |it: &&UsageRecord| (it.account, it.lease, it.n) == (wanted.account, wanted.lease, wanted.n);
    let Some(record) = report.records.iter().find(is_it) else { return Ok(None) };
    #[derive(Serialize)]
    struct Data {
        batch: domain::BatchId,
        records: [Value; 1],
    }
    let data = Data { batch: report.batch, records: [own_record(record)?] };
    Ok(Some(LedgerEvent::new(logged, to_raw_value(&data)?)))
}

/// What of a usage record is its owner's. The rest (who the providers are, what they take) is the operator's, as is any
/// field that comes to it and is not named here.
const OWN: [&str; 6] = ["account", "lease", "n", "spent", "uncovered", "usage"];
const OWN_USAGE: [&str; 17] = [
    "request",
    "at",
    "key",
    "model",
    "endpoint",
    "tokens",
    "price_version",
    "unit_prices",
    "multiplier",
    "charge",
    "outcome",
    "usage_source",
    "stream",
    "status",
    "ttft_ms",
    "duration_ms",
    "attempts",
];
const OWN_ATTEMPT: [&str; 3] = ["status", "error", "duration_ms"];

/// A usage record as on the log, without what is the operator's.
fn own_record(record: &UsageRecord) -> Result<Value, serde_json::Error> {
    fn keep(value: Option<&mut Value>, names: &[&str]) {
        if let Some(Value::Object(fields)) = value {
            fields.retain(|name, _| names.contains(&name.as_str()));
        }
    }
    let mut json = serde_json::to_value(record)?;
    keep(Some(&mut json), &OWN);
    keep(json.pointer_mut("/usage"), &OWN_USAGE);
    if let Some(Value::Array(attempts)) = json.pointer_mut("/usage/attempts") {
        attempts.iter_mut().for_each(|attempt| keep(Some(attempt), &OWN_ATTEMPT));
    }
    Ok(json)
}

fn receipt_view(receipt: &Receipt) -> Result<ReceiptView, Underivable> {
    let record = &receipt.record;
    let Usage { unit_prices, tokens, multiplier, .. } = &record.usage;
    let lines = unit_prices.lines(tokens)?.iter().map(receipt_line).collect::<Result<_, _>>()?;
    let sum = unit_prices.sum(tokens)?;
    let exact = sum.times(*multiplier)?;
    Ok(ReceiptView {
        usage: receipt.into(),
        lines,
        sum: sum.to_string(),
        multiplier: multiplier.normalize().to_string(),
        exact: exact.to_string(),
        rounding: "half to even, to 0.000000001",
        rounded: exact.rounded()?.to_string(),
        price_version: record.usage.price_version,
        attempts: record.usage.attempts.iter().map(Into::into).collect(),
        lease: record.lease,
        n: record.n,
        reported_at: receipt.reported_at,
    })
}

fn receipt_line(line: &Line) -> Result<ReceiptLine, PriceError> {
    Ok(ReceiptLine {
        class: line.class,
        quantity: line.quantity,
        unit_price: line.price.normalize().to_string(),
        per: line.per.to_string(),
        amount: line.amount()?.to_string(),
    })
}

/// Which statistics are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageStatsQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone. Hours that touch the period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day.
    to: Option<String>,
    /// Only by this key.
    key: Option<Uuid>,
    /// Only of this model.
    model: Option<String>,
    /// Grouped by; a day where absent.
    by: Option<UsageGroup>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's statistics.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct UsageStats {
    /// What they are grouped by.
    by: UsageGroup,
    /// The groups: hours and days newest first, models and keys by what was paid.
    items: Vec<UsageStatView>,
    /// All groups together.
    total: UsageStatView,
}

/// Usage in one group. Amounts are decimal strings of credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct UsageStatView {
    /// The hour, day, model or key; `total` for the sum.
    #[schema(example = "2026-11-22")]
    bucket: String,
    /// Calls.
    calls: u64,
    /// Calls that the gateway or a provider failed.
    errors: u64,
    /// Tokens by class.
    tokens: TokensView,
    /// What the calls cost.
    charge: String,
    /// What the account paid of it.
    paid: String,
}

impl From<&UsageStat> for UsageStatView {
    fn from(it: &UsageStat) -> Self {
        Self {
            bucket: it.bucket.clone(),
            calls: it.calls,
            errors: it.errors,
            tokens: it.tokens.into(),
            charge: it.charge.to_string(),
            paid: it.paid.to_string(),
        }
    }
}

/// The caller's usage by hour, day, model or key.
#[utoipa::path(
    get,
    path = "/api/user/usage/stats",
    tag = "usage",
    params(UsageStatsQuery),
    responses((status = 200, body = UsageStats))
)]
async fn get_usage_stats(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<UsageStatsQuery>,
) -> Result<Json<UsageStats>, Problem> {
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let filter = StatsFilter {
        account: Some(caller.user),
        key: query.key.map(KeyId::from_uuid),
        model: label("model", query.model)?,
        from: period.from,
        to: period.to,
    };
    let by = query.by.unwrap_or(UsageGroup::Day);
    reached(&app, query.after).await?;
    let stats = usage::stats(&app.db, &filter, by.into()).await?;
    let total = sum(&stats).ok_or_else(|| Problem::internal(&SumTooLarge))?;
    Ok(Json(UsageStats { by, items: stats.iter().map(Into::into).collect(), total: (&total).into() }))
}

/// Which statistics of a key are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeyStatsQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone. Hours that touch the period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day.
    to: Option<String>,
    /// Grouped by; a day where absent.
    by: Option<UsageGroup>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// What one of the caller's keys has used.
#[utoipa::path(
    get,
    path = "/api/user/keys/{id}/stats",
    tag = "keys",
    params(("id" = Uuid, Path), KeyStatsQuery),
    responses((status = 200, body = UsageStats))
)]
async fn get_key_stats(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<KeyStatsQuery>,
) -> Result<Json<UsageStats>, Problem> {
    // Another's key is not found, rather than found without calls.
    app.directory.key(caller.user, KeyId::from_uuid(id)).await?;
    let KeyStatsQuery { from, to, by, after } = query;
    let query = UsageStatsQuery { from, to, key: Some(id), model: None, by, after };
    get_usage_stats(State(app), caller, Query(query)).await
}

fn sum(stats: &[UsageStat]) -> Option<UsageStat> {
    let start = UsageStat {
        bucket: "total".to_owned(),
        calls: 0,
        errors: 0,
        tokens: Tokens::default(),
        charge: Credits::ZERO,
        paid: Credits::ZERO,
        uncovered: Credits::ZERO,
        cost: Credits::ZERO,
    };
    stats.iter().try_fold(start, |sum, it| {
        let (a, b) = (sum.tokens, it.tokens);
        Some(UsageStat {
            calls: sum.calls.checked_add(it.calls)?,
            errors: sum.errors.checked_add(it.errors)?,
            tokens: Tokens {
                input: a.input.checked_add(b.input)?,
                cache_read: a.cache_read.checked_add(b.cache_read)?,
                cache_write: a.cache_write.checked_add(b.cache_write)?,
                cache_write_1h: a.cache_write_1h.checked_add(b.cache_write_1h)?,
                output: a.output.checked_add(b.output)?,
                reasoning: a.reasoning.checked_add(b.reasoning)?,
                image_input: a.image_input.checked_add(b.image_input)?,
                image_output: a.image_output.checked_add(b.image_output)?,
                audio_input: a.audio_input.checked_add(b.audio_input)?,
                audio_output: a.audio_output.checked_add(b.audio_output)?,
                characters: a.characters.checked_add(b.characters)?,
                audio_seconds: a.audio_seconds.checked_add(b.audio_seconds)?,
                images: a.images.checked_add(b.images)?,
            },
            charge: sum.charge.checked_add(it.charge)?,
            paid: sum.paid.checked_add(it.paid)?,
            uncovered: sum.uncovered.checked_add(it.uncovered)?,
            cost: sum.cost.checked_add(it.cost)?,
            bucket: sum.bucket,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::price::PriceList;
    use domain::{AccountId, LeaseId, PriceVersionId};
    use rust_decimal::Decimal;
    use serde_json::json;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn receipt(tokens: Tokens, prices: PriceList, multiplier: &str) -> Receipt {
        let label = |text: &str| Label::try_new(text).unwrap();
        let unit_prices = prices.resolve();
        let multiplier = decimal(multiplier);
        let charge = unit_prices.charge(&tokens, multiplier).unwrap();
        let usage = Usage {
            request: RequestId::from_uuid(Uuid::from_u128(1)),
            at: Moment::from_micros(0),
            key: KeyId::from_uuid(Uuid::from_u128(2)),
            model: label("m"),
            provider: label("provider-name"),
            upstream_model: label("upstream-name"),
            endpoint: label("/v1/chat/completions"),
            tokens,
            price_version: PriceVersionId::from_uuid(Uuid::from_u128(3)),
            unit_prices: unit_prices.clone(),
            multiplier,
            charge,
            cost: Credits::from_nano(777),
            cost_prices: Some(unit_prices),
            outcome: Outcome::Completed,
            usage_source: UsageSource::Provider,
            stream: false,
            status: 200,
            ttft_ms: None,
            duration_ms: 5,
            attempts: vec![Attempt {
                provider: label("provider-name"),
                key: Some(label("key-name")),
                chosen: Some(label("sticky")),
                status: Some(200),
                error: None,
                duration_ms: 5,
            }],
        };
        Receipt {
            late: false,
            event_seq: 9,
            reported_at: Moment::from_micros(0),
            record: UsageRecord {
                account: AccountId::from_uuid(Uuid::from_u128(4)),
                lease: LeaseId::from_uuid(Uuid::from_u128(5)),
                n: 1,
                spent: charge,
                uncovered: Credits::ZERO,
                usage,
            },
        }
    }

    #[test]
    fn lines_add_up_to_the_charge_exactly() {
        let tokens = Tokens { input: 7, cache_read: 1_000_003, output: 11, ..Tokens::default() };
        let prices = PriceList {
            cache_read: Some(decimal("0.300000001")),
            per_call: Some(decimal("0.001")),
            ..PriceList::plain(decimal("3"), decimal("15"))
        };
        let view = receipt_view(&receipt(tokens, prices, "1.5")).unwrap();
        let lines: Vec<_> = view.lines.iter().map(|it| (it.class, it.quantity, it.amount.as_str())).collect();
        assert_eq!(
            lines,
            [
                ("input", 7, "0.000021"),
                ("cache_read", 1_000_003, "0.300000901000003"),
                ("output", 11, "0.000165"),
                ("per_call", 1, "0.001"),
            ]
        );
        let total: Decimal = view.lines.iter().map(|it| decimal(&it.amount)).sum();
        assert_eq!(total, decimal(&view.sum));
        assert_eq!(view.sum, "0.301186901000003");
        assert_eq!(view.exact, "0.4517803515000045");
        assert_eq!((view.rounded.as_str(), view.usage.charge.as_str()), ("0.451780352", "0.451780352"));
    }

    #[test]
    fn units_of_media_have_lines_of_their_own_and_thirds_are_written_as_thirds() {
        let tokens = Tokens { input: 2, characters: 40, audio_seconds: 61, images: 1, ..Tokens::default() };
        let prices = PriceList {
            per_million_characters: Some(decimal("15")),
            per_audio_minute: Some(decimal("0.01")),
            per_image: Some(decimal("0.04")),
            ..PriceList::plain(decimal("3"), decimal("15"))
        };
        let view = receipt_view(&receipt(tokens, prices, "1.5")).unwrap();
        let lines: Vec<_> = view
            .lines
            .iter()
            .map(|it| (it.class, it.quantity, it.unit_price.as_str(), it.per.as_str(), it.amount.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                ("input", 2, "3", "1000000 tokens", "0.000006"),
                ("characters", 40, "15", "1000000 characters", "0.0006"),
                ("audio_seconds", 61, "0.01", "60 seconds", "0.0305/3"),
                ("images", 1, "0.04", "image", "0.04"),
            ]
        );
        // 0.040606 + 0.0305 ÷ 3
        assert_eq!((view.sum.as_str(), view.exact.as_str()), ("0.152318/3", "0.076159"));
        assert_eq!((view.rounded.as_str(), view.usage.charge.as_str()), ("0.076159", "0.076159"));
        let shown = serde_json::to_value(&view).unwrap();
        assert_eq!(shown["tokens"]["audio_seconds"], 61);
        assert_eq!(shown["tokens"]["input_total"], 2);
    }

    #[test]
    fn a_half_goes_to_the_even_nano_and_nothing_is_nothing() {
        // 0.5 and 1.5 nano-credits: one token at 0.0005 and 0.0015 a million.
        for (price, exact, rounded) in
            [("0.0005", "0.0000000005", "0"), ("0.0015", "0.0000000015", "0.000000002"), ("0", "0", "0")]
        {
            let tokens = Tokens { input: 1, ..Tokens::default() };
            let receipt = receipt(tokens, PriceList::plain(decimal(price), Decimal::ZERO), "1");
            let view = receipt_view(&receipt).unwrap();
            assert_eq!((view.exact.as_str(), view.rounded.as_str()), (exact, rounded));
        }
    }

    #[test]
    fn what_a_provider_takes_and_who_it_is_stays_the_operators() {
        let tokens = Tokens { input: 1, ..Tokens::default() };
        let receipt = receipt(tokens, PriceList::plain(decimal("3"), decimal("15")), "1");
        let lines = of_usage(&receipt.record, Split::reported(&receipt.record));
        for json in [
            serde_json::to_string(&receipt_view(&receipt).unwrap()).unwrap(),
            own_record(&receipt.record).unwrap().to_string(),
            serde_json::to_string(&own_postings(receipt.record.account, 9, &lines)).unwrap(),
        ] {
            for secret in ["cost", "provider-name", "key-name", "sticky", "upstream-name", "0.000000777"] {
                assert!(!json.contains(secret), "{secret} in {json}");
            }
        }
        // A field that nobody has placed yet is hidden; that those named are all there is shows here.
        let json = own_record(&receipt.record).unwrap();
        let hidden = ["provider", "upstream_model", "cost", "cost_prices"];
        let whole = serde_json::to_value(&receipt.record).unwrap();
        for (name, value) in whole["usage"].as_object().unwrap() {
            let expected =
                if name == "attempts" { &json!([{"status": 200, "duration_ms": 5}]) } else { value };
            let shown = json["usage"].get(name);
            assert_eq!(shown, if hidden.contains(&name.as_str()) { None } else { Some(expected) }, "{name}");
        }
        assert_eq!(json["spent"], whole["spent"]);
    }
}
