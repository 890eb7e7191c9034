//! Leases: how large, how often, and what comes back.

use super::*;
use crate::account::state::{CLOSED_LEASES_REMEMBERED, PERIODS_REMEMBERED};

fn insufficient(available: &str, wanted: &str) -> Refusal {
    Refusal::InsufficientCredits { available: credits(available), wanted: credits(wanted) }
}

#[test]
fn a_lease_takes_exactly_what_is_available_and_not_a_nano_more() {
    let five = || given([gifted("5")]);
    five()
        .when(lease("lease", "node", credits("5"), credits("5")))
        .then(leased("lease", "node", credits("5")))
        .has_available("0");
    five()
        .when(lease("lease", "node", nano(5_000_000_001), credits("9")))
        .refused(insufficient("5", "5.000000001"));
    given([]).when(lease("lease", "node", nano(1), nano(1))).refused(insufficient("0", "0.000000001"));
}

#[test]
fn a_lease_is_at_most_the_share_that_leaves_room_for_others() {
    // 12 credits available; each other holder has a lease of one more: 12 ÷ (2 × (holders + 1)).
    for (holders, share) in [(0, "6"), (1, "3"), (2, "2"), (3, "1.5"), (5, "1")] {
        let holder = |account: Given, n| {
            account.and(leased(&format!("lease-{n}"), &format!("node-{n}"), credits("1")))
        };
        (0..holders)
            .fold(given([gifted(&(12 + holders).to_string())]), holder)
            .has_available("12")
            .when(lease("lease", "node", nano(1), credits("100")))
            .then(leased("lease", "node", credits(share)));
    }
}

#[test]
fn a_share_that_does_not_divide_is_rounded_down() {
    given([gifted_as("gift", nano(9))]).when(lease("lease", "node", nano(1), nano(9))).then(leased(
        "lease",
        "node",
        nano(4),
    ));
}

#[test]
fn a_lease_is_no_larger_than_it_was_wanted() {
    given([gifted("12")]).when(lease("lease", "node", credits("1"), credits("2.5"))).then(leased(
        "lease",
        "node",
        credits("2.5"),
    ));
}

#[test]
fn a_call_that_needs_more_than_its_share_gets_what_it_needs_and_no_more() {
    given([gifted("12"), leased("lease-1", "node-1", credits("4"))])
        .when(lease("lease", "node", credits("7"), credits("100")))
        .then(leased("lease", "node", credits("7")));
    // Exactly the share, and one nano above it.
    for at_least in [6_000_000_000, 6_000_000_001] {
        given([gifted("12")]).when(lease("lease", "node", nano(at_least), credits("100"))).then(leased(
            "lease",
            "node",
            nano(at_least),
        ));
    }
}

#[test]
fn a_wish_below_the_least_is_read_as_the_least() {
    for wanted in [0, -1, i64::MIN] {
        given([gifted("12")]).when(lease("lease", "node", credits("2"), nano(wanted))).then(leased(
            "lease",
            "node",
            credits("2"),
        ));
    }
}

#[test]
fn a_lease_of_nothing_is_refused() {
    for at_least in [0, -1, i64::MIN] {
        given([gifted("5")])
            .when(lease("lease", "node", nano(at_least), credits("1")))
            .refused(Refusal::NotPositive { what: "a lease" });
    }
}

#[test]
fn a_node_has_one_lease_of_a_scope() {
    let account = || given([gifted("5"), leased("lease", "node", credits("1"))]);
    account()
        .when(lease("second", "node", credits("1"), credits("1")))
        .refused(Refusal::LeaseOpen(lease_id("lease")));
    // Another node may, and so may the same node for another scope.
    account().when(lease("second", "other", credits("1"), credits("1"))).then(leased(
        "second",
        "other",
        credits("1"),
    ));
    let of_key = Command::GrantLease {
        lease: lease_id("second"),
        epoch: EpochId::from_uuid(uuid("node")),
        scope: of_key("total"),
        at_least: credits("1"),
        wanted: credits("1"),
        ttl_ms: 60_000,
        budget: None,
    };
    account().when(of_key).then(leased_to(super::of_key("total"), "second", "node", credits("1")));
}

#[test]
fn a_grant_of_an_open_lease_again_is_the_first_one() {
    given([gifted("5"), leased("lease", "node", credits("1")), amended("lease", credits("2"))])
        .when(lease("lease", "node", credits("1"), credits("1")))
        .already_applied(2);
}

