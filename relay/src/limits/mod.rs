//! Limits: how much a key, a group, a model or a provider may be called: requests and tokens per minute, calls at once.
//!
//! For: whether a call may start now ([`Limits::admit`]), whether a provider may take it ([`Limits::try_provider`]), what
//! callers are told ([`headers`]). The counts live in this process (`in_process`) or, for all nodes together, in Redis
//! (`shared`).
//! May not touch: money. A limit protects capacity; what an account may spend is the meter's business.
//! Claims: all subjects admit a call or none does; within any span of time no more requests are admitted, and no more
//! tokens of ended calls counted, than the limit plus what drains in that span; tokens held for calls in flight never
//! exceed the limit; a guard that is dropped frees its call; where no subject has a limit nothing is locked or awaited;
//! without Redis each node goes by its own counts: never unlimited, never closed.
//!
//! A request counts when it is admitted. Tokens are held by estimate while their call runs and count when it ends, with
//! what it came to, as the meter does it with credits. Both drain evenly within a minute (`bucket`), so no boundary
//! between two minutes lets through twice the limit at once, as a fixed window would.

mod bucket;
pub mod headers;
mod in_process;
mod shared;

pub use bucket::Standing;
pub use headers::Shown;
pub use shared::SharedOptions;

use crate::endpoint::Protocol;
use axum::http::{HeaderName, HeaderValue};
use domain::Moment;
use in_process::InProcess;
use shared::{Answer, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much a subject may be called. `None`: no limit. Zero: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls admitted per minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens per minute, input and output together.
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight at once.
    pub concurrency: Option<u64>,
}

impl Limit {
    /// No limit at all.
    pub const NONE: Self = Self { requests_per_minute: None, tokens_per_minute: None, concurrency: None };

    /// Is nothing limited?
    pub const fn is_none(&self) -> bool {
        matches!(self, Self { requests_per_minute: None, tokens_per_minute: None, concurrency: None })
    }

    /// The requests per minute that are counted with.
    fn requests(&self) -> Option<u64> {
        self.requests_per_minute.map(|most| most.min(bucket::MOST))
    }

    /// The tokens per minute that are counted with.
    fn tokens(&self) -> Option<u64> {
        self.tokens_per_minute.map(|most| most.min(bucket::MOST))
    }

    /// What is limited, as it was set.
    fn of(&self, what: What) -> u64 {
        let limit = match what {
            What::Requests => self.requests_per_minute,
            What::Tokens => self.tokens_per_minute,
            What::Concurrency => self.concurrency,
        };
        limit.unwrap_or(u64::MAX)
    }
}

/// What kind of thing is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// An API key.
    Key,
    /// A group of users.
    Group,
    /// A model, by the name that callers use.
    Model,
    /// A provider.
    Provider,
}

impl SubjectKind {
    /// Its name, for sentences and for keys in Redis.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Group => "group",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }
}

/// Whose calls are counted together. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its id or name, unique among its kind.
    pub id: Arc<str>,
}

impl Subject {
    /// A subject.
    pub fn new(kind: SubjectKind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Calls at once.
    Concurrency,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::Concurrency => "calls at once",
        })
    }
}

/// A limit forbids the call now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of this {} is reached: {limit} {what}", .subject.name())]
pub struct Exceeded {
    /// Whose limit.
    pub subject: SubjectKind,
    /// Which one.
    pub what: What,
    /// The limit.
    pub limit: u64,
    /// When it makes sense to come again. An estimate where calls in flight must end first.
    pub retry_after: Duration,
    /// Where the subject stands, if callers are told of it.
    pub shown: Shown,
}

impl Exceeded {
    /// For the header `Retry-After`: whole seconds, at least one.
    pub fn retry_after_seconds(&self) -> u64 {
        u64::try_from(self.retry_after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
    }

    /// The rate-limit headers of the refusal; `Retry-After` is not among them.
    pub fn headers(&self, protocol: Protocol, now: Moment) -> Vec<(HeaderName, HeaderValue)> {
        self.shown.headers(protocol, now)
    }
}

/// A refusal as the stores give it: the index is that of the subject among those asked for.
struct Refusal {
    index: usize,
    what: What,
    wait_ms: u64,
    shown: Shown,
}

/// The turn of a provider among those that may take a call.
#[derive(Debug)]
pub enum Turn {
    /// It may be called; the guard counts the call for it.
    Take(Admitted),
    /// Its limit is reached: the next one's turn. This one is free again after about so long.
    PassOver {
        /// After how long.
        retry_after: Duration,
    },
}

/// The limits of one node. Cheap to clone; all clones are the same limits.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    /// What the milliseconds of `here` are counted from.
    origin: Instant,
    here: InProcess,
    shared: Option<Shared>,
}

/// How the limits are kept at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Are the counts meant to be shared through Redis?
    pub is_shared: bool,
    /// Did Redis fail when it was asked last? Then this node goes by its own counts.
    pub is_redis_away: bool,
    /// Calls that were judged by this node's own counts because Redis was away, since the start.
    pub fallbacks: u64,
    /// Ends of calls that Redis was never told of because too many were waiting; their slots ended by their expiry.
    pub untold_ends: u64,
    /// Subjects remembered in this process.
    pub subjects: usize,
}

impl Limits {
    /// Limits that count in this process alone.
    pub fn in_process() -> Self {
        Self::over(None)
    }

