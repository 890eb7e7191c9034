//! Billing: what the caller's credits came from and went to.
//!
//! Claims: every line is a projection of events and says which; nobody sees another's.
//!
//! An owner sees the events behind a line without who else was there (an admin's id, another's calls), and of the journal
//! the lines of the own account beside those that they stand against. Those are named by their chapter: how much of a
//! model's or a provider's book a call makes, in which channel's clearing account the money lies, are the operator's.

use crate::app::App;
use crate::body::{Json, Page, Path, Query};
use crate::directory::words;
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{Period, page_of, paging, reached};
use crate::http::topup::{OneQuery, TopUpStatus};
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use domain::{AccountId, ActorKind, Book, Moment, Posting, Unit};
use ledger::{LedgerError, Logged};
use projections::billing::{self, BillingBy, BillingFilter, BillingKind, BillingRecord, BillingStat};
use projections::journal::{self, Entry};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(list_billing))
        .guarded(Permission::SelfRead, routes!(get_billing_stats))
        .guarded(Permission::SelfRead, routes!(get_billing_record))
}

words! {
    /// What a line is.
    BillingType {
        /// A payment, or the wish to pay.
        TopUp = "topup",
        /// A day's usage.
        Consumption = "consumption",
        /// Money given back.
        Refund = "refund",
        /// A gift of credits.
        Grant = "grant",
        /// A correction.
        Adjustment = "adjustment",
    }

    /// What caused an event.
    EventActor {
        /// The account's owner.
        User = "user",
        /// An operator.
        Admin = "admin",
        /// A payment channel.
        Channel = "channel",
        /// A relay node.
        Node = "node",
        /// The gateway itself.
        System = "system",
    }

    /// What statistics are grouped by.
    BillingGroup {
        /// A day in the operator's time zone.
        Day = "day",
        /// A month of such days.
        Month = "month",
        /// A model; usage only.
        Model = "model",
        /// A key; usage only.
        Key = "key",
    }
}

impl From<BillingKind> for BillingType {
    fn from(kind: BillingKind) -> Self {
        match kind {
            BillingKind::TopUp => Self::TopUp,
            BillingKind::Consumption => Self::Consumption,
            BillingKind::Refund => Self::Refund,
            BillingKind::Grant => Self::Grant,
            BillingKind::Adjustment => Self::Adjustment,
        }
    }
}

impl From<BillingType> for BillingKind {
    fn from(kind: BillingType) -> Self {
        match kind {
            BillingType::TopUp => Self::TopUp,
            BillingType::Consumption => Self::Consumption,
            BillingType::Refund => Self::Refund,
            BillingType::Grant => Self::Grant,
            BillingType::Adjustment => Self::Adjustment,
        }
    }
}

impl From<ActorKind> for EventActor {
    fn from(kind: ActorKind) -> Self {
        match kind {
            ActorKind::User => Self::User,
            ActorKind::Admin => Self::Admin,
            ActorKind::Channel => Self::Channel,
            ActorKind::Node => Self::Node,
            ActorKind::System => Self::System,
        }
    }
}

impl From<BillingGroup> for BillingBy {
    fn from(group: BillingGroup) -> Self {
        match group {
            BillingGroup::Day => Self::Day,
            BillingGroup::Month => Self::Month,
            BillingGroup::Model => Self::Model,
            BillingGroup::Key => Self::Key,
        }
    }
}

/// A line of the caller's statement.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingView {
    /// Its id.
    #[schema(value_type = Uuid)]
    id: String,
    /// Whose.
    #[schema(value_type = Uuid)]
    user_id: domain::AccountId,
    /// What it is.
    #[serde(rename = "type")]
    kind: BillingType,
    /// The payer's money, a decimal string; only top-ups and refunds have some.
    #[schema(example = "50.00")]
    amount: Option<String>,
    /// Its currency.
    #[schema(example = "CNY")]
    currency: Option<String>,
    /// The credits, a decimal string: what a top-up buys, what was used or a refund takes (above zero), the difference of an
    /// adjustment. They count once the status is completed, a refund's while it is pending too.
    #[schema(example = "6.944444444")]
    quota_amount: String,
    /// A sentence for the reader.
    description: String,
    /// The channel's transaction number.
    transaction_id: Option<String>,
    /// How far it got.
    status: TopUpStatus,
    /// The order's, refund's, grant's or adjustment's id; of consumption the day with its time zone.
    reference: String,
    /// The day that it counts in, in `time_zone`.
    #[schema(example = "2026-11-22")]
    day: String,
    /// The operator's time zone when it was written.
    #[schema(example = "+08:00")]
    time_zone: String,
    /// How many calls consumption is made of.
    requests: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// Where its last event stands on the log.
    event_seq: u64,
}

