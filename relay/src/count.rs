//! A count of tokens as providers write it.
//!
//! For: every format's reader of usage.
//! May not touch: what a count counts.
//! Claims: no form of a count makes the object around it unreadable; what cannot be meant (negative, fractional, beyond
//! [`MAX_COUNT`], text) is no count.

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, Visitor};

/// No call has more tokens of a kind than this: a larger count is a provider's fault, and is not charged.
pub(crate) const MAX_COUNT: u64 = 1_000_000_000;

/// A count as providers write it: a whole number, perhaps as `12.0`, or null, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Count {
    #[default]
    /// No such key, or null.
    Absent,
    /// A count, at most [`MAX_COUNT`].
    Is(u64),
    /// A number that cannot be a count.
    Absurd,
}

impl Count {
    /// Zero where there is no count.
    pub(crate) fn or_zero(self) -> u64 {
        match self {
            Self::Is(count) => count,
            Self::Absent | Self::Absurd => 0,
        }
    }

    /// This count, or the other where this one is absent.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Self::Absent => other,
            Self::Is(_) | Self::Absurd => self,
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;

        impl<'de> Visitor<'de> for Lenient {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(if count <= MAX_COUNT { Count::Is(count) } else { Count::Absurd })
            }

            fn visit_i64<E>(self, _negative: i64) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_f64<E: de::Error>(self, count: f64) -> Result<Count, E> {
                // `as` saturates; a fraction or a negative number does not survive the way back.
                let whole = count as u64;
                if whole as f64 == count { self.visit_u64(whole) } else { Ok(Count::Absurd) }
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count::Absent)
            }

            fn visit_str<E>(self, _text: &str) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_bool<E>(self, _flag: bool) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count::Absurd)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count::Absurd)
            }
        }

        deserializer.deserialize_any(Lenient)
    }
}
