//! Reconciliation as finance sees it: bills, the comparisons of days, differences and who signs them off.
//!
//! May not touch: what is a difference ([`crate::reconciliation`]); balances.
//! Claims: whoever says how a difference ends is not who approves it; an export holds no formula.

use crate::{
    app::App,
    body::{Json, Page, Path, Query, page_before, page_limit},
    directory::{
        Status, now,
        reconciliation::{
            BillSource, Difference, DifferenceAct, DifferenceState, Import, RunCause, StepFault, StoredBill,
            StoredRun, Which,
        },
        words,
    },
    http::admin::approvals::alone,
    http::permission::{Permission, Routes},
    payments::{BillKind, Channel, ChannelError},
    problem::Problem,
    reconciliation::{
        export,
        matching::Class,
        run::{self, RunError, Sent},
    },
    session::Admin,
};
use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{Datelike, NaiveDate};
use domain::{AccountId, ChannelName, Moment, Money, OrderId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa_axum::routes;
use uuid::Uuid;

/// The most bytes of a bill that is sent.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// The most differences of an export.
const MOST_EXPORTED: u32 = 50_000;
/// A day, in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::BooksRead, routes!(bills))
        .guarded(Permission::MoneyWrite, routes!(import))
        .guarded(Permission::BooksRead, routes!(runs))
        .guarded(Permission::MoneyWrite, routes!(start))
        .guarded(Permission::BooksRead, routes!(show_run))
        .guarded(Permission::BooksRead, routes!(differences))
        .guarded(Permission::BooksRead, routes!(ageing))
        .guarded(Permission::BooksRead, routes!(export_differences))
        .guarded(Permission::MoneyWrite, routes!(assign))
        .guarded(Permission::MoneyWrite, routes!(resolve))
        .confirmed(Permission::MoneyWrite, routes!(approve))
        .guarded(Permission::MoneyWrite, routes!(reject))
}

words! {
    /// Which bill.
    BillWord {
        /// A line for each payment and refund.
        Trades = "trades",
        /// A line for each movement of the merchant's account.
        Funds = "funds",
    }
}

impl From<BillWord> for BillKind {
    fn from(word: BillWord) -> Self {
        match word {
            BillWord::Trades => Self::Trades,
            BillWord::Funds => Self::Funds,
        }
    }
}

impl From<BillKind> for BillWord {
    fn from(kind: BillKind) -> Self {
        match kind {
            BillKind::Trades => Self::Trades,
            BillKind::Funds => Self::Funds,
        }
    }
}

/// A bill that was imported.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BillView {
    /// Its id.
    id: Uuid,
    /// Whose.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// The merchant's number there; empty where bills do not say.
    merchant: String,
    /// Of which day, as the channel counts days.
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    /// Payments, or movements of the account.
    kind: BillWord,
    /// What the file is called.
    name: String,
    /// SHA-256 of its bytes.
    sha256: String,
    /// How many rows.
    rows: u64,
    /// Where it came from.
    source: BillSource,
    /// Does it stand for its day? A later file takes its place.
    is_current: bool,
    /// Who brought it; null: the daily run.
    #[schema(value_type = Option<Uuid>)]
    imported_by: Option<AccountId>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    imported_at: Moment,
}

impl From<StoredBill> for BillView {
    fn from(it: StoredBill) -> Self {
        Self {
            id: it.id,
            channel: it.channel,
            merchant: it.merchant,
            day: it.day,
            kind: it.kind.into(),
            name: it.name,
            sha256: it.sha256,
            rows: it.rows,
            source: it.source,
            is_current: it.is_current,
            imported_by: it.imported_by,
            imported_at: it.imported_at,
        }
    }
}

/// The sums of a day in one currency; amounts are decimal strings.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DayTotalView {
    /// ISO 4217.
    #[schema(example = "CNY")]
    currency: String,
    /// What payers paid, by the bill.
    payments: String,
    /// What went back to them, by the bill.
    refunds: String,
    /// What the channel kept.
    fees: String,
    /// Payments less refunds less fees, and less the merchant's own coupons.
    net: String,
    /// What the ledger credited on the day.
    ledger_payments: String,
    /// The refunds that ended on the day, by our books.
    ledger_refunds: String,
    /// By how much these moved the account; null: there is no bill of its movements.
    fund_change: Option<String>,
    /// That less `net`; null likewise.
    unexplained: Option<String>,
}

