//! How many tokens a prompt has, for nothing: no hold, no record.
//!
//! Claims: only the caller's own models are counted for; where a provider of the same protocol serves the model its word
//! counts, else a guess from above, since callers use the figure to stay below limits.

use super::Tools;
use super::attempt::{self, Opened};
use crate::asked::{Asked, PathSays};
use crate::catalogue::{Catalogue, KeyGrant, Route};
use crate::endpoint::{Endpoint, Protocol};
use crate::error::CallError;
use crate::wire::outgoing;
use axum::http::HeaderMap;
use bytes::Bytes;
use domain::Label;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a provider may take to count.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Deserialize)]
struct Counted {
    #[serde(alias = "totalTokens")]
    input_tokens: u64,
}

/// Counts the tokens of a request's prompt.
///
/// # Errors
/// What is wrong with the request, the model or the key.
pub(crate) async fn tokens(
    tools: &Tools,
    catalogue: &Catalogue,
    grant: &KeyGrant,
    protocol: Protocol,
    path: PathSays,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<u64, CallError> {
    let asked = match protocol {
        Protocol::Gemini => Asked::to_count_gemini(path, body)?,
        Protocol::Claude | Protocol::OpenAi => Asked::try_new(Endpoint::Messages, path, headers, body)?,
    };
    let name = || asked.model.chars().take(Label::MAX).collect::<String>();
    let model =
        catalogue.models.get(&asked.model).ok_or_else(|| CallError::ModelNotFound { model: name() })?;
    if !grant.may_call(&asked.model) {
        return Err(CallError::ModelNotAllowed { model: name() });
    }
    for route in &model.routes {
        let told = timeout(PATIENCE, ask(tools, &asked, route)).await;
        if let Ok(Some(tokens)) = told {
            return Ok(tokens);
        }
    }
    Ok(asked.input.upper())
}

/// A provider's word; `None`: it cannot be asked, or gave none.
async fn ask(tools: &Tools, asked: &Asked, route: &Route) -> Option<u64> {
    let key = route.keys.first()?;
    let outgoing = outgoing::count(asked, route, key.secret.expose())?;
    let Ok(Opened::Answer(mut reached)) = attempt::open(tools, outgoing, Instant::now() + PATIENCE).await
    else {
        return None;
    };
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = reached.response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER {
            return None;
        }
    }
    serde_json::from_slice::<Counted>(&answer).ok().map(|counted| counted.input_tokens)
}
