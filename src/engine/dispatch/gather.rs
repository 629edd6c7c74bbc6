//! Messages that are sent together: all matches of one rule that stand at the same step, to the same person, become
//! one message with a row each.
//!
//! Who belongs together is only known once facts were asked, so everything that is due at the step is claimed at once,
//! whatever one claim's limit is. Those that are just coming there are let go on first, and what another node holds is
//! waited for: otherwise one person would get two halves.

use super::decide::address;
use super::prepare::give_back;
use super::work::Boarded;
use crate::engine::context::Context;
use crate::engine::error::EngineError;
use crate::engine::port::{Claimed, Gathered, Gathering, OutboxToken};
use crate::model::{Lane, RuleId, Tenant, Value, VersionHash};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Step};
use crate::rule::compiled::{Facts, PersonFacts};
use serde_json::Value as Json;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many matches meet at most; what is beyond makes another message.
const MANY: usize = 10_000;
/// How often, and after what pause, it is looked again whether all have come.
const LOOKS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(25);

/// Whether messages of this step are sent together.
pub fn meets(rule: &CheckedRule, node: usize) -> bool {
    let action = rule.nodes.get(node).and_then(|node| node.step.action());
    action.is_some_and(|action| {
        action.email().is_some_and(|email| email.digest.is_some())
            || rule.combine && (action.email().is_some() || action.sms().is_some())
    })
}

/// The steps that lead to a node without sending or waiting for anything else.
fn before(rule: &CheckedRule, node: usize) -> Vec<usize> {
    let passes = |index: usize| !matches!(rule.nodes[index].step, Step::Act(_) | Step::Stop);
    let mut found: BTreeSet<usize> = BTreeSet::new();
    let mut ahead = vec![node];
    while let Some(place) = ahead.pop() {
        for (index, other) in rule.nodes.iter().enumerate() {
            let leads = other.next == Some(place) || other.step.inner().contains(&place);
            if leads && passes(index) && found.insert(index) {
                ahead.push(index);
            }
        }
    }
    found.into_iter().collect()
}

/// What came of a gathering.
pub enum Met {
    /// All that are due, with those that were claimed now.
    All(Vec<Boarded>),
    /// Not yet all; these, which were claimed now, are on their way.
    Coming(Vec<Boarded>),
    /// Somebody else holds some.
    Elsewhere,
}

/// Where rows of one group and lane meet.
pub struct Place<'a> {
    pub rule: &'a CheckedRule,
    pub group: &'a (RuleId, VersionHash, Tenant),
    pub lane: Lane,
    pub node: usize,
    pub held: Vec<OutboxToken>,
    /// Where the other rows stand that were claimed with them.
    pub others: Vec<usize>,
}

pub async fn gather(context: &Context, place: Place<'_>) -> Result<Met, EngineError> {
    let (rule, version, tenant) = place.group.clone();
    let of = Gathering {
        rule,
        lane: place.lane,
        tenant,
        version,
        node: place.node,
        before: before(place.rule, place.node),
        held: place.held,
        owner: context.owner.clone(),
    };
    let mut there: Vec<Boarded> = Vec::new();
    let awaited = place.others.iter().any(|node| of.before.contains(node));
    for _ in 0..LOOKS {
        let held = of.held.iter().copied().chain(there.iter().map(|row| row.claimed.token)).collect();
        let limit = MANY.saturating_sub(there.len());
        let asked = Gathering { held, ..of.clone() };
        let gathered = match context.store.gather(&asked, context.clock.now(), limit).await {
            Ok(gathered) => gathered,
            Err(error) => {
                give_back(context, there.iter().map(|row| row.claimed.token).collect()).await;
                return Err(error.into());
            }
        };
        let Gathered { there: more, coming, elsewhere } = gathered;
        let board = |claimed: Claimed| {
            let ticket = context.flight.board(claimed.token);
            Boarded { claimed, ticket }
        };
        there.extend(more.into_iter().map(board));
        if !coming.is_empty() || awaited {
            give_back(context, there.iter().map(|row| row.claimed.token).collect()).await;
            return Ok(Met::Coming(coming.into_iter().map(board).collect()));
        }
        if !elsewhere {
            return Ok(Met::All(there));
        }
        // What this process has moved on is there as soon as that is committed.
        tokio::time::sleep(PAUSE).await;
    }
    give_back(context, there.iter().map(|row| row.claimed.token).collect()).await;
    Ok(Met::Elsewhere)
}

/// Which message a row belongs to: those with the same are sent as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Together {
    lane: Lane,
    node: usize,
    channel: &'static str,
    address: String,
}

impl Together {
    /// `None`: it goes by itself.
    pub fn of(
        rule: &CheckedRule,
        (node, lane): (usize, Lane),
        action: &Action,
        to: Option<&PersonFacts>,
        number: Option<String>,
    ) -> Option<Self> {
        if !meets(rule, node) {
            return None;
        }
        let (channel, address) = match action {
            Action::Email(_) => ("email", address(to?)?.to_lowercase()),
            Action::Sms(_) => ("sms", number?),
            _ => return None,
        };
        Some(Self { lane, node, channel, address })
    }
}