impl From<BillingRecord> for BillingView {
    fn from(it: BillingRecord) -> Self {
        Self {
            id: it.id,
            user_id: it.account,
            kind: it.kind.into(),
            amount: it.money.map(domain::Money::amount),
            currency: it.money.map(|money| money.currency.to_string()),
            quota_amount: it.quota_amount.to_string(),
            description: it.description,
            transaction_id: it.transaction_id,
            status: it.status.into(),
            reference: it.reference,
            day: it.day,
            time_zone: it.time_zone,
            requests: it.requests,
            created_at: it.created_at,
            updated_at: it.updated_at,
            event_seq: it.event_seq,
        }
    }
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingQuery {
    /// Only lines of this kind.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<BillingType>,
    /// Only lines that got this far.
    status: Option<TopUpStatus>,
    /// Begun at this moment or later: RFC 3339, or a date in the operator's time zone.
    from: Option<String>,
    /// Begun before this moment; a date includes that day.
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's statement lines, newest first.
#[utoipa::path(
    get,
    path = "/api/user/billing",
    tag = "billing",
    params(BillingQuery),
    responses(
        (status = 200, body = Page<BillingView>),
    )
)]
async fn list_billing(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BillingQuery>,
) -> Result<Json<Page<BillingView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    reached(&app, query.after).await?;
    let filter = BillingFilter {
        account: Some(caller.user),
        kind: query.kind.map(Into::into),
        status: query.status.map(Into::into),
        from: period.from,
        to: period.to,
    };
    Ok(Json(page_of(billing::list(&app.db, &filter, &paging).await?, BillingView::from)))
}

/// A line with what it was made of.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingDetail {
    /// The line.
    #[serde(flatten)]
    record: BillingView,
    /// Its first and its last event; empty for consumption, which is made of the usage records within `usage`. Null when
    /// the log did not answer.
    events: Option<Vec<LedgerEvent>>,
    /// What it means for the caller's account in the books; of consumption, the day's sum.
    postings: Vec<PostingView>,
    /// Of consumption: the period of the usage records behind it, as `from` and `to` of `GET /api/user/usage`.
    usage: Option<UsageSpan>,
}

/// The period of the usage records behind a line.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct UsageSpan {
    /// The first moment.
    #[schema(value_type = String, format = DateTime)]
    from: Moment,
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    to: Moment,
}

/// An event of the log, as far as it is the caller's.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LedgerEvent {
    /// Where it stands.
    sequence: u64,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "top_up_completed")]
    kind: &'static str,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// What kind of actor caused it.
    actor: EventActor,
    /// Its data, as on the log.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

impl LedgerEvent {
    /// An event with these data.
    pub(crate) fn new(logged: &Logged, data: Box<RawValue>) -> Self {
        let recorded = &logged.recorded;
        Self {
            sequence: recorded.sequence,
            kind: ledger::codec::type_name(&recorded.event),
            at: recorded.at,
            actor: recorded.actor.kind.into(),
            data,
        }
    }
}

/// A line of the journal.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct PostingView {
    /// The event that made it; null for a day's sum.
    event_seq: Option<u64>,
    /// The caller's own account in the books, or the chapter of the book that it stands against.
    #[schema(example = "fx")]
    book: String,
    /// `credits`, or a currency.
    #[schema(example = "credits")]
    unit: String,
    /// Debit above zero, credit below; a decimal string. A debit of the own account is less to spend.
    #[schema(example = "6.944444444")]
    amount: String,
}