/// A comparison of a channel's day.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunView {
    /// Its id.
    id: Uuid,
    /// Whose day.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// Which, as the channel counts days.
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    /// Why.
    cause: RunCause,
    /// Who asked; null: nobody.
    #[schema(value_type = Option<Uuid>)]
    started_by: Option<AccountId>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    /// How far the ledger's tables were.
    position: u64,
    /// Was the day not over yet?
    is_preliminary: bool,
    /// The bills that were compared.
    bills: Vec<Uuid>,
    /// How many payments and refunds of the bill have a partner without a difference.
    matched: u64,
    /// How many differences it found, those included that both days settle.
    differences: u64,
    /// How many differences of the day are still to be looked after, now.
    open: u64,
    /// The day's sums, by currency.
    totals: Vec<DayTotalView>,
    /// Bills with rows that go on standing although the channel said now that there is none; told to who asked it, else empty.
    kept: Vec<Uuid>,
}

async fn run_view(app: &App, it: StoredRun) -> Result<RunView, Problem> {
    let open = app.directory.open_differences(&it.channel, it.day).await?;
    let totals = it.totals.iter().map(|total| {
        let amount = |minor: i64| Money { currency: total.currency, minor }.amount();
        DayTotalView {
            currency: total.currency.to_string(),
            payments: amount(total.payments),
            refunds: amount(total.refunds),
            fees: amount(total.fees),
            net: amount(total.net),
            ledger_payments: amount(total.ledger_payments),
            ledger_refunds: amount(total.ledger_refunds),
            fund_change: total.fund_change.map(amount),
            unexplained: total.fund_change.and_then(|it| it.checked_sub(total.net)).map(amount),
        }
    });
    Ok(RunView {
        id: it.id,
        channel: it.channel,
        day: it.day,
        cause: it.cause,
        started_by: it.started_by,
        started_at: it.started_at,
        position: it.position,
        is_preliminary: it.is_preliminary,
        bills: it.bills,
        matched: it.matched,
        differences: it.found,
        open,
        totals: totals.collect(),
        kept: Vec::new(),
    })
}

/// A difference and what became of it; amounts are decimal strings.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BillDifferenceView {
    /// Its id.
    id: Uuid,
    /// The comparison that found it first.
    run: Uuid,
    /// Whose day.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// Which.
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    /// Its kind.
    class: Class,
    /// How far it is.
    state: DifferenceState,
    /// The order's number, as far as one side has it.
    order_number: Option<String>,
    /// The refund's number.
    refund_number: Option<String>,
    /// The channel's transaction.
    provider_txn: Option<String>,
    /// The order, if it is one of ours.
    #[schema(value_type = Option<Uuid>)]
    order: Option<OrderId>,
    /// Whose it is.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// The currency of the ledger's amount, or else of the channel's.
    currency: Option<String>,
    /// What the ledger says.
    ledger_amount: Option<String>,
    /// The currency of the channel's amount.
    provider_currency: Option<String>,
    /// What the channel says.
    provider_amount: Option<String>,
    /// A sentence.
    detail: String,
    /// The other side's day, where the sides wrote it on two.
    #[schema(value_type = Option<String>, format = Date)]
    linked_day: Option<NaiveDate>,
    /// Who looks after it.
    #[schema(value_type = Option<Uuid>)]
    owner: Option<AccountId>,
    /// What was done.
    act: Option<DifferenceAct>,
    /// Why that ends it.
    reason: Option<String>,
    /// Who says so.
    #[schema(value_type = Option<Uuid>)]
    resolved_by: Option<AccountId>,
    /// Who agreed.
    #[schema(value_type = Option<Uuid>)]
    approved_by: Option<AccountId>,
    /// What they said.
    note: Option<String>,
    /// The difference that had been signed off, or had ended, before this one was found of the same thing.
    reopens: Option<Uuid>,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// When it ended; null: it has not.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Moment>,
    /// How many whole days it has waited, or did.
    age_days: i64,
}