#[test]
fn a_closed_lease_is_not_opened_again() {
    given([gifted("5"), leased("lease", "node", credits("1")), closed("lease", credits("0.5"), 1)])
        .when(lease("lease", "node", credits("1"), credits("1")))
        .refused(Refusal::LeaseClosed(lease_id("lease")));
}

#[test]
fn an_extension_takes_exactly_what_is_available_and_not_a_nano_more() {
    let account = || given([gifted("5"), leased("lease", "node", credits("2"))]);
    account()
        .when(extend("lease", credits("3"), credits("3")))
        .then(amended("lease", credits("5")))
        .has_available("0");
    account()
        .when(extend("lease", nano(3_000_000_001), credits("9")))
        .refused(insufficient("3", "3.000000001"));
}

#[test]
fn an_extension_is_sized_as_a_grant_of_what_is_available_now() {
    // The holder's own lease is no other holder: share = 10 ÷ 2; with another one 8 ÷ 4.
    given([gifted("12"), leased("lease", "node", credits("2"))])
        .when(extend("lease", nano(1), credits("100")))
        .then(amended("lease", credits("7")));
    given([gifted("12"), leased("lease", "node", credits("2")), leased("other", "other", credits("2"))])
        .when(extend("lease", nano(1), credits("100")))
        .then(amended("lease", credits("4")));
}

#[test]
fn an_extension_by_nothing_renews_the_life_alone() {
    given([gifted("5"), leased("lease", "node", credits("5"))])
        .when(extend("lease", Credits::ZERO, Credits::ZERO))
        .then(amended("lease", credits("5")))
        .has_available("0");
    // So does a wish that nothing is left for.
    given([gifted("5"), leased("lease", "node", credits("5"))])
        .when(extend("lease", Credits::ZERO, credits("9")))
        .then(amended("lease", credits("5")));
}

#[test]
fn an_extension_by_less_than_nothing_is_refused() {
    let account = || given([gifted("5"), leased("lease", "node", credits("2"))]);
    for (at_least, wanted) in [(-1, 0), (0, -1), (i64::MIN, i64::MIN), (-1, 5)] {
        account()
            .when(extend("lease", nano(at_least), nano(wanted)))
            .refused(Refusal::NotPositive { what: "an extension" });
    }
}

#[test]
fn only_an_open_lease_is_amended() {
    given([gifted("5")])
        .when(extend("lease", credits("1"), credits("1")))
        .refused(Refusal::UnknownLease(lease_id("lease")));
    let ended =
        || given([gifted("5"), leased("lease", "node", credits("1")), closed("lease", Credits::ZERO, 0)]);
    ended()
        .when(extend("lease", credits("1"), credits("1")))
        .refused(Refusal::LeaseClosed(lease_id("lease")));
    ended().when(shrink("lease", Credits::ZERO)).refused(Refusal::LeaseClosed(lease_id("lease")));
}

#[test]
fn a_lease_shrinks_to_any_size_from_its_own_down_to_nothing() {
    for (to, available) in [("2", "3"), ("1.999999999", "3.000000001"), ("0", "5")] {
        given([gifted("5"), leased("lease", "node", credits("2"))])
            .when(shrink("lease", credits(to)))
            .then(amended("lease", credits(to)))
            .has_available(available);
    }
}

#[test]
fn a_lease_does_not_grow_by_shrinking_nor_shrink_below_nothing() {
    for to in [2_000_000_001, -1, i64::MAX, i64::MIN] {
        given([gifted("5"), leased("lease", "node", credits("2"))])
            .when(shrink("lease", nano(to)))
            .refused(Refusal::BadShrink { size: credits("2"), to: nano(to) });
    }
}

#[test]
fn a_lease_shrunk_to_what_is_spent_closes_exactly_and_no_nano_above() {
    let shrunk =
        || given([gifted("5"), leased("lease", "node", credits("2")), amended("lease", credits("0.7"))]);
    shrunk()
        .when(close("lease", credits("0.7"), 3))
        .then(closed("lease", credits("0.7"), 3))
        .has_available("4.3");
    shrunk()
        .when(close("lease", nano(700_000_001), 3))
        .refused(Refusal::SpentAboveLease { spent: nano(700_000_001), size: credits("0.7") });
}

#[test]
fn a_close_gives_back_what_was_not_spent() {
    for (spent, available) in [("0", "5"), ("0.000000001", "4.999999999"), ("2", "3")] {
        given([gifted("5"), leased("lease", "node", credits("2"))])
            .has_available("3")
            .when(close("lease", credits(spent), 1))
            .then(closed("lease", credits(spent), 1))
            .has_available(available);
    }
}

