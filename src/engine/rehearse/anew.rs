//! The message of a delivery as it would be now: by the steps that its enrollment has, or by those of its rule where
//! that version isn't kept any more. It was decided on long ago, so nothing is decided again.

use crate::engine::EngineError;
use crate::engine::dispatch::{joined, kind, reader, subject};
use crate::engine::evaluate::{self, Answer};
use crate::engine::port::{Claimed, DeliveryStory};
use crate::engine::preview::{PreviewMessage, Previewer};
use crate::engine::versions::{Standing, Versions, successor};
use crate::model::{DeliveryId, StepId};
use crate::rule::CompiledRule;
use crate::rule::checked::Action;
use std::sync::Arc;

/// Rounds in which a delivery is looked for by its id.
const ROUNDS: u32 = 16;

/// Renders it from what is true now.
pub async fn render_anew(previewer: &Previewer<'_>, story: &DeliveryStory) -> Result<PreviewMessage, EngineError> {
    let nothing = |why: &str| EngineError::NothingToShow(why.to_owned());
    let row = story.row.as_ref().ok_or_else(|| nothing("the person was erased"))?;
    let rule = rule_of(previewer, row).await?;
    let step = StepId::from(story.view.step.as_str());
    let found = rule.rule.nodes.iter().position(|node| node.id == step);
    let Some(node) = found else {
        return Err(EngineError::NothingToShow(format!("the rule `{}` has no step `{step}` any more", rule.rule.id)));
    };
    let ways = rule.rule.nodes[node].step.action().map(Action::ways).unwrap_or_default();
    let same = ways.iter().find(|way| kind(way) == story.view.kind);
    let action = same.or(ways.first()).ok_or_else(|| nothing("its step sends nothing"))?;
    let claimed = Claimed {
        node,
        iteration: iteration(previewer, row, &step, story.view.delivery),
        attempts: row.attempts.saturating_sub(1),
        due_at: previewer.now,
        planned_at: previewer.now,
        ..row.clone()
    };
    let (record, subjects) = (&claimed.record, [subject(&rule, &claimed)]);
    let answers = evaluate::ask(previewer.source, &rule, &record.tenant, &subjects, previewer.now).await?;
    let facts = match answers.into_iter().next() {
        Some(Answer::Facts(facts)) => joined(facts, &claimed.saved),
        Some(Answer::Unreadable(error)) => return Err(EngineError::NothingToShow(error.to_string())),
        Some(Answer::Gone) | None => return Err(EngineError::NoSuchRecord(record.clone())),
    };
    let to = reader(&rule.rule, action, &facts);
    let content =
        previewer.render(&rule, &claimed, &facts, action, to, (&[], 0)).map_err(EngineError::NothingToShow)?;
    Ok(PreviewMessage { step, kind: kind(action), due_at: previewer.now, content: Ok(content) })
}

/// What it runs, or else what goes by its rule's name now.
async fn rule_of(previewer: &Previewer<'_>, row: &Claimed) -> Result<Arc<CompiledRule>, EngineError> {
    let (store, generation) = (previewer.store, previewer.generation);
    match Versions::default().standing(store, generation, &row.rule, &row.version).await? {
        Standing::Run(rule) | Standing::Migrate { to: rule, .. } => Ok(rule),
        Standing::Cancel(_) | Standing::Hold(_) => {
            let current = successor(generation, &row.rule).cloned();
            let gone =
                || EngineError::NothingToShow(format!("the rule `{}` is not among the rules any more", row.rule));
            current.ok_or_else(gone)
        }
    }
}

/// In which round of its steps it stands, so that it bears the same id.
fn iteration(previewer: &Previewer<'_>, row: &Claimed, step: &StepId, id: Option<DeliveryId>) -> u32 {
    let secret = previewer.store.secret();
    (0..ROUNDS).find(|round| Some(secret.delivery_id(row.match_id, step, *round)) == id).unwrap_or(0)
}
