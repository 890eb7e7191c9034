//! Providers, their models, and trying one out.

use super::checked_label;
use crate::{
    app::App,
    body::{Json, Path, Query},
    directory::{
        Status, act,
        address::{Guard, check_base_url},
        provider::{
            ApiFormat, NewProviderModel, PRESETS, Preset, Provider, ProviderConfig, ProviderKey,
            ProviderModel, ProviderTerms,
        },
    },
    http::permission::{Permission, Routes},
    http::prices::PriceTable,
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::Moment;
use relay::Secret;
use relay::health::{Condition, State as Circuit};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use utoipa_axum::routes;
use uuid::Uuid;

/// How long a provider may take to answer a test.
const TEST_LIMIT: Duration = Duration::from_secs(10);

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::ProvidersRead, routes!(list))
        .confirmed(Permission::ProvidersWrite, routes!(create))
        .guarded(Permission::ProvidersRead, routes!(presets))
        .guarded(Permission::ProvidersRead, routes!(show))
        .confirmed(Permission::ProvidersWrite, routes!(change, delete))
        .guarded(Permission::ProvidersRead, routes!(list_models))
        .guarded(Permission::ProvidersWrite, routes!(put_model, delete_model))
        .guarded(Permission::ProvidersRead, routes!(list_keys))
        .confirmed(Permission::ProvidersWrite, routes!(add_key, delete_key))
        .guarded(Permission::ProvidersRead, routes!(health))
        .guarded(Permission::ProvidersWrite, routes!(reset_health))
        .guarded(Permission::ProvidersWrite, routes!(test))
}

/// A provider. Its key is never shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderView {
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// Where it is.
    base_url: String,
    /// How it speaks.
    api_format: ApiFormat,
    /// Is it in use?
    status: Status,
    /// Higher goes first.
    priority: i32,
    /// Share among equals.
    weight: u32,
    /// Further options.
    config: ProviderConfig,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Provider> for ProviderView {
    fn from(provider: Provider) -> Self {
        let terms = provider.terms;
        Self {
            id: provider.id,
            name: terms.name,
            base_url: terms.base_url,
            api_format: terms.api_format,
            status: terms.status,
            priority: terms.priority,
            weight: terms.weight,
            config: terms.config,
            created_at: provider.created_at,
            updated_at: provider.updated_at,
        }
    }
}

/// All providers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Providers {
    /// By name.
    items: Vec<ProviderView>,
}

/// All providers.
#[utoipa::path(operation_id = "list_providers", get, path = "/api/admin/providers", tag = "admin: providers",
    responses((status = 200, body = Providers)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<Providers>, Problem> {
    let items = app.directory.providers().await?.into_iter().map(ProviderView::from).collect();
    Ok(Json(Providers { items }))
}

/// A provider known beforehand.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PresetView {
    /// What to name it by.
    preset: &'static str,
    /// The provider's name.
    name: &'static str,
    /// Where it is.
    base_url: &'static str,
    /// How it speaks.
    api_format: ApiFormat,
    /// The models it serves.
    models: &'static [&'static str],
}

/// The presets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Presets {
    /// All of them.
    items: Vec<PresetView>,
}

/// Providers known beforehand: adding one takes only a key.
#[utoipa::path(operation_id = "list_provider_presets", get, path = "/api/admin/providers/presets", tag = "admin: providers",
    responses((status = 200, body = Presets)))]
async fn presets(_: Admin) -> Json<Presets> {
    let view = |it: &Preset| PresetView {
        preset: it.preset,
        name: it.name,
        base_url: it.base_url,
        api_format: it.api_format,
        models: it.models,
    };
    Json(Presets { items: PRESETS.iter().map(view).collect() })
}

