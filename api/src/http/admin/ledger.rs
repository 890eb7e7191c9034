//! The books and the log, as an operator sees them: the trial balance, the journal's lines, the raw events.
//!
//! May not touch: anything; it only reads. Claims: the trial balance is of one state of the tables and says which; an
//! event is shown byte for byte as it is stored.

use crate::{
    app::App,
    body::{Json, Page, Query, page_limit},
    http::permission::{Permission, Routes},
    http::reading::{Period, parameter, reached},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use chrono::{FixedOffset, NaiveDate, Utc};
use domain::{AccountId, ChannelName, Moment, Unit};
use ledger::{LedgerError, Logged, Subject};
use projections::journal::{self, BookSums, Entry, EntryFilter, Sums};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::BooksRead, routes!(get_trial_balance))
        .guarded(Permission::BooksRead, routes!(list_entries))
        .guarded(Permission::BooksRead, routes!(list_events))
}

/// Which day is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrialBalanceQuery {
    /// The last day in it, in the operator's time zone: `2026-11-22`. Today where absent.
    at: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// All books at the end of a day. Amounts are decimal strings; debits and credits both count above zero.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TrialBalanceView {
    /// The last day in it. A day that has ended still grows by calls of that day that are reported later.
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    /// Every event of the log up to this one is in these numbers.
    position: u64,
    /// Does every unit sum to zero? If not, the tables are damaged.
    balanced: bool,
    /// The books, by unit (credits first) and name. What is owed to accounts is one line, `liability:credits`.
    books: Vec<BookView>,
    /// All books of a unit together.
    totals: Vec<TotalView>,
}

/// A book's sums.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BookView {
    /// `credits`, or a currency.
    #[schema(example = "credits")]
    unit: String,
    /// Its name.
    #[schema(example = "revenue:usage:claude-sonnet-4")]
    book: String,
    /// Its sums.
    #[serde(flatten)]
    sums: SumsView,
}

/// A unit's sums.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TotalView {
    /// `credits`, or a currency.
    #[schema(example = "CNY")]
    unit: String,
    /// Its sums.
    #[serde(flatten)]
    sums: SumsView,
}

/// Debits and credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SumsView {
    /// All debits.
    #[schema(example = "0")]
    debit: String,
    /// All credits.
    #[schema(example = "0.000465")]
    credit: String,
    /// Debits less credits.
    #[schema(example = "-0.000465")]
    balance: String,
    /// How many lines they are made of.
    entries: u64,
}

impl SumsView {
    fn of(unit: Unit, sums: Sums) -> Self {
        Self {
            debit: unit.decimal(sums.debit),
            credit: unit.decimal(sums.credit),
            balance: unit.decimal(sums.balance()),
            entries: sums.entries,
        }
    }
}

/// The trial balance at the end of a day: debits, credits and balance of every book, in every unit.
#[utoipa::path(
    get,
    path = "/api/admin/ledger/trial-balance",
    tag = "admin: ledger",
    params(TrialBalanceQuery),
    responses((status = 200, body = TrialBalanceView))
)]
async fn get_trial_balance(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<TrialBalanceQuery>,
) -> Result<Json<TrialBalanceView>, Problem> {
    let day = match query.at {
        Some(text) => parameter("at", date(&text))?,
        None => today(app.config.time_zone_offset_minutes),
    };
    reached(&app, query.after).await?;
    let trial = journal::trial_balance(&app.db, day).await?;
    let balanced = trial.totals.values().all(|sums| sums.balance() == 0);
    if !balanced {
        tracing::error!(%day, position = trial.position, "the books do not balance: the tables are damaged");
    }
    let book = |BookSums { unit, book, sums }| BookView {
        unit: unit.to_string(),
        book,
        sums: SumsView::of(unit, sums),
    };
    let total =
        |(unit, sums): (Unit, Sums)| TotalView { unit: unit.to_string(), sums: SumsView::of(unit, sums) };
    Ok(Json(TrialBalanceView {
        day,
        position: trial.position,
        balanced,
        books: trial.books.into_iter().map(book).collect(),
        totals: trial.totals.into_iter().map(total).collect(),
    }))
}

fn date(text: &str) -> Result<NaiveDate, &'static str> {
    // Chrono also reads `2026-1-2` and years of five digits.
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    date.filter(|date| text.len() == 10 && date.to_string() == text).ok_or("is no date such as 2026-11-22")
}

