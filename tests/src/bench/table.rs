//! Rounds as a table for people: medians, and ratios to nginx in the same round.
#![expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "measurements, not money")]

use super::driver::Driven;
use std::time::Duration;

const SYSTEMS: [&str; 3] = ["direct", "nginx", "NexusRoute"];

/// One system in one round.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    driven: Driven,
    /// Processor time and peak of memory in KiB; `None`: there is nothing in between.
    used: Option<(Duration, u64)>,
    /// Processor time of children, the nats-server's, which is part of the whole.
    log: Option<Duration>,
}

impl Row {
    /// What was driven, and what it used. Calls that failed are no measurement.
    pub fn new(driven: Driven, used: Option<(Duration, u64)>) -> Self {
        assert!(driven.calls > 0 && driven.errors == 0, "calls failed: {driven:?}");
        Self { driven, used, log: None }
    }

    /// The same with what the children used of it.
    pub fn with_log(self, log: Duration) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Calls per second.
    fn rate(&self) -> f64 {
        self.driven.calls as f64 / self.driven.time.as_secs_f64()
    }

    /// Processor seconds per 1,000 calls.
    fn cost(&self) -> Option<f64> {
        self.used.map(|(cpu, _)| cpu.as_secs_f64() * 1000.0 / self.driven.calls as f64)
    }

    fn log_cost(&self) -> Option<f64> {
        self.log.map(|cpu| cpu.as_secs_f64() * 1000.0 / self.driven.calls as f64)
    }

    fn p99(&self) -> f64 {
        self.driven.p99.as_secs_f64()
    }
}

/// All rounds of all loads.
#[derive(Debug, Default)]
pub struct Table {
    loads: Vec<(String, Vec<[Row; 3]>)>,
}

impl Table {
    /// One more round of a load.
    pub fn add(&mut self, kind: &str, connections: usize, rows: [Row; 3]) {
        let load = format!("{kind}, {connections}");
        match self.loads.last_mut() {
            Some((name, rounds)) if *name == load => rounds.push(rows),
            _ => self.loads.push((load, vec![rows])),
        }
    }

    /// Prints the last load; before the first, what the columns are.
    pub fn print_last(&self) {
        if self.loads.len() == 1 {
            println!(
                "\n{:<22}{:<12}{:>9}{:>10}{:>10}{:>9}{:>13}{:>9}{:>12}{:>10}",
                "load, connections",
                "",
                "calls/s",
                "p50 ms",
                "p99 ms",
                "x nginx",
                "CPU s/1,000",
                "x nginx",
                "of it NATS",
                "peak MiB"
            );
        }
        let Some((load, rounds)) = self.loads.last() else { return };
        for (index, system) in SYSTEMS.iter().enumerate() {
            let of =
                |what: &dyn Fn(&Row) -> Option<f64>| median(rounds.iter().map(|rows| what(&rows[index])));
            let beside = |what: &dyn Fn(&Row) -> Option<f64>| {
                median(rounds.iter().map(|rows| Some(what(&rows[index])? / what(&rows[1])?)))
            };
            let millis = |time: Duration| Some(time.as_secs_f64() * 1000.0);
            println!(
                "{:<22}{:<12}{:>9}{:>10}{:>10}{:>9}{:>13}{:>9}{:>12}{:>10}",
                if index == 0 { load } else { "" },
                system,
                text(of(&|row| Some(row.rate())), 0),
                text(of(&|row| millis(row.driven.p50)), 2),
                text(of(&|row| millis(row.driven.p99)), 2),
                text(beside(&|row| Some(row.p99())), 2),
                text(of(&Row::cost), 4),
                text(beside(&Row::cost), 2),
                text(of(&Row::log_cost), 4),
                text(of(&|row| Some(row.used?.1 as f64 / 1024.0)), 0),
            );
        }
    }
}

fn text(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// The middle one; `None`: something was not measured.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_nothing_where_a_round_is_missing() {
        assert_eq!(median([Some(3.0), Some(1.0), Some(2.0)].into_iter()), Some(2.0));
        assert_eq!(median([Some(3.0), None].into_iter()), None);
        assert_eq!(text(Some(1.26), 1), "1.3");
    }

    #[test]
    fn costs_are_per_thousand_calls() {
        let time = Duration::from_secs(2);
        let driven = Driven { calls: 4000, errors: 0, time, p50: time, p99: time };
        let row = Row::new(driven, Some((Duration::from_secs(1), 1024)));
        assert_eq!((row.rate(), row.cost()), (2000.0, Some(0.25)));
    }
}
