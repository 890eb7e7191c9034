//! The end of a hold: what the call came to, whatever happened to it.
//!
//! Claims: a call that reached a provider is settled once, also when its task panics or is aborted; one that reached
//! none is released.

use super::admission::Call;
use crate::catalogue::{ProviderKey, Route};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::limits::Admitted;
use crate::metering::Holding;
use crate::pricing::{Bill, Consumption};
use crate::wire;
use axum::http::{HeaderValue, StatusCode};
use domain::price::PriceError;
use domain::usage::{Attempt, Usage};
use domain::{Credits, Label, Outcome, Prices, Tokens};
use ledger::HoldError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    /// The status its caller saw.
    pub(crate) status: u16,
    /// Did the provider's answer come to its end?
    pub(crate) is_complete: bool,
}

/// The end of a call whose process or task died.
const INTERRUPTED: End = End { outcome: Outcome::Interrupted, status: 500, is_complete: false };

/// How often a stream's progress is noted.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// A call's hold, with all that its usage record will say.
pub(crate) struct Settlement<H: Holding> {
    hold: Option<H>,
    call: Arc<Call>,
    endpoint: Label,
    /// The call's places within the rate limits of its key, group and model.
    places: Admitted,
    /// Its place within those of the present provider.
    turn: Admitted,
    /// Watches over the settlement of a call whose task died.
    tracker: TaskTracker,
    figures: Arc<Figures>,
    attempts: Vec<Attempt>,
    served_by: Option<Served>,
    /// The generated text of the present try.
    pub(crate) delivered: Estimate,
    /// The provider's last counts in the present try.
    pub(crate) reported: Option<Tokens>,
    /// What the provider says it made in the present try, of what is not counted in tokens.
    pub(crate) made: Option<u64>,
    first_byte: Option<Duration>,
    /// The caller's fields that the present provider's protocol cannot say.
    dropped: Vec<String>,
    /// When its progress was noted last.
    marked: Instant,
}

/// The provider of the present or last try.
struct Served {
    provider: Label,
    upstream_model: Label,
    cost: Option<Prices>,
    key: Label,
    /// Why this one was chosen.
    why: &'static str,
    /// When the present try began; `None`: it has ended.
    since: Option<Instant>,
}

