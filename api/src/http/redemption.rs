//! Redemption codes: operators make them, users redeem them.
//!
//! Claims: a code is shown once, in the answer that made it; redeeming one is answered from the ledger's receipt, the same
//! for the same code and person however often; guessing is slowed down by person and by address.

use super::limit::Rule;
use crate::{
    app::App,
    body::{Json, Page, PageQuery, Path, Query, page_limit},
    directory::{
        now,
        redemption::{Batch, Code, CodeFault, CodeState, MAX_CODES, NewBatch},
        words,
    },
    http::permission::{Permission, Routes},
    http::reading::Position,
    problem::Problem,
    redemption,
    session::{Admin, Caller, ClientIp},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{AccountId, Credits, Moment};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .confirmed(Permission::MoneyWrite, routes!(create))
        .guarded(Permission::MoneyRead, routes!(show))
        .guarded(Permission::MoneyWrite, routes!(void))
        .guarded(Permission::SelfUse, routes!(redeem))
}

/// Codes that were not redeemed, by one person and from one address.
const GUESSES: Rule = Rule { name: "redemption", max: 10, window_s: 900 };
const GUESSES_FROM_ADDRESS: Rule = Rule { name: "redemption from address", max: 50, window_s: 900 };

words! {
    /// How the codes are handed out.
    CodeFormat {
        /// As JSON.
        Json = "json",
        /// As a file for spreadsheets: `code,credits,expires_at`.
        Csv = "csv",
    }
}

/// How the codes are handed out.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// JSON where absent.
    #[param(inline)]
    format: Option<CodeFormat>,
}

/// A batch to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCodes {
    /// 1 to 100 characters; operators alone see it.
    name: String,
    /// How many codes, 1 to 10000.
    count: u32,
    /// What each is good for, a decimal string above zero.
    #[schema(value_type = String, example = "5")]
    credits: Credits,
    /// When they end; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
}

/// A batch of codes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchView {
    /// Its id.
    id: Uuid,
    /// What it is called.
    name: String,
    /// What each code is good for, a decimal string.
    #[schema(example = "5")]
    credits: String,
    /// How many codes there are.
    codes: i64,
    /// How many of them were redeemed.
    redeemed: i64,
    /// How many of them were voided before.
    voided: i64,
    /// How many of them can be redeemed now.
    open: i64,
    /// When they end; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
    /// Who made it: a user's id.
    author: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Batch> for BatchView {
    fn from(it: Batch) -> Self {
        let is_over = it.expires_at.is_some_and(|end| end <= now());
        Self {
            id: it.id,
            name: it.name,
            credits: it.credits.to_string(),
            codes: it.codes,
            redeemed: it.redeemed,
            voided: it.voided,
            open: if is_over { 0 } else { it.codes - it.redeemed - it.voided },
            expires_at: it.expires_at,
            author: it.author,
            created_at: it.created_at,
        }
    }
}

/// A batch with its codes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MadeCodes {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// The codes. They are shown this once.
    #[schema(example = json!(["7F3KQ-0Z9MD-1YHT6-RVW2X"]))]
    secrets: Vec<String>,
}

/// What became of a code.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CodeView {
    /// Its last four characters.
    ending: String,
    /// What became of it.
    state: CodeState,
    /// Who redeemed it.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    redeemed_at: Option<Moment>,
    /// Where its grant stands on the log; null while it is on its way.
    event_seq: Option<i64>,
}

impl From<Code> for CodeView {
    fn from(it: Code) -> Self {
        let Code { ending, state, account, claimed_at, event_seq, .. } = it;
        Self { ending, state, user_id: account, redeemed_at: claimed_at, event_seq }
    }
}

/// A batch and a page of its codes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchDetail {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// Its codes, in no order that means anything.
    items: Vec<CodeView>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Makes codes. They are shown this once and stored hashed; whoever has lost them voids them.