/// Today by the operator's clock.
fn today(zone_minutes: i32) -> NaiveDate {
    let now = Utc::now();
    let zone = FixedOffset::east_opt(zone_minutes.saturating_mul(60));
    zone.map_or_else(|| now.date_naive(), |zone| now.with_timezone(&zone).date_naive())
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EntriesQuery {
    /// Only in books whose names begin so: `asset:`, `fx:CNY`, `liability:credits:<account>`.
    book: Option<String>,
    /// Only of decisions about this account, in whichever book.
    account: Option<Uuid>,
    /// Only of the event at this position.
    event_seq: Option<u64>,
    /// Decided at this moment or later: RFC 3339, or a date in the operator's time zone.
    from: Option<String>,
    /// Decided before this moment; a date includes that day.
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// A line of the journal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct EntryView {
    /// Where its event stands on the log.
    event_seq: u64,
    /// Which line of the event it is. A debit and its credit stand one after the other.
    line: u32,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// The day that it counts in, in the operator's time zone.
    #[schema(example = "2026-11-22")]
    day: String,
    /// The event's type.
    #[serde(rename = "type")]
    #[schema(example = "top_up_completed")]
    kind: String,
    /// Whose decision it was; null for a payment in suspense.
    #[schema(value_type = Option<Uuid>)]
    account: Option<AccountId>,
    /// Which account of the books.
    #[schema(example = "asset:clearing:sandbox")]
    book: String,
    /// `credits`, or a currency.
    #[schema(example = "CNY")]
    unit: String,
    /// Debit above zero, credit below; a decimal string.
    #[schema(example = "50.00")]
    amount: String,
}

impl From<Entry> for EntryView {
    fn from(it: Entry) -> Self {
        Self {
            event_seq: it.event_seq,
            line: it.line,
            at: it.at,
            day: it.day,
            kind: it.kind,
            account: it.account,
            book: it.book.to_string(),
            unit: it.unit.to_string(),
            amount: it.unit.decimal(it.amount.into()),
        }
    }
}

/// The journal's lines, newest first: of decisions and of payments in suspense. Usage is not in it line by line: its sums
/// are in the trial balance, its records in the call history.
#[utoipa::path(
    get,
    path = "/api/admin/ledger/entries",
    tag = "admin: ledger",
    params(EntriesQuery),
    responses((status = 200, body = Page<EntryView>))
)]
async fn list_entries(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<EntriesQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let cursor = query.cursor.map(|text| parameter("cursor", text.parse())).transpose()?;
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let filter = EntryFilter {
        book: query.book.map(|text| parameter("book", text.parse())).transpose()?,
        account: query.account.map(AccountId::from_uuid),
        event_seq: query.event_seq,
        from: period.from,
        to: period.to,
    };
    reached(&app, query.after).await?;
    let page = journal::entries(&app.db, &filter, cursor, limit).await?;
    let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Which events are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Only decisions about this account.
    account: Option<Uuid>,
    /// Only payments in suspense at this channel; not together with `account`.
    suspense: Option<String>,
    /// Only events behind this position.
    after: Option<u64>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
}

/// Events of the log, oldest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Events {
    /// The events.
    items: Vec<EventView>,
    /// `after` of the next ones; null where there are none yet.
    next_after: Option<u64>,
    /// The position that was looked up to: the end of the log, or of what was asked for.
    end: u64,
}

/// An event as it stands on the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct EventView {
    /// Its position.
    sequence: u64,
    /// Where it stands.
    #[schema(example = "ledger.account.0197…")]
    subject: String,
    /// As it is stored.
    #[schema(value_type = Object)]
    event: Box<RawValue>,
    /// SHA-256 of its stored bytes: the `prev` of the next event of its subject.
    hash: String,
    /// When the log stored it.
    #[schema(value_type = String, format = DateTime)]
    stored_at: Moment,
}