impl From<Difference> for BillDifferenceView {
    fn from(it: Difference) -> Self {
        let until = it.ended_at.unwrap_or_else(now);
        Self {
            id: it.id,
            run: it.run,
            channel: it.channel,
            day: it.day,
            class: it.class,
            state: it.state,
            order_number: it.order_number,
            refund_number: it.refund_number,
            provider_txn: it.txn,
            order: it.order,
            user_id: it.account,
            currency: it.ledger.or(it.provider).map(|it| it.currency.to_string()),
            ledger_amount: it.ledger.map(Money::amount),
            provider_currency: it.provider.map(|it| it.currency.to_string()),
            provider_amount: it.provider.map(Money::amount),
            detail: it.detail,
            linked_day: it.linked,
            owner: it.owner,
            act: it.act,
            reason: it.reason,
            resolved_by: it.resolved_by,
            approved_by: it.approved_by,
            note: it.note,
            reopens: it.reopens,
            created_at: it.created_at,
            updated_at: it.updated_at,
            ended_at: it.ended_at,
            age_days: (until.micros() - it.created_at.micros()).div_euclid(DAY_US).max(0),
        }
    }
}

/// Which bill is sent.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SentBill {
    /// Whose.
    channel: String,
    /// Of which day, as the channel counts days: `2026-11-21`.
    #[param(value_type = String, format = Date)]
    day: String,
    /// Payments, or movements of the account.
    #[param(inline)]
    kind: BillWord,
    /// What the file is called, up to 200 characters.
    name: Option<String>,
}

/// A bill, and what comparing its day found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ImportView {
    /// The bill.
    bill: BillView,
    /// The comparison; null: the day's bill of payments is not in yet.
    run: Option<RunView>,
    /// Was the file not there yet?
    is_new: bool,
    /// What became of it: a file that was there and whose place another one had taken stands for its day again.
    outcome: Import,
}

/// Imports a channel's bill, as the channel wrote it (zip, gzip or plain), and compares its day. A file that does not add up, is cut
/// off, or is of another merchant or day is refused whole. The same file again is the same bill, and stands for its day again where
/// another one had taken its place.
#[utoipa::path(operation_id = "import_bill", post, path = "/api/admin/reconciliation/bills", tag = "admin: reconciliation",
    params(SentBill), request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file, at most 32 MiB"),
    responses((status = 200, body = ImportView, description = "It was there already"), (status = 201, body = ImportView)))]
async fn import(
    State(app): State<App>,
    admin: Admin,
    Query(query): Query<SentBill>,
    body: Body,
) -> Result<(StatusCode, Json<ImportView>), Problem> {
    let (channel, day) = (channel(&app, &query.channel)?, day("day", &query.day)?);
    let name = query.name.as_deref().unwrap_or("bill");
    if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let detail = "name: must be 1 to 200 characters, none of them a control character";
        return Err(Problem::bad_request("invalid_query", detail));
    }
    let bytes = axum::body::to_bytes(body, MOST_BYTES).await.map_err(|_| {
        let detail = format!("the body could not be read to its end, or is larger than {MOST_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    })?;
    let sent = Sent { day, kind: query.kind.into(), name, bytes: &bytes, by: admin.0.user };
    let imported = run::upload(&app, channel.as_ref(), sent).await.map_err(problem)?;
    let is_new = imported.import == Import::New;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let run = match imported.run {
        Some(run) => Some(run_view(&app, run).await?),
        None => None,
    };
    Ok((status, Json(ImportView { bill: imported.bill.into(), run, is_new, outcome: imported.import })))
}

/// Which bills or comparisons.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichDays {
    /// Only of this channel.
    channel: Option<String>,
    /// Only of this day or later.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<String>,
    /// Only of this day or earlier.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl WhichDays {
    fn checked(&self) -> Result<(Which, u32), Problem> {
        let limit = page_limit(self.limit)?;
        let which = Which {
            channel: channel_word(self.channel.as_deref())?,
            from: self.from.as_deref().map(|text| day("from", text)).transpose()?,
            to: self.to.as_deref().map(|text| day("to", text)).transpose()?,
            before: page_before(self.cursor.as_deref())?,
            limit: limit + 1,
            ..Which::default()
        };
        Ok((which, limit))
    }
}

/// Bills, newest first.
#[utoipa::path(operation_id = "list_bills", get, path = "/api/admin/reconciliation/bills", tag = "admin: reconciliation",
    params(WhichDays), responses((status = 200, body = Page<BillView>)))]
async fn bills(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<WhichDays>,
) -> Result<Json<Page<BillView>>, Problem> {
    let (which, limit) = query.checked()?;
    let items = app.directory.bills(&which).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string()).map(BillView::from)))
}

/// Which day is compared.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct StartRun {
    /// Whose.
    channel: String,
    /// Which, as the channel counts days: `2026-11-21`.
    #[schema(value_type = String, format = Date)]
    day: String,
    /// Is the channel asked for its bill first?
    #[serde(default)]
    download: bool,
}

