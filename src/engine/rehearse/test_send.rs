//! One mail of a rule as a record would get it, to be looked at in a real mailbox. It goes to whoever asked,
//! under a subject that says so and an id of its own; the state learns nothing of it.

use super::explain::Explainer;
use crate::engine::EngineError;
use crate::engine::evaluate::Answer;
use crate::engine::port::{Email, Message};
use crate::engine::preview::Previewer;
use crate::model::{DeliveryId, RecordId, RuleId, StepId};
use crate::rule::checked::Action;

/// A mail and where it would have gone.
#[derive(Debug, Clone)]
pub struct TestMail {
    pub step: StepId,
    /// Whom the record's own mail would reach; `None`: nobody.
    pub meant_for: Option<String>,
    pub email: Email,
}

/// Renders the step of that id, or the rule's first email, for a record whether it matches or not.
pub async fn render_test(
    previewer: &Previewer<'_>,
    rule: &RuleId,
    record: &RecordId,
    step: Option<&StepId>,
    to: &str,
) -> Result<TestMail, EngineError> {
    let explainer = Explainer::new(previewer, rule, record)?;
    let compiled = explainer.rule;
    let nothing = |why: String| EngineError::NothingToShow(why);
    let wanted = |id: &StepId| step.is_none_or(|wanted| wanted == id);
    let found =
        compiled.rule.nodes.iter().enumerate().filter(|(_, node)| wanted(&node.id)).find_map(|(number, node)| {
            let mut ways = node.step.action()?.ways().iter();
            ways.find_map(|way| if let Action::Email(email) = way { Some((number, node, way, email)) } else { None })
        });
    let Some((number, node, action, email)) = found else {
        return Err(nothing(match step {
            Some(step) => format!("the rule `{rule}` has no email step `{step}`"),
            None => format!("the rule `{rule}` sends no email"),
        }));
    };
    let seen = explainer.look().await?;
    let facts = match seen.answer {
        Answer::Facts(facts) => facts,
        Answer::Gone => return Err(EngineError::NoSuchRecord(record.clone())),
        Answer::Unreadable(error) => return Err(nothing(error.to_string())),
    };
    let crossing = seen.behind.into_iter().next().or(seen.ahead).ok_or_else(|| {
        nothing(format!("{record} never crosses the trigger of `{rule}`, so there is no occasion to write about"))
    })?;
    let person = email.to.as_ref().or(compiled.rule.to.as_ref()).and_then(|role| facts.recipients.get(role));
    let claimed = previewer.claimed(compiled, record, &crossing, number);
    let rendered = previewer.render(compiled, &claimed, &facts, action, person).map_err(nothing)?;
    let Message::Email(mut email) = rendered else { return Err(nothing(format!("`{}` is no email", node.id))) };
    let meant_for = std::mem::replace(&mut email.to_address, to.to_owned());
    let meant_for = Some(meant_for).filter(|address| !address.is_empty());
    email.to_name = None;
    email.subject = format!("[test] {}", email.subject);
    email.delivery = DeliveryId(*uuid::Uuid::new_v4().as_bytes());
    // Whoever tries the link must not unsubscribe the person it was made for.
    email.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("list-unsubscribe"));
    Ok(TestMail { step: node.id.clone(), meant_for, email })
}