#[test]
fn more_than_the_lease_or_less_than_nothing_cannot_have_been_spent() {
    for spent in [2_000_000_001, -1, i64::MAX, i64::MIN] {
        given([gifted("5"), leased("lease", "node", credits("2"))])
            .when(close("lease", nano(spent), 1))
            .refused(Refusal::SpentAboveLease { spent: nano(spent), size: credits("2") });
    }
}

#[test]
fn a_lease_closes_once_whoever_asks_again_and_whatever_it_says() {
    let ended =
        || given([gifted("5"), leased("lease", "node", credits("2")), closed("lease", credits("1"), 1)]);
    ended().when(close("lease", credits("1"), 1)).already_applied(3);
    ended()
        .when(Command::CloseLease {
            lease: lease_id("lease"),
            spent: credits("2"),
            count: 2,
            by: Closer::Sweeper,
        })
        .already_applied(3);
    ended().has_available("4");
}

#[test]
fn a_lease_that_never_was_cannot_be_closed() {
    given([gifted("5")])
        .when(close("lease", Credits::ZERO, 0))
        .refused(Refusal::UnknownLease(lease_id("lease")));
}

#[test]
fn closed_leases_are_remembered_up_to_a_bound() {
    let opened_and_closed = |account: Given, n: usize| {
        let name = format!("lease-{n}");
        account.and(leased(&name, "node", nano(1))).and(closed(&name, Credits::ZERO, 0))
    };
    let account = |count: usize| (0..count).fold(given([gifted("5")]), opened_and_closed);
    // The oldest of as many as are remembered is known; one more pushes it out, and only it.
    account(CLOSED_LEASES_REMEMBERED).when(close("lease-0", Credits::ZERO, 0)).already_applied(3);
    let full = || account(CLOSED_LEASES_REMEMBERED + 1);
    assert_eq!(full().account.closed_leases.len(), CLOSED_LEASES_REMEMBERED);
    full().when(close("lease-0", Credits::ZERO, 0)).refused(Refusal::UnknownLease(lease_id("lease-0")));
    full().when(close("lease-1", Credits::ZERO, 0)).already_applied(5);
    full()
        .when(lease("lease-1", "node", nano(1), nano(1)))
        .refused(Refusal::LeaseClosed(lease_id("lease-1")));
}

// A key's budget.

fn over_budget(left: &str, wanted: &str) -> Refusal {
    Refusal::BudgetSpent { left: credits(left), wanted: credits(wanted) }
}

#[test]
fn a_budget_allows_exactly_its_limit_and_not_a_nano_more() {
    given([gifted("50")]).when(lease_of_key("lease", "total", credits("2"), credits("2"))).then(leased_to(
        of_key("total"),
        "lease",
        "lease",
        credits("2"),
    ));
    given([gifted("50")])
        .when(lease_of_key("lease", "total", nano(2_000_000_001), credits("2")))
        .refused(over_budget("2", "2.000000001"));
    given([gifted("50")])
        .when(lease_of_key("lease", "total", nano(1), Credits::ZERO))
        .refused(over_budget("0", "0.000000001"));
}

#[test]
fn a_budget_caps_what_was_wanted_where_the_share_would_be_larger() {
    let command = Command::GrantLease {
        lease: lease_id("lease"),
        epoch: EpochId::from_uuid(uuid("lease")),
        scope: of_key("total"),
        at_least: nano(1),
        wanted: credits("9"),
        ttl_ms: 60_000,
        budget: Some(Budget { limit: credits("3") }),
    };
    given([gifted("50")]).when(command).then(leased_to(of_key("total"), "lease", "lease", credits("3")));
}

#[test]
fn an_empty_account_is_said_before_an_empty_budget() {
    given([gifted("1")])
        .when(lease_of_key("lease", "total", credits("2"), credits("1")))
        .refused(insufficient("1", "2"));
}

#[test]
fn open_leases_count_against_the_budget_in_full_and_closed_ones_by_what_was_spent() {
    let open = || given([gifted("50"), leased_to(of_key("total"), "first", "first", credits("2"))]);
    open()
        .when(lease_of_key("second", "total", nano(1_000_000_001), credits("3")))
        .refused(over_budget("1", "1.000000001"));
    let closed = || open().and(closed("first", credits("0.5"), 1));
    closed().when(lease_of_key("second", "total", credits("2.5"), credits("3"))).then(leased_to(
        of_key("total"),
        "second",
        "second",
        credits("2.5"),
    ));
    closed()
        .when(lease_of_key("second", "total", nano(2_500_000_001), credits("3")))
        .refused(over_budget("2.5", "2.500000001"));
}

