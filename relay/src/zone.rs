//! Time zones: where an account's days begin.
//!
//! For: reading a zone as people write it, an offset from UTC or a name of the IANA database, and the date that a clock there
//! shows. May not touch: the machine's own zone or files; the names' rules are compiled in.
//! Claims: what is written is read again as the same; the date of a moment is the one of the zone's own rules at that moment.

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use chrono_tz::Tz;
use domain::Moment;
use std::fmt;
use std::str::FromStr;

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The same distance from UTC all year: `+08:00`.
    Offset(FixedOffset),
    /// A place, whose clocks may change: `Europe/Berlin`.
    Named(Tz),
}

/// A text that is no zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an offset from UTC such as +08:00, or a name of the IANA time zones such as Europe/Berlin")]
pub struct UnknownZone;

impl Zone {
    /// UTC, written `+00:00`.
    pub const UTC: Self = match FixedOffset::east_opt(0) {
        Some(offset) => Self::Offset(offset),
        None => Self::Named(Tz::UTC),
    };
    /// No clock on earth is further from UTC, in seconds.
    const FURTHEST_S: i32 = 14 * 3600;

    /// The date that a clock of this zone shows at a moment.
    pub fn date(self, at: Moment) -> NaiveDate {
        let utc: DateTime<Utc> = at.to_utc();
        match self {
            Self::Offset(offset) => utc.with_timezone(&offset).date_naive(),
            Self::Named(zone) => utc.with_timezone(&zone).date_naive(),
        }
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        if text.starts_with(['+', '-']) {
            let offset: FixedOffset = text.parse().map_err(|_| UnknownZone)?;
            // chrono reads no further than the minutes, whatever follows.
            let written = offset.to_string();
            let is_all = text == written || text == written.replace(':', "");
            let fits = is_all && offset.local_minus_utc().abs() <= Self::FURTHEST_S;
            return if fits { Ok(Self::Offset(offset)) } else { Err(UnknownZone) };
        }
        text.parse().map(Self::Named).map_err(|_| UnknownZone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Named(zone) => f.write_str(zone.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_an_offset_or_a_name_and_is_written_as_it_was_read() {
        for (text, written) in [
            ("+08:00", "+08:00"),
            ("+0800", "+08:00"),
            ("-03:30", "-03:30"),
            ("+00:00", "+00:00"),
            ("UTC", "UTC"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ] {
            let zone: Zone = text.parse().unwrap();
            assert_eq!(zone.to_string(), written);
            assert_eq!(written.parse::<Zone>(), Ok(zone));
        }
        for text in ["", "+15:00", "+08:00:30", "8", "Mars/Olympus", "europe/berlin", "Europe/Berlin ", "+"] {
            assert_eq!(text.parse::<Zone>(), Err(UnknownZone), "{text}");
        }
    }
}
