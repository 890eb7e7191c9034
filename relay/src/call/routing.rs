//! Which providers are tried, in which order.
//!
//! Claims: a higher priority always goes first; among equals, chance decides by weight; each route comes once.

use crate::catalogue::Route;

/// The routes in the order in which to try them.
pub(crate) fn in_order(routes: &[Route]) -> impl Iterator<Item = &Route> {
    order(routes, |below| rand::random_range(0..below))
}

fn order(routes: &[Route], mut draw: impl FnMut(u64) -> u64) -> impl Iterator<Item = &Route> {
    let mut left: Vec<&Route> = routes.iter().collect();
    std::iter::from_fn(move || {
        let best = left.iter().map(|route| route.priority).max()?;
        let equals = || left.iter().enumerate().filter(|(_, route)| route.priority == best);
        let total: u64 = equals().map(|(_, route)| u64::from(route.weight)).sum();
        let first = equals().next()?.0;
        // Routes without weight come last among their equals, in their given order.
        let mut drawn = if total == 0 { 0 } else { draw(total) };
        let chosen = equals().find_map(|(index, route)| {
            let weight = u64::from(route.weight);
            if drawn < weight {
                return Some(index);
            }
            drawn -= weight;
            None
        });
        Some(left.remove(chosen.unwrap_or(first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{ProviderFormat, Secret};
    use domain::Label;

    fn route(name: &str, priority: i32, weight: u32) -> Route {
        Route {
            provider: Label::try_new(name).unwrap(),
            format: ProviderFormat::OpenAi,
            base_url: String::new(),
            api_key: Secret::new(""),
            upstream_model: Label::try_new("m").unwrap(),
            cost: None,
            priority,
            weight,
        }
    }

    fn names(routes: &[Route], draws: &[u64]) -> String {
        let mut draws = draws.iter().copied();
        order(routes, |below| draws.next().unwrap() % below)
            .map(|route| route.provider.as_str().to_owned())
            .collect()
    }

    #[test]
    fn priority_first_then_chance_by_weight() {
        let routes = [route("a", 1, 1), route("b", 5, 1), route("c", 5, 3), route("d", 5, 0)];
        assert_eq!(names(&routes, &[0, 0, 0]), "bcda");
        assert_eq!(names(&routes, &[1, 0, 0]), "cbda");
        assert_eq!(names(&routes, &[3, 0, 0]), "cbda");
        assert_eq!(names(&[], &[]), "");
    }

    #[test]
    fn every_route_comes_once() {
        let routes: Vec<Route> = (0..6_u32).map(|i| route(&i.to_string(), 0, i % 3)).collect();
        let mut seen: Vec<&str> = in_order(&routes).map(|route| route.provider.as_str()).collect();
        seen.sort_unstable();
        assert_eq!(seen, ["0", "1", "2", "3", "4", "5"]);
    }
}
