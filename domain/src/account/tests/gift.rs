//! Grants and adjustments: credits that nobody paid for, and corrections.

use super::*;
use crate::account::decide::MOST_CREDITS_IN;

#[test]
fn a_gift_can_be_spent_at_once() {
    given([]).when(give("gift", credits("5"))).then(gifted("5")).has_available("5");
}

#[test]
fn a_gift_is_given_once() {
    given([gifted("5"), gifted_as("other", nano(1))]).when(give("gift", credits("5"))).already_applied(1);
}

#[test]
fn a_gift_of_nothing_or_less_is_refused() {
    for amount in [0, -1, i64::MIN] {
        given([]).when(give("gift", nano(amount))).refused(Refusal::NotPositive { what: "a grant" });
    }
    given([]).when(give("gift", nano(1))).then(gifted("0.000000001"));
}

#[test]
fn an_account_takes_in_so_much_and_not_a_nano_more() {
    let nearly = || given([gifted_as("first", nano(MOST_CREDITS_IN.nano() - 1))]);
    nearly().when(give("gift", nano(1))).then(gifted("0.000000001"));
    nearly().when(give("gift", nano(2))).refused(Refusal::Overflow);
    nearly().when(give("gift", nano(i64::MAX))).refused(Refusal::Overflow);
    nearly().when(adjust("slip", nano(1))).then(adjusted("slip", "0.000000001"));
    nearly().when(adjust("slip", nano(2))).refused(Refusal::Overflow);
}

#[test]
fn what_was_taken_out_makes_no_room_for_more_to_come_in() {
    // The bound is on all that ever came in, so that no sum of an account's history can overflow.
    given([gifted_as("all", MOST_CREDITS_IN), adjusted("out", "-1000")])
        .when(give("gift", nano(1)))
        .refused(Refusal::Overflow);
}

#[test]
fn a_correction_moves_what_is_available_either_way() {
    given([gifted("5")])
        .when(adjust("up", credits("0.5")))
        .then(adjusted("up", "0.5"))
        .has_available("5.5")
        .when(adjust("down", credits("-2")))
        .then(adjusted("down", "-2"))
        .has_available("3.5");
}

#[test]
fn a_correction_is_posted_once() {
    given([gifted("5"), adjusted("slip", "-2")]).when(adjust("slip", credits("-2"))).already_applied(2);
}

#[test]
fn a_correction_of_zero_is_refused() {
    given([gifted("5")]).when(adjust("slip", Credits::ZERO)).refused(Refusal::ZeroAdjustment);
}

#[test]
fn a_correction_takes_exactly_what_is_available_and_not_a_nano_more() {
    let five = || given([gifted("5")]);
    five().when(adjust("slip", credits("-5"))).then(adjusted("slip", "-5")).has_available("0");
    five()
        .when(adjust("slip", nano(-5_000_000_001)))
        .refused(Refusal::InsufficientCredits { available: credits("5"), wanted: nano(5_000_000_001) });
}

#[test]
fn a_correction_does_not_take_what_a_node_holds() {
    given([gifted("5"), leased("lease", "node", credits("4"))])
        .when(adjust("slip", credits("-2")))
        .refused(Refusal::InsufficientCredits { available: credits("1"), wanted: credits("2") });
}

#[test]
fn a_correction_that_has_no_opposite_is_refused() {
    given([gifted("5")]).when(adjust("slip", nano(i64::MIN))).refused(Refusal::Overflow);
}
