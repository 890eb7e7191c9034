//! Short texts that go on the log, checked before they get there.
//!
//! Claims: a value of these types is not empty, holds no control characters (a NUL byte would poison a PostgreSQL
//! row for ever), and is no longer than its limit, so that every database can store it.

use serde::{Deserialize, Serialize};

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing in it.
    #[error("{what} must not be empty")]
    Empty {
        /// Which kind of text.
        what: &'static str,
    },
    /// Longer than its limit.
    #[error("{what} must not be longer than {max} bytes")]
    TooLong {
        /// Which kind of text.
        what: &'static str,
        /// The limit, in bytes of UTF-8.
        max: usize,
    },
    /// A character that is not allowed.
    #[error("{what} must not contain {found:?}")]
    BadCharacter {
        /// Which kind of text.
        what: &'static str,
        /// The first offender.
        found: char,
    },
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest accepted text, in bytes.
            pub const MAX: usize = $max;

            /// Checks and wraps. Errors name what is wrong.
            pub fn try_new(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() {
                    return Err(TextError::Empty { what: $what });
                }
                if text.len() > $max {
                    return Err(TextError::TooLong { what: $what, max: $max });
                }
                if let Some(found) = text.chars().find(|c| !allowed(*c)) {
                    return Err(TextError::BadCharacter { what: $what, found });
                }
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::try_new(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}

texts! {
    /// The name of a payment channel. It is a token of a NATS subject, hence the narrow alphabet.
    ChannelName, "a channel's name", 32, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    /// What a caller sends so that a repeated request is recognised.
    IdempotencyKey, "an idempotency key", 200, |c| c.is_ascii_graphic();
    /// A name of a model, a provider, an endpoint, a transaction at a channel.
    Label, "a name", 200, |c| !c.is_control();
    /// A sentence by a person: why something was done.
    Reason, "a reason", 1000, |c| !c.is_control();
}
