//! Which providers are tried, in which order, and why.
//!
//! Claims: a higher priority always goes first; among equals an account always meets the same provider and key while
//! they are well (prompt caches live there), and accounts are spread by weight; each candidate comes once; what is
//! known to be unwell is passed over, and named.

use crate::catalogue::{ProviderKey, Route};
use domain::AccountId;
use sha2::{Digest, Sha256};

/// A provider with one of its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) route: &'a Route,
    pub(crate) key: &'a ProviderKey,
    /// Does another candidate have the same priority? Then the account's number decided between them.
    pub(crate) has_equals: bool,
}

/// The candidates for an account's call, best first.
pub(crate) fn in_order(routes: &[Route], account: AccountId) -> Vec<Candidate<'_>> {
    let mut candidates: Vec<(Candidate<'_>, f64)> = routes
        .iter()
        .flat_map(|route| route.keys.iter().map(move |key| (route, key)))
        .map(|(route, key)| {
            let equals = routes.iter().filter(|other| other.priority == route.priority);
            let has_equals = equals.map(|other| other.keys.len()).sum::<usize>() > 1;
            (Candidate { route, key, has_equals }, rank(account, route, key))
        })
        .collect();
    candidates.sort_by(|(one, one_rank), (other, other_rank)| {
        other.route.priority.cmp(&one.route.priority).then(one_rank.total_cmp(other_rank))
    });
    candidates.into_iter().map(|(candidate, _)| candidate).collect()
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

    fn names(routes: &[Route], account: AccountId) -> String {
        in_order(routes, account).iter().map(|it| it.route.provider.as_str()).collect()
    }

    #[test]
    fn priority_first_and_no_weight_last_among_equals() {
        let routes = [route("a", 1, 1, 1), route("b", 5, 0, 1), route("c", 5, 3, 1)];
        for number in 0..50 {
            assert_eq!(names(&routes, account(number)), "cba");
        }
        assert_eq!(names(&[], account(0)), "");
        let order = in_order(&routes, account(0));
        assert_eq!(order.iter().map(|it| it.has_equals).collect::<Vec<_>>(), [true, true, false]);
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
    fn every_candidate_comes_once() {
        let routes: Vec<Route> = (0..6_u32).map(|i| route(&i.to_string(), 0, i % 3, 2)).collect();
        let mut seen: Vec<String> = in_order(&routes, account(7))
            .iter()
            .map(|it| format!("{}{}", it.route.provider, it.key.name))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 12);
    }
}
