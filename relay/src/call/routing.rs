//! Which providers are tried, in which order, and why.
//!
//! Claims: a higher priority always goes first; among equals an account always meets the same provider and key while
//! they are well (prompt caches live there), and accounts are spread by weight; a candidate that is much slower than the
//! quickest of its equals goes behind them; each candidate comes once; what is known to be unwell is passed over, and named.

use crate::catalogue::{ProviderKey, Route};
use domain::AccountId;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// So many times the quickest equal's time to the first byte is slow,
const SLOW_FACTOR: u32 = 3;
/// if it is also so much more: a cold prompt cache is cheaper than a wait, but not than any wait.
const SLOW_MARGIN: Duration = Duration::from_secs(1);

/// A provider with one of its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) route: &'a Route,
    pub(crate) key: &'a ProviderKey,
    /// Why it stands where it does.
    pub(crate) place: Place,
}

/// Why a candidate stands where it does among those of its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has no equals.
    Alone,
    /// The account's number decided.
    Drawn,
    /// It goes before one that was drawn ahead of it and is slow.
    Quicker,
}

/// The candidates for an account's call, best first. `latency`: the time to a candidate's first byte of late, if known;
/// asked only where there is a choice.
pub(crate) fn in_order<'a>(
    routes: &'a [Route],
    account: AccountId,
    latency: impl Fn(&Candidate<'a>) -> Option<Duration>,
) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<(Candidate<'_>, f64)> = routes
        .iter()
        .flat_map(|route| route.keys.iter().map(move |key| (route, key)))
        .map(|(route, key)| {
            let equals = routes.iter().filter(|other| other.priority == route.priority);
            let has_equals = equals.map(|other| other.keys.len()).sum::<usize>() > 1;
            let (place, rank) = match has_equals {
                true => (Place::Drawn, rank(account, route, key)),
                // Its priority says it all.
                false => (Place::Alone, 0.0),
            };
            (Candidate { route, key, place }, rank)
        })
        .collect();
    candidates.sort_by(|(one, one_rank), (other, other_rank)| {
        other.route.priority.cmp(&one.route.priority).then(one_rank.total_cmp(other_rank))
    });
    let mut candidates: Vec<Candidate<'a>> = candidates.into_iter().map(|(candidate, _)| candidate).collect();
    for equals in candidates.chunk_by_mut(|one, other| one.route.priority == other.route.priority) {
        if equals.len() > 1 {
            slow_last(equals, &latency);
        }
    }
    candidates
}

/// Puts those behind that are much slower than the quickest; both keep their order.
fn slow_last<'a>(equals: &mut [Candidate<'a>], latency: &impl Fn(&Candidate<'a>) -> Option<Duration>) {
    let known: Vec<Option<Duration>> = equals.iter().map(latency).collect();
    let Some(quickest) = known.iter().flatten().min() else { return };
    let limit = (*quickest * SLOW_FACTOR).max(*quickest + SLOW_MARGIN);
    let is_slow = |at: &usize| known[*at].is_some_and(|it| it > limit);
    let Some(first_slow) = (0..equals.len()).find(is_slow) else { return };
    let (slow, quick): (Vec<usize>, Vec<usize>) = (0..equals.len()).partition(is_slow);
    let drawn = equals.to_vec();
    for (place, from) in equals.iter_mut().zip(quick.into_iter().chain(slow)) {
        *place = drawn[from];
        if from > first_slow && !is_slow(&from) {
            place.place = Place::Quicker;
        }
    }
}

