//! The balance of the caller's account.
//!
//! For: `GET /api/user/balance`, now and at any past moment. Claims: the numbers and the position belong together; the
//! answer for a past moment never changes.
//!
//! A past moment means the position that the log had then, by the log server's clock. What was owed then is in the
//! tables, by position; how much of it leases held is folded from the account's own events.

use crate::app::App;
use crate::body::{Json, Query};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::reached;
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use domain::{AccountId, Moment};
use ledger::LedgerError;
use projections::balances::{self, Balance};
use projections::journal;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::SelfRead, routes!(get_balance))
}

/// What is asked of a balance.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BalanceQuery {
    /// Wait until everything up to this position (`X-Ledger-Position` of a write) is in the answer.
    after: Option<u64>,
    /// The balance at a past moment, such as `2026-11-22T10:00:00Z`: of everything that the log had stored by then.
    at: Option<String>,
}

/// How long folding an account's events may take.
const FOLD_PATIENCE: Duration = Duration::from_secs(15);

/// What an account has. Amounts are decimal strings of credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct BalanceView {
    /// What may be spent by new calls, or taken out.
    #[schema(example = "6.944444444")]
    available: String,
    /// What calls under way, or about to come, hold.
    #[schema(example = "0")]
    reserved: String,
    /// `available + reserved`: all that came in, less all that went out and was used so far.
    #[schema(example = "6.944444444")]
    total: String,
    /// What the amounts count.
    #[schema(example = "credit")]
    unit: &'static str,
    /// When this was read; with `at`, that moment.
    #[schema(value_type = String, format = DateTime)]
    as_of: Moment,
    /// Every event of the log up to this one is in these numbers.
    position: u64,
}

/// The caller's balance.
#[utoipa::path(
    get,
    path = "/api/user/balance",
    tag = "balance",
    params(BalanceQuery),
    responses(
        (status = 200, body = BalanceView),
    )
)]
async fn get_balance(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BalanceQuery>,
) -> Result<Json<BalanceView>, Problem> {
    reached(&app, query.after).await?;
    let Some(text) = query.at else { return Ok(Json(balance_now(&app, caller.user).await?)) };
    let fault = "is not a moment of the past such as 2026-11-22T10:00:00Z (write + as %2B)";
    let at = text.parse().map_err(|_| Problem::invalid("at", fault))?;
    Ok(Json(BalanceView::new(balance_at(&app, caller.user, at).await?, at)))
}

/// The balance of an account as the tables have it.
pub(super) async fn balance_now(app: &App, account: AccountId) -> Result<BalanceView, Problem> {
    let balance = balances::balance(&app.db, account).await?;
    Ok(BalanceView::new(balance, crate::directory::now()))
}

impl BalanceView {
    fn new(balance: Balance, as_of: Moment) -> Self {
        Self {
            available: balance.available.to_string(),
            reserved: balance.reserved.to_string(),
            total: balance.total.to_string(),
            unit: "credit",
            as_of,
            position: balance.position,
        }
    }

    /// What it says but for when and where.
    pub(super) fn amounts(&self) -> String {
        format!("{} {} {}", self.available, self.reserved, self.total)
    }
}

/// The balance at a past moment.
async fn balance_at(app: &App, account: AccountId, at: Moment) -> Result<Balance, Problem> {
    let position = app.ledger.log().position_at(at).await?;
    let position = position.ok_or_else(|| Problem::invalid("at", "lies in the future"))?;
    reached(app, Some(position)).await?;
    let total = journal::total_at(&app.db, account, position).await?;
    let total = total.ok_or_else(|| {
        Problem::invalid(
            "at",
            "lies before calls that were archived: what was used until then is not known any more",
        )
    })?;
    let folding = tokio::time::timeout(FOLD_PATIENCE, app.ledger.account_at(account, position)).await;
    let folded = folding.map_err(|_| {
        LedgerError::Unavailable(format!("the events of account {account} could not be read in time"))
    })??;
    let available = folded.available();
    let reserved = total.checked_sub(available).ok_or_else(|| Problem::internal(&Reserved(account)))?;
    Ok(Balance { available, reserved, total, position })
}

/// The tables and the log say things that cannot both be so.
#[derive(Debug, thiserror::Error)]
#[error("what account {0} had and what was available do not fit together")]
struct Reserved(AccountId);

