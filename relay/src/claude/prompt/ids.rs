//! Ids of calls as this format takes them: letters, digits, `_` and `-`, each once in a conversation.
//!
//! Claims: the same conversation always gets the same ids (or a provider's cache would never be hit); an id that needs
//! no change keeps its form unless an earlier call has it; a result refers to its own call.

use std::collections::{HashMap, HashSet, VecDeque};

/// The ids of one request, given out in the order of the conversation.
#[derive(Default)]
pub(super) struct Ids<'a> {
    given: HashSet<String>,
    /// How many calls wanted the same id.
    wanted: HashMap<String, u64>,
    /// The ids of calls that wait for their results, by the ids in the conversation.
    waiting: HashMap<&'a str, VecDeque<String>>,
}

impl<'a> Ids<'a> {
    /// The id of a call.
    pub(super) fn of_call(&mut self, id: &'a str) -> String {
        let wanted = sane(id);
        let mut given = wanted.clone();
        while !self.given.insert(given.clone()) {
            let count = self.wanted.entry(wanted.clone()).or_insert(1);
            *count += 1;
            given = format!("{wanted}_{count}");
        }
        self.waiting.entry(id).or_default().push_back(given.clone());
        given
    }

    /// The id to which a result refers: of the earliest call of that id that has none yet.
    pub(super) fn of_result(&mut self, id: &str) -> String {
        let waiting = self.waiting.get_mut(id);
        waiting.and_then(VecDeque::pop_front).unwrap_or_else(|| sane(id))
    }
}

fn sane(id: &str) -> String {
    if id.is_empty() {
        return "call".into();
    }
    let sane = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    id.chars().map(sane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_id_stays_and_a_bad_one_is_mended_the_same_way_for_its_result() {
        let mut ids = Ids::default();
        assert_eq!(ids.of_call("toolu_01-A"), "toolu_01-A");
        assert_eq!(ids.of_call("functions.get:0"), "functions_get_0");
        assert_eq!(ids.of_call("é"), "_");
        assert_eq!(ids.of_call(""), "call");
        assert_eq!(ids.of_result("functions.get:0"), "functions_get_0");
        assert_eq!(ids.of_result("toolu_01-A"), "toolu_01-A");
        assert_eq!(ids.of_result("never.called"), "never_called");
    }

    #[test]
    fn ids_that_collide_are_told_apart() {
        let mut ids = Ids::default();
        assert_eq!(ids.of_call("a.b"), "a_b");
        assert_eq!(ids.of_call("a:b"), "a_b_2");
        assert_eq!(ids.of_call("a_b"), "a_b_3");
        assert_eq!(ids.of_result("a_b"), "a_b_3");
        assert_eq!(ids.of_result("a:b"), "a_b_2");
        assert_eq!(ids.of_result("a.b"), "a_b");
    }

    #[test]
    fn a_vendor_that_numbers_its_calls_anew_in_each_turn_gets_new_ids() {
        let mut ids = Ids::default();
        assert_eq!((ids.of_call("call_0"), ids.of_result("call_0")), ("call_0".into(), "call_0".into()));
        assert_eq!((ids.of_call("call_0"), ids.of_result("call_0")), ("call_0_2".into(), "call_0_2".into()));
        let two = (ids.of_call("x"), ids.of_call("x"));
        assert_eq!((ids.of_result("x"), ids.of_result("x")), two);
    }
}