/// Rows by the message they belong to.
pub type Groups<T> = BTreeMap<Together, Vec<T>>;

/// Where a match stands among those told of in one message: those that were tried before go first, so that a message is
/// tried again by whom it was tried by; then whose fact is the older, and by key. All of that is the same whenever and by
/// whomever it is asked.
pub fn turn(claimed: &Claimed) -> impl Ord + use<> {
    let key = claimed.record.key.as_str();
    let number = key.parse::<i128>().ok();
    // Numbers come before texts: by either alone, not every three would have an order.
    let by_key = (number.is_none(), number, key.to_owned());
    let of = (claimed.record.tenant.clone(), claimed.occasion.clone());
    (Reverse(claimed.attempts), claimed.occasion_at, by_key, of)
}

/// Which matches a message lists, and in which order. Those of no order of their own stay as they came.
pub fn listed<'f>(action: &Action, facts: impl Iterator<Item = &'f Facts>) -> Vec<usize> {
    let facts: Vec<&Facts> = facts.collect();
    let mut listed: Vec<usize> = (0..facts.len()).collect();
    let Some(digest) = action.email().and_then(|email| email.digest.as_ref()) else { return listed };
    listed.sort_by(|one, other| {
        let orders = digest.order.iter().map(|(field, greatest_first)| {
            let value = |index: usize| facts[index].record.get(field.as_str());
            let (one, other) = (value(*one), value(*other));
            in_order(one, other, *greatest_first)
        });
        orders.fold(Ordering::Equal, Ordering::then)
    });
    listed.truncate(digest.rows);
    listed
}

/// Numbers as numbers, everything else as text; what is missing comes last, whichever way round.
fn in_order(one: Option<&Value>, other: Option<&Value>, greatest_first: bool) -> Ordering {
    let present = |value: Option<&Value>| value.filter(|value| !value.is_missing()).map(Value::to_json);
    match (present(one), present(other)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => {
            let rising = match (number_in(&one), number_in(&other)) {
                (Some(one), Some(other)) => one.total_cmp(&other),
                _ => text_in(&one).cmp(&text_in(&other)),
            };
            if greatest_first { rising.reverse() } else { rising }
        }
    }
}

fn number_in(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn text_in(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatch::decide_tests::rule;
    use crate::rule::checked::{Case, Node, Wait};
    use crate::rule::checked::{Digest, Email, Until};
    use crate::rule::condition::Condition;

    fn node(id: &str, step: Step, next: Option<usize>) -> Node {
        Node { id: id.into(), step, next }
    }

    fn digest(order: &[(&str, bool)], rows: usize) -> Action {
        let order = order.iter().map(|(field, desc)| ((*field).into(), *desc)).collect();
        Action::Email(Email {
            template: "d".into(),
            to: None,
            confirms: None,
            asks: None,
            digest: Some(Digest { rows, order }),
        })
    }

    #[test]
    fn what_leads_to_a_meeting_at_once_is_waited_for_and_nothing_else() {
        let mut rule = rule();
        let wait = || Step::Wait(Wait { until: Until::For(None), at: None, days: Vec::new() });
        let case = Case { name: "a".into(), when: Condition::All(Vec::new()), text: String::new(), first: Some(2) };
        rule.nodes = vec![
            node("mail", Step::Act(digest(&[], 1)), Some(1)),
            node("branch", Step::Branch { cases: vec![case], otherwise: None }, Some(3)),
            node("wait", wait(), Some(4)),
            node("task", rule.nodes[3].step.clone(), Some(4)),
            node("digest", Step::Act(digest(&[], 1)), None),
        ];
        assert!(meets(&rule, 4) && !meets(&rule, 3));
        assert_eq!(before(&rule, 4), [1, 2], "the task is sent first, and so is the mail before the branch");
        rule.nodes[0].step = wait();
        assert_eq!(before(&rule, 4), [0, 1, 2]);
    }

    #[test]
    fn rows_are_put_in_order_and_the_rest_is_left_to_be_counted() {
        let facts = |score: Value, name: &str| {
            let mut facts = crate::engine::dispatch::decide_tests::facts();
            facts.record = [("score".to_owned(), score), ("name".to_owned(), Value::Text(name.into()))].into();
            facts
        };
        let all = [
            facts(Value::Int(9), "b"),
            facts(Value::Null, "x"),
            facts(Value::Text("10".into()), "a"),
            facts(Value::Int(9), "A"),
        ];
        let listed = |order: &[(&str, bool)], rows| listed(&digest(order, rows), all.iter());
        assert_eq!(listed(&[("score", false), ("name", false)], 9), [3, 0, 2, 1]);
        assert_eq!(listed(&[("score", true), ("name", false)], 9), [2, 3, 0, 1], "without a value last, also falling");
        assert_eq!(listed(&[("name", true)], 2), [1, 0]);
        assert_eq!(listed(&[], 3), [0, 1, 2]);
    }
}