/// Weighted rendezvous hashing: each candidate draws a number from the account's id, and the lowest goes first. The
/// draws are exponential with the weight as rate, so among many accounts each candidate is first by its share of the
/// weights; and a candidate that comes or goes moves only the accounts that were or will be its own.
#[expect(clippy::float_arithmetic, reason = "a draw of lots, not money")]
fn rank(account: AccountId, route: &Route, key: &ProviderKey) -> f64 {
    if route.weight == 0 {
        // Last among equals.
        return f64::INFINITY;
    }
    let mut hash = Sha256::new();
    hash.update(account.uuid().as_bytes());
    for name in [&route.provider, &key.name] {
        hash.update(name.as_str().as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // A number above 0 and at most 1, in 53 bits.
    let drawn = ((u64::from_be_bytes(first) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    // A provider's keys share its weight.
    -drawn.ln() * route.keys.len() as f64 / f64::from(route.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{ProviderFormat, Secret};
    use domain::Label;
    use std::collections::BTreeMap;

    fn route(name: &str, priority: i32, weight: u32, keys: usize) -> Route {
        let key = |index: usize| ProviderKey {
            name: Label::try_new(format!("k{index}")).unwrap(),
            secret: Secret::new(""),
        };
        Route {
            provider: Label::try_new(name).unwrap(),
            format: ProviderFormat::OpenAi,
            custom: None,
            speaks_responses: false,
            base_url: String::new(),
            keys: (0..keys).map(key).collect(),
            upstream_model: Label::try_new("m").unwrap(),
            cost: None,
            priority,
            weight,
            limit: None,
        }
    }

    fn account(number: u128) -> AccountId {
        AccountId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn drawn(routes: &[Route], account: AccountId) -> Vec<Candidate<'_>> {
        in_order(routes, account, |_| None)
    }

    fn names(routes: &[Route], account: AccountId) -> String {
        drawn(routes, account).iter().map(|it| it.route.provider.as_str()).collect()
    }

    #[test]
    fn priority_first_and_no_weight_last_among_equals() {
        let routes = [route("a", 1, 1, 1), route("b", 5, 0, 1), route("c", 5, 3, 1)];
        for number in 0..50 {
            assert_eq!(names(&routes, account(number)), "cba");
        }
        assert_eq!(names(&[], account(0)), "");
        let places: Vec<_> = drawn(&routes, account(0)).iter().map(|it| it.place).collect();
        assert_eq!(places, [Place::Drawn, Place::Drawn, Place::Alone]);
    }

    #[test]
    fn an_account_keeps_its_provider_and_accounts_are_spread_by_weight() {
        let routes = [route("a", 0, 1, 1), route("b", 0, 3, 2)];
        let mut first: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..4000 {
            let order = names(&routes, account(number));
            assert_eq!(order, names(&routes, account(number)));
            *first.entry(order[..1].into()).or_default() += 1;
        }
        assert!((900..1100).contains(&first["a"]), "{first:?}");
    }

    #[test]
    fn a_provider_that_goes_moves_only_its_own_accounts() {
        let all = [route("a", 0, 1, 1), route("b", 0, 1, 1), route("c", 0, 1, 1)];
        for number in 0..200 {
            let with = names(&all, account(number));
            let without = names(&all[..2], account(number));
            assert_eq!(with.replace('c', ""), without);
        }
    }

    #[test]
    fn whoever_is_much_slower_goes_behind_its_equals_and_before_a_lower_priority() {
        let routes = [route("a", 1, 1, 1), route("b", 1, 1, 1), route("c", 1, 1, 1), route("d", 0, 1, 1)];
        let plain = names(&routes, account(1));
        let ordered = |of: &dyn Fn(&str) -> Option<u64>| {
            let latency = |it: &Candidate<'_>| of(it.route.provider.as_str()).map(Duration::from_millis);
            let order = in_order(&routes, account(1), latency);
            let quicker = order.iter().filter(|it| it.place == Place::Quicker);
            let (names, quicker): (Vec<_>, Vec<_>) = (
                order.iter().map(|it| it.route.provider.as_str()).collect(),
                quicker.map(|it| it.route.provider.as_str()).collect(),
            );
            (names.concat(), quicker.concat())
        };
        let (first, others) = (&plain[..1], &plain[1..3]);
        let slow_first = |ms: u64| {
            let of = move |name: &str| Some(if name == first { ms } else { 500 });
            ordered(&of)
        };
        assert_eq!(slow_first(1501), (format!("{others}{first}d"), others.to_owned()));
        // Not three times as slow, or by less than a second, or nothing to compare with: the prompt cache counts for more.
        assert_eq!(slow_first(1500), (plain.clone(), String::new()));
        assert_eq!(
            ordered(&|name| Some(if name == first { 900 } else { 100 })),
            (plain.clone(), String::new())
        );
        assert_eq!(ordered(&|name| (name == first).then_some(9000)), (plain.clone(), String::new()));
        // A slow one that was drawn last overtakes nobody and is overtaken by nobody.
        let last = &plain[2..3];
        assert_eq!(
            ordered(&|name| Some(if name == last { 9000 } else { 100 })),
            (plain.clone(), String::new())
        );
        // A far quicker provider of a lower priority stays where the operator put it.
        assert_eq!(ordered(&|name| Some(if name == "d" { 1 } else { 9000 })), (plain, String::new()));
    }

    #[test]
    fn every_candidate_comes_once() {
        let routes: Vec<Route> = (0..6_u32).map(|i| route(&i.to_string(), 0, i % 3, 2)).collect();
        let mut seen: Vec<String> = drawn(&routes, account(7))
            .iter()
            .map(|it| format!("{}{}", it.route.provider, it.key.name))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 12);
    }
}
