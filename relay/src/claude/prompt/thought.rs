//! How much the model shall think.
//!
//! Claims: a budget lies from 1024 to below the cap; where thinking would get the request refused, it is left out and
//! noted.

use super::model::Abilities;
use super::shape::{Block, Thinking};
use super::turns::Said;
use super::write::Dropped;
use crate::dialogue::{Effort, Reasoning, Role};

/// The least a model may think, in tokens.
const MIN_BUDGET: u64 = 1024;

/// What else is asked, as far as thinking depends on it.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) max_tokens: u64,
    /// Must a tool be called?
    pub(super) is_forced: bool,
    /// Does a result wait for the model whose call came without a signed thought?
    pub(super) in_unsigned_loop: bool,
}

/// Thoughts before a call must come back with its result, or thinking must be off.
pub(super) fn is_unsigned_loop(messages: &[Said<'_>]) -> bool {
    let [.., (Role::Assistant, calls), (Role::User, results)] = messages else { return false };
    let starts_with_thought =
        matches!(calls.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }));
    matches!(results.first(), Some(Block::ToolResult { .. })) && !starts_with_thought
}

/// How much the model shall think, and the effort in a word where it takes one.
pub(super) fn thinking(
    reasoning: Option<&Reasoning>,
    can: Abilities,
    asked: Asked,
    dropped: &mut Dropped,
) -> (Option<Thinking>, Option<&'static str>) {
    let effort = match reasoning {
        None => return (None, None),
        Some(Reasoning::Off | Reasoning::Budget(0)) => {
            return (Some(Thinking { r#type: "disabled", budget_tokens: None }), None);
        }
        Some(Reasoning::Effort(effort)) => Some(*effort),
        Some(Reasoning::Budget(tokens)) => Some(Effort::of_budget(*tokens)),
        Some(Reasoning::Adaptive) => None,
    };
    // A model cannot be told to think and to call a tool at once.
    if asked.is_forced {
        dropped.note("reasoning");
        return (None, None);
    }
    if can.is_adaptive {
        let effort = effort.map(|effort| effort_word(effort, can));
        return (Some(Thinking { r#type: "adaptive", budget_tokens: None }), effort);
    }
    // The thought and the answer share the cap, and the answer shall have a quarter of it.
    let share = asked.max_tokens - asked.max_tokens / 4;
    let budget = match reasoning {
        Some(Reasoning::Budget(tokens)) if *tokens < asked.max_tokens => *tokens,
        Some(Reasoning::Budget(_)) => share,
        Some(Reasoning::Off | Reasoning::Effort(_) | Reasoning::Adaptive) | None => {
            effort.unwrap_or(Effort::Medium).budget().min(share)
        }
    };
    let budget = budget.max(MIN_BUDGET);
    if budget >= asked.max_tokens || asked.in_unsigned_loop {
        dropped.note("reasoning");
        return (None, None);
    }
    (Some(Thinking { r#type: "enabled", budget_tokens: Some(budget) }), None)
}

fn effort_word(effort: Effort, can: Abilities) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Higher if can.knows_xhigh => "xhigh",
        Effort::Higher | Effort::Max => "max",
    }
}
