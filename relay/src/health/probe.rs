//! Active probes: a provider that is left alone is asked for its list of models, which costs nothing.
//!
//! Claims: only circuits that failures or a refused key opened are probed (a busy provider said itself when to come
//! back), one after another, so probes never become load; a good answer ends the pause, it does not close the circuit:
//! that takes a call.

use super::circuit::BUSY;
use super::{Condition, Health, State};
use crate::catalogue::{Catalogue, ProviderFormat, ProviderKey, Route};
use crate::http::ProviderClient;
use crate::wire::outgoing;
use arc_swap::ArcSwap;
use axum::http::Method;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, timeout};

/// How often open circuits are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How long a provider may take to answer a probe.
const PATIENCE: Duration = Duration::from_secs(5);

/// Probes until it is dropped.
pub(crate) async fn for_ever(health: &Health, catalogue: &ArcSwap<Catalogue>, http: &ProviderClient) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let catalogue = catalogue.load_full();
        health.keep(routes(&catalogue));
        for condition in health.conditions(Instant::now()) {
            if !is_due(&condition) {
                continue;
            }
            let watched = &condition.watched;
            let Some((route, key)) = candidate(&catalogue, &condition) else { continue };
            if is_well(http, route, key).await {
                tracing::info!(provider = %watched.provider, "a provider that was left alone answers again");
                health.may_be_tried(watched, Instant::now());
            }
        }
    }
}

fn routes(catalogue: &Catalogue) -> impl Iterator<Item = &Route> {
    catalogue.models.values().flat_map(|model| &model.routes)
}

fn is_due(condition: &Condition) -> bool {
    let is_open = matches!(condition.state, State::Open { remaining } if !remaining.is_zero());
    is_open && condition.last_failure != Some(BUSY)
}

fn candidate<'a>(catalogue: &'a Catalogue, condition: &Condition) -> Option<(&'a Route, &'a ProviderKey)> {
    let watched = &condition.watched;
    let of_provider = routes(catalogue).filter(|route| route.provider == watched.provider);
    of_provider
        .filter(|route| watched.model.as_ref().is_none_or(|model| *model == route.upstream_model))
        .find_map(|route| {
            route.keys.iter().find(|key| Some(&key.name) == watched.key.as_ref()).map(|key| (route, key))
        })
}

async fn is_well(http: &ProviderClient, route: &Route, key: &ProviderKey) -> bool {
    let (custom, secret) = (route.custom.as_ref(), key.secret.expose());
    let asked = outgoing::models_request(route.format, &route.base_url, custom, secret);
    let Some((url, headers)) = asked else { return false };
    let asked = timeout(PATIENCE, http.send(Method::GET, &url, headers, Bytes::new())).await;
    match asked {
        // A provider without a list of models answers at least.
        Ok(Ok(answer)) => {
            let has_no_list = match &route.custom {
                None => answer.status == 404 && route.format == ProviderFormat::OpenAi,
                Some(custom) => matches!(answer.status.as_u16(), 404 | 405) && !custom.names_models(),
            };
            answer.status.is_success() || has_no_list
        }
        Ok(Err(_)) | Err(_) => false,
    }
}