/// What an account's owner sees of lines: the own book's, each beside the one it stands against.
pub(crate) fn own_postings(account: AccountId, event_seq: u64, lines: &[Posting]) -> Vec<PostingView> {
    let own = Book::Liability(account);
    let is_own = |pair: &&[Posting]| pair.iter().any(|line| line.book == own);
    let view = |line: &Posting| PostingView {
        event_seq: Some(event_seq),
        book: if line.book == own { own.to_string() } else { line.book.chapter().to_owned() },
        unit: line.unit.to_string(),
        amount: line.unit.decimal(line.amount.into()),
    };
    // Lines come in pairs: `domain::posting`.
    lines.chunks(2).filter(is_own).flatten().map(view).collect()
}

/// One line of the caller's statement, with its events and postings. The id is the line's, or that of the order, grant
/// or adjustment behind it.
#[utoipa::path(
    get,
    path = "/api/user/billing/{id}",
    tag = "billing",
    params(("id" = Uuid, Path, description = "The line"), OneQuery),
    responses(
        (status = 200, body = BillingDetail),
    )
)]
async fn get_billing_record(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<OneQuery>,
) -> Result<Json<BillingDetail>, Problem> {
    reached(&app, query.after).await?;
    let record = billing::get(&app.db, caller.user, &id.to_string()).await?;
    let record = record.ok_or_else(|| Problem::not_found("no such billing record"))?;
    let (from, to) = record.day_span;
    let is_consumption = record.kind == BillingKind::Consumption;
    let (events, postings) = if is_consumption {
        (Some(Vec::new()), of_a_day(&record))
    } else {
        let mut sequences = vec![record.first_seq, record.event_seq];
        sequences.dedup();
        (events(&app, &record, &sequences).await?, decided(&app, caller.user, &sequences).await?)
    };
    let usage = is_consumption.then_some(UsageSpan { from, to });
    Ok(Json(BillingDetail { record: record.into(), events, postings, usage }))
}

/// What a day's usage means for the owner: the sum of its records' lines.
fn of_a_day(record: &BillingRecord) -> Vec<PostingView> {
    let used = i128::from(record.quota_amount.nano());
    let line = |book: String, amount| PostingView {
        event_seq: None,
        book,
        unit: Unit::Credits.to_string(),
        amount: Unit::Credits.decimal(amount),
    };
    let own = line(Book::Liability(record.account).to_string(), used);
    if used == 0 { Vec::new() } else { vec![own, line(Book::REVENUE.to_owned(), -used)] }
}

/// What the journal holds of some events.
async fn decided(app: &App, account: AccountId, sequences: &[u64]) -> Result<Vec<PostingView>, Problem> {
    let entries = journal::entries_of(&app.db, sequences).await?;
    let of_event = |event: &[Entry]| {
        let posting = |it: &Entry| Posting { book: it.book.clone(), unit: it.unit, amount: it.amount };
        let lines: Vec<Posting> = event.iter().map(posting).collect();
        event.first().map(|it| own_postings(account, it.event_seq, &lines))
    };
    let events = entries.chunk_by(|one, other| one.event_seq == other.event_seq);
    Ok(events.filter_map(of_event).flatten().collect())
}

