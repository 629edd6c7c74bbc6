//! One mail of a rule as a record would get it, to be looked at in a real mailbox. It goes to whoever asked,
//! under a subject that says so and an id of its own; the state learns nothing of it.

use super::explain::Explainer;
use crate::engine::EngineError;
use crate::engine::evaluate::Answer;
use crate::engine::port::{Email, Message};
use crate::engine::preview::Previewer;
use crate::model::{DeliveryId, Occasion, RecordId, RuleId, StepId, Value};
use crate::rule::checked::{Action, Entry, Trigger};
use crate::rule::compiled::Crossing;
use std::collections::BTreeMap;

/// A mail and where it would have gone.
#[derive(Debug, Clone)]
pub struct TestMail {
    pub step: StepId,
    /// Whom the record's own mail would reach; `None`: nobody.
    pub meant_for: Option<String>,
    /// The record has not crossed the trigger and doesn't by time alone: `occasion` is made up of now.
    pub made_up: bool,
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
    explainer.known_tenant()?;
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
    let crossing = seen.behind.into_iter().next().or(seen.ahead);
    let made_up = crossing.is_none();
    let crossing = crossing.unwrap_or_else(|| explainer.made_up(number));
    let person = email.to.as_ref().or(compiled.rule.to.as_ref()).and_then(|role| facts.recipients.get(role));
    let claimed = previewer.claimed(compiled, record, &crossing, number);
    let rendered = previewer.render(compiled, &claimed, &facts, action, person, (&[], 0)).map_err(|problem| {
        let uses = previewer.generation.templates.uses(&email.template).iter().map(|used| &used.path);
        let missing: Vec<&String> = uses.filter(|path| made_up && path.starts_with("occasion.row")).collect();
        let Some(first) = missing.first() else { return nothing(problem) };
        let why =
            format!("{record} never crosses the trigger of `{rule}`, and without an occasion there is no `{first}`");
        nothing(format!("{why}: name a record that has crossed, as `nudged preview {rule}` lists them ({problem})"))
    })?;
    let Message::Email(mut email) = rendered else { return Err(nothing(format!("`{}` is no email", node.id))) };
    let meant_for = std::mem::replace(&mut email.to_address, to.to_owned());
    let meant_for = Some(meant_for).filter(|address| !address.is_empty());
    email.to_name = None;
    email.subject = format!("[test] {}", email.subject);
    email.delivery = DeliveryId(*uuid::Uuid::new_v4().as_bytes());
    // Whoever tries the link must not unsubscribe the person it was made for.
    email.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("list-unsubscribe"));
    Ok(TestMail { step: node.id.clone(), meant_for, made_up, email })
}

impl Explainer<'_> {
    /// As if it crossed now, with what every occasion of the trigger has; the rows of some have more.
    fn made_up(&self, node: usize) -> Crossing {
        let (rule, now) = (&self.rule.rule, self.previewer.now);
        let today = now.to_zoned(self.previewer.generation.catalog.time_zone.clone()).date();
        let value = match &rule.trigger {
            Trigger::Date(_) | Trigger::Yearly(_) => Value::Date(today),
            Trigger::Survey(survey) => survey.score.as_ref().map_or(Value::Int(0), |range| {
                range.low.as_ref().or(range.high.as_ref()).cloned().unwrap_or(Value::Int(0))
            }),
            _ => Value::Instant(now),
        };
        // The last entry that begins at or before the step.
        let begins = |entry: &Entry| entry.first.is_some_and(|first| first <= node);
        Crossing {
            key: self.record.key.clone(),
            occasion: Occasion::new(now.to_string()),
            crossed_at: now,
            occasion_at: Some(now),
            value,
            row: BTreeMap::new(),
            entry: rule.entries.iter().rposition(begins).unwrap_or(0),
        }
    }
}