/// A provider to be. With a preset only the key is needed, and the preset's models come along.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// One of the presets, such as `antinomy`.
    preset: Option<String>,
    /// Its name, unique. Needed without a preset.
    name: Option<String>,
    /// Where it is, such as `https://antinomy.ai/api/v1`. Needed without a preset.
    base_url: Option<String>,
    /// Its key.
    api_key: String,
    /// How it speaks. Needed without a preset.
    api_format: Option<ApiFormat>,
    /// Is it in use? Else: active.
    status: Option<Status>,
    /// Higher goes first. Else: 0.
    priority: Option<i32>,
    /// Share among equals, 1 to 1000. Else: 1.
    weight: Option<u32>,
    /// Further options.
    config: Option<ProviderConfig>,
}

/// Adds a provider.
#[utoipa::path(operation_id = "create_provider", post, path = "/api/admin/providers", tag = "admin: providers", request_body = CreateProvider,
    responses((status = 201, body = ProviderView)))]
async fn create(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<CreateProvider>,
) -> Result<(StatusCode, Json<ProviderView>), Problem> {
    let preset = match &body.preset {
        None => None,
        Some(name) => {
            let found = PRESETS.iter().find(|it| it.preset == name);
            Some(found.ok_or_else(|| Problem::invalid("preset", format!("there is no preset {name:?}")))?)
        }
    };
    let needed = |field| move || Problem::invalid(field, "is needed without a preset");
    let name = body.name.or(preset.map(|it| it.name.to_owned())).ok_or_else(needed("name"))?;
    let base_url =
        body.base_url.or(preset.map(|it| it.base_url.to_owned())).ok_or_else(needed("base_url"))?;
    let api_format = body.api_format.or(preset.map(|it| it.api_format)).ok_or_else(needed("api_format"))?;
    let terms = ProviderTerms {
        name: checked_label("name", name)?,
        base_url: checked_url(&app, &base_url).await?,
        api_format,
        status: body.status.unwrap_or(Status::Active),
        priority: body.priority.unwrap_or(0),
        weight: checked_weight(body.weight.unwrap_or(1))?,
        config: body.config.unwrap_or_default(),
    };
    let api_key = checked_key(body.api_key)?;
    let model = |name: &&str| NewProviderModel {
        model_name: (*name).to_owned(),
        upstream_name: (*name).to_owned(),
        display_name: None,
        cost: None,
    };
    let models = preset.map_or(Vec::new(), |it| it.models.iter().map(model).collect());
    let made = app.directory.create_provider(terms, &api_key, models, admin.actor()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One provider.
#[utoipa::path(operation_id = "get_provider", get, path = "/api/admin/providers/{id}", tag = "admin: providers", params(("id" = Uuid, Path)),
    responses((status = 200, body = ProviderView)))]
async fn show(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<ProviderView>, Problem> {
    Ok(Json(app.directory.provider(id).await?.into()))
}

/// What is changed about a provider; an absent field stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeProvider {
    /// Its name.
    name: Option<String>,
    /// Where it is.
    base_url: Option<String>,
    /// A new key.
    api_key: Option<String>,
    /// How it speaks.
    api_format: Option<ApiFormat>,
    /// Is it in use?
    status: Option<Status>,
    /// Higher goes first.
    priority: Option<i32>,
    /// Share among equals, 1 to 1000.
    weight: Option<u32>,
    /// Further options.
    config: Option<ProviderConfig>,
}

/// Changes a provider; calls see it at once.
#[utoipa::path(operation_id = "change_provider", patch, path = "/api/admin/providers/{id}", tag = "admin: providers", params(("id" = Uuid, Path)),
    request_body = ChangeProvider, responses((status = 200, body = ProviderView)))]
async fn change(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<ChangeProvider>,
) -> Result<Json<ProviderView>, Problem> {
    let name = body.name.map(|name| checked_label("name", name)).transpose()?;
    let base_url = match &body.base_url {
        Some(url) => Some(checked_url(&app, url).await?),
        None => None,
    };
    let weight = body.weight.map(checked_weight).transpose()?;
    let api_key = body.api_key.map(checked_key).transpose()?;
    let edit = |terms: &mut ProviderTerms| {
        let was = terms.clone();
        *terms = ProviderTerms {
            name: name.unwrap_or(was.name),
            base_url: base_url.unwrap_or(was.base_url),
            api_format: body.api_format.unwrap_or(was.api_format),
            status: body.status.unwrap_or(was.status),
            priority: body.priority.unwrap_or(was.priority),
            weight: weight.unwrap_or(was.weight),
            config: body.config.unwrap_or(was.config),
        };
    };
    Ok(Json(app.directory.change_provider(id, edit, api_key.as_ref(), admin.actor()).await?.into()))
}

