//! A vendor's counts, found by the template's pointers and brought into disjoint classes.
//!
//! Claims: over the events of a stream the last count of each class holds, and nothing is added up; every token is in
//! exactly one class; counts that cannot be meant are no counts, and without a count of both sides there is none at
//! all, so that an estimate takes their place and never a zero.

use super::template::UsageRules;
use crate::count::Count;
use domain::Tokens;

/// The counts found so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    input: Count,
    output: Count,
    total: Count,
    cache_read: Count,
    cache_write: Count,
    cache_write_1h: Count,
    reasoning: Count,
}

impl Counted {
    /// Reads what an answer or an event says. Did it say anything?
    pub(super) fn read(&mut self, rules: &UsageRules, json: &str) -> bool {
        let mut has_any = false;
        for (pointer, count) in [
            (&rules.input, &mut self.input),
            (&rules.output, &mut self.output),
            (&rules.total, &mut self.total),
            (&rules.cache_read, &mut self.cache_read),
            (&rules.cache_write, &mut self.cache_write),
            (&rules.cache_write_1h, &mut self.cache_write_1h),
            (&rules.reasoning, &mut self.reasoning),
        ] {
            let value = pointer.as_ref().and_then(|pointer| pointer.find(json));
            if let Some(found) = value.and_then(|value| serde_json::from_str::<Count>(value.get()).ok()) {
                *count = found;
                has_any = true;
            }
        }
        has_any
    }

    /// The classes. `None`: one side is not counted, or the counts contradict each other.
    pub(super) fn tokens(&self, rules: &UsageRules) -> Option<Tokens> {
        let cache_read = self.cache_read.or_zero();
        let cache_write = self.cache_write.or_zero();
        let cache_write_1h = self.cache_write_1h.or_zero();
        let reasoning = self.reasoning.or_zero();
        // Sums of counts, of which each is at most MAX_COUNT, cannot overflow.
        let cached = cache_read + cache_write + cache_write_1h;
        let beside_input = if rules.input_includes_cache { 0 } else { cached };
        let beside_output = if rules.output_includes_reasoning { 0 } else { reasoning };
        let beside = beside_input + beside_output;
        let (input, output) = match (self.input, self.output, self.total) {
            (Count::Is(input), Count::Is(output), _) => (input, output),
            (Count::Is(input), _, Count::Is(total)) => (input, total.checked_sub(input + beside)?),
            (_, Count::Is(output), Count::Is(total)) => (total.checked_sub(output + beside)?, output),
            _ => return None,
        };
        // Parts above their whole are a vendor that counts them beside it after all: they are real.
        let input = if rules.input_includes_cache { input.saturating_sub(cached) } else { input };
        let reasoning = if rules.output_includes_reasoning { reasoning.min(output) } else { reasoning };
        let output = if rules.output_includes_reasoning { output - reasoning } else { output };
        Some(Tokens {
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            ..Tokens::default()
        })
    }
}
