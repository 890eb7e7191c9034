//! Refunds and chargebacks: what goes back, how much of it, and that it ends once.

use super::*;
use crate::account::event::{
    ChargebackPosted, ChargebackReversed, RefundApproved, RefundCompleted, RefundFailed, RefundRequested,
};
use crate::{ChargebackId, RefundId};

fn refund_id(name: &str) -> RefundId {
    RefundId::from_uuid(uuid(name))
}

fn requested(refund: &str, pay: &str, takes: &str) -> AccountEvent {
    AccountEvent::RefundRequested(RefundRequested {
        refund: refund_id(refund),
        order: order_id("order"),
        channel: channel("sandbox"),
        pay: money(pay),
        credits: credits(takes),
        bonus: Credits::ZERO,
        reason: reason("not wanted"),
    })
}

fn approved(refund: &str) -> AccountEvent {
    let (refund, order) = (refund_id(refund), order_id("order"));
    AccountEvent::RefundApproved(RefundApproved { refund, order })
}

fn given_back(refund: &str, pay: &str, took: &str) -> AccountEvent {
    AccountEvent::RefundCompleted(RefundCompleted {
        refund: refund_id(refund),
        order: order_id("order"),
        channel: channel("sandbox"),
        pay: money(pay),
        credits: credits(took),
        bonus: Credits::ZERO,
        provider_refund: Some(label("re_1")),
    })
}

fn failed(refund: &str, took: &str) -> AccountEvent {
    AccountEvent::RefundFailed(RefundFailed {
        refund: refund_id(refund),
        order: order_id("order"),
        channel: channel("sandbox"),
        credits: credits(took),
        reason: reason("no"),
    })
}

fn charged_back(name: &str, pay: &str, takes: &str) -> AccountEvent {
    AccountEvent::ChargebackPosted(ChargebackPosted {
        chargeback: ChargebackId::from_uuid(uuid(name)),
        order: order_id("order"),
        channel: channel("sandbox"),
        pay: money(pay),
        credits: credits(takes),
        bonus: Credits::ZERO,
        reference: label("dp_1"),
    })
}

fn request(refund: &str, pay: &str) -> Command {
    Command::RequestRefund {
        refund: refund_id(refund),
        order: order_id("order"),
        pay: money(pay),
        reason: reason("not wanted"),
    }
}

fn approve(refund: &str) -> Command {
    Command::ApproveRefund { refund: refund_id(refund) }
}

fn reject(refund: &str) -> Command {
    Command::RejectRefund { refund: refund_id(refund), reason: reason("no") }
}

fn settle(refund: &str) -> Command {
    Command::CompleteRefund { refund: refund_id(refund), provider_refund: Some(label("re_1")) }
}

fn fail(refund: &str) -> Command {
    Command::FailRefund { refund: refund_id(refund), reason: reason("no") }
}

fn charge_back(name: &str, pay: &str) -> Command {
    Command::PostChargeback {
        chargeback: ChargebackId::from_uuid(uuid(name)),
        order: order_id("order"),
        pay: money(pay),
        reference: label("dp_1"),
    }
}

/// An order of 50.00 CNY that bought 7 credits.
fn paid() -> Given {
    given([initiated("order", "7"), completed("order", "tx-1", "7")])
}

#[test]
fn a_refund_takes_its_share_when_it_is_asked_for_and_ends_once() {
    let done = paid()
        .when(request("a", "20.00 CNY"))
        .then(requested("a", "20.00 CNY", "2.8"))
        .has_available("4.2")
        .when(approve("a"))
        .then(approved("a"))
        .when(settle("a"))
        .then(given_back("a", "20.00 CNY", "2.8"))
        .has_available("4.2");
    let done = || Given { account: done.account.clone() };
    done().when(request("a", "20.00 CNY")).already_applied(3);
    done().when(request("a", "20.01 CNY")).refused(Refusal::RefundExists(refund_id("a")));
    done().when(approve("a")).already_applied(4);
    done().when(settle("a")).already_applied(5);
    done().when(fail("a")).refused(Refusal::RefundOver(refund_id("a")));
    done().when(reject("a")).refused(Refusal::RefundOver(refund_id("a")));
}

