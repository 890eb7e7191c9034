//! Short texts that go on the log, checked before they get there.
//!
//! Claims: a value of these types is not empty, holds no control characters (a NUL byte would poison a PostgreSQL
//! row for ever), neither begins nor ends with a blank (MySQL compares without trailing blanks, so that two names would
//! be one row there), and is no longer than its limit, so that every database can store it.

use serde::{Deserialize, Serialize, Serializer};

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
    /// A blank at an end.
    #[error("{what} must not begin or end with a blank")]
    Padded {
        /// Which kind of text.
        what: &'static str,
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
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
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
                if text.trim().len() != text.len() {
                    return Err(TextError::Padded { what: $what });
                }
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_its_limit_in_bytes_and_no_byte_more() {
        assert!(Label::try_new("x".repeat(200)).is_ok());
        let too_long = TextError::TooLong { what: "a name", max: 200 };
        assert_eq!(Label::try_new("x".repeat(201)), Err(too_long.clone()));
        assert!(Label::try_new("é".repeat(100)).is_ok());
        assert_eq!(Label::try_new("é".repeat(101)), Err(too_long));
        assert!(
            ChannelName::try_new("x".repeat(32)).is_ok() && ChannelName::try_new("x".repeat(33)).is_err()
        );
        assert!(
            IdempotencyKey::try_new("x".repeat(200)).is_ok()
                && IdempotencyKey::try_new("x".repeat(201)).is_err()
        );
        assert!(Reason::try_new("x".repeat(1000)).is_ok() && Reason::try_new("x".repeat(1001)).is_err());
    }

    #[test]
    fn an_empty_text_is_refused() {
        assert_eq!(Label::try_new(""), Err(TextError::Empty { what: "a name" }));
        assert_eq!(IdempotencyKey::try_new(""), Err(TextError::Empty { what: "an idempotency key" }));
    }

    #[test]
    fn what_a_database_or_a_subject_cannot_hold_is_refused_by_name() {
        for found in ['\0', '\n', '\t', '\u{7f}', '\u{85}'] {
            let bad = TextError::BadCharacter { what: "a name", found };
            assert_eq!(Label::try_new(format!("a{found}b")), Err(bad));
        }
        for found in ['.', '*', '>', ' ', 'A', 'é'] {
            let bad = TextError::BadCharacter { what: "a channel's name", found };
            assert_eq!(ChannelName::try_new(format!("a{found}b")), Err(bad));
        }
        for found in [' ', 'é', '\u{200b}'] {
            let bad = TextError::BadCharacter { what: "an idempotency key", found };
            assert_eq!(IdempotencyKey::try_new(format!("a{found}b")), Err(bad));
        }
        assert_eq!(Label::try_new("模型 v1.5:thinking").unwrap().as_str(), "模型 v1.5:thinking");
    }

    #[test]
    fn names_that_differ_by_a_trailing_blank_alone_cannot_be() {
        for text in ["gpt ", " gpt", " ", "gpt\u{a0}", "\u{3000}gpt"] {
            assert_eq!(Label::try_new(text), Err(TextError::Padded { what: "a name" }), "{text:?}");
        }
        assert_eq!(Reason::try_new(" "), Err(TextError::Padded { what: "a reason" }));
    }

    #[test]
    fn json_is_checked_like_any_other_way_in() {
        assert_eq!(serde_json::from_str::<Label>(r#""gpt""#).unwrap().as_str(), "gpt");
        for json in [r#""""#, r#""a\u0000b""#, r#""gpt ""#, "1", "null"] {
            assert!(serde_json::from_str::<Label>(json).is_err(), "{json}");
        }
    }
}