/// How long the log may take to hand out a page.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// The raw events of the log, oldest first, as they are stored.
#[utoipa::path(
    get,
    path = "/api/admin/ledger/events",
    tag = "admin: ledger",
    params(EventsQuery),
    responses((status = 200, body = Events))
)]
async fn list_events(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Events>, Problem> {
    let limit = page_limit(query.limit)? as usize;
    let subject = match (query.account, query.suspense) {
        (None, None) => None,
        (Some(account), None) => Some(Subject::Account(AccountId::from_uuid(account))),
        (None, Some(channel)) => {
            Some(Subject::Suspense(parameter("suspense", ChannelName::try_new(channel))?))
        }
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("invalid_query", "suspense: not together with account"));
        }
    };
    let reading = read_events(&app, subject, query.after.unwrap_or(0), limit);
    let (logged, end) = tokio::time::timeout(READ_PATIENCE, reading)
        .await
        .map_err(|_| LedgerError::Unavailable("LEDGER could not be read in time".to_owned()))??;
    let next_after = logged.last().map(|it| it.recorded.sequence).filter(|last| *last < end);
    let items = logged.iter().map(event_view).collect::<Result<_, _>>()?;
    Ok(Json(Events { items, next_after, end }))
}

/// The events behind a position, and where they end now. A tail waits at its end for more, so the end is asked first.
async fn read_events(
    app: &App,
    subject: Option<Subject>,
    after: u64,
    limit: usize,
) -> Result<(Vec<Logged>, u64), LedgerError> {
    let log = app.ledger.log();
    let end = match &subject {
        Some(subject) => log.last_on(subject).await?.map_or(0, |logged| logged.recorded.sequence),
        None => log.identity().await?.last_sequence,
    };
    let mut events = Vec::new();
    let mut position = after;
    if position < end {
        let mut tail = log.tail(after, subject.map(|it| it.to_string()).as_deref()).await?;
        while position < end && events.len() < limit {
            for logged in tail.next_batch(limit - events.len()).await? {
                position = logged.recorded.sequence;
                events.push(logged);
            }
        }
    }
    Ok((events, end))
}