#[utoipa::path(operation_id = "create_redemption_codes", post, path = "/api/admin/redemption-codes", tag = "admin: money",
    params(FormatQuery), request_body = CreateCodes,
    responses((status = 201, description = "The codes", content((MadeCodes = "application/json"), (String = "text/csv")))))]
async fn create(
    State(app): State<App>,
    admin: Admin,
    Query(query): Query<FormatQuery>,
    Json(body): Json<CreateCodes>,
) -> Result<Response, Problem> {
    let name = body.name;
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "name",
            "must be 1 to 100 characters, none of them a control character",
        ));
    }
    if !(1..=MAX_CODES).contains(&body.count) {
        return Err(Problem::invalid("count", format!("must be 1 to {MAX_CODES}")));
    }
    if !body.credits.is_positive() {
        return Err(Problem::invalid("credits", "must be above zero"));
    }
    if body.expires_at.is_some_and(|end| end <= now()) {
        return Err(Problem::invalid("expires_at", "lies in the past"));
    }
    let new = NewBatch { name, credits: body.credits, codes: body.count, expires_at: body.expires_at };
    let (batch, secrets) = app.directory.create_codes(new, admin.actor()).await?;
    match query.format.unwrap_or(CodeFormat::Json) {
        CodeFormat::Json => {
            Ok((StatusCode::CREATED, Json(MadeCodes { batch: batch.into(), secrets })).into_response())
        }
        CodeFormat::Csv => {
            let (credits, end) =
                (batch.credits, batch.expires_at.map(|end| end.to_string()).unwrap_or_default());
            let lines = secrets.iter().map(|code| format!("{code},{credits},{end}\r\n"));
            let text: String =
                std::iter::once("code,credits,expires_at\r\n".to_owned()).chain(lines).collect();
            let file = format!("attachment; filename=\"codes-{}.csv\"", batch.id);
            let kind = "text/csv; charset=utf-8".to_owned();
            let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, file)];
            Ok((StatusCode::CREATED, headers, text).into_response())
        }
    }
}

/// Batches of codes, newest first.
#[utoipa::path(operation_id = "list_redemption_codes", get, path = "/api/admin/redemption-codes", tag = "admin: money",
    params(PageQuery), responses((status = 200, body = Page<BatchView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<BatchView>>, Problem> {
    let limit = page.limit()?;
    let batches = app.directory.code_batches(page.before()?, limit + 1).await?;
    Ok(Json(Page::of(batches, limit, |batch| batch.id.to_string()).map(BatchView::from)))
}

/// Which of a batch's codes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CodesQuery {
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One batch, and what became of its codes.
#[utoipa::path(operation_id = "get_redemption_codes", get, path = "/api/admin/redemption-codes/{id}", tag = "admin: money",
    params(("id" = Uuid, Path), CodesQuery), responses((status = 200, body = BatchDetail)))]
async fn show(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
    Query(query): Query<CodesQuery>,
) -> Result<Json<BatchDetail>, Problem> {
    let limit = page_limit(query.limit)?;
    let batch = app.directory.code_batch(id).await?;
    let codes = app.directory.codes(&batch, query.cursor.as_deref(), limit + 1).await?;
    let page = Page::of(codes, limit, |code| code.hash.clone()).map(CodeView::from);
    Ok(Json(BatchDetail { batch: batch.into(), items: page.items, next_cursor: page.next_cursor }))
}

/// Voids what nobody has redeemed of a batch. What was redeemed stays.
#[utoipa::path(operation_id = "void_redemption_codes", delete, path = "/api/admin/redemption-codes/{id}", tag = "admin: money",
    params(("id" = Uuid, Path)), responses((status = 200, description = "Voided", body = BatchView)))]
async fn void(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<BatchView>, Problem> {
    app.directory.void_codes(id, admin.actor()).await?;
    Ok(Json(app.directory.code_batch(id).await?.into()))
}

/// A code to redeem.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    /// The code; case, spaces and dashes do not matter.
    #[schema(example = "7F3KQ-0Z9MD-1YHT6-RVW2X")]
    code: String,
}