impl<H: Holding> Settlement<H> {
    pub(crate) fn new(
        hold: H,
        call: Call,
        endpoint: Label,
        places: Admitted,
        tracker: TaskTracker,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            marked: call.started,
            hold: Some(hold),
            call: Arc::new(call),
            endpoint,
            places,
            turn: Admitted::unlimited(),
            tracker,
            figures,
            attempts: Vec::new(),
            served_by: None,
            delivered: Estimate::default(),
            reported: None,
            made: None,
            first_byte: None,
            dropped: Vec::new(),
        }
    }

    pub(crate) fn call(&self) -> Arc<Call> {
        Arc::clone(&self.call)
    }

    /// A try at a provider begins, if the hold is still good. After an error nothing has begun.
    pub(crate) async fn begin(
        &mut self,
        route: &Route,
        key: &ProviderKey,
        why: &'static str,
        turn: Admitted,
        dropped: &[String],
    ) -> Result<(), HoldError> {
        let now = Instant::now();
        let served = Served {
            provider: route.provider.clone(),
            upstream_model: route.upstream_model.clone(),
            cost: route.cost.clone(),
            key: key.name.clone(),
            why,
            since: Some(now),
        };
        let nothing = Bill::nothing(&self.call.price);
        let draft = self.record(INTERRUPTED, &served, nothing, self.attempts.clone());
        if let Some(hold) = &mut self.hold {
            hold.open(draft).await?;
        }
        self.delivered = Estimate::default();
        self.reported = None;
        self.made = None;
        self.first_byte = None;
        self.turn = turn;
        self.dropped = dropped.to_vec();
        self.marked = now;
        self.served_by = Some(served);
        Ok(())
    }

    /// The provider has sent more. Noted about once a second, so that a crash costs the operator no more than that.
    pub(crate) fn progressed(&mut self, now: Instant) {
        if now < self.marked + MARK_EVERY {
            return;
        }
        self.marked = now;
        let (Some(hold), Some(served)) = (&self.hold, &self.served_by) else { return };
        let bill = self.bill(INTERRUPTED, served.cost.as_ref());
        hold.mark(self.record(INTERRUPTED, served, bill, self.attempts.clone()));
    }

    /// Are the present try's counts within those that the hold was sized with? Then it covers them at any price of the list.
    /// Asked for every event: no price is looked at.
    pub(crate) fn is_within_worst_case(&self) -> bool {
        let Call { asked, default_cap, .. } = &*self.call;
        let (input, output) = match &self.reported {
            Some(reported) => (reported.input_total(), reported.output_total()),
            None => (0, 0),
        };
        output.max(self.delivered.likely()) <= asked.most_output(*default_cap) && input <= asked.input.upper()
    }

    /// Does what the present try has consumed cost more than is held, and can no more be held? More is asked for in steps, so
    /// that a long stream does not ask for each of its events.
    pub(crate) async fn has_outgrown_its_hold(&mut self) -> bool {
        let Ok(charge) = self.charge_so_far() else {
            // Counts that no ledger can hold: settled by our own estimate, as for any other call.
            return false;
        };
        let Some(hold) = &mut self.hold else { return false };
        let held = hold.held();
        if charge <= held {
            return false;
        }
        let step = Credits::from_nano(held.nano() / 2);
        hold.extend(charge.checked_add(step).unwrap_or(charge)).await < charge
    }

    /// What a caller is told whose stream has outgrown its hold, where no "length" can be said.
    pub(crate) fn outgrown(&self, top_up_url: &str) -> CallError {
        CallError::InsufficientCredits {
            available: self.hold.as_ref().map_or(Credits::ZERO, Holding::held),
            wanted: self.charge_so_far().unwrap_or(self.call.worst_case),
            top_up_url: top_up_url.to_owned(),
        }
    }

    fn so_far(&self) -> Consumption<'_> {
        Consumption {
            input: &self.call.asked.input,
            delivered: &self.delivered,
            reported: self.reported.as_ref(),
            is_complete: false,
            ordered: None,
        }
    }

    /// The tokens of the present try so far, as they would be billed.
    pub(crate) fn tokens_so_far(&self) -> Tokens {
        self.so_far().tokens().0
    }

    fn charge_so_far(&self) -> Result<Credits, PriceError> {
        let tokens = self.tokens_so_far();
        let Call { grant, price, .. } = &*self.call;
        price.prices.unit_prices(tokens.input_total()).charge(&tokens, grant.multiplier)
    }

    /// Names, for the caller, the fields that the provider's protocol cannot say; `None`: there are none.
    pub(crate) fn dropped(&self) -> Option<HeaderValue> {
        wire::names(&self.dropped)
    }

    /// The provider's first byte is here.
    pub(crate) fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.call.started.elapsed());
    }

    /// The present try has ended, with the provider's status and what went wrong, if anything.
    pub(crate) fn end_attempt(&mut self, status: Option<StatusCode>, error: Option<&'static str>) {
        let Some(served) = &mut self.served_by else { return };
        let Some(since) = served.since.take() else { return };
        self.attempts.push(Attempt {
            provider: served.provider.clone(),
            status: status.map(|status| status.as_u16()),
            error: error.and_then(|code| Label::try_new(code).ok()),
            duration_ms: millis(since.elapsed()),
            key: Some(served.key.clone()),
            chosen: Label::try_new(served.why).ok(),
        });
    }

    /// A provider was not tried, and why.
    pub(crate) fn passed_over(&mut self, route: &Route, key: &ProviderKey, why: &'static str) {
        self.attempts.push(Attempt {
            provider: route.provider.clone(),
            status: None,
            error: Label::try_new(why).ok(),
            duration_ms: 0,
            key: Some(key.name.clone()),
            chosen: None,
        });
    }

    /// The time to the first byte of the present or last try, from the start of the call.
    pub(crate) fn time_to_first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// Ends the hold with nothing: no provider was called.
    pub(crate) fn release(mut self) {
        if let Some(hold) = self.hold.take() {
            hold.release();
        }
    }

    /// Ends the hold with what the call came to. Returns what the account paid.
    pub(crate) async fn settle(mut self, end: End) -> Credits {
        let Some(hold) = self.hold.take() else { return Credits::ZERO };
        let Some(usage) = self.usage(end) else {
            hold.release();
            return Credits::ZERO;
        };
        self.log(&usage);
        self.figures.ended(&usage);
        let (model, provider) = (usage.model.clone(), usage.provider.clone());
        let settled = hold.settle(usage).await;
        self.figures.paid(&model, &provider, settled.paid, settled.uncovered);
        if settled.uncovered.is_positive() {
            let (request, account) = (self.call.request, self.call.grant.account);
            tracing::warn!(%request, %account, uncovered = %settled.uncovered, "a call cost more than its account had");
        }
        settled.paid
    }

    /// The usage record of the call; `None`: no provider was called.
    fn usage(&mut self, end: End) -> Option<Usage> {
        self.end_attempt(None, Some("interrupted"));
        let served = self.served_by.take()?;
        let bill = self.bill(end, served.cost.as_ref());
        let used = bill.tokens.input_total().saturating_add(bill.tokens.output_total());
        for place in [&mut self.places, &mut self.turn] {
            std::mem::replace(place, Admitted::unlimited()).settled(used, Instant::now());
        }
        let attempts = std::mem::take(&mut self.attempts);
        Some(self.record(end, &served, bill, attempts))
    }

    fn record(&self, end: End, served: &Served, bill: Bill, attempts: Vec<Attempt>) -> Usage {
        let Call { request, started, grant, model, price, asked, .. } = &*self.call;
        Usage {
            request: *request,
            at: crate::clock::now(),
            key: grant.key,
            model: model.name.clone(),
            provider: served.provider.clone(),
            upstream_model: served.upstream_model.clone(),
            endpoint: self.endpoint.clone(),
            tokens: bill.tokens,
            price_version: price.version,
            unit_prices: bill.unit_prices,
            multiplier: grant.multiplier,
            charge: bill.charge,
            cost: bill.cost,
            cost_prices: bill.cost_prices,
            outcome: end.outcome,
            usage_source: bill.source,
            stream: asked.stream,
            status: end.status,
            ttft_ms: self.first_byte.map(millis),
            duration_ms: millis(started.elapsed()),
            attempts,
        }
    }

    fn bill(&self, end: End, cost: Option<&Prices>) -> Bill {
        let Call { grant, price, asked, .. } = &*self.call;
        let consumption = Consumption {
            input: &asked.input,
            delivered: &self.delivered,
            reported: self.reported.as_ref(),
            is_complete: end.is_complete,
            ordered: asked.ordered.map(|it| (it.unit, self.made.unwrap_or(it.likely))),
        };
        let is_free = match end.outcome {
            Outcome::Completed => false,
            Outcome::Refused => true,
            Outcome::ClientGone | Outcome::ProviderError | Outcome::Interrupted => {
                !end.is_complete && self.delivered.is_empty()
            }
        };
        consumption.bill(price, grant.multiplier, cost, is_free).unwrap_or_else(|error| {
            // Counts that no ledger can hold: the provider's fault, and the operator's to look at.
            let Call { request, model, .. } = &*self.call;
            tracing::error!(%request, model = %model.name, %error, reported = ?self.reported, "a charge cannot be computed");
            self.bill_without_counts(consumption, is_free)
        })
    }

    /// The bill by our own estimate, for counts or prices that cannot be computed with. Its worst case was computed
    /// when the call was admitted, so the charge can be; a provider's cost that cannot be is booked as unknown.
    fn bill_without_counts(&self, consumption: Consumption<'_>, is_free: bool) -> Bill {
        let Call { grant, price, .. } = &*self.call;
        let estimated = Consumption { reported: None, ..consumption };
        let bill = estimated.bill(price, grant.multiplier, None, is_free);
        bill.unwrap_or_else(|_: PriceError| Bill::nothing(price))
    }

    fn log(&self, usage: &Usage) {
        tracing::info!(
            request = %usage.request,
            account = %self.call.grant.account,
            key = %usage.key,
            model = %usage.model,
            provider = %usage.provider,
            status = usage.status,
            outcome = ?usage.outcome,
            stream = usage.stream,
            input_tokens = usage.tokens.input_total(),
            output_tokens = usage.tokens.output_total(),
            usage_source = ?usage.usage_source,
            charge = %usage.charge,
            tries = usage.attempts.len(),
            ttft_ms = usage.ttft_ms,
            duration_ms = usage.duration_ms,
            "a call ended"
        );
    }
}

impl<H: Holding> Drop for Settlement<H> {
    /// Reached with a hold only when the call's task panicked or was aborted.
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let Some(usage) = self.usage(INTERRUPTED) else { return hold.release() };
        self.figures.ended(&usage);
        let request = usage.request;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                tracing::error!(%request, "a call's task died; the call is settled for what was delivered");
                self.tracker.spawn_on(async move { hold.settle(usage).await }, &runtime);
            }
            Err(_) => tracing::error!(%request, "a call ended with its runtime and could not be settled"),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