#[test]
fn what_failed_or_was_rejected_is_there_again_and_may_be_asked_for_anew() {
    paid()
        .and(requested("a", "50.00 CNY", "7"))
        .when(reject("a"))
        .then(failed("a", "7"))
        .has_available("7")
        .when(request("b", "50.00 CNY"))
        .then(requested("b", "50.00 CNY", "7"))
        .when(approve("b"))
        .then(approved("b"))
        .when(fail("b"))
        .then(failed("b", "7"))
        .has_available("7");
    let over = || paid().and(requested("a", "50.00 CNY", "7")).and(failed("a", "7"));
    over().when(reject("a")).already_applied(4);
    over().when(approve("a")).refused(Refusal::RefundOver(refund_id("a")));
    over().when(settle("a")).refused(Refusal::RefundOver(refund_id("a")));
    over().when(fail("a")).refused(Refusal::RefundOver(refund_id("a")));
}

#[test]
fn nothing_ends_before_it_is_approved_and_nothing_is_rejected_after() {
    let waits = || paid().and(requested("a", "1.00 CNY", "0.14"));
    waits().when(settle("a")).refused(Refusal::RefundNotApproved(refund_id("a")));
    waits().when(fail("a")).refused(Refusal::RefundNotApproved(refund_id("a")));
    waits().and(approved("a")).when(reject("a")).refused(Refusal::RefundUnderWay(refund_id("a")));
    for command in [approve("x"), reject("x"), settle("x"), fail("x")] {
        waits().when(command).refused(Refusal::UnknownRefund(refund_id("x")));
    }
}

#[test]
fn never_more_goes_back_than_is_left_of_the_order() {
    let above = |left: &str, wanted: &str| Refusal::AboveOrder { left: money(left), wanted: money(wanted) };
    paid().when(request("a", "50.01 CNY")).refused(above("50.00 CNY", "50.01 CNY"));
    paid().when(request("a", "1.00 USD")).refused(above("50.00 CNY", "1.00 USD"));
    let part = || paid().and(gifted("100")).and(requested("a", "30.00 CNY", "4.2"));
    part().when(request("b", "20.01 CNY")).refused(above("20.00 CNY", "20.01 CNY"));
    part().when(request("b", "20.00 CNY")).then(requested("b", "20.00 CNY", "2.8"));
    for pay in ["0.00 CNY", "-1.00 CNY"] {
        paid().when(request("a", pay)).refused(Refusal::NotPositive { what: "a refund" });
    }
    given([]).when(request("a", "1.00 CNY")).refused(Refusal::UnknownOrder(order_id("order")));
    for unpaid in [vec![], vec![closed_order("order", CloseReason::Expired)]] {
        given([initiated("order", "7")].into_iter().chain(unpaid))
            .when(request("a", "1.00 CNY"))
            .refused(Refusal::OrderNotPaid(order_id("order")));
    }
}

#[test]
fn only_unspent_credits_go_back() {
    let spent = || paid().and(leased("l", "node", credits("3"))).and(closed("l", credits("2"), 1));
    let short = Refusal::InsufficientCredits { available: credits("5"), wanted: credits("7") };
    spent().when(request("a", "50.00 CNY")).refused(short);
    let leased = spent().and(leased("m", "node", credits("5")));
    let short = Refusal::InsufficientCredits { available: credits("0"), wanted: nano(1_400_000) };
    leased.when(request("a", "0.01 CNY")).refused(short);
    spent()
        .when(request("a", "35.71 CNY"))
        .then(requested("a", "35.71 CNY", "4.9994"))
        .has_available("0.0006");
}

#[test]
fn parts_are_rounded_up_and_the_last_one_takes_what_is_left() {
    // 5,000 fen bought 1,000 nanos: a fen is worth a fifth of one.
    let mut it = given([initiated("order", "0.000001"), completed("order", "tx-1", "0.000001")]);
    it = it.when(request("a", "0.01 CNY")).then(requested("a", "0.01 CNY", "0.000000001"));
    it = it.when(request("b", "0.07 CNY")).then(requested("b", "0.07 CNY", "0.000000002"));
    it.when(request("c", "49.92 CNY")).then(requested("c", "49.92 CNY", "0.000000997")).has_available("0");
}

