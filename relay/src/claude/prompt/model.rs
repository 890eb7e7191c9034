//! What a model takes, told by its name.
//!
//! Claude's generations differ in what they refuse: a caller of another format must not be answered with an error for
//! a field that it sets by habit. A name that is not Claude's belongs to a vendor that speaks the format, and gets
//! what all of them take.

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Does it think as it likes, at an effort in a word? The others take a budget.
    pub(super) is_adaptive: bool,
    /// Does it take a temperature and its like?
    pub(super) takes_sampling: bool,
    /// Does it take a temperature and a nucleus in one call?
    pub(super) takes_both: bool,
    /// Does it take `strict` of a tool?
    pub(super) takes_strict: bool,
    /// Does it know the effort between high and the most?
    pub(super) knows_xhigh: bool,
}

/// What a model takes, by its name at the provider: `claude-opus-4-5-20251101`, `anthropic.claude-opus-4-6-v1:0`,
/// `anthropic/claude-sonnet-4.5`, `deepseek-chat`.
pub(super) fn abilities(upstream_model: &str) -> Abilities {
    let Some(version) = version(upstream_model) else {
        return Abilities {
            is_adaptive: false,
            takes_sampling: true,
            takes_both: true,
            takes_strict: false,
            knows_xhigh: false,
        };
    };
    Abilities {
        is_adaptive: version >= (4, 6),
        takes_sampling: version < (4, 7),
        takes_both: version < (4, 1),
        takes_strict: version >= (4, 1),
        knows_xhigh: version >= (4, 7),
    }
}

/// Claude's generation; a name without numbers is taken for the newest. `None`: it is not Claude.
fn version(model: &str) -> Option<(u32, u32)> {
    let model = model.to_ascii_lowercase();
    let (_, name) = model.split_once("claude")?;
    let mut numbers = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .skip_while(|word| !is_version(word))
        // A date, a word or a revision ends it.
        .take_while(|word| is_version(word))
        .filter_map(|word| word.parse().ok());
    Some(match numbers.next() {
        Some(major) => (major, numbers.next().unwrap_or(0)),
        None => (u32::MAX, 0),
    })
}

fn is_version(word: &str) -> bool {
    (1..=2).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_from_any_form_of_the_name() {
        let cases = [
            ("claude-3-opus-20240229", Some((3, 0))),
            ("claude-3-5-sonnet-latest", Some((3, 5))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-opus-4-5-20251101", Some((4, 5))),
            ("claude-sonnet-4-5@20250929", Some((4, 5))),
            ("anthropic/claude-sonnet-4.6", Some((4, 6))),
            ("us.anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-fable-5-2", Some((5, 2))),
            ("Claude-Opus-5", Some((5, 0))),
            ("claude-mythos-preview", Some((u32::MAX, 0))),
            ("deepseek-chat", None),
        ];
        for (name, expected) in cases {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn newer_models_take_efforts_and_older_ones_budgets() {
        assert!(!abilities("claude-opus-4-5").is_adaptive && !abilities("kimi-k2").is_adaptive);
        assert!(abilities("claude-opus-4-6").is_adaptive && abilities("claude-sonnet-5").is_adaptive);
        assert!(abilities("claude-opus-4-6").takes_sampling && !abilities("claude-opus-4-8").takes_sampling);
    }
}
