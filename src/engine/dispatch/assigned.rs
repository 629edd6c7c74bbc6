//! What earlier steps have kept, joined with what the source says: the colleague that an `assign` step chose is a recipient of
//! the later ones, and conditions see answers under `saved`.

use crate::engine::evaluate::Answer;
use crate::model::RoleName;
use crate::rule::CompiledRule;
use crate::rule::checked::Action;
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::message::Templates;
use crate::rule::write::{ASSIGNED, Among, Member};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// The answer with it, where the enrollment has kept something.
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
    if facts.asks_saved() {
        Arc::make_mut(&mut facts).hear(saved);
    }
    facts
}

/// What the steps before might have kept, for those who only look.
pub(in crate::engine) fn rehearsed(rule: &CompiledRule, templates: &Templates) -> Json {
    let actions = rule.rule.nodes.iter().filter_map(|node| node.step.action());
    let kept = actions.filter_map(|action| stand_in(action, rule, templates));
    let mut saved = Map::new();
    kept.for_each(|(name, answer)| _ = saved.insert(name, answer));
    Json::Object(saved)
}

/// What a step might keep under which name: the first colleague, a code that is none, and of what a system answers just
/// what the rule goes on to use.
pub(in crate::engine) fn stand_in(
    action: &Action,
    rule: &CompiledRule,
    templates: &Templates,
) -> Option<(String, Json)> {
    let name = action.saves()?.to_owned();
    let answer = match action {
        Action::Assign(assign) => match &assign.among {
            Among::Addresses(addresses) => {
                json!({"key": null, "email": addresses.first(), "first_name": null, "last_name": null})
            }
            Among::Records { entity, .. } => json!({
                "key": format!("some {entity}"),
                "email": format!("some-{entity}@rehearsal.invalid"),
                "first_name": format!("<first_name of {entity}>"),
                "last_name": format!("<last_name of {entity}>"),
            }),
        },
        Action::Claim(claim) => json!({"code": format!("<code of {}>", claim.pool)}),
        Action::Webhook(webhook) => answer_of(&webhook.to, &name, rule, templates),
        _ => return None,
    };
    Some((name, answer))
}

fn answer_of(destination: &str, name: &str, rule: &CompiledRule, templates: &Templates) -> Json {
    let root = format!("saved.{name}.");
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let in_rule = rule.text.match_indices(&root).map(|(at, _)| {
        let rest = &rule.text[at + root.len()..];
        rest.split(|c| !is_path(c)).next().unwrap_or_default().trim_end_matches('.').to_owned()
    });
    let mails = rule.rule.nodes.iter().filter_map(|node| node.step.action()?.email());
    let uses = mails.flat_map(|email| templates.uses(&email.template));
    let in_mails = uses.filter_map(|used| Some(used.path.strip_prefix(&root)?.to_owned()));
    let mut answer = json!({});
    for path in in_rule.chain(in_mails).filter(|path| !path.is_empty()) {
        let mut place = &mut answer;
        for part in path.split('.') {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[part];
        }
        if place.is_null() {
            *place = json!(format!("<{path} of {destination}>"));
        }
    }
    answer
}
