//! A user's API keys.

use super::limit::Rule;
use crate::{
    app::App,
    body::{Json, Page, PageQuery, Path, Query, nullable},
    directory::{
        key::{BudgetPeriod, Key, KeyStatus, KeyTerms},
        now,
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{Caller, ClientIp},
};
use axum::{extract::State, http::StatusCode};
use domain::{Credits, KeyId, Moment};
use ipnet::IpNet;
use relay::limits::Limit;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(list))
        .guarded(Permission::SelfUse, routes!(create))
        .guarded(Permission::SelfRead, routes!(show))
        .guarded(Permission::SelfUse, routes!(change, delete))
        .guarded(Permission::SelfUse, routes!(rotate))
        .open(routes!(revoke_leaked))
}

/// A key, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyView {
    /// Its id.
    #[schema(value_type = Uuid)]
    id: KeyId,
    /// What its owner calls it.
    name: String,
    /// The secret's beginning and end, to recognise it by.
    prefix: String,
    /// May it be used?
    status: KeyStatus,
    /// When it ends; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
    /// The models it may call; null: all.
    models: Option<Vec<String>>,
    /// The networks it may be used from; empty: all.
    ip_allow: Vec<String>,
    /// Its spending limit; null: none but the balance.
    budget: Option<Budget>,
    /// Requests per minute; null: no limit of its own.
    rpm: Option<u64>,
    /// Tokens per minute, input and output together; null: no limit of its own.
    tpm: Option<u64>,
    /// Calls at once; null: no limit of its own.
    concurrency: Option<u64>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When its terms or secret last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// When it was last used, to about a minute; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Moment>,
    /// Until when the secret before the last rotation works too; null: it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_until: Option<Moment>,
    /// When somebody reported a secret of this key as leaked; null: nobody did since the last rotation.
    #[schema(value_type = Option<String>, format = DateTime)]
    leaked_at: Option<Moment>,
}

/// A key with its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecretKeyView {
    #[serde(flatten)]
    key: KeyView,
    /// The whole key. It is shown this once.
    secret: String,
}

/// A spending limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Credits per period.
    #[schema(value_type = String, example = "10")]
    credits: Credits,
    /// Which period; days and months begin in the time zone of my settings.
    period: BudgetPeriod,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        let terms = key.terms;
        Self {
            id: key.id,
            name: terms.name,
            prefix: key.prefix,
            status: terms.status,
            expires_at: terms.expires_at,
            models: terms.models,
            ip_allow: terms.ip_allow.iter().map(ToString::to_string).collect(),
            budget: terms.budget.map(|(credits, period)| Budget { credits, period }),
            rpm: terms.limit.requests_per_minute,
            tpm: terms.limit.tokens_per_minute,
            concurrency: terms.limit.concurrency,
            created_at: key.created_at,
            updated_at: key.updated_at,
            last_used_at: key.last_used_at,
            previous_until: key.previous_until,
            leaked_at: key.leaked_at,
        }
    }
}

/// A key to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// 1 to 100 characters.
    name: String,
    /// When it ends; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
    /// The models it may call; absent: all.
    models: Option<Vec<String>>,
    /// The addresses or networks (`192.0.2.0/24`) it may be used from; absent: all.
    ip_allow: Option<Vec<String>>,
    /// Its spending limit.
    budget: Option<Budget>,
    /// Requests per minute; absent: no limit of its own.
    rpm: Option<u64>,
    /// Tokens per minute, input and output together; absent: no limit of its own.
    tpm: Option<u64>,
    /// Calls at once; absent: no limit of its own.
    concurrency: Option<u64>,
}

/// What is changed about a key; an absent field stays, null clears.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeKey {
    /// 1 to 100 characters.
    name: Option<String>,
    /// May it be used?
    status: Option<KeyStatus>,
    /// When it ends; null: never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<Moment>>,
    /// The models it may call; null: all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Option<Vec<String>>>,
    /// The networks it may be used from; null or empty: all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    ip_allow: Option<Option<Vec<String>>>,
    /// Its spending limit; null: none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Budget>)]
    budget: Option<Option<Budget>>,
    /// Requests per minute; null: no limit of its own.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    rpm: Option<Option<u64>>,
    /// Tokens per minute, input and output together; null: no limit of its own.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    tpm: Option<Option<u64>>,
    /// Calls at once; null: no limit of its own.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u64>)]
    concurrency: Option<Option<u64>>,
}

