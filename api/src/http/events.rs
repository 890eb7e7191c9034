//! What changes on the caller's account, told as it happens.
//!
//! For: `GET /api/user/events`: as JSON how it is now, for who asks again and again; as `text/event-stream` that, and every
//! change of it, for who listens.
//! May not touch: deciding or writing anything.
//! Claims: it tells of the caller's account and of no other; a stream ends within [`SESSION`] of its session, and when the
//! gateway stops; there are never more than [`STREAMS_OF_ONE`] of an account and [`STREAMS`] in a process.
//!
//! A stream looks at the tables again rather than being told by the projector: it runs in every process with the role `api`,
//! and the projector may run in another. Where nothing moved in this process, nothing is asked of the database.

#[cfg(test)]
mod tests;

use crate::app::App;
use crate::body::Json;
use crate::directory::user::Role;
use crate::http::admin::overview::{LagView, lag};
use crate::http::balance::{BalanceView, balance_now};
use crate::http::permission::{Permission, Routes};
use crate::http::topup::TopUpView;
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use domain::{AccountId, OrderId};
use futures_util::stream;
use projections::top_ups::{self, TopUpOrder};
use projections::{Follower, Paging};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use utoipa_axum::routes;

/// Between two looks at the tables.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the session.
const SESSION: Duration = Duration::from_secs(2);
/// Between two looks at how far the tables are.
const TABLES: Duration = Duration::from_secs(5);
/// A balance that did not change is told again after this: what is shown is of then, and the connection is kept.
const TELL: Duration = Duration::from_secs(15);
/// Of how many orders one is told: the newest.
const ORDERS: u32 = 20;
/// Streams that an account may have: a browser has one for all of its tabs.
const STREAMS_OF_ONE: u32 = 12;
/// Streams of a process. Each looks at the database once a second at most.
const STREAMS: u32 = 2_000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::SelfRead, routes!(listen))
}

/// How things are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Now {
    /// The balance.
    balance: BalanceView,
    /// The newest orders.
    orders: Vec<TopUpView>,
    /// How far the tables are; only for who may see the books.
    tables: Option<LagView>,
}

/// How things are on my account. With `Accept: text/event-stream` a stream that goes on telling: `balance` (also after 15 seconds
/// without a change), `order` when one of the newest 20 changes, and for who may see the books `tables`, every 5 seconds; their
/// data are what the fields of the JSON hold. It ends with the session.
#[utoipa::path(operation_id = "listen", get, path = "/api/user/events", tag = "balance",
    responses((status = 200, description = "How it is now, or a stream of that and what changes",
        content((Now = "application/json"), (String = "text/event-stream")))))]
async fn listen(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    if !wants_stream(&headers) {
        let tables = if sees_books(caller.role) { Some(lag(&app).await) } else { None };
        let orders = TopUpView::all(&app, newest(&app, caller.user).await?).await?;
        return Ok(
            Json(Now { balance: balance_now(&app, caller.user).await?, orders, tables }).into_response()
        );
    }
    let place = app.streams.enter(caller.user)?;
    let watch = Watch::new(app, caller, place);
    let events = stream::unfold(watch, |mut watch| async {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(TELL)).into_response();
    // A proxy that collects an answer before it passes it on would hold all of this back.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    for (name, value) in [unbuffered, (header::CACHE_CONTROL, "no-store, no-transform")] {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
    }
    Ok(response)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|it| it.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
}

fn sees_books(role: Role) -> bool {
    Permission::BooksRead.is_held_by(role)
}

async fn newest(app: &App, account: AccountId) -> Result<Vec<TopUpOrder>, Problem> {
    let paging = Paging { after: None, limit: ORDERS };
    Ok(top_ups::list(&app.db, Some(account), None, &paging).await?.items)
}

/// One stream, between two of its events.
struct Watch {
    app: App,
    caller: Caller,
    waiting: VecDeque<Event>,
    /// What was told last: the balance as it was written, and how each order stood.
    balance: Option<String>,
    orders: Option<BTreeMap<OrderId, u64>>,
    /// Where this process stood at the last look that succeeded.
    seen: Option<u64>,
    told_at: Instant,
    session_at: Instant,
    tables_at: Option<Instant>,
    _place: Place,
}

