//! What goes into a statement: integers and texts, nothing else, so that all three databases store the same.

use domain::{
    AccountId, AdjustmentId, BatchId, ChargebackId, Credits, EpochId, EventId, GrantId, KeyId, LeaseId,
    Moment, OrderId, PriceVersionId, RefundId, RequestId,
};

/// A value bound to a `?` of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Credits in nano, microseconds, counts, truth as 0 or 1.
    Int(i64),
    /// Ids, names, JSON.
    Text(String),
    /// Nothing; the database finds the type from the place it goes to. Where there is no such place (`? IS NULL`),
    /// PostgreSQL needs one of the typed ones.
    Null,
    /// No integer.
    NullInt,
    /// No text.
    NullText,
}

impl Value {
    /// A count or a stream sequence. Databases count in `i64`; none of ours gets near its end, and one that did would
    /// stand there rather than turn negative.
    pub fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A count that may be missing.
    pub fn opt_count(count: Option<u64>) -> Self {
        count.map_or(Self::NullInt, Self::count)
    }

    /// The display form of anything, such as an id.
    pub fn display(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// The display form of something that may be missing.
    pub fn opt_display(value: Option<impl std::fmt::Display>) -> Self {
        value.map_or(Self::NullText, Self::display)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::NullInt, Self::Int)
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::NullText, Self::Text)
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        value.map_or(Self::NullText, Self::from)
    }
}

impl From<Credits> for Value {
    fn from(value: Credits) -> Self {
        Self::Int(value.nano())
    }
}

impl From<Option<Credits>> for Value {
    fn from(value: Option<Credits>) -> Self {
        value.map_or(Self::NullInt, Self::from)
    }
}

impl From<Moment> for Value {
    fn from(value: Moment) -> Self {
        Self::Int(value.micros())
    }
}

impl From<Option<Moment>> for Value {
    fn from(value: Option<Moment>) -> Self {
        value.map_or(Self::NullInt, Self::from)
    }
}

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl From<$id> for Value {
            fn from(id: $id) -> Self {
                Self::Text(id.to_string())
            }
        }

        impl From<Option<$id>> for Value {
            fn from(id: Option<$id>) -> Self {
                id.map_or(Self::NullText, Self::from)
            }
        }
    )*};
}

ids!(
    AccountId,
    AdjustmentId,
    BatchId,
    ChargebackId,
    EpochId,
    EventId,
    GrantId,
    KeyId,
    LeaseId,
    OrderId,
    PriceVersionId,
    RefundId,
    RequestId
);