#[cfg(test)]
mod tests {
    use crate::directory::user::Role;
    use crate::http::tests::{Gateway, Node, gateway, lease, record};
    use domain::account::Amend;
    use domain::account::event::{Closer, GrantSource};
    use domain::{
        AccountEvent, AccountId, AdjustmentId, Command, Credits, Event, GrantId, LeaseId, NodeEvent, OrderId,
    };
    use ledger::Logged;
    use std::collections::{BTreeMap, BTreeSet};
    use uuid::Uuid;

    fn credits(text: &str) -> Credits {
        text.parse().unwrap()
    }

    fn grant(amount: &str) -> Command {
        let (grant, source) = (GrantId::from_uuid(Uuid::now_v7()), GrantSource::Import);
        Command::GrantCredit { grant, source, credits: credits(amount), reason: None }
    }

    /// What an account has after some messages, read as plainly as can be: available, reserved, total in nano-credits.
    fn plain_fold(messages: &[Logged], of: AccountId) -> [i64; 3] {
        let (mut came_in, mut used, mut counted) = (0, 0, BTreeSet::new());
        let (mut open, mut spent, mut closed) = (BTreeMap::new(), 0, BTreeMap::new());
        for logged in messages {
            match &logged.recorded.event {
                Event::Account(account, event) if *account == of => match event {
                    AccountEvent::TopUpCompleted(it) => came_in += it.credits.nano(),
                    AccountEvent::CreditGranted(it) => came_in += it.credits.nano(),
                    AccountEvent::AdjustmentPosted(it) => came_in += it.credits.nano(),
                    AccountEvent::LeaseGranted(it) => drop(open.insert(it.lease, it.credits.nano())),
                    AccountEvent::LeaseAmended(it) => drop(open.insert(it.lease, it.credits.nano())),
                    AccountEvent::LeaseClosed(it) => {
                        open.remove(&it.lease);
                        closed.insert(it.lease, it.count);
                        spent += it.spent.nano();
                    }
                    AccountEvent::RefundRequested(it) => came_in -= it.credits.nano(),
                    AccountEvent::RefundFailed(it) => came_in += it.credits.nano(),
                    AccountEvent::ChargebackPosted(it) => came_in -= it.credits.nano(),
                    AccountEvent::ChargebackReversed(it) => came_in += it.credits.nano(),
                    AccountEvent::TopUpInitiated(_)
                    | AccountEvent::TopUpClosed(_)
                    | AccountEvent::RefundApproved(_)
                    | AccountEvent::RefundCompleted(_) => {}
                },
                Event::Node(_, NodeEvent::UsageReported(report)) => {
                    for it in report.records.iter().filter(|it| it.account == of) {
                        let late = closed.get(&it.lease).is_some_and(|count| it.n > *count);
                        if counted.insert((it.lease, it.n)) && !late {
                            used += it.usage.charge.nano();
                        }
                    }
                }
                Event::Account(..) | Event::Node(..) | Event::Suspense(..) | Event::Channel(..) => {}
            }
        }
        let available = came_in - open.values().sum::<i64>() - spent;
        [available, came_in - used - available, came_in - used]
    }

    /// Two accounts' busy minute: each kind of event that moves credits, and records that come late and twice.
    async fn a_busy_minute(gateway: &Gateway, ann: AccountId, bob: AccountId) {
        let [first, second, bobs] = [1, 2, 3].map(|_| LeaseId::from_uuid(Uuid::now_v7()));
        let mut node = Node::new();
        let order = OrderId::from_uuid(Uuid::new_v4());
        let channel = || "sandbox".parse().unwrap();
        let pay = domain::Money::parse("50.00", "CNY".parse().unwrap()).unwrap();
        gateway.decides(bob, grant("100")).await;
        gateway.decides(ann, grant("10")).await;
        gateway.decides(ann, lease(first, node.epoch, "4")).await;
        gateway.decides(bob, lease(bobs, node.epoch, "40")).await;
        let ones = record(ann, first, 1, "0.5", "0.5");
        let of_bob = record(bob, bobs, 1, "7", "7");
        node.reports(gateway, vec![of_bob, ones.clone()]).await;
        let expires_at = crate::directory::now().plus_ms(60_000);
        let initiated = Command::InitiateTopUp {
            order,
            channel: channel(),
            pay,
            credits: credits("6.944444444"),
            expires_at,
        };
        gateway.decides(ann, initiated).await;
        let amend = Amend::Extend { at_least: credits("1"), wanted: credits("1") };
        gateway.decides(ann, Command::AmendLease { lease: first, amend, ttl_ms: 60_000, budget: None }).await;
        gateway.decides(ann, lease(second, Node::new().epoch, "2.000000001")).await;
        node.reports(gateway, vec![record(ann, first, 2, "0.25", "0.75"), ones]).await;
        let provider_txn = "txn".parse().unwrap();
        gateway
            .decides(ann, Command::CompleteTopUp { order, channel: channel(), provider_txn, paid: pay })
            .await;
        let close = |lease, spent, count| Command::CloseLease { lease, spent, count, by: Closer::Holder };
        gateway.decides(ann, close(first, credits("1"), 3)).await;
        // The third counts although it comes behind the close; the fourth is the operator's.
        let late = vec![record(ann, first, 3, "0.25", "1"), record(ann, first, 4, "0.125", "1.125")];
        node.reports(gateway, late).await;
        let adjustment = AdjustmentId::from_uuid(Uuid::now_v7());
        let reason = "one too many".parse().unwrap();
        gateway.decides(ann, Command::PostAdjustment { adjustment, credits: credits("-3"), reason }).await;
        gateway.decides(ann, close(second, Credits::ZERO, 0)).await;
    }

