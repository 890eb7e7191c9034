//! Idempotency keys: the same request again is the first answer, another one is a conflict.

use super::*;

fn welcome(credits: &str, why: &str) -> Command {
    Command::GrantCredit {
        grant: grant_id("new id"),
        source: GrantSource::Admin,
        credits: crate::samples::credits(credits),
        reason: Some(reason(why)),
    }
}

#[test]
fn the_same_request_under_the_same_key_is_the_first_answer_whatever_ids_the_gateway_made() {
    given([gifted("9")])
        .and_keyed("k", initiated("order", "7"))
        .when_keyed("k", initiate("new id", "50.00 CNY", credits("7")))
        .already_applied(2);
    given([]).and_keyed("k", gifted("5")).when_keyed("k", give("new id", credits("5"))).already_applied(1);
    given([gifted("9")])
        .and_keyed("k", adjusted("slip", "-1"))
        .when_keyed("k", adjust("new id", credits("-1")))
        .already_applied(2);
}

#[test]
fn a_rate_that_changed_meanwhile_does_not_make_it_another_request() {
    given([])
        .and_keyed("k", initiated("order", "7"))
        .when_keyed("k", initiate("new id", "50.00 CNY", credits("6.5")))
        .already_applied(1);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let top_up = || given([]).and_keyed("k", initiated("order", "7"));
    top_up().when_keyed("k", initiate("order", "50.01 CNY", credits("7"))).refused(Refusal::KeyReused);
    top_up().when_keyed("k", initiate("order", "50.00 USD", credits("7"))).refused(Refusal::KeyReused);
    top_up()
        .when_keyed(
            "k",
            Command::InitiateTopUp {
                order: order_id("order"),
                channel: channel("epay"),
                pay: money("50.00 CNY"),
                credits: credits("7"),
                expires_at: Moment::from_micros(7),
            },
        )
        .refused(Refusal::KeyReused);
    let gift = || given([]).and_keyed("k", gifted("5"));
    gift().when_keyed("k", give("gift", credits("6"))).refused(Refusal::KeyReused);
    gift()
        .when_keyed("k", welcome("5", "a sentence that the first did not have"))
        .refused(Refusal::KeyReused);
    gift().when_keyed("k", adjust("slip", credits("5"))).refused(Refusal::KeyReused);
    let slip = || given([gifted("5")]).and_keyed("k", adjusted("slip", "-1"));
    slip().when_keyed("k", adjust("slip", credits("-2"))).refused(Refusal::KeyReused);
    slip()
        .when_keyed(
            "k",
            Command::PostAdjustment {
                adjustment: AdjustmentId::from_uuid(uuid("slip")),
                credits: credits("-1"),
                reason: reason("another reason"),
            },
        )
        .refused(Refusal::KeyReused);
}

#[test]
fn a_key_of_a_request_is_refused_for_a_command_that_takes_none() {
    let account = || given([gifted("9")]).and_keyed("k", initiated("order", "7"));
    for command in [
        complete("order", "tx-1", "50.00 CNY"),
        close_order("order", CloseReason::Expired),
        lease("lease", "node", nano(1), nano(1)),
        extend("lease", nano(1), nano(1)),
        close("lease", nano(1), 1),
    ] {
        account().when_keyed("k", command).refused(Refusal::KeyReused);
    }
}

#[test]
fn another_key_is_another_request() {
    given([])
        .and_keyed("k", gifted("5"))
        .when_keyed("l", give("second", credits("5")))
        .then(gifted_as("second", credits("5")))
        .has_available("10");
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    given([]).when_keyed("k", give("gift", Credits::ZERO)).refused(Refusal::NotPositive { what: "a grant" });
    given([])
        .when_keyed("k", give("gift", credits("5")))
        .then(gifted("5"))
        .when_keyed("k", give("gift", credits("5")))
        .already_applied(1);
}
