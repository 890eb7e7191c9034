//! Top-ups: opened, paid once, or closed; a payment is never lost.

use super::*;
use crate::account::decide::MOST_CREDITS_IN;

#[test]
fn an_order_is_opened_and_counts_for_nothing_until_it_is_paid() {
    given([])
        .when(initiate("order", "50.00 CNY", credits("7")))
        .then(initiated("order", "7"))
        .has_available("0")
        .when(complete("order", "tx-1", "50.00 CNY"))
        .then(completed("order", "tx-1", "7"))
        .has_available("7");
}

#[test]
fn a_payment_credits_what_the_order_promised_when_it_was_opened() {
    given([initiated("cheap", "9"), initiated("dear", "1")])
        .when(complete("cheap", "tx-1", "50.00 CNY"))
        .then(completed("cheap", "tx-1", "9"))
        .when(complete("dear", "tx-2", "50.00 CNY"))
        .then(completed("dear", "tx-2", "1"))
        .has_available("10");
}

#[test]
fn an_order_of_nothing_is_refused() {
    for pay in ["0.00 CNY", "-0.01 CNY"] {
        let refusal = Refusal::NotPositive { what: "the amount to pay" };
        given([]).when(initiate("order", pay, credits("7"))).refused(refusal);
    }
    for buys in [0, -1, i64::MIN] {
        let refusal = Refusal::NotPositive { what: "the credits it buys" };
        given([]).when(initiate("order", "50.00 CNY", nano(buys))).refused(refusal);
    }
    given([]).when(initiate("order", "0.01 CNY", nano(1))).then(AccountEvent::TopUpInitiated(
        TopUpInitiated {
            order: order_id("order"),
            channel: channel("sandbox"),
            pay: money("0.01 CNY"),
            credits: nano(1),
            expires_at: Moment::from_micros(7),
        },
    ));
}

#[test]
fn an_order_is_opened_once() {
    let opened = || given([gifted("1"), initiated("order", "7")]);
    opened().when(initiate("order", "50.00 CNY", credits("7"))).already_applied(2);
    opened()
        .when(initiate("order", "50.01 CNY", credits("7")))
        .refused(Refusal::OrderExists(order_id("order")));
    opened()
        .when(initiate("order", "50.00 CNY", credits("8")))
        .refused(Refusal::OrderExists(order_id("order")));
    opened()
        .when(initiate("order", "50.00 USD", credits("7")))
        .refused(Refusal::OrderExists(order_id("order")));
}

#[test]
fn opening_a_paid_or_closed_order_again_changes_nothing() {
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
        .when(initiate("order", "50.00 CNY", credits("7")))
        .already_applied(1);
    given([initiated("order", "7"), closed_order("order", CloseReason::Failed)])
        .when(initiate("order", "50.00 CNY", credits("7")))
        .already_applied(1);
}

#[test]
fn a_payment_is_credited_once() {
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
        .has_available("7")
        .when(complete("order", "tx-1", "50.00 CNY"))
        .already_applied(2);
}

#[test]
fn a_second_transaction_for_a_paid_order_is_refused_by_name() {
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
        .when(complete("order", "tx-2", "50.00 CNY"))
        .refused(Refusal::PaidBefore { by: label("tx-1") });
}

#[test]
fn a_payment_of_another_sum_or_currency_is_refused() {
    for paid in ["49.99 CNY", "50.01 CNY", "0.00 CNY", "50.00 USD"] {
        let refusal = Refusal::WrongAmount { expected: money("50.00 CNY"), paid: money(paid) };
        given([initiated("order", "7")]).when(complete("order", "tx-1", paid)).refused(refusal);
    }
    // Even a repeat of the transaction that paid it: what it says now is not what happened.
    let refusal = Refusal::WrongAmount { expected: money("50.00 CNY"), paid: money("51.00 CNY") };
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
        .when(complete("order", "tx-1", "51.00 CNY"))
        .refused(refusal);
}

#[test]
fn a_payment_reported_by_another_channel_is_refused() {
    given([initiated("order", "7")])
        .when(Command::CompleteTopUp {
            order: order_id("order"),
            channel: channel("epay"),
            provider_txn: label("tx-1"),
            paid: money("50.00 CNY"),
        })
        .refused(Refusal::WrongChannel { expected: channel("sandbox"), reported: channel("epay") });
}

#[test]
fn an_order_of_another_account_is_unknown() {
    given([]).when(complete("order", "tx-1", "50.00 CNY")).refused(Refusal::UnknownOrder(order_id("order")));
    given([initiated("order", "7")])
        .when(close_order("other", CloseReason::Expired))
        .refused(Refusal::UnknownOrder(order_id("other")));
}

#[test]
fn an_unpaid_order_is_closed_once() {
    for reason in [CloseReason::Failed, CloseReason::Cancelled, CloseReason::Expired] {
        given([initiated("order", "7")])
            .when(close_order("order", reason))
            .then(closed_order("order", reason))
            .has_available("0")
            .when(close_order("order", CloseReason::Cancelled))
            .already_applied(2);
    }
}

#[test]
fn a_payment_after_the_close_still_credits_and_only_once() {
    given([initiated("order", "7"), closed_order("order", CloseReason::Expired)])
        .when(complete("order", "tx-1", "50.00 CNY"))
        .then(completed("order", "tx-1", "7"))
        .has_available("7")
        .when(complete("order", "tx-1", "50.00 CNY"))
        .already_applied(3);
}

#[test]
fn a_paid_order_cannot_be_closed() {
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
        .when(close_order("order", CloseReason::Cancelled))
        .refused(Refusal::OrderPaid(order_id("order")));
    // Nor one that was closed before it was paid.
    given([
        initiated("order", "7"),
        closed_order("order", CloseReason::Expired),
        completed("order", "tx-1", "7"),
    ])
    .when(close_order("order", CloseReason::Expired))
    .refused(Refusal::OrderPaid(order_id("order")));
}

#[test]
fn an_order_past_what_an_account_can_hold_is_refused_before_it_can_be_paid() {
    let near = || given([gifted_as("all", nano(MOST_CREDITS_IN.nano() - 5))]);
    near().when(initiate("order", "50.00 CNY", nano(5))).then(initiated("order", "0.000000005"));
    near().when(initiate("order", "50.00 CNY", nano(6))).refused(Refusal::Overflow);
    given([]).when(initiate("order", "50.00 CNY", nano(i64::MAX))).refused(Refusal::Overflow);
}

#[test]
fn a_payment_past_what_an_account_can_hold_is_refused() {
    given([initiated("order", "7"), gifted_as("all", MOST_CREDITS_IN)])
        .when(complete("order", "tx-1", "50.00 CNY"))
        .refused(Refusal::Overflow);
}