#[test]
fn a_chargeback_takes_what_was_spent_too_and_the_debt_blocks_until_it_is_paid() {
    let owing = paid()
        .and(leased("l", "node", credits("6")))
        .and(closed("l", credits("6"), 1))
        .when(charge_back("d", "50.00 CNY"))
        .then(charged_back("d", "50.00 CNY", "7"))
        .has_available("-6");
    let owing = || Given { account: owing.account.clone() };
    owing().when(charge_back("d", "50.00 CNY")).already_applied(5);
    let other = Refusal::ChargebackExists(ChargebackId::from_uuid(uuid("d")));
    owing().when(charge_back("d", "49.00 CNY")).refused(other);
    let refused = Refusal::InsufficientCredits { available: credits("-6"), wanted: nano(1) };
    owing().when(lease("m", "node", nano(1), credits("1"))).refused(refused);
    owing().and(gifted("6.000000001")).when(lease("m", "node", nano(1), nano(1))).then(leased(
        "m",
        "node",
        nano(1),
    ));
    let reversed = AccountEvent::ChargebackReversed(ChargebackReversed {
        chargeback: ChargebackId::from_uuid(uuid("d")),
        order: order_id("order"),
        channel: channel("sandbox"),
        pay: money("50.00 CNY"),
        credits: credits("7"),
        bonus: Credits::ZERO,
    });
    let reverse = |name: &str| Command::ReverseChargeback { chargeback: ChargebackId::from_uuid(uuid(name)) };
    owing().when(reverse("d")).then(reversed.clone()).has_available("1");
    owing().and(reversed).when(reverse("d")).already_applied(6);
    let unknown = Refusal::UnknownChargeback(ChargebackId::from_uuid(uuid("x")));
    owing().when(reverse("x")).refused(unknown);
}

#[test]
fn a_chargeback_takes_no_credits_that_a_finished_refund_took() {
    paid()
        .and(requested("a", "20.00 CNY", "2.8"))
        .and(approved("a"))
        .and(given_back("a", "20.00 CNY", "2.8"))
        .when(charge_back("d", "50.00 CNY"))
        .then(charged_back("d", "50.00 CNY", "4.2"))
        .has_available("0")
        .when(request("b", "0.01 CNY"))
        .refused(Refusal::AboveOrder { left: money("0.00 CNY"), wanted: money("0.01 CNY") });
    let above = Refusal::AboveOrder { left: money("50.00 CNY"), wanted: money("50.01 CNY") };
    paid().when(charge_back("d", "50.01 CNY")).refused(above);
}

#[test]
fn whoever_took_the_money_back_during_a_refund_has_no_credits_beside_it() {
    let disputed = || {
        paid()
            .and(requested("a", "50.00 CNY", "7"))
            .when(charge_back("d", "50.00 CNY"))
            .then(charged_back("d", "50.00 CNY", "7"))
            .has_available("-7")
    };
    let again = || Given { account: disputed().account.clone() };
    again()
        .when(approve("a"))
        .refused(Refusal::AboveOrder { left: money("0.00 CNY"), wanted: money("50.00 CNY") });
    again().when(reject("a")).then(failed("a", "7")).has_available("0");
    // Approved before the bank was asked: the gateway refuses what is disputed, or pays it a second time.
    let approved_before = || {
        paid()
            .and(requested("a", "20.00 CNY", "2.8"))
            .and(approved("a"))
            .when(charge_back("d", "50.00 CNY"))
            .then(charged_back("d", "50.00 CNY", "7"))
            .has_available("-2.8")
    };
    let again = || Given { account: approved_before().account.clone() };
    again().when(fail("a")).then(failed("a", "2.8")).has_available("0");
    again().when(settle("a")).then(given_back("a", "20.00 CNY", "2.8")).has_available("-2.8");
}

#[test]
fn a_repeated_key_is_the_same_refund_or_a_conflict() {
    let keyed = || paid().and_keyed("k", requested("a", "20.00 CNY", "2.8"));
    keyed().when_keyed("k", request("b", "20.00 CNY")).already_applied(3);
    keyed().when_keyed("k", request("b", "20.01 CNY")).refused(Refusal::KeyReused);
}

/// The order of [`paid`], whose bonus of 0.7 credits came beside it.
fn paid_with_bonus() -> Given {
    paid().when(bonus()).then(bonus_given())
}

