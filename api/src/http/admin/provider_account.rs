//! What a provider says of itself to whoever has its key: the models that it has, and what is left of the money there.
//!
//! May not touch: what is offered here; the operator takes from the list what they like.
//! Claims: the key goes nowhere but to the provider's own host, which is checked again at every connection; nobody is waited for
//! longer than [`LIMIT`], and no more is read than [`MOST_BYTES`]; a redirect is not followed.

use super::providers::{checked_url, fault};
use crate::{
    app::App,
    body::{Json, Path},
    directory::{
        act,
        address::Guard,
        provider::{BalanceTemplate, ProviderTerms},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use relay::ProviderFormat;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use utoipa_axum::routes;
use uuid::Uuid;

/// How long a provider may take for all that it is asked.
const LIMIT: Duration = Duration::from_secs(20);
/// The largest answer that is read.
const MOST_BYTES: usize = 4 << 20;
/// The most pages that are asked for, and the most models that are listed.
const MOST_PAGES: usize = 20;
const MOST_MODELS: usize = 10_000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::ProvidersWrite, routes!(fetch_models))
        .guarded(Permission::ProvidersWrite, routes!(balance))
}

/// A model that a provider has.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FoundModel {
    /// Its name there.
    #[schema(example = "gpt-4.1-mini")]
    upstream_name: String,
    /// Is it among those that this provider serves here?
    served: bool,
}

/// The models that a provider has.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FoundModels {
    /// By name.
    items: Vec<FoundModel>,
    /// Were there more than are listed here?
    truncated: bool,
}

/// Asks a provider for the list of its models, all pages of it, with its key.
#[utoipa::path(operation_id = "fetch_provider_models", post, path = "/api/admin/providers/{id}/fetch-models",
    tag = "admin: providers", params(("id" = Uuid, Path)),
    responses((status = 200, body = FoundModels), (status = 502, description = "The provider answered something else", body = crate::problem::ProblemBody, content_type = "application/problem+json")))]
async fn fetch_models(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<FoundModels>, Problem> {
    let asker = Asker::of(&app, &admin, id, "provider.fetch_models").await?;
    let served = app.directory.provider_models(id).await?;
    let served: BTreeSet<String> = served.into_iter().map(|it| it.upstream_name).collect();
    let (names, truncated) = tokio::time::timeout(LIMIT, asker.models()).await.map_err(|_| too_slow())??;
    let items =
        names.into_iter().map(|name| FoundModel { served: served.contains(&name), upstream_name: name });
    Ok(Json(FoundModels { items: items.collect(), truncated }))
}

/// What is left of the money at a provider.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderBalance {
    /// The sum, a decimal string.
    #[schema(example = "110.00")]
    balance: String,
    /// Its currency.
    #[schema(example = "CNY")]
    currency: String,
}

/// Asks a provider what is left of the money there, as `config.balance` says how. It is for the operator's eyes: nothing here
/// depends on it.
#[utoipa::path(operation_id = "get_provider_balance", post, path = "/api/admin/providers/{id}/balance",
    tag = "admin: providers", params(("id" = Uuid, Path)),
    responses((status = 200, body = ProviderBalance), (status = 502, description = "The provider answered something else", body = crate::problem::ProblemBody, content_type = "application/problem+json")))]
async fn balance(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<ProviderBalance>, Problem> {
    let provider = app.directory.provider(id).await?;
    let Some(template) = provider.terms.balance_template() else {
        let detail = "nobody said where this provider tells its balance: set config.balance";
        return Err(Problem::conflict("no_balance_template", detail));
    };
    let asker = Asker::of(&app, &admin, id, "provider.balance").await?;
    let url = reqwest::Url::parse(&asker.base_url)
        .and_then(|base| base.join(&template.path))
        .map_err(|error| Problem::invalid("config.balance.path", error))?;
    // The template's check refuses what leads elsewhere; a key is worth a second look.
    if url.host_str() != reqwest::Url::parse(&asker.base_url).ok().as_ref().and_then(|it| it.host_str()) {
        return Err(Problem::invalid("config.balance.path", "leads to another host"));
    }
    let answer = tokio::time::timeout(LIMIT, asker.get(url.as_str())).await.map_err(|_| too_slow())??;
    Ok(Json(read_balance(&template, &answer)?))
}

fn read_balance(template: &BalanceTemplate, answer: &Value) -> Result<ProviderBalance, Problem> {
    let number = |pointer: &str| {
        let text = match answer.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
        };
        let parsed = text.parse::<Decimal>().or_else(|_| Decimal::from_scientific(&text));
        parsed.map_err(|_| odd(format!("there is no number at {pointer} of its answer")))
    };
    let mut sum = number(&template.pointer)?;
    if let Some(minus) = &template.minus_pointer {
        let used = number(minus)?;
        sum = sum.checked_sub(used).ok_or_else(|| odd("its numbers are too large".to_owned()))?;
    }
    let found = template.currency_pointer.as_deref().and_then(|pointer| answer.pointer(pointer)?.as_str());
    let currency = found.or(template.currency.as_deref()).unwrap_or_default();
    Ok(ProviderBalance { balance: sum.to_string(), currency: currency.chars().take(16).collect() })
}

