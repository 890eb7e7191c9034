//! What a call needs before it may start: a model with a price and a provider, and credits for its worst case.

use crate::asked::Asked;
use crate::body::MAX_OUTPUT_TOKENS;
use crate::catalogue::{BudgetPeriod, Catalogue, KeyGrant, Model, Priced};
use crate::dialogue::Voice;
use crate::error::CallError;
use crate::limits::{Limit, Subject};
use crate::options::RelayOptions;
use crate::pricing;
use crate::wire::Wire;
use crate::zone::Zone;
use domain::account::Budget;
use domain::account::event::Scope;
use domain::price::PriceError;
use domain::{Credits, Label, Moment, RequestId};
use ledger::{HoldError, HoldRequest};
use std::sync::Arc;
use tokio::time::Instant;

/// A call whose parts belong together: all from one catalogue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: RequestId,
    /// When its request began to arrive.
    pub(crate) started: Instant,
    pub(crate) grant: Arc<KeyGrant>,
    pub(crate) model: Arc<Model>,
    pub(crate) price: Priced,
    pub(crate) asked: Asked,
    /// The cap that is set for the provider where the caller set none.
    pub(crate) default_cap: u64,
    /// The most that it can cost.
    pub(crate) worst_case: Credits,
}

impl Call {
    /// Finds the model and sizes the worst case.
    pub(crate) fn try_new(
        catalogue: &Catalogue,
        grant: Arc<KeyGrant>,
        asked: Asked,
        request: RequestId,
        started: Instant,
    ) -> Result<Self, CallError> {
        // A name that no catalogue can hold is cut before it is repeated in an error.
        let name = || asked.model.chars().take(Label::MAX).collect::<String>();
        let model =
            catalogue.models.get(&asked.model).ok_or_else(|| CallError::ModelNotFound { model: name() })?;
        if !grant.may_call(&asked.model) {
            return Err(CallError::ModelNotAllowed { model: name() });
        }
        let price = model.price.clone().ok_or_else(|| CallError::ModelNotPriced { model: name() })?;
        if model.routes.is_empty() {
            return Err(CallError::NoRoute { model: name() });
        }
        if !model.routes.iter().any(|route| Wire::at(route, asked.endpoint).is_some()) {
            return Err(CallError::EndpointUnsupported { model: name(), endpoint: asked.endpoint.path() });
        }
        let default_cap = model.max_output_tokens.clamp(1, MAX_OUTPUT_TOKENS);
        let output = asked.most_output(default_cap);
        let worst_case =
            pricing::worst_case(&price, asked.input.upper(), output, asked.ordered, grant.multiplier)
                .map_err(|error| unpriceable(error, &model.name))?;
        Ok(Self { request, started, grant, model: Arc::clone(model), price, asked, default_cap, worst_case })
    }

    /// How an answer is written for the caller, where it must be.
    pub(crate) fn voice(&self) -> Voice {
        Voice {
            model: self.asked.model.clone(),
            id: self.request.uuid().simple().to_string(),
            created: chrono::Utc::now().timestamp(),
            wants_usage: self.asked.wants_usage,
        }
    }

    /// What it is likely to come to in tokens, for limits per minute. The caller's own cap counts; without one a usual
    /// answer does, since the model's cap would let small limits admit one call at a time.
    pub(crate) fn likely_tokens(&self) -> u64 {
        const USUAL_ANSWER: u64 = 1_000;
        let output = self.asked.most_output(self.default_cap.min(USUAL_ANSWER));
        self.asked.input.likely().saturating_add(output)
    }

    /// The limits that the call must keep to.
    pub(crate) fn limits(&self) -> Vec<(Subject, Limit)> {
        self.grant.limits.iter().chain(&self.model.limit).cloned().collect()
    }

    /// What to ask the meter for. Days and months of a budget are those of this moment.
    pub(crate) fn hold_request(&self, now: Moment) -> Result<HoldRequest, CallError> {
        let (scope, budget) = scope(&self.grant, now)?;
        Ok(HoldRequest { account: self.grant.account, scope, budget, worst_case: self.worst_case })
    }
}

/// Who may spend: the account, or the key alone where it has a budget.
fn scope(grant: &KeyGrant, now: Moment) -> Result<(Scope, Option<Budget>), CallError> {
    let Some(budget) = grant.budget else { return Ok((Scope::Account, None)) };
    let period = Label::try_new(period(budget.period, budget.zone, now)).map_err(|_| CallError::Internal)?;
    Ok((Scope::Key { key: grant.key, period }, Some(Budget { limit: budget.credits })))
}

/// A budget's period as the ledger names it: by the date on the owner's clock.
///
/// A name stands for one budget for ever. Where a clock is set back over midnight, or an owner moves to another zone, the
/// date that comes again is the one whose budget was begun, with what was spent of it.
fn period(period: BudgetPeriod, zone: Zone, now: Moment) -> String {
    match period {
        BudgetPeriod::Total => "total".into(),
        BudgetPeriod::Day => zone.date(now).format("%Y-%m-%d").to_string(),
        BudgetPeriod::Month => zone.date(now).format("%Y-%m").to_string(),
    }
}