    #[tokio::test]
    async fn a_balance_at_any_past_moment_is_the_fold_of_what_the_log_had_stored() {
        let gateway = gateway().await;
        let (token, other) = (gateway.token("ann", Role::User).await, gateway.token("bob", Role::User).await);
        let (ann, bob) = (gateway.account_of(&token).await, gateway.account_of(&other).await);
        a_busy_minute(&gateway, ann, bob).await;
        let mut messages = Vec::new();
        for sequence in 1.. {
            let Some(logged) = gateway.app.ledger.log().at(sequence).await.unwrap() else { break };
            messages.push(logged);
        }
        assert_eq!(messages.len(), 14);
        assert!(messages.is_sorted_by(|one, next| one.stored_at < next.stored_at), "one moment each");
        for (token, account) in [(&token, ann), (&other, bob)] {
            let mut seen = BTreeSet::new();
            for end in 0..=messages.len() {
                let at = match end {
                    0 => domain::Moment::from_micros(messages[0].stored_at.micros() - 1),
                    end => messages[end - 1].stored_at,
                };
                let path = format!("/api/user/balance?at={at}");
                let answer = gateway.call("GET", &path, Some(token), None).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let nano = |name: &str| credits(answer.body[name].as_str().unwrap()).nano();
                let expected = plain_fold(&messages[..end], account);
                let found = [nano("available"), nano("reserved"), nano("total")];
                assert_eq!(found, expected, "after {end}: {}", answer.body);
                assert_eq!(answer.body["position"], end);
                assert_eq!(answer.body["as_of"], at.to_string());
                seen.insert(found);
            }
            assert!(seen.len() > 3 && seen.contains(&[0, 0, 0]), "{seen:?}");
        }
        let now = gateway.call("GET", "/api/user/balance?after=14", Some(&token), None).await.body;
        let at = messages[13].stored_at;
        let then = gateway.call("GET", &format!("/api/user/balance?at={at}"), Some(&token), None).await.body;
        for amount in ["available", "reserved", "total", "unit", "position"] {
            assert_eq!(then[amount], now[amount], "{amount}");
        }
    }

    #[tokio::test]
    async fn a_moment_that_is_none_or_not_past_yet_is_refused_by_name() {
        let gateway = gateway().await;
        let token = gateway.token("ann", Role::User).await;
        let tomorrow = crate::directory::now().plus_ms(86_400_000).to_string();
        for (at, fault) in [
            (tomorrow.as_str(), "at: lies in the future"),
            ("9999-12-31T23:59:59Z", "at: lies in the future"),
            ("2026-11-22", "at: is not a moment"),
            ("yesterday", "at: is not a moment"),
            ("", "at: is not a moment"),
            (
                "2026-11-22T10:00:00+08:00",
                "at: is not a moment of the past such as 2026-11-22T10:00:00Z (write +",
            ),
        ] {
            let path = format!("/api/user/balance?at={at}");
            let answer = gateway.call("GET", &path, Some(&token), None).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (422, &"invalid_value".into()),
                "{at}"
            );
            assert!(answer.body["detail"].as_str().unwrap().starts_with(fault), "{at}: {}", answer.body);
        }
        // An empty log, and a time before there was any.
        let path = "/api/user/balance?at=2020-11-22T10:00:00%2B08:00";
        let answer = gateway.call("GET", path, Some(&token), None).await.body;
        assert_eq!(
            (&answer["total"], &answer["available"], &answer["position"]),
            (&"0".into(), &"0".into(), &0.into())
        );
        assert_eq!(answer["as_of"], "2020-11-22T02:00:00.000000Z");
    }
}