/// My keys, newest first.
#[utoipa::path(operation_id = "list_keys", get, path = "/api/user/keys", tag = "keys", params(PageQuery),
    responses((status = 200, body = Page<KeyView>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let limit = page.limit()?;
    let keys = app.directory.keys(caller.user, page.before()?, limit + 1).await?;
    Ok(Json(Page::of(keys, limit, |key| key.id.to_string()).map(KeyView::from)))
}

/// Makes a key.
#[utoipa::path(operation_id = "create_key", post, path = "/api/user/keys", tag = "keys", request_body = CreateKey,
    responses((status = 201, description = "The key; its secret is shown this once", body = SecretKeyView)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CreateKey>,
) -> Result<(StatusCode, Json<SecretKeyView>), Problem> {
    super::user::check_proof(&app, &caller).await?;
    let limit = Limit {
        requests_per_minute: checked_rate("rpm", body.rpm)?,
        tokens_per_minute: checked_rate("tpm", body.tpm)?,
        concurrency: checked_rate("concurrency", body.concurrency)?,
    };
    let terms = KeyTerms {
        name: checked_name(body.name)?,
        status: KeyStatus::Active,
        expires_at: body.expires_at.map(checked_end).transpose()?,
        models: checked_models(&app, body.models).await?,
        ip_allow: checked_networks(body.ip_allow)?,
        budget: body.budget.map(checked_budget).transpose()?,
        limit,
    };
    let (key, secret) = app.directory.create_key(caller.user, terms, caller.actor()).await?;
    Ok((StatusCode::CREATED, Json(SecretKeyView { key: key.into(), secret: secret.expose().to_owned() })))
}

/// One of my keys.
#[utoipa::path(operation_id = "get_key", get, path = "/api/user/keys/{id}", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 200, body = KeyView)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<KeyView>, Problem> {
    Ok(Json(app.directory.key(caller.user, KeyId::from_uuid(id)).await?.into()))
}

/// Changes a key; calls see it at once.
#[utoipa::path(operation_id = "change_key", patch, path = "/api/user/keys/{id}", tag = "keys", params(("id" = Uuid, Path)),
    request_body = ChangeKey, responses((status = 200, body = KeyView)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<ChangeKey>,
) -> Result<Json<KeyView>, Problem> {
    let rate = |field, rate: Option<Option<u64>>| rate.map(|rate| checked_rate(field, rate)).transpose();
    let (rpm, tpm) = (rate("rpm", body.rpm)?, rate("tpm", body.tpm)?);
    let concurrency = rate("concurrency", body.concurrency)?;
    let name = body.name.map(checked_name).transpose()?;
    let expires_at = body.expires_at.map(|end| end.map(checked_end).transpose()).transpose()?;
    let models = match body.models {
        Some(models) => Some(checked_models(&app, models).await?),
        None => None,
    };
    let ip_allow = body.ip_allow.map(checked_networks).transpose()?;
    let budget = body.budget.map(|budget| budget.map(checked_budget).transpose()).transpose()?;
    let edit = |terms: &mut KeyTerms| {
        let KeyTerms { name: was, status, expires_at: end, models: may, ip_allow: from, budget: most, limit } =
            terms;
        name.into_iter().for_each(|it| *was = it);
        body.status.into_iter().for_each(|it| *status = it);
        expires_at.into_iter().for_each(|it| *end = it);
        models.into_iter().for_each(|it| *may = it);
        ip_allow.into_iter().for_each(|it| *from = it);
        budget.into_iter().for_each(|it| *most = it);
        rpm.into_iter().for_each(|it| limit.requests_per_minute = it);
        tpm.into_iter().for_each(|it| limit.tokens_per_minute = it);
        concurrency.into_iter().for_each(|it| limit.concurrency = it);
    };
    let key = app.directory.change_key(caller.user, KeyId::from_uuid(id), edit, caller.actor()).await?;
    Ok(Json(key.into()))
}

/// Deletes a key; it stops working at once. Its usage stays.
#[utoipa::path(operation_id = "delete_key", delete, path = "/api/user/keys/{id}", tag = "keys", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Deleted")))]
async fn delete(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    app.directory.delete_key(caller.user, KeyId::from_uuid(id), caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a secret is replaced.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the old secret works beside the new one, 0 to 604800 (seven days); 0 where absent.
    #[serde(default)]
    overlap_seconds: u32,
}

/// The longest overlap of two secrets, in seconds.
const MAX_OVERLAP_S: u32 = 7 * 24 * 3600;

/// Gives a key a new secret. The old one stops working at once, or after `overlap_seconds`; one that still overlaps from a
/// rotation before stops at once.
#[utoipa::path(operation_id = "rotate_key", post, path = "/api/user/keys/{id}/rotate", tag = "keys", params(("id" = Uuid, Path)),
    request_body = Option<RotateKey>,
    responses((status = 200, description = "The key; its new secret is shown this once", body = SecretKeyView)))]