/// Removes a provider and what it serves; usage keeps its name.
#[utoipa::path(operation_id = "delete_provider", delete, path = "/api/admin/providers/{id}", tag = "admin: providers", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Removed")))]
async fn delete(State(app): State<App>, admin: Admin, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    app.directory.delete_provider(id, admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A model that a provider serves.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderModelView {
    /// The name callers use.
    model_name: String,
    /// The name there.
    upstream_name: String,
    /// What the provider takes, in credits per one million tokens; null: unknown.
    cost: Option<PriceTable>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<ProviderModel> for ProviderModelView {
    fn from(model: ProviderModel) -> Self {
        let cost = model.cost.as_ref().map(PriceTable::from);
        let ProviderModel { model_name, upstream_name, created_at, .. } = model;
        Self { model_name, upstream_name, cost, created_at }
    }
}

/// What a provider serves.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderModels {
    /// By name.
    items: Vec<ProviderModelView>,
}

/// What a provider serves.
#[utoipa::path(operation_id = "list_provider_models", get, path = "/api/admin/providers/{id}/models", tag = "admin: providers",
    params(("id" = Uuid, Path)), responses((status = 200, body = ProviderModels)))]
async fn list_models(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<ProviderModels>, Problem> {
    let items = app.directory.provider_models(id).await?.into_iter().map(ProviderModelView::from).collect();
    Ok(Json(ProviderModels { items }))
}

/// A model for a provider to serve.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutProviderModel {
    /// The name callers use.
    model_name: String,
    /// The name there; absent: the same.
    upstream_name: Option<String>,
    /// The name to show; absent: as it was, or the same.
    display_name: Option<String>,
    /// What the provider takes, in credits per one million tokens; absent: unknown.
    cost: Option<PriceTable>,
}

/// Lets a provider serve a model, or states anew how. Callers need a price for it, too.
#[utoipa::path(operation_id = "put_provider_model", post, path = "/api/admin/providers/{id}/models", tag = "admin: providers",
    params(("id" = Uuid, Path)), request_body = PutProviderModel,
    responses((status = 201, body = ProviderModelView)))]
async fn put_model(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<PutProviderModel>,
) -> Result<(StatusCode, Json<ProviderModelView>), Problem> {
    let model_name = checked_label("model_name", body.model_name)?;
    let upstream_name = body.upstream_name.unwrap_or_else(|| model_name.clone());
    let model = NewProviderModel {
        upstream_name: checked_label("upstream_name", upstream_name)?,
        display_name: body.display_name.map(|name| checked_label("display_name", name)).transpose()?,
        cost: body.cost.map(|cost| cost.checked("cost")).transpose()?,
        model_name,
    };
    let made = app.directory.put_provider_model(id, model, admin.actor()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Which model. In the query, because names hold slashes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichModel {
    /// The model's name.
    pub(super) model: String,
}

/// Stops a provider from serving a model.
#[utoipa::path(operation_id = "delete_provider_model", delete, path = "/api/admin/providers/{id}/models", tag = "admin: providers",
    params(("id" = Uuid, Path), WhichModel), responses((status = 204, description = "It no longer serves it")))]
async fn delete_model(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Query(which): Query<WhichModel>,
) -> Result<StatusCode, Problem> {
    app.directory.delete_provider_model(id, &which.model, admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A further key of a provider. The secret is never shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderKeyView {
    /// Its name; usage shows it.
    name: String,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<ProviderKey> for ProviderKeyView {
    fn from(key: ProviderKey) -> Self {
        Self { name: key.name, created_at: key.created_at }
    }
}

/// A provider's further keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderKeys {
    /// By name. The key in the provider's own row, named `main`, is not among them.
    items: Vec<ProviderKeyView>,
}

/// A provider's further keys: calls are spread over all of them, and a key that is refused is left alone for a while.
#[utoipa::path(operation_id = "list_provider_keys", get, path = "/api/admin/providers/{id}/keys", tag = "admin: providers",
    params(("id" = Uuid, Path)), responses((status = 200, body = ProviderKeys)))]
