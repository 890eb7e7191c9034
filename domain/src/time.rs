//! A moment: microseconds since 1970, UTC.
//!
//! Claims: the same integer in memory, in JSON (as RFC 3339 with six decimals) and in all three databases, so that
//! a rebuilt row equals the old one; every moment can be written and read again, so that none can spoil an event.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

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

impl From<DateTime<Utc>> for Moment {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
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
        DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc).into())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format!("{text:?} is not a moment such as 2026-11-22T10:00:00Z")))
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