/// One who asks a provider, with its key.
struct Asker {
    client: reqwest::Client,
    base_url: String,
    format: ProviderFormat,
    models_url: String,
    headers: HeaderMap,
}

impl Asker {
    async fn of(app: &App, admin: &Admin, id: Uuid, verb: &str) -> Result<Self, Problem> {
        let (provider, api_key) = app.directory.open_provider(id).await?;
        // Before it is asked: the key leaves the house.
        app.directory.tell(act(admin.actor(), verb, id.to_string(), None, None)).await?;
        // The rule may have become stricter since the URL was set, and what its host resolves to another.
        let base_url = checked_url(app, &provider.terms.base_url).await?;
        let ProviderTerms { api_format, config, .. } = provider.terms;
        let (format, custom) = api_format.spoken(config.custom)?;
        let (models_url, headers) =
            relay::models_request(format, &base_url, custom.as_ref(), api_key.expose())
                .ok_or_else(|| Problem::invalid("api_key", "cannot be sent in a header"))?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Guard { allow_private: app.config.allow_private_providers })
            .timeout(LIMIT)
            .build()
            .map_err(|error| Problem::internal(&error))?;
        Ok(Self { client, base_url, format, models_url, headers })
    }

    /// The names of all models, and whether there were more.
    async fn models(&self) -> Result<(BTreeSet<String>, bool), Problem> {
        let mut names = BTreeSet::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url =
                reqwest::Url::parse(&self.models_url).map_err(|error| Problem::invalid("base_url", error))?;
            // OpenAI's list has no pages.
            let (size, token) = match self.format {
                ProviderFormat::OpenAi => (None, "after"),
                ProviderFormat::Claude => (Some("limit"), "after_id"),
                ProviderFormat::Gemini => (Some("pageSize"), "pageToken"),
            };
            {
                let mut query = url.query_pairs_mut();
                if let Some(size) = size {
                    query.append_pair(size, "1000");
                }
                if let Some(cursor) = &cursor {
                    query.append_pair(token, cursor);
                }
            }
            let url = url.as_str().trim_end_matches('?').to_owned();
            let (found, next) = page(self.format, &self.get(&url).await?)?;
            for name in found {
                if names.len() >= MOST_MODELS {
                    return Ok((names, true));
                }
                names.insert(name);
            }
            // A provider that ignores the cursor gives the same page for ever.
            if next.is_none() || next == cursor {
                return Ok((names, false));
            }
            cursor = next;
        }
        Ok((names, true))
    }

    async fn get(&self, url: &str) -> Result<Value, Problem> {
        let answer = self.client.get(url).headers(self.headers.clone()).send().await;
        let mut answer = answer.map_err(|error| odd(format!("it cannot be reached: {}", fault(&error))))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(odd(format!("it answered {status}")));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| odd(fault(&error)))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(odd(format!("its answer is larger than {MOST_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|_| odd("its answer is no JSON".to_owned()))
    }
}

/// The names on a page, and the cursor of the next.
fn page(format: ProviderFormat, answer: &Value) -> Result<(Vec<String>, Option<String>), Problem> {
    let (list, field) = match format {
        // Some that speak OpenAI's protocol answer with the bare list.
        ProviderFormat::OpenAi => (answer.get("data").unwrap_or(answer), "id"),
        ProviderFormat::Claude => (&answer["data"], "id"),
        ProviderFormat::Gemini => (&answer["models"], "name"),
    };
    let list = list.as_array().ok_or_else(|| odd("its answer holds no list of models".to_owned()))?;
    let name = |it: &Value| {
        let name = it[field].as_str()?;
        let name = name.strip_prefix("models/").filter(|_| format == ProviderFormat::Gemini).unwrap_or(name);
        domain::Label::try_new(name).ok().map(String::from)
    };
    let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let next = match format {
        ProviderFormat::Gemini => text(&answer["nextPageToken"]),
        ProviderFormat::OpenAi | ProviderFormat::Claude if answer["has_more"] == true => {
            text(&answer["last_id"])
        }
        ProviderFormat::OpenAi | ProviderFormat::Claude => None,
    };
    Ok((list.iter().filter_map(name).collect(), next))
}

/// The provider is not as it should be.
fn odd(what: String) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "provider_failed", format!("the provider cannot be asked: {what}"))
}

fn too_slow() -> Problem {
    odd(format!("no answer within {} s", LIMIT.as_secs()))
}

#[cfg(test)]
mod tests;