/// What a code was good for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RedeemedView {
    /// The credits, a decimal string.
    #[schema(example = "5")]
    credits: String,
    /// When they were granted.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// Where the grant stands on the log.
    event_seq: u64,
}

/// Redeems a code: its credits are granted once. The same code again is the same answer.
#[utoipa::path(operation_id = "redeem_code", post, path = "/api/user/redeem", tag = "topup", request_body = Redeem,
    responses((status = 200, body = RedeemedView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log")))))]
async fn redeem(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    caller: Caller,
    Json(body): Json<Redeem>,
) -> Result<(Position, Json<RedeemedView>), Problem> {
    let (person, ip) = (caller.user.to_string(), ip.to_string());
    app.limits.admit(GUESSES, &person).await?;
    app.limits.admit(GUESSES_FROM_ADDRESS, &ip).await?;
    let claim = app.directory.claim_code(&body.code, caller.user).await?.map_err(fault)?;
    app.limits.forgive(GUESSES, &person).await;
    app.limits.forgive(GUESSES_FROM_ADDRESS, &ip).await;
    let recorded = redemption::grant(&app.ledger, &app.directory, &claim).await?.recorded;
    let view =
        RedeemedView { credits: claim.credits.to_string(), at: recorded.at, event_seq: recorded.sequence };
    Ok((Position(recorded.sequence), Json(view)))
}

fn fault(fault: CodeFault) -> Problem {
    match fault {
        CodeFault::Unknown => Problem::new(StatusCode::NOT_FOUND, "unknown_code", "there is no such code"),
        CodeFault::Used => Problem::conflict("code_used", "this code was redeemed already"),
        CodeFault::Void => Problem::conflict("code_void", "this code was withdrawn"),
        CodeFault::Expired => Problem::conflict("code_expired", "this code's time is over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::{Gateway, gateway};
    use serde_json::{Value, json};

    async fn batch(it: &Gateway, admin: &str, body: Value) -> (String, Vec<String>) {
        let made = it.call("POST", "/api/admin/redemption-codes", Some(admin), Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let codes = made.body["secrets"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
        (made.body["id"].as_str().unwrap().to_owned(), codes.collect())
    }

    async fn redeem(it: &Gateway, token: &str, code: &str) -> (u16, Value) {
        let body = Some(json!({ "code": code }));
        let answer = it.call("POST", "/api/user/redeem", Some(token), body).await;
        (answer.status.as_u16(), answer.body)
    }

    async fn total(it: &Gateway, token: &str) -> Value {
        let end = it.app.ledger.log().identity().await.unwrap().last_sequence;
        let path = format!("/api/user/balance?after={end}");
        it.call("GET", &path, Some(token), None).await.body["total"].clone()
    }

    #[tokio::test]
    async fn a_code_is_good_once_for_one_person() {
        let it = gateway().await;
        let finance = it.token("fin", Role::Finance).await;
        let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
        let (id, codes) = batch(&it, &finance, json!({"name": "fair", "count": 3, "credits": "2.5"})).await;
        let typed = codes[0].to_lowercase().replace('-', " ");
        let (status, first) = redeem(&it, &ann, &typed).await;
        assert_eq!((status, &first["credits"]), (200, &json!("2.5")), "{first}");
        assert_eq!(redeem(&it, &ann, &codes[0]).await, (200, first.clone()), "again is the same");
        let (status, refused) = redeem(&it, &bob, &codes[0]).await;
        assert_eq!((status, &refused["code"]), (409, &json!("code_used")));
        assert_eq!((total(&it, &ann).await, total(&it, &bob).await), (json!("2.5"), json!("0")));
        let events = format!("/api/admin/ledger/events?account={}", it.account_of(&ann).await);
        let events = it.call("GET", &events, Some(&finance), None).await.body;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events}");
        assert_eq!(events["items"][0]["event"]["data"]["source"], "redemption");

        let path = format!("/api/admin/redemption-codes/{id}");
        let voided = it.call("DELETE", &path, Some(&finance), None).await.body;
        assert_eq!(
            (&voided["redeemed"], &voided["voided"], &voided["open"]),
            (&json!(1), &json!(2), &json!(0))
        );
        assert_eq!(redeem(&it, &bob, &codes[1]).await.1["code"], "code_void");
        assert_eq!(redeem(&it, &ann, &codes[0]).await.0, 200, "what was redeemed stays");
        let mut states = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = it.call("GET", &format!("{path}?limit=2{cursor}"), Some(&finance), None).await.body;
            states.extend(page["items"].as_array().unwrap().iter().map(|it| it["state"].clone()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        states.sort_by_key(ToString::to_string);
        assert_eq!(states, ["redeemed", "void", "void"]);
        let list = it.call("GET", "/api/admin/redemption-codes", Some(&finance), None).await.body;
        assert_eq!((&list["items"][0]["name"], &list["items"][0]["redeemed"]), (&json!("fair"), &json!(1)));
        let stored = it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
        assert!(stored.iter().all(|row| !row.text("act").unwrap().contains(&codes[0])));
    }

    #[tokio::test]
    async fn a_crowd_redeems_a_code_once() {
        let it = gateway().await;
        let finance = it.token("fin", Role::Finance).await;
        let (_, codes) = batch(&it, &finance, json!({"name": "one", "count": 1, "credits": "1"})).await;
        let mut people = Vec::new();
        for n in 0..8 {
            people.push(it.token(&format!("person{n}"), Role::User).await);
        }
        let tries = people.iter().flat_map(|token| [token, token]).map(|token| redeem(&it, token, &codes[0]));
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 2, "{answers:?}");
        assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 409)), "{answers:?}");
        let mut totals = Vec::new();
        for token in &people {
            totals.push(total(&it, token).await);
        }
        assert_eq!(totals.iter().filter(|total| **total == json!("1")).count(), 1, "{totals:?}");
        assert_eq!(totals.iter().filter(|total| **total == json!("0")).count(), 7, "{totals:?}");
    }

    #[tokio::test]
    async fn a_death_between_claim_grant_and_note_neither_loses_nor_doubles() {
        let it = gateway().await;
        let finance = it.token("fin", Role::Finance).await;
        let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
        let account = it.account_of(&ann).await;
        let (_, codes) = batch(&it, &finance, json!({"name": "three", "count": 3, "credits": "1"})).await;
        let noted = async |claim: &crate::directory::redemption::Claim| {
            let sql = "SELECT event_seq FROM redemption_codes WHERE hash = ?";
            let row = it.app.db.fetch_one(sql, &[claim.hash.as_str().into()]).await.unwrap();
            row.opt_int("event_seq").unwrap()
        };
        // Died after the claim: it is hers, and nobody else's; her next try grants it.
        let claim = it.app.directory.claim_code(&codes[0], account).await.unwrap().unwrap();
        assert_eq!(redeem(&it, &bob, &codes[0]).await.1["code"], "code_used");
        assert_eq!(redeem(&it, &ann, &codes[0]).await.0, 200);
        assert_eq!((total(&it, &ann).await, noted(&claim).await), (json!("1"), Some(1)));
        // Died after the grant: her next try finds it.
        let claim = it.app.directory.claim_code(&codes[1], account).await.unwrap().unwrap();
        redemption::grant(&it.app.ledger, &it.app.directory, &claim).await.unwrap();
        let forget = "UPDATE redemption_codes SET event_seq = NULL WHERE hash = ?";
        it.app.db.execute(forget, &[claim.hash.as_str().into()]).await.unwrap();
        assert_eq!(redeem(&it, &ann, &codes[1]).await.1["event_seq"], 2);
        assert_eq!((total(&it, &ann).await, noted(&claim).await), (json!("2"), Some(2)));
        // Died after the claim, and she never comes again: whoever looks grants it.
        let claim = it.app.directory.claim_code(&codes[2], account).await.unwrap().unwrap();
        let later = now().plus_ms(1);
        for expected in [vec![claim.clone()], Vec::new()] {
            let waiting = it.app.directory.unfinished_claims(later).await.unwrap();
            assert_eq!(waiting, expected);
            for claim in waiting {
                redemption::grant(&it.app.ledger, &it.app.directory, &claim).await.unwrap();
            }
        }
        assert_eq!((total(&it, &ann).await, noted(&claim).await), (json!("3"), Some(3)));
    }

    #[tokio::test]
    async fn without_the_log_a_code_is_kept_for_whoever_claimed_it() {
        let mut it = gateway().await;
        let finance = it.token("fin", Role::Finance).await;
        let ann = it.token("ann", Role::User).await;
        let (_, codes) = batch(&it, &finance, json!({"name": "one", "count": 1, "credits": "1"})).await;
        it.stop_log().await;
        let (status, refused) = redeem(&it, &ann, &codes[0]).await;
        assert_eq!((status, &refused["code"]), (503, &json!("ledger_unavailable")));
        let waiting = it.app.directory.unfinished_claims(now().plus_ms(1)).await.unwrap();
        assert_eq!(waiting.len(), 1);
    }

    #[tokio::test]
    async fn codes_end_are_handed_out_as_csv_and_are_not_guessed() {
        let it = gateway().await;
        let finance = it.token("fin", Role::Finance).await;
        let ann = it.token("ann", Role::User).await;
        for (body, field) in [
            (json!({"name": "", "count": 1, "credits": "1"}), "name"),
            (json!({"name": "x", "count": 0, "credits": "1"}), "count"),
            (json!({"name": "x", "count": 10_001, "credits": "1"}), "count"),
            (json!({"name": "x", "count": 1, "credits": "0"}), "credits"),
            (json!({"name": "x", "count": 1, "credits": "-1"}), "credits"),
            (
                json!({"name": "x", "count": 1, "credits": "1", "expires_at": "2020-01-01T00:00:00Z"}),
                "expires_at",
            ),
        ] {
            let answer = it.call("POST", "/api/admin/redemption-codes", Some(&finance), Some(body)).await;
            assert_eq!(answer.status, 422);
            assert!(answer.body["detail"].as_str().unwrap().starts_with(field), "{}", answer.body);
        }
        let body = json!({"name": "x", "count": 250, "credits": "1", "expires_at": "2099-01-01T00:00:00Z"});
        let path = "/api/admin/redemption-codes?format=csv";
        let made = it.call("POST", path, Some(&finance), Some(body)).await;
        assert_eq!(
            (made.status.as_u16(), &made.headers["content-type"]),
            (201, &"text/csv; charset=utf-8".parse().unwrap())
        );
        let list = it.call("GET", "/api/admin/redemption-codes", Some(&finance), None).await.body;
        assert_eq!((&list["items"][0]["codes"], &list["items"][0]["open"]), (&json!(250), &json!(250)));

        let (_, codes) = batch(&it, &finance, json!({"name": "y", "count": 1, "credits": "1"})).await;
        it.app.db.execute("UPDATE redemption_batches SET expires_at = 1", &[]).await.unwrap();
        assert_eq!(redeem(&it, &ann, &codes[0]).await.1["code"], "code_expired");
        for _ in 0..9 {
            assert_eq!(redeem(&it, &ann, "00000-00000-00000-00000").await.1["code"], "unknown_code");
        }
        let (status, refused) = redeem(&it, &ann, &codes[0]).await;
        assert_eq!((status, &refused["code"]), (429, &json!("too_many_requests")));
    }
}
