//! After a standstill several messages of one sequence may be due at once. Only the latest of them is worth sending: a
//! reminder of a month that is left is nonsense beside the one of a week.

use super::decide::Situation;
use super::waiting::end_at_date;
use super::walk::Ends;
use crate::engine::lateness::is_over;
use crate::model::{RoleName, StepId};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Step, Until};
use crate::rule::compiled::Facts;

/// The message of the same sequence that was planned for later than this one and is due as well. `None`: there is none
/// that is known to come; branches and conditions aren't looked behind.
pub fn overtaken_by<'a>(of: &Situation<'a, '_>, facts: &Facts) -> Option<&'a StepId> {
    let own = of.rule.nodes.get(of.node)?;
    let (mut planned, mut at, mut place) = (of.claimed.planned_at, of.now, own.next);
    for _ in 0..of.rule.nodes.len() {
        let node = of.rule.nodes.get(place?)?;
        place = node.next;
        match &node.step {
            Step::Wait(wait) => {
                let ends = match &wait.until {
                    // Over already, it may go on to the next such time of day.
                    Until::AfterEntry(_) => of.way(facts).ends(wait, planned, at)?,
                    Until::Date(date) => {
                        let end = end_at_date(of, wait, date, facts)?.max(planned);
                        Ends { planned: end, at: end.max(at) }
                    }
                    // Counted from what is yet to happen.
                    Until::For(_) | Until::When(_) => return None,
                };
                if ends.planned > of.now {
                    return None;
                }
                (planned, at) = (ends.planned, ends.at);
            }
            Step::Split(split) => {
                let arm = split.arm(&of.claimed.record).filter(|arm| !arm.holdout)?;
                place = arm.first;
            }
            // One that is too late itself when it goes would leave its reader without any.
            Step::Act(action)
                if planned > of.claimed.planned_at
                    && !is_over(of.late(), planned, at)
                    && same_reader(of.rule, own.step.action()?, action) =>
            {
                return Some(&node.id);
            }
            Step::Act(_) => {}
            Step::Branch { .. } | Step::Enroll(_) | Step::Stop => return None,
        }
    }
    None
}

/// Whether both are messages to the same person by the same channel, so that where one can go the other can. What is
/// for somebody else, or goes another way, makes nothing needless.
fn same_reader(rule: &CheckedRule, one: &Action, other: &Action) -> bool {
    // A step that writes the rule's own role out means the same.
    let same = |one: &Option<RoleName>, other: &Option<RoleName>| {
        one.as_ref().or(rule.to.as_ref()) == other.as_ref().or(rule.to.as_ref())
    };
    match (one, other) {
        (Action::Email(one), Action::Email(other)) => same(&one.to, &other.to),
        (Action::Sms(one), Action::Sms(other)) => same(&one.to, &other.to),
        (Action::Preferred(one), Action::Preferred(other)) => {
            let pairs = || one.ways.iter().zip(&other.ways);
            let alike =
                |(one, other): (&Action, &Action)| same_reader(rule, one, other) || is_call(one) && is_call(other);
            one.ways.len() == other.ways.len() && pairs().all(alike)
        }
        _ => false,
    }
}

const fn is_call(action: &Action) -> bool {
    matches!(action, Action::Task(_))
}
