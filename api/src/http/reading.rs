//! What reads and writes share: positions, pages and periods.
//!
//! For: the header [`Position`] on writes and [`reached`] behind `?after=` on reads; [`paging`] and [`page_of`] for
//! lists; [`Period`] for `?from=&to=`.
//! Claims: after `?after=<position>` an answer holds at least what was written up to that position, or it is a problem;
//! it never waits without a bound; a bad cursor, date or word is a problem that names its parameter.

use crate::app::App;
use crate::body;
use crate::problem::Problem;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponseParts, ResponseParts};
use chrono::{Days, FixedOffset, NaiveDate, NaiveTime, Utc};
use domain::{Moment, Money};
use ledger::StreamIdentity;
use projections::{Page, Paging};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;

/// The header that tells where a write stands on the log.
pub const POSITION_HEADER: HeaderName = HeaderName::from_static("x-ledger-position");

/// How long a read waits for a position.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a write stands on the log, as the header `X-Ledger-Position`.
#[derive(Clone, Copy, Debug)]
pub struct Position(pub u64);

impl IntoResponseParts for Position {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.headers_mut().insert(POSITION_HEADER, HeaderValue::from(self.0));
        Ok(parts)
    }
}

/// Waits until the tables hold everything up to a position; at once where none is wanted. One that the log has not reached
/// itself was never given to anybody, and is refused.
pub async fn reached(app: &App, after: Option<u64>) -> Result<(), Problem> {
    let Some(position) = after else { return Ok(()) };
    // A log that is away says nothing; the wait does.
    if app.follower.applied() < position
        && let Ok(StreamIdentity { last_sequence, .. }) = app.ledger.log().identity().await
        && last_sequence < position
    {
        let detail = format!("after: the log ends at {last_sequence}, before position {position}");
        return Err(Problem::bad_request("position_unknown", detail));
    }
    if app.follower.wait_for(position, PATIENCE).await {
        return Ok(());
    }
    let applied = app.follower.applied();
    let detail = format!("position {position} is not applied yet; the tables are at {applied}");
    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "position_not_reached", detail).retry_after(1))
}

/// Which page is wanted, checked.
pub fn paging(limit: Option<u32>, cursor: Option<&str>) -> Result<Paging, Problem> {
    let limit = body::page_limit(limit)?;
    let after = cursor.map(|text| parameter("cursor", text.parse())).transpose()?;
    Ok(Paging { after, limit })
}

/// A page as it is answered.
pub fn page_of<T, V>(page: Page<T>, view: impl FnMut(T) -> V) -> body::Page<V> {
    let next_cursor = page.next_cursor.as_ref().map(ToString::to_string);
    body::Page { items: page.items.into_iter().map(view).collect(), next_cursor }
}

/// A parameter of the query that was read, or the problem that names it.
pub fn parameter<T, E: std::fmt::Display>(name: &str, read: Result<T, E>) -> Result<T, Problem> {
    read.map_err(|fault| Problem::bad_request("invalid_query", format!("{name}: {fault}")))
}

/// From a moment (within) to another (without); open where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: Option<Moment>,
    /// The first moment after it.
    pub to: Option<Moment>,
}

impl Period {
    /// Reads `from` and `to`: a moment such as `2026-11-22T10:00:00Z`, or a date, which means that whole day in the
    /// operator's time zone, the last one included.
    pub fn parse(app: &App, from: Option<&str>, to: Option<&str>) -> Result<Self, Problem> {
        Self::within(app.config.time_zone_offset_minutes, from, to)
    }

    fn within(zone_minutes: i32, from: Option<&str>, to: Option<&str>) -> Result<Self, Problem> {
        let read = |name, text: Option<&str>, days| {
            text.map(|text| parameter(name, moment(zone_minutes, text, Days::new(days)))).transpose()
        };
        let period = Self { from: read("from", from, 0)?, to: read("to", to, 1)? };
        match period {
            Self { from: Some(from), to: Some(to) } if from > to => {
                parameter("to", Err("the period ends before it begins"))
            }
            period => Ok(period),
        }
    }
}

