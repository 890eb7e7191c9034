//! Days and hours as the operator's clock on the wall shows them.
//!
//! Claims: a local day is a whole number of local hours, also where the offset from UTC is not a whole hour; any moment
//! has a day that every database can store.

use chrono::{DateTime, FixedOffset};
use domain::Moment;

const SECOND: i64 = 1_000_000;
/// Microseconds of an hour.
pub(crate) const HOUR: i64 = 3_600 * SECOND;
/// Microseconds of a day: offsets are fixed, so every day has 24 hours.
pub(crate) const DAY: i64 = 24 * HOUR;

/// 0001-01-01 and 9999-12-31 23:59:59.999999: beyond them a date has no four-digit year. No clock says so; a wrong one
/// must not make a row that a database refuses for ever.
const FIRST: i64 = -62_135_596_800 * SECOND;
const LAST: i64 = 253_402_300_800 * SECOND - 1;

/// A moment's place in the operator's calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalDay {
    /// `2026-11-22`.
    pub(crate) day: String,
    /// When that day began.
    pub(crate) starts: Moment,
    /// When the moment's hour began.
    pub(crate) hour: Moment,
}

/// A calendar that remembers the last hour it was asked for: reports are about calls of the same hour, and writing a date
/// costs more than anything else that is done with it.
#[derive(Debug)]
pub(crate) struct Calendar {
    zone: FixedOffset,
    last: LocalDay,
}

impl Calendar {
    pub(crate) fn new(zone: FixedOffset) -> Self {
        Self { zone, last: local_day(Moment::from_micros(0), zone) }
    }

    /// Its offset from UTC.
    pub(crate) fn zone(&self) -> FixedOffset {
        self.zone
    }

    /// As [`local_day`].
    pub(crate) fn at(&mut self, at: Moment) -> &LocalDay {
        let since = at.micros().checked_sub(self.last.hour.micros());
        if since.is_none_or(|since| !(0..HOUR).contains(&since)) {
            self.last = local_day(at, self.zone);
        }
        &self.last
    }
}

/// The local day and hour of a moment.
pub(crate) fn local_day(at: Moment, zone: FixedOffset) -> LocalDay {
    let offset = i64::from(zone.local_minus_utc()) * SECOND;
    let local = at.micros().saturating_add(offset).clamp(FIRST, LAST);
    let date = DateTime::from_timestamp_micros(local).unwrap_or_default();
    let start = |unit: i64| Moment::from_micros(local - local.rem_euclid(unit) - offset);
    LocalDay { day: date.format("%Y-%m-%d").to_string(), starts: start(DAY), hour: start(HOUR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(hours: i32, minutes: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600 + minutes * 60).unwrap()
    }

    #[test]
    fn a_day_begins_at_local_midnight_exactly() {
        for (at, zone, day, starts, hour) in [
            (
                "2026-11-22T15:59:59.999999Z",
                zone(8, 0),
                "2026-11-22",
                "2026-11-21T16:00:00Z",
                "2026-11-22T15:00:00Z",
            ),
            (
                "2026-11-22T16:00:00Z",
                zone(8, 0),
                "2026-11-23",
                "2026-11-22T16:00:00Z",
                "2026-11-22T16:00:00Z",
            ),
            (
                "2028-02-29T23:59:59Z",
                zone(0, 0),
                "2028-02-29",
                "2028-02-29T00:00:00Z",
                "2028-02-29T23:00:00Z",
            ),
            (
                "2026-11-22T18:29:59Z",
                zone(5, 30),
                "2026-11-22",
                "2026-11-21T18:30:00Z",
                "2026-11-22T17:30:00Z",
            ),
            (
                "2026-11-22T18:30:00Z",
                zone(5, 30),
                "2026-11-23",
                "2026-11-22T18:30:00Z",
                "2026-11-22T18:30:00Z",
            ),
            (
                "2026-01-01T02:00:00Z",
                zone(-3, 0),
                "2025-12-31",
                "2025-12-31T03:00:00Z",
                "2026-01-01T02:00:00Z",
            ),
        ] {
            let local = local_day(at.parse().unwrap(), zone);
            let expected =
                LocalDay { day: day.into(), starts: starts.parse().unwrap(), hour: hour.parse().unwrap() };
            assert_eq!(local, expected, "{at} at {zone}");
        }
    }

    #[test]
    fn a_calendar_that_remembers_says_the_same() {
        for zone in [zone(8, 0), zone(5, 30), zone(-3, 0)] {
            let mut calendar = Calendar::new(zone);
            let begin = "2026-11-22T00:00:00Z".parse::<Moment>().unwrap().micros();
            let near = (-200..200).map(|step| begin + step * (HOUR / 7) + step % 2);
            let edges =
                [i64::MIN, FIRST - 1, FIRST, LAST - HOUR, LAST, LAST + HOUR, i64::MAX, 0, HOUR - 1, HOUR];
            for micros in near.chain(edges).chain(edges.into_iter().rev()) {
                let at = Moment::from_micros(micros);
                assert_eq!(*calendar.at(at), local_day(at, zone), "{at} at {zone}");
            }
        }
    }

    #[test]
    fn no_clock_is_wrong_enough_to_break_a_row() {
        for micros in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(local_day(Moment::from_micros(micros), zone(14, 0)).day.len(), 10, "{micros}");
        }
    }
}
