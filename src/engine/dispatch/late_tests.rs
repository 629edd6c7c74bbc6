//! What is too late, overtaken, or still worth sending.

use super::decide_tests::{Given, claimed, email, instant, node, rule};
use crate::engine::port::Claimed;
use crate::model::Period;
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Case, Email, Node, Sms, Step, Until, Wait};
use crate::rule::condition::Condition;
use crate::rule::write::{Claim, WhenEmpty};
use rstest::rstest;

/// A mail of ten days ago, and behind a wait that is over as well another step.
fn followed_by(second: Step) -> Given {
    let old = instant("2026-11-10T10:00:00Z");
    let day = Wait { until: Until::AfterEntry(Period::days(1)), at: None, days: Vec::new() };
    let mut rule = rule();
    rule.late = Some(Period::days(30));
    rule.nodes =
        vec![node("first", email("a"), Some(1)), node("day", Step::Wait(day), Some(2)), node("second", second, None)];
    Given { rule, claimed: Claimed { planned_at: old, entered_at: old, ..claimed(0) }, ..Given::default() }
}

fn email_to(role: &str) -> Step {
    let to = Some(role.into());
    Step::Act(Action::Email(Email { template: "b".into(), to, confirms: None, asks: None, digest: None }))
}

#[rstest]
#[case::the_same_reader(email("b"), "skip late, go to 2 at 2026-11-20T10:00:00Z")]
#[case::by_the_rules_own_role(email_to("main_contact"), "skip late, go to 2 at 2026-11-20T10:00:00Z")]
#[case::a_colleague(email_to("owner"), "send")]
#[case::another_channel(Step::Act(Action::Sms(Sms { text: "Hi".into(), to: None, via: None })), "send")]
fn only_a_message_to_the_same_reader_by_the_same_way_makes_one_needless(#[case] second: Step, #[case] expected: &str) {
    assert_eq!(followed_by(second).decided(), expected);
}

/// Over already, it goes on to the next such time of day, and then it is 24 hours late.
#[rstest]
#[case("1 day", "skip late, go to 2 at 2026-11-20T13:30:00Z")]
#[case("23 hours", "send")]
fn a_message_is_overtaken_by_one_that_is_sent(#[case] late: &str, #[case] expected: &str) {
    let mut given = followed_by(email("b"));
    let Step::Wait(wait) = &mut given.rule.nodes[1].step else { panic!("the wait") };
    wait.at = Some("13:30".parse().unwrap());
    given.rule.late = Some(late.parse().unwrap());
    let (entered_at, planned_at) = (instant("2026-11-18T12:00:00Z"), instant("2026-11-19T12:00:00Z"));
    given.claimed = Claimed { entered_at, planned_at, ..claimed(0) };
    assert_eq!(given.decided(), expected);
}

#[test]
fn what_is_as_late_as_allowed_and_a_moment_is_sent() {
    let planned = |at: &str| Given { claimed: Claimed { planned_at: instant(at), ..claimed(0) }, ..Given::default() };
    let late = |at: &str| {
        let mut given = planned(at);
        given.rule.late = Some(Period::days(1));
        given.decided()
    };
    assert_eq!(late("2026-11-19T09:59:59Z"), "send");
    assert!(late("2026-11-19T09:50:00Z").starts_with("end late"));
}

#[test]
fn what_our_own_people_are_told_is_never_overtaken() {
    let mut given = followed_by(email("b"));
    given.facts.as_mut().unwrap().recipients.get_mut("main_contact").unwrap().staff = true;
    assert_eq!(given.decided(), "send");
}

/// Nothing was sent yet, whatever stands before the first message.
#[test]
fn a_sequence_begins_with_its_first_message() {
    let old = instant("2026-11-10T10:00:00Z");
    let late = |nodes: Vec<Node>, at: usize| {
        let rule = CheckedRule { nodes, ..rule() };
        Given { rule, claimed: Claimed { planned_at: old, ..claimed(at) }, ..Given::default() }.decided()
    };
    let case = Case { name: "vip".into(), when: Condition::All(Vec::new()), text: String::new(), first: Some(1) };
    let branch = Step::Branch { cases: vec![case], otherwise: None };
    let behind_a_branch =
        vec![node("b", branch, Some(2)), node("m1", email("a"), Some(2)), node("m2", email("b"), None)];
    assert!(late(behind_a_branch.clone(), 1).starts_with("end late"));
    assert_eq!(late(behind_a_branch, 2), "skip late, end completed", "perhaps behind the first");
}

/// The code would be gone, and the mail that was to bring it is too late.
#[test]
fn no_code_is_taken_for_a_message_that_is_too_late() {
    let old = instant("2026-11-10T10:00:00Z");
    let claim = Claim { pool: "vouchers".into(), save: "code".into(), when_empty: WhenEmpty::Hold };
    let nodes = vec![node("code", Step::Act(Action::Claim(claim)), Some(1)), node("mail", email("a"), None)];
    let late = Given {
        rule: CheckedRule { nodes, ..rule() },
        claimed: Claimed { planned_at: old, ..claimed(0) },
        ..Given::default()
    };
    assert!(late.decided().starts_with("end late"));
}