#[test]
fn an_extension_is_capped_by_the_budget_too() {
    let open = || given([gifted("50"), leased_to(of_key("total"), "first", "first", credits("2"))]);
    open().when(extend_of_key("first", credits("1"), credits("3"))).then(amended("first", credits("3")));
    open()
        .when(extend_of_key("first", nano(1_000_000_001), credits("3")))
        .refused(over_budget("1", "1.000000001"));
}

#[test]
fn a_budget_cut_below_what_is_used_refuses_and_takes_nothing_back() {
    given([gifted("50"), leased_to(of_key("total"), "first", "first", credits("2"))])
        .when(extend_of_key("first", nano(1), credits("1")))
        .refused(over_budget("0", "0.000000001"));
}

#[test]
fn the_budget_of_one_key_leaves_another_alone() {
    let other = Scope::Key { key: key_id("other"), period: label("total") };
    given([gifted("50"), leased_to(other, "first", "first", credits("2"))])
        .when(lease_of_key("second", "total", credits("2"), credits("2")))
        .then(leased_to(of_key("total"), "second", "second", credits("2")));
}

#[test]
fn a_new_period_begins_with_the_whole_budget() {
    given([
        gifted("50"),
        leased_to(of_key("2026-11-21"), "first", "first", credits("2")),
        closed("first", credits("2"), 1),
    ])
    .when(lease_of_key("second", "2026-11-22", credits("2"), credits("2")))
    .then(leased_to(of_key("2026-11-22"), "second", "second", credits("2")));
}

#[test]
fn a_late_close_of_an_earlier_period_counts_there_and_not_in_the_current_one() {
    let rolled_over = || {
        given([
            gifted("50"),
            leased_to(of_key("2026-11-21"), "old", "old", credits("2")),
            leased_to(of_key("2026-11-22"), "new", "new", credits("2")),
            closed("new", credits("1"), 1),
            closed("old", credits("1.5"), 1),
        ])
    };
    rolled_over()
        .when(lease_of_key("more", "2026-11-22", nano(1_000_000_001), credits("2")))
        .refused(over_budget("1", "1.000000001"));
    rolled_over()
        .when(lease_of_key("more", "2026-11-21", nano(500_000_001), credits("2")))
        .refused(over_budget("0.5", "0.500000001"));
}

#[test]
fn a_node_whose_clock_is_behind_cannot_spend_yesterdays_budget_twice() {
    given([
        gifted("50"),
        leased_to(of_key("2026-11-21"), "old", "old", credits("2")),
        closed("old", credits("2"), 1),
        leased_to(of_key("2026-11-22"), "new", "new", credits("2")),
        closed("new", credits("1"), 1),
    ])
    .when(lease_of_key("late", "2026-11-21", nano(1), credits("2")))
    .refused(over_budget("0", "0.000000001"));
}

#[test]
fn another_kind_of_period_does_not_wipe_what_was_spent() {
    // The key's budget was by month, then by day, then by month again.
    given([
        gifted("50"),
        leased_to(of_key("2026-11"), "month", "month", credits("2")),
        closed("month", credits("2"), 1),
        leased_to(of_key("2026-11-22"), "day", "day", credits("1")),
        closed("day", credits("1"), 1),
    ])
    .when(lease_of_key("more", "2026-11", nano(1), credits("2")))
    .refused(over_budget("0", "0.000000001"));
}

#[test]
fn a_period_too_old_to_be_remembered_has_nothing_left() {
    let days = |count: usize| {
        (1..=count).fold(given([gifted("50")]), |account, day| {
            let name = format!("day-{day}");
            account
                .and(leased_to(of_key(&format!("2026-11-{day:02}")), &name, &name, credits("2")))
                .and(closed(&name, credits("0.5"), 1))
        })
    };
    days(PERIODS_REMEMBERED)
        .when(lease_of_key("late", "2026-11-01", credits("1.5"), credits("2")))
        .then(leased_to(of_key("2026-11-01"), "late", "late", credits("1.5")));
    days(PERIODS_REMEMBERED + 1)
        .when(lease_of_key("late", "2026-11-01", nano(1), credits("2")))
        .refused(over_budget("0", "0.000000001"));
    let kept = &days(9).account.budgets[&key_id("key")];
    assert_eq!(
        kept.len(),
        PERIODS_REMEMBERED,
        "days are forgotten, so that a snapshot does not grow for ever"
    );
}