/// The events behind a line. The line itself is read from the tables, so it is shown also while the log is away.
async fn events(
    app: &App,
    record: &BillingRecord,
    sequences: &[u64],
) -> Result<Option<Vec<LedgerEvent>>, Problem> {
    let mut events = Vec::new();
    for sequence in sequences {
        match app.ledger.log().at(*sequence).await {
            Ok(found) => events.extend(found.map(|logged| of_account(&logged)).transpose()?),
            Err(error @ LedgerError::Unavailable(_)) => {
                tracing::warn!(record = %record.id, sequence, "a billing record is shown without its events: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(events))
}

/// A decision about the caller's account. Its data name nobody else.
fn of_account(logged: &Logged) -> Result<LedgerEvent, Problem> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Box<RawValue>,
    }
    let stored = logged.json()?;
    let Envelope { data } = serde_json::from_slice(&stored).map_err(|error| Problem::internal(&error))?;
    Ok(LedgerEvent::new(logged, data))
}

/// Which statistics are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingStatsQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone. Days (of models and keys: hours) that touch
    /// the period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day.
    to: Option<String>,
    /// Grouped by; a day where absent.
    by: Option<BillingGroup>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's statistics.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingStats {
    /// What they are grouped by.
    by: BillingGroup,
    /// The groups: days and months newest first, models and keys by what was used.
    items: Vec<BillingStatView>,
    /// All groups together.
    total: BillingStatView,
}

/// Credits that moved in one group, as decimal strings. Only what is completed counts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingStatView {
    /// The day, month, model or key; `total` for the sum.
    #[schema(example = "2026-11-22")]
    bucket: String,
    /// Bought.
    topped_up: String,
    /// Given.
    granted: String,
    /// Corrected, up or down.
    adjusted: String,
    /// Given back for money, or set aside for that.
    refunded: String,
    /// Used.
    consumed: String,
    /// Calls behind what was used.
    requests: u64,
}

impl From<BillingStat> for BillingStatView {
    fn from(it: BillingStat) -> Self {
        Self {
            bucket: it.bucket,
            topped_up: it.topped_up.to_string(),
            granted: it.granted.to_string(),
            adjusted: it.adjusted.to_string(),
            refunded: it.refunded.to_string(),
            consumed: it.consumed.to_string(),
            requests: it.requests,
        }
    }
}

/// The caller's credits by day, month, model or key.
#[utoipa::path(
    get,
    path = "/api/user/billing/stats",
    tag = "billing",
    params(BillingStatsQuery),
    responses(
        (status = 200, body = BillingStats),
    )
)]
async fn get_billing_stats(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BillingStatsQuery>,
) -> Result<Json<BillingStats>, Problem> {
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let by = query.by.unwrap_or(BillingGroup::Day);
    reached(&app, query.after).await?;
    let stats = billing::stats(&app.db, caller.user, period.from, period.to, by.into()).await?;
    let total = sum(&stats).ok_or_else(|| Problem::internal(&SumTooLarge))?;
    Ok(Json(BillingStats { by, items: stats.into_iter().map(Into::into).collect(), total: total.into() }))
}

fn sum(stats: &[BillingStat]) -> Option<BillingStat> {
    let start = BillingStat { bucket: "total".to_owned(), ..BillingStat::default() };
    stats.iter().try_fold(start, |sum, it| {
        Some(BillingStat {
            topped_up: sum.topped_up.checked_add(it.topped_up)?,
            granted: sum.granted.checked_add(it.granted)?,
            adjusted: sum.adjusted.checked_add(it.adjusted)?,
            refunded: sum.refunded.checked_add(it.refunded)?,
            consumed: sum.consumed.checked_add(it.consumed)?,
            requests: sum.requests.checked_add(it.requests)?,
            bucket: sum.bucket,
        })
    })
}

