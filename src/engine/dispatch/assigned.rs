//! The colleague that an earlier `assign` step chose, as a recipient of the later ones.

use crate::engine::evaluate::Answer;
use crate::model::RoleName;
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Node, Step};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::write::{ASSIGNED, Among, Member};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// The answer with them in it, where the enrollment has kept one.
pub(super) fn with_assigned(answer: Answer, saved: &Json) -> Answer {
    match answer {
        Answer::Facts(facts) => Answer::Facts(joined(facts, saved)),
        other => other,
    }
}

/// The same for facts alone.
pub(in crate::engine) fn joined(mut facts: Arc<Facts>, saved: &Json) -> Arc<Facts> {
    let kept = saved.get(ASSIGNED).and_then(|kept| serde_json::from_value::<Member>(kept.clone()).ok());
    if let Some(Member { key, email, first_name, last_name }) = kept {
        // Our own people: only bounces matter.
        let person = PersonFacts { key, email, first_name, last_name, staff: true, ..PersonFacts::default() };
        Arc::make_mut(&mut facts).recipients.insert(RoleName::new(ASSIGNED), person);
    }
    facts
}

/// What the steps before might have kept, for those who only look: the first colleague, a code that is none.
pub(in crate::engine) fn rehearsed(rule: &CheckedRule) -> Json {
    let mut saved = Map::new();
    for Node { step, .. } in &rule.nodes {
        match step {
            Step::Act(Action::Assign(assign)) => {
                let (key, email) = match &assign.among {
                    Among::Addresses(addresses) => (None, addresses.first().cloned()),
                    Among::Records { entity, .. } => (Some(format!("some {entity}")), None),
                };
                let chosen = json!({"key": key, "email": email, "first_name": null, "last_name": null});
                saved.insert(ASSIGNED.to_owned(), chosen);
            }
            Step::Act(Action::Claim(claim)) => {
                saved.insert(claim.save.clone(), json!({"code": format!("<code of {}>", claim.pool)}));
            }
            _ => {}
        }
    }
    Json::Object(saved)
}