async fn list_keys(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<ProviderKeys>, Problem> {
    let items = app.directory.provider_keys(id).await?.into_iter().map(ProviderKeyView::from).collect();
    Ok(Json(ProviderKeys { items }))
}

/// A key for a provider.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddProviderKey {
    /// Its name, unique at the provider.
    name: String,
    /// The key itself.
    api_key: String,
}

/// Adds a key to a provider.
#[utoipa::path(operation_id = "add_provider_key", post, path = "/api/admin/providers/{id}/keys", tag = "admin: providers",
    params(("id" = Uuid, Path)), request_body = AddProviderKey, responses((status = 201, body = ProviderKeyView)))]
async fn add_key(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<AddProviderKey>,
) -> Result<(StatusCode, Json<ProviderKeyView>), Problem> {
    let (name, secret) = (checked_label("name", body.name)?, checked_key(body.api_key)?);
    let made = app.directory.add_provider_key(id, name, &secret, admin.actor()).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Which key.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichKey {
    /// The key's name.
    name: String,
}

/// Takes a key from a provider.
#[utoipa::path(operation_id = "delete_provider_key", delete, path = "/api/admin/providers/{id}/keys", tag = "admin: providers",
    params(("id" = Uuid, Path), WhichKey), responses((status = 204, description = "It is no longer used")))]
async fn delete_key(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Query(which): Query<WhichKey>,
) -> Result<StatusCode, Problem> {
    app.directory.delete_provider_key(id, &which.name, admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// May calls try a provider?
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Yes.
    Closed,
    /// Not for a while.
    Open,
    /// One call is trying.
    HalfOpen,
}

/// How well a provider is, as the calls of this process found it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderCondition {
    /// The provider's name.
    provider: String,
    /// Its key, by name.
    key: Option<String>,
    /// The model there; null: whatever the model.
    model: Option<String>,
    /// May calls try it?
    state: CircuitState,
    /// For how much longer it is left alone, in milliseconds.
    open_for_ms: Option<u64>,
    /// The share of failures among the recent tries, in per cent.
    failure_percent: u8,
    /// The time to the first byte of recent tries, smoothed, in milliseconds.
    latency_ms: Option<u64>,
    /// The last failure: a short code.
    last_failure: Option<&'static str>,
}

impl From<Condition> for ProviderCondition {
    fn from(it: Condition) -> Self {
        let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        let (state, open_for) = match it.state {
            Circuit::Closed => (CircuitState::Closed, None),
            Circuit::Open { remaining } => (CircuitState::Open, Some(remaining)),
            Circuit::HalfOpen => (CircuitState::HalfOpen, None),
        };
        Self {
            provider: it.watched.provider.to_string(),
            key: it.watched.key.map(|key| key.to_string()),
            model: it.watched.model.map(|model| model.to_string()),
            state,
            open_for_ms: open_for.map(millis),
            failure_percent: it.failure_percent,
            latency_ms: it.latency.map(millis),
            last_failure: it.last_failure,
        }
    }
}

/// How well the providers are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderConditions {
    /// One for each provider's key, and one for each model by that key; none, where no call has met it yet.
    items: Vec<ProviderCondition>,
}

/// How well the providers are, as the calls of this process found them. In a cluster each process with the role `relay`
/// has its own view.
#[utoipa::path(operation_id = "provider_health", get, path = "/api/admin/providers/health", tag = "admin: providers",
    responses((status = 200, body = ProviderConditions)))]
async fn health(State(app): State<App>, _: Admin) -> Json<ProviderConditions> {
    let conditions = app.provider_health.as_ref().map(|health| health.conditions(Instant::now().into()));
    let items = conditions.unwrap_or_default().into_iter().map(ProviderCondition::from).collect();
    Json(ProviderConditions { items })
}