    /// Limits that all nodes with the same Redis share. Only the address is judged here: Redis is connected to when it is
    /// first needed. Needs a Tokio runtime, on which a task tells Redis of calls that ended; it ends with the limits.
    ///
    /// # Errors
    /// When the URL is no address of a Redis.
    pub fn shared(options: SharedOptions) -> Result<Self, redis::RedisError> {
        Ok(Self::over(Some(Shared::try_new(options)?)))
    }

    fn over(shared: Option<Shared>) -> Self {
        Self(Arc::new(Inner { origin: Instant::now(), here: InProcess::new(), shared }))
    }

    /// Admits a call for all of these subjects, or for none of them.
    ///
    /// `tokens`: what the call is likely to use, input and output. Until it ends so many are held; one that would be more
    /// than a whole limit waits until nothing else is counted. A subject that is named twice counts once, by its first
    /// limit. `now` is not looked at where Redis counts, which has a clock of its own for all nodes.
    ///
    /// # Errors
    /// [`Exceeded`] for the first subject whose limit is reached.
    pub async fn admit(
        &self,
        wanted: &[(Subject, Limit)],
        tokens: u64,
        now: Instant,
    ) -> Result<Admitted, Exceeded> {
        if wanted.iter().all(|(_, limit)| limit.is_none()) {
            return Ok(Admitted::unlimited());
        }
        let mut limited: Vec<(&Subject, Limit)> = Vec::with_capacity(wanted.len());
        for (subject, limit) in wanted {
            if !limit.is_none() && limited.iter().all(|(known, _)| *known != subject) {
                limited.push((subject, *limit));
            }
        }
        let tokens = tokens.min(bucket::MOST);
        let admitted = match &self.0.shared {
            None => self.admit_here(&limited, tokens, now),
            Some(shared) => match Box::pin(shared.admit(&limited, tokens)).await {
                Some(Answer::Admitted { share, shown }) => {
                    Ok(Admitted { taken: Taken::Shared(share), shown, limits: None })
                }
                Some(Answer::Refused(refusal)) => Err(refusal),
                None => self.admit_here(&limited, tokens, now),
            },
        };
        admitted.map_err(|Refusal { index, what, wait_ms, shown }| {
            let (kind, limit) = limited
                .get(index)
                .map_or((SubjectKind::Key, 0), |(subject, limit)| (subject.kind, limit.of(what)));
            Exceeded { subject: kind, what, limit, retry_after: Duration::from_millis(wait_ms), shown }
        })
    }

    /// Is it this provider's turn? Its limit refuses no caller: the next provider is tried instead.
    pub async fn try_provider(&self, provider: &(Subject, Limit), tokens: u64, now: Instant) -> Turn {
        match self.admit(std::slice::from_ref(provider), tokens, now).await {
            Ok(admitted) => Turn::Take(admitted),
            Err(Exceeded { retry_after, .. }) => Turn::PassOver { retry_after },
        }
    }

    /// How the limits are kept at the moment, for gauges.
    pub fn status(&self) -> Status {
        let subjects = self.0.here.subjects();
        match &self.0.shared {
            None => Status { subjects, ..Status::default() },
            Some(shared) => Status { subjects, ..shared.status() },
        }
    }

    /// Tells Redis of all calls that have ended, within `limit`: for the end of the process, whose calls would else count
    /// as running until their slots expire.
    pub async fn flush(&self, limit: Duration) {
        if let Some(shared) = &self.0.shared {
            shared.flush(limit).await;
        }
    }

    fn admit_here(
        &self,
        limited: &[(&Subject, Limit)],
        tokens: u64,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        let (shares, shown) = self.0.here.admit(limited, tokens, self.0.millis(now))?;
        Ok(Admitted { taken: Taken::Here(shares), shown, limits: Some(Arc::clone(&self.0)) })
    }
}

impl Inner {
    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

/// An admitted call. Dropped, it frees its place; tokens are counted only by [`Admitted::settled`], so a call that is
/// dropped without it counts as a request and for no token: right for one that reached no provider.
#[must_use = "dropped, it frees its place"]
pub struct Admitted {
    taken: Taken,
    shown: Shown,
    /// For the clock of this process's counts.
    limits: Option<Arc<Inner>>,
}

enum Taken {
    Nothing,
    Here(Vec<in_process::Share>),
    Shared(shared::Share),
}

impl Admitted {
    /// Of a call that nothing limits.
    pub const fn unlimited() -> Self {
        Self { taken: Taken::Nothing, shown: Shown { requests: None, tokens: None }, limits: None }
    }

    /// The call has ended and came to so many tokens: they are counted instead of those held for it.
    pub fn settled(mut self, tokens: u64, now: Instant) {
        self.end(Some((tokens, now)));
    }

    /// The rate-limit headers for the caller, as of the admission.
    pub fn headers(&self, protocol: Protocol, now: Moment) -> Vec<(HeaderName, HeaderValue)> {
        self.shown.headers(protocol, now)
    }

    /// Where key and group stood at the admission.
    pub fn shown(&self) -> Shown {
        self.shown
    }

    fn end(&mut self, used: Option<(u64, Instant)>) {
        match std::mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Nothing => {}
            Taken::Here(shares) => {
                let limits = self.limits.as_ref();
                let used = used.zip(limits).map(|((tokens, now), limits)| (tokens, limits.millis(now)));
                shares.into_iter().for_each(|share| share.end(used));
            }
            Taken::Shared(share) => share.end(used.map(|(tokens, _)| tokens)),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted").field("shown", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod redis_server;
#[cfg(test)]
mod tests;
