//! Where a call goes: the model and what is asked of it stand in the path, `…/models/{model}:{verb}`.
//!
//! Claims: what is parsed and written again for a provider names the same model and verb, whatever characters the
//! model's name holds.

use std::fmt::Write as _;

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A whole answer.
    Generate,
    /// An answer as a stream.
    Stream,
    /// How many tokens a prompt has.
    CountTokens,
    /// A vector of one text.
    Embed,
    /// Vectors of several texts.
    BatchEmbed,
}

impl Verb {
    /// As it stands in a path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generateContent",
            Self::Stream => "streamGenerateContent",
            Self::CountTokens => "countTokens",
            Self::Embed => "embedContent",
            Self::BatchEmbed => "batchEmbedContents",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Generate, Self::Stream, Self::CountTokens, Self::Embed, Self::BatchEmbed]
            .into_iter()
            .find(|verb| verb.name() == name)
    }
}

/// Reads `{model}:{verb}`, percent signs decoded already. The model may hold slashes and colons, and a prefix
/// `models/`, which is not part of its name. `None`: it is no such path.
pub fn parse(rest: &str) -> Option<(&str, Verb)> {
    let (model, verb) = rest.rsplit_once(':')?;
    let model = model_name(model);
    if model.is_empty() { None } else { Some((model, Verb::of(verb)?)) }
}

/// A model's name without the prefix `models/`.
pub fn model_name(resource: &str) -> &str {
    resource.strip_prefix("models/").unwrap_or(resource)
}

/// What is asked of a provider, to be put behind its base URL (which ends in the API's version): streams always as
/// events.
pub fn of_provider(upstream_model: &str, verb: Verb) -> String {
    let model = model_name(upstream_model);
    let mut path = String::with_capacity(model.len() + 48);
    path.push_str("/models/");
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                path.push(char::from(byte));
            }
            _ => {
                // Writing into a string cannot fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path.push(':');
    path.push_str(verb.name());
    if verb == Verb::Stream {
        path.push_str("?alt=sse");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_model_and_a_verb() {
        let cases = [
            ("gemini-2.5-flash:generateContent", Some(("gemini-2.5-flash", Verb::Generate))),
            ("models/gemini-2.5-flash:streamGenerateContent", Some(("gemini-2.5-flash", Verb::Stream))),
            ("acme/llama:free:countTokens", Some(("acme/llama:free", Verb::CountTokens))),
            ("e:embedContent", Some(("e", Verb::Embed))),
            ("e:batchEmbedContents", Some(("e", Verb::BatchEmbed))),
            ("gemini", None),
            (":generateContent", None),
            ("models/:generateContent", None),
            ("m:predict", None),
            ("m:generatecontent", None),
            ("", None),
        ];
        for (rest, expected) in cases {
            assert_eq!(parse(rest), expected, "{rest}");
        }
    }

    #[test]
    fn a_providers_path_cannot_be_bent_by_a_models_name() {
        assert_eq!(
            of_provider("gemini-3-pro", Verb::Stream),
            "/models/gemini-3-pro:streamGenerateContent?alt=sse"
        );
        assert_eq!(of_provider("models/acme/x", Verb::Generate), "/models/acme/x:generateContent");
        assert_eq!(of_provider("a?b#c d%é", Verb::Embed), "/models/a%3Fb%23c%20d%25%C3%A9:embedContent");
    }
}