/// Compares a day, with the channel's bill fetched first or with those that are in.
#[utoipa::path(operation_id = "start_reconciliation", post, path = "/api/admin/reconciliation/runs", tag = "admin: reconciliation",
    request_body = StartRun, responses((status = 201, body = RunView)))]
async fn start(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<StartRun>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let channel = channel(&app, &body.channel)?;
    let day = day("day", &body.day).map_err(|it| Problem::invalid("day", it.detail))?;
    let by = Some(admin.0.user);
    let (run, kept) = match body.download {
        true => {
            let done = run::download(&app, channel.as_ref(), day, RunCause::Download, by).await;
            done.map(|it| (it.run, it.kept.iter().map(|bill| bill.id).collect()))
        }
        false => run::again(&app, channel.as_ref(), day, by).await.map(|run| (run, Vec::new())),
    }
    .map_err(problem)?;
    Ok((StatusCode::CREATED, Json(RunView { kept, ..run_view(&app, run).await? })))
}

/// Comparisons, newest first; also those that found nothing.
#[utoipa::path(operation_id = "list_reconciliations", get, path = "/api/admin/reconciliation/runs", tag = "admin: reconciliation",
    params(WhichDays), responses((status = 200, body = Page<RunView>)))]
async fn runs(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<WhichDays>,
) -> Result<Json<Page<RunView>>, Problem> {
    let (which, limit) = query.checked()?;
    let page = Page::of(app.directory.runs(&which).await?, limit, |it| it.id.to_string());
    let mut items = Vec::new();
    for run in page.items {
        items.push(run_view(&app, run).await?);
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// One comparison.
#[utoipa::path(operation_id = "get_reconciliation", get, path = "/api/admin/reconciliation/runs/{id}", tag = "admin: reconciliation",
    params(("id" = Uuid, Path)), responses((status = 200, body = RunView)))]
async fn show_run(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<RunView>, Problem> {
    let run = app.directory.run(id).await?;
    Ok(Json(run_view(&app, run).await?))
}

/// Which differences.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichDifferences {
    /// Only of this channel.
    channel: Option<String>,
    /// Only of this kind.
    #[param(inline)]
    class: Option<Class>,
    /// Only those that are this far.
    #[param(inline)]
    state: Option<DifferenceState>,
    /// Only those that this person looks after.
    owner: Option<Uuid>,
    /// Only those that this comparison found first.
    run: Option<Uuid>,
    /// Only of this day or later.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<String>,
    /// Only of this day or earlier.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Differences, newest first.
#[utoipa::path(operation_id = "list_differences", get, path = "/api/admin/reconciliation/differences", tag = "admin: reconciliation",
    params(WhichDifferences), responses((status = 200, body = Page<BillDifferenceView>)))]
async fn differences(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<WhichDifferences>,
) -> Result<Json<Page<BillDifferenceView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let which = Which {
        channel: channel_word(query.channel.as_deref())?,
        from: query.from.as_deref().map(|text| day("from", text)).transpose()?,
        to: query.to.as_deref().map(|text| day("to", text)).transpose()?,
        class: query.class,
        state: query.state,
        owner: query.owner.map(AccountId::from_uuid),
        run: query.run,
        before: page_before(query.cursor.as_deref())?,
        limit: limit + 1,
    };
    let items = app.directory.differences(&which).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string()).map(BillDifferenceView::from)))
}

/// Which differences are counted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichAges {
    /// Only of this channel.
    channel: Option<String>,
}

/// How long the differences of a channel and kind have waited.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AgeView {
    /// The channel.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// The kind.
    class: Class,
    /// Less than a day.
    under_1_day: u64,
    /// Less than three days.
    under_3_days: u64,
    /// Less than a week.
    under_7_days: u64,
    /// Less than thirty days.
    under_30_days: u64,
    /// Longer.
    older: u64,
    /// All of them.
    total: u64,
}

/// All that wait.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AgesView {
    /// By channel and kind.
    items: Vec<AgeView>,
}

/// How many differences are still to be looked after, by how long they have waited.
#[utoipa::path(operation_id = "get_difference_ages", get, path = "/api/admin/reconciliation/ageing", tag = "admin: reconciliation",
    params(WhichAges), responses((status = 200, body = AgesView)))]
