//! Where a rehearsal guesses: steps that go by what another system answers. Nobody is asked in one, so the answers are made
//! up, and so is the way that is taken by them.

use crate::rule::CheckedRule;

/// The branches and waits that ask for an answer, and `exit_when`, in the order of the steps.
pub(in crate::engine) fn guessed(rule: &CheckedRule) -> Vec<String> {
    let asks = rule.nodes.iter().filter(|node| node.step.conditions().iter().any(|when| when.asks_saved()));
    let exits = rule.exit_when.iter().any(|term| term.condition.asks_saved()).then(|| "exit_when".to_owned());
    asks.map(|node| node.id.to_string()).chain(exits).collect()
}

/// Whether the step of this id keeps an answer.
pub(super) fn keeps_answer(rule: &CheckedRule, step: &str) -> bool {
    let node = rule.nodes.iter().find(|node| node.id.as_str() == step);
    node.and_then(|node| node.step.action()).is_some_and(|action| action.saves().is_some())
}