fn unpriceable(error: PriceError, model: &Label) -> CallError {
    match error {
        PriceError::Overflow => CallError::bad(
            "max_tokens",
            "this call could cost more than any account can hold: ask for fewer tokens",
        ),
        PriceError::Negative { .. }
        | PriceError::TooPrecise { .. }
        | PriceError::TooLarge { .. }
        | PriceError::TierOrder(_)
        | PriceError::Uneven { .. }
        | PriceError::Unpriced { .. }
        | PriceError::Multiplier => {
            tracing::error!(%model, %error, "a price list in use is not valid");
            CallError::Internal
        }
    }
}

/// What a caller is told when the meter refuses.
pub(crate) fn hold_error(error: HoldError, options: &RelayOptions) -> CallError {
    match error {
        HoldError::InsufficientCredits { available, wanted } => {
            CallError::InsufficientCredits { available, wanted, top_up_url: options.top_up_url.clone() }
        }
        HoldError::BudgetSpent { left, wanted } => CallError::BudgetSpent { left, wanted },
        HoldError::Unavailable(reason) => {
            tracing::warn!(%reason, "a call was refused because it could not be metered");
            CallError::MeteringUnavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{KeyBudget, KeyStatus};
    use domain::{AccountId, KeyId};
    use rust_decimal::Decimal;
    use uuid::Uuid;

    #[test]
    fn a_key_with_a_budget_spends_from_a_lease_of_its_own() {
        let grant = KeyGrant {
            key: KeyId::from_uuid(Uuid::max()),
            account: AccountId::from_uuid(Uuid::nil()),
            status: KeyStatus::Active,
            expires_at: None,
            models: None,
            ip_allow: Vec::new(),
            budget: None,
            multiplier: Decimal::ONE,
            limits: Vec::new(),
            last_use: std::sync::Arc::default(),
        };
        let now: Moment = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!(scope(&grant, now).unwrap(), (Scope::Account, None));
        let limit = Credits::from_nano(7);
        let budget = Some(KeyBudget { credits: limit, period: BudgetPeriod::Month, zone: Zone::UTC });
        let key = Scope::Key { key: grant.key, period: Label::try_new("2026-11").unwrap() };
        assert_eq!(scope(&KeyGrant { budget, ..grant }, now).unwrap(), (key, Some(Budget { limit })));
    }

    #[test]
    fn periods_are_named_by_the_date_on_the_owners_clock() {
        let zone = |text: &str| text.parse::<Zone>().unwrap();
        let late: Moment = "2026-11-30T23:59:59.999999Z".parse().unwrap();
        assert_eq!(period(BudgetPeriod::Total, zone("Asia/Shanghai"), late), "total");
        for (name, at, day, month) in [
            ("+00:00", late, "2026-11-30", "2026-11"),
            ("+00:00", late.plus_ms(1), "2026-12-01", "2026-12"),
            ("+08:00", late, "2026-12-01", "2026-12"),
            ("Asia/Shanghai", late, "2026-12-01", "2026-12"),
            ("-03:30", late, "2026-11-30", "2026-11"),
        ] {
            assert_eq!(period(BudgetPeriod::Day, zone(name), at), day, "{name}");
            assert_eq!(period(BudgetPeriod::Month, zone(name), at), month, "{name}");
        }
    }

    #[test]
    fn a_day_has_23_or_25_hours_where_clocks_change() {
        let zone: Zone = "America/New_York".parse().unwrap();
        let day = |at: &str| period(BudgetPeriod::Day, zone, at.parse().unwrap());
        // Clocks go forward on 2026-03-08 and back on 2026-11-01, both at two in the morning.
        for (first, last, name) in [
            ("2026-03-08T05:00:00Z", "2026-03-09T03:59:59.999999Z", "2026-03-08"),
            ("2026-11-01T04:00:00Z", "2026-11-02T04:59:59.999999Z", "2026-11-01"),
        ] {
            assert_eq!((day(first), day(last)), (name.to_owned(), name.to_owned()));
            let [before, after] = [first, last].map(|it| it.parse::<Moment>().unwrap());
            for outside in [before.plus_ms(-1), after.plus_ms(1)] {
                assert_ne!(period(BudgetPeriod::Day, zone, outside), name, "{outside}");
            }
        }
        // Where they go back at midnight, the last hour of a day comes twice: its budget is the one that was begun.
        let havana: Zone = "America/Havana".parse().unwrap();
        let named = ["2026-11-01T03:59:59Z", "2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z"]
            .map(|at| period(BudgetPeriod::Day, havana, at.parse().unwrap()));
        assert_eq!(named, ["2026-10-31", "2026-11-01", "2026-11-01"]);
    }
}