async fn ageing(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<WhichAges>,
) -> Result<Json<AgesView>, Problem> {
    let channel = channel_word(query.channel.as_deref())?;
    let at = now();
    let mut items: Vec<AgeView> = Vec::new();
    for (channel, class, found) in app.directory.waiting_differences(channel.as_deref()).await? {
        let known = items.iter().position(|it| it.channel == channel && it.class == class);
        let index = known.unwrap_or_else(|| {
            let (under_1_day, under_3_days, under_7_days, under_30_days, older, total) = (0, 0, 0, 0, 0, 0);
            let channel = channel.clone();
            items.push(AgeView {
                channel,
                class,
                under_1_day,
                under_3_days,
                under_7_days,
                under_30_days,
                older,
                total,
            });
            items.len() - 1
        });
        let Some(item) = items.get_mut(index) else { continue };
        let days = (at.micros() - found.micros()).div_euclid(DAY_US);
        let bucket = match days {
            ..1 => &mut item.under_1_day,
            1..3 => &mut item.under_3_days,
            3..7 => &mut item.under_7_days,
            7..30 => &mut item.under_30_days,
            30.. => &mut item.older,
        };
        *bucket += 1;
        item.total += 1;
    }
    Ok(Json(AgesView { items }))
}

/// Which differences are exported.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichExport {
    /// Only of this channel.
    channel: Option<String>,
    /// Only of this kind.
    #[param(inline)]
    class: Option<Class>,
    /// Only those that are this far.
    #[param(inline)]
    state: Option<DifferenceState>,
    /// Only of this day or later.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<String>,
    /// Only of this day or earlier.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<String>,
}

/// Differences as CSV for spreadsheets, newest first: numbers of many digits are text, and no cell is a formula.
#[utoipa::path(operation_id = "export_differences", get, path = "/api/admin/reconciliation/export", tag = "admin: reconciliation",
    params(WhichExport), responses((status = 200, content((String = "text/csv")))))]
async fn export_differences(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<WhichExport>,
) -> Result<Response, Problem> {
    let which = Which {
        channel: channel_word(query.channel.as_deref())?,
        from: query.from.as_deref().map(|text| day("from", text)).transpose()?,
        to: query.to.as_deref().map(|text| day("to", text)).transpose()?,
        class: query.class,
        state: query.state,
        limit: MOST_EXPORTED + 1,
        ..Which::default()
    };
    let found = app.directory.differences(&which).await?;
    if found.len() > usize::try_from(MOST_EXPORTED).unwrap_or(usize::MAX) {
        let detail = format!("these are more than {MOST_EXPORTED} differences; ask for fewer days");
        return Err(Problem::bad_request("invalid_query", detail));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"differences.csv\""),
    ];
    Ok((headers, export::csv(&found)).into_response())
}

/// Who is to look after a difference.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Assign {
    /// Somebody who may move credits.
    owner: Uuid,
}

/// Gives a difference to somebody to look after.
#[utoipa::path(operation_id = "assign_difference", post, path = "/api/admin/reconciliation/differences/{id}/assign",
    tag = "admin: reconciliation", params(("id" = Uuid, Path)), request_body = Assign, responses((status = 200, body = BillDifferenceView)))]
async fn assign(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<Assign>,
) -> Result<Json<BillDifferenceView>, Problem> {
    let owner = AccountId::from_uuid(body.owner);
    let user = app.directory.user(owner).await?;
    if !user.is_some_and(|it| it.status == Status::Active && Permission::MoneyWrite.is_held_by(it.role)) {
        return Err(Problem::invalid("owner", "is nobody who may look after differences"));
    }
    let after = app.directory.assign_difference(id, owner, &admin.0).await?;
    Ok(Json(after.map_err(fault)?.into()))
}

/// How a difference ends.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Resolve {
    /// What was done.
    act: DifferenceAct,
    /// Why that ends it: 1 to 500 characters.
    reason: String,
}

/// Says how a difference ends. It ends when another person approves.
#[utoipa::path(operation_id = "resolve_difference", post, path = "/api/admin/reconciliation/differences/{id}/resolve",
    tag = "admin: reconciliation", params(("id" = Uuid, Path)), request_body = Resolve, responses((status = 200, body = BillDifferenceView)))]