/// The years that are asked for in earnest; beyond them a calendar overflows somewhere.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

fn moment(zone_minutes: i32, text: &str, later: Days) -> Result<Moment, String> {
    use chrono::Datelike as _;
    let bad = || {
        let text: String = text.chars().take(40).collect();
        format!("{text:?} is neither a date such as 2026-11-22 nor a moment such as 2026-11-22T10:00:00Z")
    };
    if let Ok(moment) = text.parse::<Moment>() {
        return if YEARS.contains(&moment.to_utc().year()) { Ok(moment) } else { Err(bad()) };
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| YEARS.contains(&date.year()));
    let midnight =
        date.and_then(|date| date.checked_add_days(later)).map(|date| date.and_time(NaiveTime::MIN));
    let zone = FixedOffset::east_opt(zone_minutes.saturating_mul(60));
    let local = midnight.zip(zone).and_then(|(midnight, zone)| midnight.and_local_timezone(zone).single());
    local.map(|it| it.with_timezone(&Utc).into()).ok_or_else(bad)
}

/// An amount of money as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MoneyView {
    /// A decimal string with all decimals of the currency.
    #[schema(example = "50.00")]
    pub amount: String,
    /// ISO 4217.
    #[schema(example = "CNY")]
    pub currency: String,
}

impl From<Money> for MoneyView {
    fn from(money: Money) -> Self {
        Self { amount: money.amount(), currency: money.currency.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_of_days_holds_its_last_day_in_the_operators_zone() {
        let period = |zone, from, to| {
            let period = Period::within(zone, Some(from), Some(to)).unwrap();
            (period.from.unwrap().to_string(), period.to.unwrap().to_string())
        };
        let expected = ("2026-10-31T16:00:00.000000Z".into(), "2026-11-30T16:00:00.000000Z".into());
        assert_eq!(period(480, "2026-11-01", "2026-11-30"), expected);
        let expected = ("2028-02-29T00:00:00.000000Z".into(), "2028-03-01T00:00:00.000000Z".into());
        assert_eq!(period(0, "2028-02-29", "2028-02-29"), expected);
        let expected = ("2026-11-22T08:00:00.000000Z".into(), "2026-11-22T10:00:00.500000Z".into());
        assert_eq!(period(480, "2026-11-22T10:00:00+02:00", "2026-11-22T10:00:00.5Z"), expected);
    }

    #[test]
    fn a_bad_date_names_its_parameter() {
        for bad in
            ["", "yesterday", "2026-13-01", "2026-02-30", "22.11.2026", "99999999-01-01", "0000-01-01", "1e9"]
        {
            let from = Period::within(0, Some(bad), None).unwrap_err();
            assert_eq!((from.status, from.code), (StatusCode::BAD_REQUEST, "invalid_query"), "{bad}");
            assert!(from.detail.starts_with("from: "), "{}", from.detail);
            assert!(Period::within(0, None, Some(bad)).unwrap_err().detail.starts_with("to: "), "{bad}");
        }
        let turned = Period::within(0, Some("2026-11-30"), Some("2026-11-01")).unwrap_err();
        assert_eq!(turned.detail, "to: the period ends before it begins");
        assert_eq!(Period::within(0, None, None).unwrap(), Period::default());
    }

    #[test]
    fn a_bad_cursor_or_limit_names_its_parameter() {
        assert!(paging(Some(5), Some("nonsense")).unwrap_err().detail.starts_with("cursor: "));
        for limit in [0, 101, u32::MAX] {
            assert!(paging(Some(limit), None).unwrap_err().detail.starts_with("limit: "), "{limit}");
        }
        assert_eq!(paging(None, None).unwrap(), Paging { after: None, limit: 20 });
    }
}