async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    body: Option<Json<RotateKey>>,
) -> Result<Json<SecretKeyView>, Problem> {
    let overlap_seconds = body.map_or(0, |Json(body)| body.overlap_seconds);
    if overlap_seconds > MAX_OVERLAP_S {
        return Err(Problem::invalid("overlap_seconds", format!("must be 0 to {MAX_OVERLAP_S}")));
    }
    let (id, overlap_ms) = (KeyId::from_uuid(id), i64::from(overlap_seconds) * 1000);
    let (key, secret) = app.directory.rotate_key(caller.user, id, overlap_ms, caller.actor()).await?;
    Ok(Json(SecretKeyView { key: key.into(), secret: secret.expose().to_owned() }))
}

/// Keys that somebody found where they should not be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeakedKeys {
    /// The whole keys, 1 to 100 of them.
    keys: Vec<String>,
}

/// Revokes keys that have leaked. Whoever holds a secret may end it; nobody need log in.
///
/// A key of this gateway is `sk-`, 42 characters of `0-9A-Za-z` and 6 that are the CRC-32 (IEEE) of all before them, as a
/// number in base 62 with the digits `0-9A-Za-z`, most significant first; one that came from another gateway has no such sum. What is none is passed over, as is a key that nobody
/// has; the answer is the same, so it tells nobody which keys there are. A key whose present secret is named is switched off
/// and its secret never works again; its owner sees `leaked_at`, rotates it and switches it on.
#[utoipa::path(operation_id = "revoke_leaked_keys", post, path = "/api/keys/revoke-leaked", tag = "keys", request_body = LeakedKeys,
    responses((status = 204, description = "What there was of them is revoked, on every node within a second")))]
async fn revoke_leaked(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    Json(body): Json<LeakedKeys>,
) -> Result<StatusCode, Problem> {
    if !(1..=100).contains(&body.keys.len()) {
        return Err(Problem::invalid("keys", "must be 1 to 100"));
    }
    app.limits.admit(LEAK_REPORTS, &ip.to_string()).await?;
    for hash in body.keys.iter().filter_map(|key| relay::key::lookup_hash(key)) {
        app.directory.revoke_leaked(hash).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Reports of leaked keys from one address.
const LEAK_REPORTS: Rule = Rule { name: "leak reports", max: 60, window_s: 600 };

/// A number of a limit: a key that may not be used at all is switched off instead.
pub(super) fn checked_rate(field: &'static str, rate: Option<u64>) -> Result<Option<u64>, Problem> {
    match rate {
        Some(rate) if !(1..=MAX_RATE).contains(&rate) => {
            Err(Problem::invalid(field, format!("must be 1 to {MAX_RATE}")))
        }
        rate => Ok(rate),
    }
}

/// The highest limit that can be set.
const MAX_RATE: u64 = 1_000_000_000;

fn checked_name(name: String) -> Result<String, Problem> {
    if (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(Problem::invalid("name", "must be 1 to 100 characters, none of them a control character"))
}

fn checked_end(end: Moment) -> Result<Moment, Problem> {
    if end > now() { Ok(end) } else { Err(Problem::invalid("expires_at", "lies in the past")) }
}

async fn checked_models(app: &App, models: Option<Vec<String>>) -> Result<Option<Vec<String>>, Problem> {
    let Some(mut models) = models else { return Ok(None) };
    if models.is_empty() {
        return Err(Problem::invalid("models", "must name a model; leave it out to allow all"));
    }
    let known = app.directory.models().await?;
    for name in &models {
        if !known.iter().any(|model| model.name == *name) {
            return Err(Problem::invalid("models", format!("there is no model {name:?}")));
        }
    }
    models.sort();
    models.dedup();
    Ok(Some(models))
}

fn checked_networks(networks: Option<Vec<String>>) -> Result<Vec<IpNet>, Problem> {
    let networks = networks.unwrap_or_default();
    if networks.len() > 100 {
        return Err(Problem::invalid("ip_allow", "must not have more than 100 entries"));
    }
    let network = |text: String| {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        parsed.map(|net| net.trunc()).map_err(|_| {
            Problem::invalid(
                "ip_allow",
                format!("{text:?} is neither an address nor a network such as 192.0.2.0/24"),
            )
        })
    };
    networks.into_iter().map(network).collect()
}

fn checked_budget(budget: Budget) -> Result<(Credits, BudgetPeriod), Problem> {
    if budget.credits.is_positive() {
        return Ok((budget.credits, budget.period));
    }
    Err(Problem::invalid("budget.credits", "must be above zero"))
}