async fn resolve(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<Resolve>,
) -> Result<Json<BillDifferenceView>, Problem> {
    let reason = sentence("reason", body.reason.trim().to_owned())?;
    if reason.is_empty() {
        return Err(Problem::invalid("reason", "must not be empty"));
    }
    let after = app.directory.propose_end(id, body.act, &reason, &admin.0).await?;
    Ok(Json(after.map_err(fault)?.into()))
}

/// What a second person says.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondWord {
    /// A sentence about it, up to 500 characters.
    note: Option<String>,
}

fn said(body: Option<Json<SecondWord>>) -> Result<Option<String>, Problem> {
    body.and_then(|Json(body)| body.note).map(|note| sentence("note", note)).transpose()
}

/// Agrees with how a difference ends, as another person than said so.
#[utoipa::path(operation_id = "approve_difference", post, path = "/api/admin/reconciliation/differences/{id}/approve",
    tag = "admin: reconciliation", params(("id" = Uuid, Path)), request_body = Option<SecondWord>,
    responses((status = 200, body = BillDifferenceView)))]
async fn approve(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    body: Option<Json<SecondWord>>,
) -> Result<Json<BillDifferenceView>, Problem> {
    let note = said(body)?;
    let is_alone = match app.directory.difference(id).await?.resolved_by {
        Some(proposer) => alone(&app, &admin, proposer, note.as_deref()).await?.is_some(),
        None => false,
    };
    let after = app.directory.approve_end(id, note.as_deref(), &admin.0, is_alone).await?;
    Ok(Json(after.map_err(fault)?.into()))
}

/// Does not agree, or takes one's own word back: the difference goes on.
#[utoipa::path(operation_id = "reject_difference", post, path = "/api/admin/reconciliation/differences/{id}/reject",
    tag = "admin: reconciliation", params(("id" = Uuid, Path)), request_body = Option<SecondWord>,
    responses((status = 200, body = BillDifferenceView)))]
async fn reject(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    body: Option<Json<SecondWord>>,
) -> Result<Json<BillDifferenceView>, Problem> {
    let note = said(body)?;
    let after = app.directory.reject_end(id, note.as_deref(), &admin.0).await?;
    Ok(Json(after.map_err(fault)?.into()))
}

fn sentence(field: &str, text: String) -> Result<String, Problem> {
    match text.chars().count() > 500 || text.chars().any(|c| c.is_control() && c != '\n') {
        true => Err(Problem::invalid(field, "must be at most 500 characters without control characters")),
        false => Ok(text),
    }
}

fn channel(app: &App, name: &str) -> Result<Arc<dyn Channel>, Problem> {
    app.channels.get(name).cloned().ok_or_else(|| Problem::not_found("no such channel"))
}

/// A channel that may be gone since.
fn channel_word(name: Option<&str>) -> Result<Option<String>, Problem> {
    match name.map(ChannelName::try_new) {
        Some(Err(fault)) => Err(Problem::bad_request("invalid_query", format!("channel: {fault}"))),
        Some(Ok(name)) => Ok(Some(name.to_string())),
        None => Ok(None),
    }
}

fn day(name: &str, text: &str) -> Result<NaiveDate, Problem> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    day.filter(|it| (2000..=9998).contains(&it.year()) && text.len() == 10)
        .ok_or_else(|| Problem::bad_request("invalid_query", format!("{name}: is no day such as 2026-11-21")))
}

fn fault(fault: StepFault) -> Problem {
    match fault {
        StepFault::State(_) => Problem::conflict("wrong_state", fault.to_string()),
        StepFault::Involved => Problem::new(StatusCode::FORBIDDEN, "second_person_needed", fault.to_string()),
    }
}

fn problem(error: RunError) -> Problem {
    match error {
        RunError::NoBills(_) => Problem::unsupported(error.to_string()),
        RunError::Busy => Problem::conflict("busy", error.to_string()).retry_after(1),
        RunError::NoBill => Problem::conflict("no_bill", error.to_string()),
        RunError::Bill(fault) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_bill", fault.to_string())
        }
        RunError::Channel(ChannelError::Unreachable(_)) => {
            Problem::unavailable(error.to_string()).retry_after(60)
        }
        RunError::Channel(ChannelError::Refused(_) | ChannelError::Unsupported(_)) => {
            Problem::new(StatusCode::BAD_GATEWAY, "channel_refused", error.to_string())
        }
        RunError::Trailing => Problem::unavailable(error.to_string()),
        RunError::Directory(error) => error.into(),
        RunError::Database(error) => error.into(),
        RunError::Ledger(error) => error.into(),
    }
}