/// Forgets what calls of this process found about a provider, so that it is tried again at once: it was mended.
#[utoipa::path(operation_id = "reset_provider_health", post, path = "/api/admin/providers/{id}/reset-health", tag = "admin: providers",
    params(("id" = Uuid, Path)), responses((status = 204, description = "Forgotten")))]
async fn reset_health(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let provider = app.directory.provider(id).await?;
    let name = domain::Label::try_new(provider.terms.name).map_err(|error| Problem::internal(&error))?;
    if let Some(health) = &app.provider_health {
        health.forgive(&name);
    }
    app.directory.tell(act(admin.actor(), "provider.reset_health", id.to_string(), None, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a provider answered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TestResult {
    /// Did it answer with success?
    ok: bool,
    /// Its HTTP status; null: it did not answer.
    status: Option<u16>,
    /// How long it took, in milliseconds.
    latency_ms: u64,
    /// What went wrong.
    error: Option<String>,
}

/// Tries a provider: asks for its list of models, with its key, for ten seconds at most.
#[utoipa::path(operation_id = "test_provider", post, path = "/api/admin/providers/{id}/test", tag = "admin: providers",
    params(("id" = Uuid, Path)), responses((status = 200, body = TestResult)))]
async fn test(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<TestResult>, Problem> {
    let (provider, api_key) = app.directory.open_provider(id).await?;
    // Before it is tried: the key leaves the house.
    app.directory.tell(act(admin.actor(), "provider.test", id.to_string(), None, None)).await?;
    let allow_private = app.config.allow_private_providers;
    // The rule may have become stricter since the URL was set, and what its host resolves to another.
    let base_url = checked_url(&app, &provider.terms.base_url).await?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Guard { allow_private })
        .timeout(TEST_LIMIT)
        .build()
        .map_err(|error| Problem::internal(&error))?;
    let started = Instant::now();
    let ProviderTerms { api_format, config, .. } = provider.terms;
    let (format, custom) = api_format.spoken(config.custom)?;
    let (url, headers) = relay::models_request(format, &base_url, custom.as_ref(), api_key.expose())
        .ok_or_else(|| Problem::invalid("api_key", "cannot be sent in a header"))?;
    let request = client.get(&url).headers(headers);
    let answer = request.send().await;
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(match answer {
        Ok(answer) => {
            let status = answer.status();
            let error = (!status.is_success()).then(|| match status.as_u16() {
                401 | 403 => format!("the provider refuses the key: {status}"),
                404 | 405 if custom.as_ref().is_some_and(|custom| !custom.names_models()) => format!(
                    "the provider answers, but {status}: it has no list of models where its protocol has it. Name any \
                     address that answers a GET with the key in config.custom.paths.models"
                ),
                // A template may put the key into the query.
                404 => format!(
                    "there is nothing at {}: {status}",
                    url.split('?').next().unwrap_or_default()
                ),
                _ => format!("the provider answered {status}"),
            });
            TestResult { ok: status.is_success(), status: Some(status.as_u16()), latency_ms, error }
        }
        Err(error) => TestResult { ok: false, status: None, latency_ms, error: Some(fault(&error)) },
    }))
}

/// Why a call failed, down to the first cause: "connection refused" says more than "error sending request".
fn fault(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TEST_LIMIT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

async fn checked_url(app: &App, url: &str) -> Result<String, Problem> {
    let checked = check_base_url(url, app.config.allow_private_providers).await;
    checked.map_err(|fault| Problem::invalid("base_url", fault))
}

fn checked_weight(weight: u32) -> Result<u32, Problem> {
    if (1..=1000).contains(&weight) {
        Ok(weight)
    } else {
        Err(Problem::invalid("weight", "must be 1 to 1000"))
    }
}

/// A key travels in a header: visible ASCII.
fn checked_key(key: String) -> Result<Secret, Problem> {
    if (1..=4096).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Secret::new(key));
    }
    Err(Problem::invalid("api_key", "must be 1 to 4096 visible ASCII characters"))
}