fn event_view(logged: &Logged) -> Result<EventView, Problem> {
    let subject = ledger::codec::subject_of(&logged.recorded.event);
    // Byte for byte as it is stored: its SHA-256 is the `prev` of its successor.
    let event = serde_json::from_slice(&logged.json()?).map_err(|error| Problem::internal(&error))?;
    Ok(EventView {
        sequence: logged.recorded.sequence,
        subject: subject.to_string(),
        event,
        hash: hex::encode(logged.hash),
        stored_at: logged.stored_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::{Node, gateway, lease, record};
    use domain::account::event::GrantSource;
    use domain::event::PaymentSuspended;
    use domain::{Command, GrantId, LeaseId, Money};
    use serde_json::{Value, json};

    #[test]
    fn a_day_is_written_in_one_way() {
        assert!(date("2026-11-22").is_ok() && date("2028-02-29").is_ok());
        for text in
            ["", "today", "2026-1-2", "2026-02-30", "+12026-01-01", "-001-01-01", "2026-11-22T00:00:00Z"]
        {
            assert!(date(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_operator_reads_the_books_the_lines_and_the_events() {
        let gateway = gateway().await;
        let (user, admin) =
            (gateway.token("ann", Role::User).await, gateway.token("root", Role::Admin).await);
        let ann = gateway.account_of(&user).await;
        let get = async |path: &str| gateway.call("GET", path, Some(&admin), None).await;
        let empty = get("/api/admin/ledger/trial-balance").await.body;
        assert_eq!(
            (&empty["books"], &empty["totals"], &empty["balanced"]),
            (&json!([]), &json!([]), &json!(true))
        );

        let (grant, source) = (GrantId::from_uuid(Uuid::now_v7()), GrantSource::Signup);
        let gift = Command::GrantCredit { grant, source, credits: "10".parse().unwrap(), reason: None };
        gateway.decides(ann, gift).await;
        let mut node = Node::new();
        let anns = LeaseId::from_uuid(Uuid::now_v7());
        gateway.decides(ann, lease(anns, node.epoch, "4")).await;
        node.reports(&gateway, vec![record(ann, anns, 1, "0.5", "0.5")]).await;
        let stray = PaymentSuspended {
            order: "nobody".parse().unwrap(),
            provider_txn: "txn".parse().unwrap(),
            paid: Money::parse("50", "CNY".parse().unwrap()).unwrap(),
            reason: "no such order".parse().unwrap(),
            inbox: 1,
        };
        let sandbox = "sandbox".parse().unwrap();
        gateway.app.ledger.log().suspend_payment(&sandbox, stray).await.unwrap();

        let trial = get("/api/admin/ledger/trial-balance?after=4").await.body;
        let line = |it: &Value| {
            ["unit", "book", "debit", "credit", "balance"]
                .map(|field| it[field].as_str().unwrap_or("").to_owned())
        };
        let books: Vec<_> = trial["books"].as_array().unwrap().iter().map(line).collect();
        let expected = [
            ["credits", "expense:promotions", "10", "0", "10"],
            ["credits", "expense:provider:the-provider", "0.000000777", "0", "0.000000777"],
            ["credits", "liability:credits", "0.5", "10", "-9.5"],
            ["credits", "payable:provider:the-provider", "0", "0.000000777", "-0.000000777"],
            ["credits", "revenue:usage:the-model", "0", "0.5", "-0.5"],
            ["CNY", "asset:clearing:sandbox", "50.00", "0.00", "50.00"],
            ["CNY", "suspense:sandbox", "0.00", "50.00", "-50.00"],
        ];
        assert_eq!(books, expected.map(|line| line.map(str::to_owned)));
        let totals: Vec<_> = trial["totals"].as_array().unwrap().iter().map(line).collect();
        let expected =
            [["credits", "", "10.500000777", "10.500000777", "0"], ["CNY", "", "50.00", "50.00", "0.00"]];
        assert_eq!(totals, expected.map(|line| line.map(str::to_owned)));
        assert_eq!((&trial["balanced"], &trial["position"]), (&json!(true), &json!(4)));
        assert_eq!(trial["day"], today(0).to_string());
        let before = get("/api/admin/ledger/trial-balance?at=2020-01-01").await.body;
        assert_eq!((&before["books"], &before["position"]), (&json!([]), &json!(4)));

        let found = async |query: &str| {
            let page = get(&format!("/api/admin/ledger/entries?{query}")).await;
            assert_eq!(page.status, 200, "{}", page.body);
            let line = |it: &Value| (it["event_seq"].as_u64().unwrap(), it["line"].as_u64().unwrap());
            let lines: Vec<_> = page.body["items"].as_array().unwrap().iter().map(line).collect();
            (lines, page.body["next_cursor"].as_str().map(str::to_owned))
        };
        assert_eq!(found("").await, (vec![(4, 1), (4, 0), (1, 1), (1, 0)], None));
        assert_eq!(found(&format!("account={ann}")).await.0, [(1, 1), (1, 0)]);
        assert_eq!(found("book=asset:").await.0, [(4, 0)]);
        assert_eq!(found("event_seq=1&from=2020-01-01").await.0, [(1, 1), (1, 0)]);
        assert_eq!(found("to=2020-01-01").await.0, []);
        let (first, cursor) = found("limit=3").await;
        assert_eq!(first, [(4, 1), (4, 0), (1, 1)]);
        assert_eq!(found(&format!("limit=3&cursor={}", cursor.unwrap())).await, (vec![(1, 0)], None));
        let line = &get("/api/admin/ledger/entries?event_seq=4&book=suspense").await.body["items"][0];
        assert_eq!(
            (&line["type"], &line["account"], &line["book"], &line["unit"], &line["amount"]),
            (
                &json!("payment_suspended"),
                &Value::Null,
                &json!("suspense:sandbox"),
                &json!("CNY"),
                &json!("-50.00")
            )
        );

        let events = get("/api/admin/ledger/events?after=1&limit=2").await.body;
        let kinds: Vec<_> =
            events["items"].as_array().unwrap().iter().map(|it| it["event"]["type"].clone()).collect();
        assert_eq!(kinds, ["lease_granted", "usage_reported"]);
        assert_eq!((&events["next_after"], &events["end"]), (&json!(3), &json!(4)));
        let events = get(&format!("/api/admin/ledger/events?account={ann}")).await.body;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(2));
        assert_eq!(events["items"][1]["event"]["prev"], events["items"][0]["hash"]);

        for (path, fault) in [
            ("trial-balance?at=yesterday", "at: is no date"),
            ("trial-balance?day=2026-11-22", "day"),
            ("entries?book=", "book: "),
            ("entries?cursor=nonsense", "cursor: "),
            ("entries?from=yesterday", "from: "),
            ("entries?limit=0", "limit: "),
            ("entries?account=ann", "account"),
            ("events?limit=101", "limit: "),
            ("events?account=00000000-0000-0000-0000-000000000000&suspense=sandbox", "suspense: "),
        ] {
            let answer = get(&format!("/api/admin/ledger/{path}")).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (400, &json!("invalid_query")),
                "{path}"
            );
            assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
        }
    }
}