impl Watch {
    fn new(app: App, caller: Caller, place: Place) -> Self {
        let now = Instant::now();
        Self {
            app,
            caller,
            waiting: VecDeque::new(),
            balance: None,
            orders: None,
            seen: None,
            told_at: now,
            session_at: now,
            tables_at: None,
            _place: place,
        }
    }

    /// The next event; `None`: the session is over, or the gateway stops.
    async fn next(&mut self) -> Option<Event> {
        let mut first = self.balance.is_none() && self.waiting.is_empty();
        loop {
            if self.app.streams.stop.is_cancelled() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if !first {
                tokio::select! {
                    () = self.app.streams.stop.cancelled() => return None,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            first = false;
            if !self.is_allowed().await {
                return None;
            }
            if let Err(problem) = self.look().await {
                // The next look may succeed; what was told stays what it was, with its time.
                tracing::debug!(account = %self.caller.user, detail = problem.detail, "nothing could be looked up for a stream");
            }
        }
    }

    /// Is the session still there? A database that does not answer has not said no.
    async fn is_allowed(&mut self) -> bool {
        if self.session_at.elapsed() < SESSION {
            return true;
        }
        self.session_at = Instant::now();
        match self.app.directory.role_of_session(&self.caller.session).await {
            Ok(Some(role)) => {
                self.caller.role = role;
                Permission::SelfRead.is_held_by(role)
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    async fn look(&mut self) -> Result<(), Problem> {
        if sees_books(self.caller.role) && self.tables_at.is_none_or(|at| at.elapsed() >= TABLES) {
            self.tables_at = Some(Instant::now());
            let tables = lag(&self.app).await;
            self.tell("tables", &tables)?;
        }
        // Of tables that other processes move, this one knows only by looking.
        let here = match &self.app.follower {
            Follower::Here(_) => Some(self.app.follower.applied()),
            Follower::Elsewhere(_) => None,
        };
        let late = self.told_at.elapsed() >= TELL;
        if here.is_some() && here == self.seen && !late {
            return Ok(());
        }
        let balance = balance_now(&self.app, self.caller.user).await?;
        let amounts = balance.amounts();
        if late || self.balance.as_ref() != Some(&amounts) {
            self.tell("balance", &balance)?;
            self.balance = Some(amounts);
            self.told_at = Instant::now();
        }
        let orders = newest(&self.app, self.caller.user).await?;
        let stand = orders.iter().map(|it| (it.order, it.event_seq)).collect();
        // What there was when the stream began is no news.
        if let Some(before) = &self.orders {
            let is_new = |it: &TopUpOrder| before.get(&it.order) != Some(&it.event_seq);
            let news = orders.into_iter().rev().filter(is_new).collect();
            for order in TopUpView::all(&self.app, news).await? {
                self.tell("order", &order)?;
            }
        }
        // Only now: of a look that fails halfway, the next one tells.
        self.orders = Some(stand);
        self.seen = here;
        Ok(())
    }

    fn tell(&mut self, name: &str, data: &impl Serialize) -> Result<(), Problem> {
        let data = serde_json::to_string(data).map_err(|error| Problem::internal(&error))?;
        self.waiting.push_back(Event::default().event(name).data(data));
        Ok(())
    }
}

/// The streams of this process. Cloning it clones two pointers.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    stop: CancellationToken,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    of: HashMap<AccountId, u32>,
}

impl Streams {
    /// Ends them all: whoever listens comes back, to another process or to the next run of this one.
    pub fn end(&self) {
        self.stop.cancel();
    }

    fn enter(&self, account: AccountId) -> Result<Place, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= STREAMS {
            let detail = "this node tells as many as it can; ask again and again instead";
            return Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).retry_after(30)
            );
        }
        let of = open.of.entry(account).or_default();
        if *of >= STREAMS_OF_ONE {
            let detail = format!("an account may have {STREAMS_OF_ONE} streams at a time");
            return Err(
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail).retry_after(30)
            );
        }
        *of += 1;
        open.all += 1;
        Ok(Place { streams: self.clone(), account })
    }
}

/// A stream that is counted, until it is dropped.
struct Place {
    streams: Streams,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(of) = open.of.get_mut(&self.account) {
            *of = of.saturating_sub(1);
            if *of == 0 {
                open.of.remove(&self.account);
            }
        }
    }
}