/// A sum of amounts that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("the sum of an account's amounts does not fit")]
pub(crate) struct SumTooLarge;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::{ADMIN, Gateway, Node, gateway, lease, record};
    use domain::account::event::{Closer, GrantSource};
    use domain::{AdjustmentId, Command, Credits, GrantId, LeaseId, OrderId};
    use serde_json::{Value, json};

    #[test]
    fn the_total_of_statistics_is_exact_and_never_wraps() {
        let of =
            |nano| BillingStat { consumed: Credits::from_nano(nano), requests: 1, ..BillingStat::default() };
        let total = sum(&[of(1), of(2)]).unwrap();
        assert_eq!((total.consumed.nano(), total.requests), (3, 2));
        assert!(sum(&[of(i64::MAX), of(1)]).is_none());
    }

    /// A gift, a correction, a paid order and calls of ann's, some of them reported together with bob's and one too late.
    /// Answers the ids of ann's calls.
    async fn a_busy_minute(gateway: &Gateway, ann: AccountId, bob: AccountId) -> Vec<Uuid> {
        let credits = |text: &str| text.parse::<Credits>().unwrap();
        let grant = |amount| {
            let (grant, source) = (GrantId::from_uuid(Uuid::now_v7()), GrantSource::Signup);
            Command::GrantCredit { grant, source, credits: credits(amount), reason: None }
        };
        gateway.decides(ann, grant("10")).await;
        gateway.decides(bob, grant("100")).await;
        let adjustment = AdjustmentId::from_uuid(Uuid::now_v7());
        let reason = "one too many".parse().unwrap();
        gateway.decides(ann, Command::PostAdjustment { adjustment, credits: credits("-3"), reason }).await;
        let (order, channel) = (OrderId::from_uuid(Uuid::new_v4()), || "sandbox".parse().unwrap());
        let pay = domain::Money::parse("50.00", "CNY".parse().unwrap()).unwrap();
        let (bought, expires_at) = (credits("6.944444444"), crate::directory::now().plus_ms(60_000));
        let initiated =
            Command::InitiateTopUp { order, channel: channel(), pay, credits: bought, expires_at };
        gateway.decides(ann, initiated).await;
        let provider_txn = "txn".parse().unwrap();
        let completed = Command::CompleteTopUp { order, channel: channel(), provider_txn, paid: pay };
        gateway.decides(ann, completed).await;

        let [anns, bobs] = [1, 2].map(|_| LeaseId::from_uuid(Uuid::now_v7()));
        let mut node = Node::new();
        gateway.decides(ann, lease(anns, node.epoch, "4")).await;
        gateway.decides(bob, lease(bobs, node.epoch, "40")).await;
        let first = record(ann, anns, 1, "0.5", "0.5");
        let second = record(ann, anns, 2, "0.000001", "0.500001");
        let late = record(ann, anns, 3, "0.25", "0.750001");
        let ids = [&first, &second, &late].map(|it| it.usage.request.uuid()).to_vec();
        node.reports(gateway, vec![record(bob, bobs, 1, "7", "7"), first, second.clone()]).await;
        let close = Command::CloseLease { lease: anns, spent: second.spent, count: 2, by: Closer::Holder };
        gateway.decides(ann, close).await;
        let last = node.reports(gateway, vec![record(bob, bobs, 2, "1", "8"), late]).await;
        assert!(gateway.projector.wait_for(last, std::time::Duration::from_secs(20)).await);
        ids
    }

    /// Book, unit, amount.
    fn lines(detail: &Value) -> Vec<[String; 3]> {
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        let line = |it: &Value| [text(&it["book"]), text(&it["unit"]), text(&it["amount"])];
        detail["postings"].as_array().unwrap().iter().map(line).collect()
    }

    #[tokio::test]
    async fn behind_a_line_an_owner_sees_the_own_events_and_postings_and_nobody_else() {
        let gateway = gateway().await;
        let (token, other) = (gateway.token("ann", Role::User).await, gateway.token("bob", Role::User).await);
        let (ann, bob) = (gateway.account_of(&token).await, gateway.account_of(&other).await);
        let calls = a_busy_minute(&gateway, ann, bob).await;
        let get = async |path: String| gateway.call("GET", &path, Some(&token), None).await.body;
        let own = Book::Liability(ann).to_string();
        let pair = |against: &str, amount: &str, back: &str| {
            [[against, "credits", amount], [&own, "credits", back]].map(|line| line.map(str::to_owned))
        };
        let stored = async |sequence: &Value| {
            let logged = gateway.app.ledger.log().at(sequence.as_u64().unwrap()).await.unwrap().unwrap();
            serde_json::from_slice::<Value>(&logged.json().unwrap()).unwrap()
        };
        let mut shown = Vec::new();
        let rows = get("/api/user/billing".to_owned()).await["items"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 4);
        for row in rows {
            let path = format!("/api/user/billing/{}", row["id"].as_str().unwrap());
            let detail = get(path.clone()).await;
            let kinds: Vec<_> =
                detail["events"].as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap()).collect();
            let (types, expected): (&[&str], _) = match row["type"].as_str().unwrap() {
                "grant" => (&["credit_granted"], pair("expense:promotions", "10", "-10")),
                "adjustment" => (&["adjustment_posted"], pair("expense:goodwill", "-3", "3")),
                "topup" => {
                    (&["top_up_initiated", "top_up_completed"], pair("fx", "6.944444444", "-6.944444444"))
                }
                "consumption" => {
                    let mut lines = pair("revenue:usage", "-0.500001", "0.500001");
                    lines.reverse();
                    (&[], lines)
                }
                kind => panic!("{kind}"),
            };
            assert_eq!(kinds, types, "{detail}");
            assert_eq!(lines(&detail), expected, "{detail}");
            for event in detail["events"].as_array().unwrap() {
                let whole = stored(&event["sequence"]).await;
                assert_eq!((&event["data"], &event["at"]), (&whole["data"], &whole["at"]));
                assert_eq!((&event["actor"], &whole["actor"]["id"]), (&json!("admin"), &json!(ADMIN)));
            }
            assert_eq!(detail["usage"].is_null(), row["type"] != "consumption");
            shown.push(detail.to_string());
            assert_eq!(gateway.call("GET", &path, Some(&other), None).await.status, 404);
        }

        for (call, (at, expected)) in calls.iter().zip([
            (1, vec![["0.5", "-0.5"]]),
            (2, vec![["0.000001", "-0.000001"]]),
            // It came after its lease was closed: the operator's loss, which is no line of hers.
            (1, vec![]),
        ]) {
            let path = format!("/api/user/usage/{call}");
            let receipt = get(path.clone()).await;
            let expected: Vec<_> = expected
                .into_iter()
                .flat_map(|[paid, back]| {
                    let [own, earned] = [[own.as_str(), "credits", paid], ["revenue:usage", "credits", back]];
                    [own, earned].map(|line| line.map(str::to_owned))
                })
                .collect();
            assert_eq!(lines(&receipt), expected, "{receipt}");
            let [event] = &receipt["events"].as_array().unwrap()[..] else { panic!("{receipt}") };
            let (actor, kind) = (&event["actor"], &event["type"]);
            assert_eq!(
                (actor, kind, &event["sequence"]),
                (&json!("node"), &json!("usage_reported"), &receipt["event_seq"])
            );
            let whole = stored(&event["sequence"]).await["data"].clone();
            assert_eq!(event["data"]["batch"], whole["batch"]);
            let [record] = &event["data"]["records"].as_array().unwrap()[..] else { panic!("{receipt}") };
            let reported = &whole["records"][at];
            assert_eq!(record["usage"]["request"], json!(call));
            assert_eq!((&record["n"], &record["spent"]), (&reported["n"], &reported["spent"]));
            assert_eq!(record["usage"]["tokens"], reported["usage"]["tokens"]);
            shown.push(receipt.to_string());
            assert_eq!(gateway.call("GET", &path, Some(&other), None).await.status, 404);
        }
        let secrets = [
            ADMIN,
            &bob.to_string(),
            "the-provider",
            "their-name",
            "cost",
            "payable",
            "clearing",
            "0.000000777",
        ];
        for text in shown {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }

    #[tokio::test]
    async fn while_the_log_is_away_a_line_is_shown_with_its_postings_and_without_its_events() {
        let mut gateway = gateway().await;
        let token = gateway.token("ann", Role::User).await;
        let ann = gateway.account_of(&token).await;
        let calls = a_busy_minute(&gateway, ann, AccountId::from_uuid(Uuid::now_v7())).await;
        let rows = gateway.call("GET", "/api/user/billing?type=topup", Some(&token), None).await.body;
        gateway.stop_log().await;
        for path in [
            format!("/api/user/billing/{}", rows["items"][0]["id"].as_str().unwrap()),
            format!("/api/user/usage/{}", calls[0]),
        ] {
            let answer = gateway.call("GET", &path, Some(&token), None).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["events"]),
                (200, &Value::Null),
                "{}",
                answer.body
            );
            assert_eq!(lines(&answer.body).len(), 2);
        }
        let path = "/api/user/balance?at=2026-11-22T10:00:00Z";
        let answer = gateway.call("GET", path, Some(&token), None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("ledger_unavailable")));
    }
}
