//! How many tokens a prompt has, for nothing: no hold, no record.
//!
//! Claims: it counts as a request for the limits of key, group, model and provider; a provider that is left alone or has no
//! room is not asked; only the caller's own models are counted for; where a provider of the same protocol serves the
//! model its word counts, else a guess from above, since callers use the figure to stay below limits.

use super::Tools;
use super::attempt::{self, Opened};
use crate::asked::PathSays;
use crate::catalogue::{Catalogue, KeyGrant, Route};
use crate::claude::{self, request::MessagesRequest};
use crate::endpoint::Protocol;
use crate::error::CallError;
use crate::gemini::counting::{self, CountRequest};
use crate::health::{Fitness, Verdict};
use crate::limits::{Admitted, Limit, Subject, Turn};
use crate::wire::outgoing::{self, Counted};
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

/// Anthropic's answer.
#[derive(Deserialize)]
struct Told {
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
    let (name, input, counted) = match protocol {
        Protocol::Gemini => {
            let contents = CountRequest::try_new(body)?;
            (path.model, contents.input, Counted::Contents(contents))
        }
        Protocol::Claude | Protocol::OpenAi => {
            let messages = MessagesRequest::try_new(body)?;
            (messages.model.clone(), messages.input, Counted::Messages(messages))
        }
    };
    // A name that no catalogue can hold is cut before it is repeated in an error.
    let model = || name.chars().take(Label::MAX).collect::<String>();
    let found = catalogue.models.get(&name).ok_or_else(|| CallError::ModelNotFound { model: model() })?;
    if !grant.may_call(&name) {
        return Err(CallError::ModelNotAllowed { model: model() });
    }
    let limits: Vec<(Subject, Limit)> = grant.limits.iter().chain(&found.limit).cloned().collect();
    let _place = tools.limits.admit(&limits, 0, Instant::now()).await.map_err(CallError::RateLimited)?;
    let forwarded = claude::forwarded(headers);
    for route in &found.routes {
        let told = timeout(PATIENCE, ask(tools, &counted, &forwarded, route)).await;
        if let Ok(Some(tokens)) = told {
            return Ok(tokens);
        }
    }
    Ok(input.upper())
}

/// A provider's word; `None`: it cannot be asked, or gave none.
async fn ask(tools: &Tools, counted: &Counted, forwarded: &HeaderMap, route: &Route) -> Option<u64> {
    let key = route.keys.first()?;
    let outgoing = outgoing::count(counted, forwarded, route, key.secret.expose())?;
    let now = Instant::now();
    let fitness = tools.health.ask(route, key, now);
    // How a count goes says nothing of calls, and it never takes the place of the call that is on trial.
    tools.health.report(route, key, Verdict::Abandoned, now);
    if fitness != Fitness::Fit {
        return None;
    }
    let _turn = match &route.limit {
        None => Admitted::unlimited(),
        Some(limit) => match tools.limits.try_provider(limit, 0, now).await {
            Turn::Take(turn) => turn,
            Turn::PassOver { .. } => return None,
        },
    };
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
    let answer = match &reached.custom {
        None => answer,
        Some(custom) => custom.unwrapped(answer),
    };
    match counted {
        Counted::Contents(_) => counting::read(&answer),
        Counted::Messages(_) => serde_json::from_slice::<Told>(&answer).ok().map(|told| told.input_tokens),
    }
}
