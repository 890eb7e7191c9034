//! A moment: microseconds since 1970, UTC.
//!
//! Claims: the same integer in memory, in JSON (as RFC 3339 with six decimals) and in all three databases, so that
//! a rebuilt row equals the old one; every moment can be written and read again, so that none can spoil an event.

use crate::short::{Short, from_text};
use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z, from [`Moment::MIN`] to [`Moment::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// The start of the year 0: the first moment that RFC 3339 can write.
    pub const MIN: Self = Self(-62_167_219_200_000_000);
    /// The end of the year 9999: the last moment that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since 1970. What lies beyond the calendar becomes its nearest end.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This many milliseconds later; stops at the ends of the calendar.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self::from_micros(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// As a calendar type, whose range is far wider than a moment's.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }
}

impl Moment {
    /// As RFC 3339 with six decimals, in UTC.
    fn text(self) -> Short<27> {
        let utc = self.to_utc();
        let (year, seconds) = (u64::try_from(utc.year()).unwrap_or(0), utc.num_seconds_from_midnight());
        let micros = self.0.rem_euclid(1_000_000).unsigned_abs();
        let mut text = Short::new();
        text.push_number(year, 4);
        for (before, number) in [
            (b'-', utc.month()),
            (b'-', utc.day()),
            (b'T', seconds / 3_600),
            (b':', seconds / 60 % 60),
            (b':', seconds % 60),
        ] {
            text.push(before);
            text.push_number(u64::from(number), 2);
        }
        text.push(b'.');
        text.push_number(micros, 6);
        text.push(b'Z');
        text
    }

    /// Reads the form that we write ourselves, which is nearly all that is ever read; `None`: it is another form, or none.
    fn of_own_form(text: &str) -> Option<Self> {
        let bytes: &[u8; 27] = text.as_bytes().try_into().ok()?;
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0_u32, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0'))
            })
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
        if marks.iter().any(|(at, mark)| bytes[*at] != *mark) {
            return None;
        }
        let year = i32::try_from(number(0, 4)?).ok()?;
        let date = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let at = date.and_hms_micro_opt(hour, minute, second, number(20, 26)?)?;
        Some(at.and_utc().into())
    }
}

impl From<DateTime<Utc>> for Moment {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Moment {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(moment) = Self::of_own_form(text) {
            return Ok(moment);
        }
        DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc).into())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a moment such as 2026-11-22T10:00:00Z", |text, error| {
            format!("{text:?} is not a moment such as 2026-11-22T10:00:00Z: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_six_decimals_and_read_from_any_zone() {
        let noon: Moment = "2026-11-22T12:00:00.000001Z".parse().unwrap();
        assert_eq!(noon.micros(), 1_795_348_800_000_001);
        assert_eq!("2026-11-22T20:00:00.000001+08:00".parse(), Ok(noon));
        assert_eq!(noon.to_string(), "2026-11-22T12:00:00.000001Z");
        assert_eq!(
            "2026-11-22T12:00:00Z".parse::<Moment>().unwrap().to_string(),
            "2026-11-22T12:00:00.000000Z"
        );
        assert_eq!("1969-12-31T23:59:59.999999Z".parse(), Ok(Moment::from_micros(-1)));
        assert_eq!("2028-02-29T00:00:00Z".parse(), Ok(Moment::from_micros(1_835_395_200_000_000)));
    }

    #[test]
    fn what_is_written_by_hand_is_what_the_calendar_writes() {
        let mut micros = Moment::MIN.micros();
        // A prime step of about 41 days: every month, leap days and both sides of 1970.
        while micros <= Moment::MAX.micros() {
            let moment = Moment::from_micros(micros);
            let text = moment.to_string();
            assert_eq!(text, moment.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
            assert_eq!(Moment::of_own_form(&text), Some(moment));
            micros += 3_600_000_000_007;
        }
        assert_eq!(Moment::of_own_form("2026-11-22T12:00:00.000001+"), None);
        assert_eq!(Moment::of_own_form("2026-11-22T12:00:60.000001Z"), None, "left to the calendar");
        assert_eq!(Moment::of_own_form("2026-11-22T12:00:00.00000+Z"), None);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-11-22T24:00:00Z",
            "now",
            "0",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
            assert!(serde_json::from_str::<Moment>(&format!("{text:?}")).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Moment>("1795348800000001").is_err());
    }

    #[test]
    fn time_stops_at_the_ends_of_the_calendar() {
        assert_eq!(Moment::MIN.to_string(), "0000-01-01T00:00:00.000000Z");
        assert_eq!(Moment::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Moment::from_micros(i64::MIN), Moment::MIN);
        assert_eq!(Moment::from_micros(i64::MAX), Moment::MAX);
        let now = Moment::from_micros(1_795_348_800_000_000);
        assert_eq!(now.plus_ms(i64::MAX), Moment::MAX);
        assert_eq!(now.plus_ms(i64::MIN), Moment::MIN);
        assert_eq!(now.plus_ms(-1).micros(), 1_795_348_799_999_000);
        assert_eq!(Moment::from(DateTime::<Utc>::MAX_UTC), Moment::MAX);
        assert_eq!("9999-12-31T23:59:59-01:00".parse(), Ok(Moment::MAX));
    }
}
