//! A rule's terms with what they came to, from the facts, and what they looked at, beside them.

use crate::engine::port::{Source, SourceError};
use crate::model::Tenant;
use crate::rule::CompiledRule;
use crate::rule::checked::{Step, Until, Wait};
use crate::rule::compiled::{Facts, Subject};
use crate::rule::condition::Condition;
use crate::rule::generation::Generation;
use crate::rule::operands::{Basis, Operand, OperandsPlan, Section, basis, of_score};
use futures::TryStreamExt;
use jiff::Timestamp;

/// One term of a rule and what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct TermAnswer {
    pub section: Section,
    /// As written.
    pub text: String,
    /// `None`: unknown, which doesn't match.
    pub holds: Option<bool>,
    pub basis: Basis,
    /// What stood on the left of its comparisons.
    pub operands: Vec<Operand>,
}

/// Asks the operands of one record. A rule without comparisons has none; a row that can't be read neither.
pub async fn operands(
    source: &dyn Source,
    generation: &Generation,
    rule: &CompiledRule,
    tenant: &Tenant,
    subject: &Subject,
    now: Timestamp,
) -> Result<Vec<Operand>, SourceError> {
    let Some(plan) = OperandsPlan::render(&rule.rule, &generation.catalog, source.dialect()) else {
        return Ok(Vec::new());
    };
    let mut rows = source.rows(tenant, plan.statement(std::slice::from_ref(subject), now));
    let Some(row) = rows.try_next().await? else { return Ok(Vec::new()) };
    Ok(plan.read(&row).map(|(_, operands)| operands).unwrap_or_default())
}

/// Every term in the order of the rule file.
pub fn answers(
    generation: &Generation,
    rule: &CompiledRule,
    facts: Option<&Facts>,
    operands: &[Operand],
) -> Vec<TermAnswer> {
    let checked = &rule.rule;
    let Some(entity) = generation.catalog.entity(&checked.for_each) else { return Vec::new() };
    let answer = |section, number, text: &str, condition, holds| TermAnswer {
        section,
        text: text.to_owned(),
        holds,
        basis: basis(&generation.catalog, entity, condition),
        operands: operands
            .iter()
            .filter(|operand| operand.section == section && operand.term == number)
            .cloned()
            .chain(facts.into_iter().flat_map(|facts| of_score(section, number, condition, &facts.score)))
            .collect(),
    };
    let at = |answers: Option<&Vec<Option<bool>>>, number: usize| answers.and_then(|all| all.get(number)).copied()?;
    let mut found = Vec::new();
    for (number, term) in checked.conditions.iter().enumerate() {
        let holds = at(facts.map(|facts| &facts.conditions), number);
        found.push(answer(Section::Where, number, &term.text, &term.condition, holds));
    }
    for (number, term) in checked.only_at_entry.iter().enumerate() {
        let holds = at(facts.map(|facts| &facts.only_at_entry), number);
        found.push(answer(Section::OnlyAtEntry, number, &term.text, &term.condition, holds));
    }
    if let Some(goal) = &checked.goal {
        found.push(answer(Section::Goal, 0, &goal.text, &goal.when, facts.and_then(|facts| facts.goal)));
    }
    for (number, term) in checked.exit_when.iter().enumerate() {
        let holds = at(facts.map(|facts| &facts.exit_when), number);
        found.push(answer(Section::ExitWhen, number, &term.text, &term.condition, holds));
    }
    for (node, place) in checked.nodes.iter().enumerate() {
        for (number, (text, condition)) in texts(&place.step).into_iter().enumerate() {
            let holds = facts.and_then(|facts| facts.cases.get(&(node, number)).copied().flatten());
            found.push(answer(Section::Case(node, number), 0, &text, condition, holds));
        }
    }
    found
}

/// The conditions of a step as people read them.
fn texts(step: &Step) -> Vec<(String, &Condition)> {
    match step {
        Step::Branch { cases, .. } => {
            cases.iter().map(|case| (format!("{}: {}", case.name, case.text), &case.when)).collect()
        }
        Step::Wait(Wait { until: Until::When(when), .. }) => vec![(format!("waits for: {}", when.text), &when.when)],
        _ => Vec::new(),
    }
}