fn bonus() -> Command {
    let grant = GrantId::bonus_of(order_id("order"));
    Command::GrantCredit { grant, source: GrantSource::Promotion, credits: credits("0.7"), reason: None }
}

fn bonus_given() -> AccountEvent {
    let grant = GrantId::bonus_of(order_id("order"));
    AccountEvent::CreditGranted(CreditGranted {
        grant,
        source: GrantSource::Promotion,
        credits: credits("0.7"),
        reason: None,
    })
}

/// The same event, of which so much came as the bonus.
fn of_it(event: AccountEvent, amount: &str) -> AccountEvent {
    let bonus = credits(amount);
    match event {
        AccountEvent::RefundRequested(it) => AccountEvent::RefundRequested(RefundRequested { bonus, ..it }),
        AccountEvent::RefundCompleted(it) => AccountEvent::RefundCompleted(RefundCompleted { bonus, ..it }),
        AccountEvent::ChargebackPosted(it) => {
            AccountEvent::ChargebackPosted(ChargebackPosted { bonus, ..it })
        }
        AccountEvent::ChargebackReversed(it) => {
            AccountEvent::ChargebackReversed(ChargebackReversed { bonus, ..it })
        }
        other => panic!("{other:?} takes no bonus"),
    }
}

#[test]
fn a_bonus_goes_back_with_its_payment_in_proportion_and_returns_with_it() {
    let done = paid_with_bonus()
        .has_available("7.7")
        .when(request("a", "20.00 CNY"))
        .then(of_it(requested("a", "20.00 CNY", "3.08"), "0.28"))
        .has_available("4.62")
        .when(approve("a"))
        .then(approved("a"))
        .when(settle("a"))
        .then(of_it(given_back("a", "20.00 CNY", "3.08"), "0.28"))
        .when(request("b", "0.01 CNY"))
        .then(of_it(requested("b", "0.01 CNY", "0.00154"), "0.00014"))
        .when(reject("b"))
        .then(failed("b", "0.00154"))
        .has_available("4.62");
    // All that is left takes all of the bonus that is left.
    done.when(request("c", "30.00 CNY"))
        .then(of_it(requested("c", "30.00 CNY", "4.62"), "0.42"))
        .has_available("0")
        .when(fail("c"))
        .refused(Refusal::RefundNotApproved(refund_id("c")));
}

#[test]
fn a_bonus_that_is_spent_must_be_made_up_for_before_its_payment_goes_back() {
    paid_with_bonus()
        .and(adjusted("spent", "-0.5"))
        .when(request("a", "50.00 CNY"))
        .refused(Refusal::InsufficientCredits { available: credits("7.2"), wanted: credits("7.7") });
}

#[test]
fn a_dispute_takes_the_bonus_too_and_gives_it_back() {
    let reverse = Command::ReverseChargeback { chargeback: ChargebackId::from_uuid(uuid("d")) };
    let reversed = AccountEvent::ChargebackReversed(ChargebackReversed {
        chargeback: ChargebackId::from_uuid(uuid("d")),
        order: order_id("order"),
        channel: channel("sandbox"),
        pay: money("50.00 CNY"),
        credits: credits("7.7"),
        bonus: credits("0.7"),
    });
    paid_with_bonus()
        .when(charge_back("d", "50.00 CNY"))
        .then(of_it(charged_back("d", "50.00 CNY", "7.7"), "0.7"))
        .has_available("0")
        .when(reverse)
        .then(reversed)
        .has_available("7.7");
}

#[test]
fn a_bonus_comes_once_and_only_beside_a_payment_of_which_nothing_went_back() {
    paid_with_bonus().when(bonus()).already_applied(3);
    given([initiated("order", "7")]).when(bonus()).refused(Refusal::OrderNotPaid(order_id("order")));
    let left = || Refusal::AboveOrder { left: money("49.99 CNY"), wanted: money("50.00 CNY") };
    let asked = || paid().and(requested("a", "0.01 CNY", "0.0014"));
    asked().when(bonus()).refused(left());
    asked().and(failed("a", "0.0014")).when(bonus()).then(bonus_given());
    paid().and(charged_back("d", "0.01 CNY", "0.0014")).when(bonus()).refused(left());
}
