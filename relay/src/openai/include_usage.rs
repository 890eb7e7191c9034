//! The wish for the counts of a stream: `stream_options.include_usage`.
//!
//! For: requests of chat and of the older completions; every stream is asked for its counts, whether its caller wants
//! them or not.

use crate::body::Scan;
use crate::error::CallError;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::ops::Range;

/// Where `"include_usage":true` goes.
#[derive(Clone, Debug)]
pub(super) enum UsagePlace {
    /// Nowhere: it is there, or the call is no stream.
    Nowhere,
    /// There are no stream options.
    NoOptions,
    /// They are null.
    NullOptions(Range<usize>),
    /// After their opening brace.
    Within { start: usize, is_empty: bool },
    /// In place of another value.
    InPlaceOf(Range<usize>),
}

impl UsagePlace {
    /// Does the caller ask for the usage, and where does the wish go?
    ///
    /// # Errors
    /// [`CallError::BadRequest`] if the options are of no known shape.
    pub(super) fn of(scan: &Scan<'_>, stream: bool) -> Result<(bool, Self), CallError> {
        #[derive(Deserialize)]
        struct StreamOptions<'a> {
            #[serde(borrow, default, deserialize_with = "even_null")]
            include_usage: Option<&'a RawValue>,
        }

        /// A null is there, too, and has a place.
        fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
            <&RawValue>::deserialize(deserializer).map(Some)
        }

        let place = match scan.get("stream_options") {
            None => (false, Self::NoOptions),
            Some(null) if null.get() == "null" => (false, Self::NullOptions(scan.place(null))),
            Some(options) => {
                let fault =
                    || CallError::bad("stream_options", "`stream_options` must be an object of known shape");
                // serde would take an array for a struct.
                if !options.get().starts_with('{') {
                    return Err(fault());
                }
                let read: StreamOptions<'_> = serde_json::from_str(options.get()).map_err(|_| fault())?;
                match read.include_usage {
                    None => {
                        let is_empty = options.get()[1..].trim_start() == "}";
                        (false, Self::Within { start: scan.place(options).start + 1, is_empty })
                    }
                    Some(value) => match value.get() {
                        "true" => (true, Self::Nowhere),
                        "false" | "null" => (false, Self::InPlaceOf(scan.place(value))),
                        _ => {
                            return Err(CallError::bad(
                                "stream_options",
                                "`include_usage` must be a boolean",
                            ));
                        }
                    },
                }
            }
        };
        Ok(if stream { place } else { (place.0, Self::Nowhere) })
    }

    /// The change that makes the wish; `start` is where the body takes new fields.
    pub(super) fn edit(&self, start: usize) -> Option<(Range<usize>, String)> {
        Some(match self {
            Self::Nowhere => return None,
            Self::NoOptions => (start..start, r#""stream_options":{"include_usage":true},"#.into()),
            Self::NullOptions(null) => (null.clone(), r#"{"include_usage":true}"#.into()),
            Self::Within { start, is_empty } => {
                let comma = if *is_empty { "" } else { "," };
                (*start..*start, format!(r#""include_usage":true{comma}"#))
            }
            Self::InPlaceOf(value) => (value.clone(), "true".into()),
        })
    }
}
