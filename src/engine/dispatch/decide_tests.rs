//! Eligibility at send, one reason at a time.

use super::decide::{Decision, Situation, decide};
use crate::engine::port::{Claimed, Noted, OutboxToken, Then};
use crate::model::{
    AddressHash, Channel, Lane, MatchId, Outcome, Period, Preference, PreferenceSource, RecordId, SkipReason,
    SuppressionReason, Topic, Value,
};
use crate::rule::CheckedRule;
use crate::rule::checked::{
    Action, Backfill, Cadence, Case, DateTrigger, Email, Entry, Goal, Guard, Inactivity, Mode, Node, Offset, OnChange,
    OnDelete, OnRematch, Purpose, Step, Task, Trigger, UnlessOpen, Until, Wait,
};
use crate::rule::compiled::{Facts, PersonFacts};
use crate::rule::condition::{Condition, Term};
use jiff::{Timestamp, civil, tz::TimeZone};
use rstest::rstest;
use serde_json::json;
use std::collections::BTreeMap;

const NOW: &str = "2026-11-20T10:00:00Z";

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn term(text: &str) -> Term {
    Term { text: text.into(), condition: Condition::All(Vec::new()) }
}

fn node(id: &str, step: Step, next: Option<usize>) -> Node {
    Node { id: id.into(), step, next }
}

fn email(template: &str) -> Step {
    Step::Act(Action::Email(Email { template: template.into(), to: None, confirms: None }))
}

/// Mail, a week, mail, task.
pub fn rule() -> CheckedRule {
    let task =
        Task { title: "Call".into(), body: None, assign_to: None, due: None, unless_open: Some(UnlessOpen::Any) };
    let week = Wait { until: Until::For(Some(Period::days(7))), at: None, days: Vec::new() };
    CheckedRule {
        id: "win-back".into(),
        was: Vec::new(),
        file: "win-back.yaml".into(),
        description: String::new(),
        owner: None,
        mode: Mode::Live,
        purpose: Purpose::Topic(Topic::from("offers")),
        for_each: "customer".into(),
        to: Some("main_contact".into()),
        sender: None,
        trigger: Trigger::Inactivity(Inactivity { of: "orders".into(), silent_for: Period::days(90), fallback: None }),
        conditions: vec![term("country is AT")],
        only_at_entry: Vec::new(),
        script: None,
        goal: Some(Goal {
            name: "bought again".into(),
            when: Condition::All(Vec::new()),
            within: None,
            text: String::new(),
        }),
        exit_when: vec![term("status is closed")],
        cadence: Cadence::Every(Period::days(1)),
        backfill: Backfill::None,
        on_rematch: OnRematch::Ignore,
        late: None,
        keep_trying: None,
        recheck: Period::days(1),
        guard: Guard { per_day: None, percent_per_day: None, growth: None, floor: 50 },
        expect: None,
        calendar: std::sync::Arc::default(),
        spread: None,
        on_change: OnChange::Pin,
        on_delete: OnDelete::Drain,
        entries: vec![Entry { offset: None, first: Some(0) }],
        nodes: vec![
            node("win-back-1", email("win-back-1"), Some(1)),
            node("wait", Step::Wait(week), Some(2)),
            node("win-back-2", email("win-back-2"), None),
        ],
    }
    .with(node("call", Step::Act(Action::Task(task)), None))
}

impl CheckedRule {
    fn with(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }
}

fn person() -> PersonFacts {
    PersonFacts { email: Some("a@b.example".into()), email_consent: Some(true), ..PersonFacts::default() }
}

fn facts() -> Facts {
    Facts {
        key: "1".into(),
        conditions: vec![Some(true)],
        only_at_entry: Vec::new(),
        goal: Some(false),
        exit_when: vec![Some(false)],
        cases: BTreeMap::new(),
        score: crate::rule::Score::NotAsked,
        record: BTreeMap::new(),
        date: None,
        recipients: BTreeMap::from([("main_contact".into(), person())]),
        zone: TimeZone::UTC,
    }
}

fn claimed(node: usize) -> Claimed {
    Claimed {
        token: OutboxToken { id: 1, epoch: 1 },
        match_id: MatchId([1; 16]),
        rule: "win-back".into(),
        lane: Lane::Live,
        version: "v".into(),
        record: RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() },
        occasion: "2026-08-22T10:00:00Z".into(),
        occasion_at: None,
        occasion_data: json!({}),
        entered_at: instant(NOW),
        entry: 0,
        node,
        iteration: 0,
        attempts: 0,
        due_at: instant(NOW),
        planned_at: instant(NOW),
        since: None,
        saved: json!({}),
        discarded: false,
    }
}

/// A decision put into one line.
struct Given {
    rule: CheckedRule,
    claimed: Claimed,
    facts: Option<Facts>,
    suppressed: Option<SuppressionReason>,
    said: Option<Preference>,
    task_open: bool,
}

impl Default for Given {
    fn default() -> Self {
        let (rule, claimed, facts) = (rule(), claimed(0), Some(facts()));
        Self { rule, claimed, facts, suppressed: None, said: None, task_open: false }
    }
}

impl Given {
    fn facts(change: impl FnOnce(&mut Facts)) -> Self {
        let mut facts = facts();
        change(&mut facts);
        Self { facts: Some(facts), ..Self::default() }
    }

    fn person(change: impl FnOnce(&mut PersonFacts)) -> Self {
        Self::facts(|facts| change(facts.recipients.get_mut("main_contact").unwrap()))
    }

    fn purpose(mut self, purpose: Purpose) -> Self {
        self.rule.purpose = purpose;
        self
    }

    fn situation(&self) -> Situation<'_, '_> {
        Situation {
            rule: &self.rule,
            claimed: &self.claimed,
            node: self.claimed.node,
            facts: self.facts.as_ref(),
            now: instant(NOW),
            suppressed: self.suppressed,
            said: self.said.as_ref(),
            task_open: self.task_open,
        }
    }

    fn decided(self) -> String {
        let line = |then: &Then| match then {
            Then::Advance { node, due_at, .. } => format!("go to {node} at {due_at}"),
            Then::Wait { node, due_at, planned_at, .. } => format!("look at {node} at {due_at}, for {planned_at}"),
            Then::End { reason, .. } => format!("end {}", reason.as_str()),
            other => format!("{other:?}"),
        };
        match decide(&self.situation()) {
            Decision::Act { .. } => "send".into(),
            Decision::Move { then, notes } => {
                let said: Vec<String> = notes.iter().map(|(_, noted)| in_words(noted)).collect();
                format!("{} {}", said.join(", "), line(&then))
            }
            Decision::Enroll { rule, .. } => format!("enroll {rule}"),
            Decision::Broken(reason) => format!("broken: {reason}"),
            Decision::Refuse { outcome: Outcome::Skipped { reason, .. }, then, .. } => {
                format!("skip {}, {}", reason.as_str(), line(&then))
            }
            Decision::Refuse { outcome: Outcome::Ended { detail, .. }, then, .. } => {
                format!("{}: {detail}", line(&then))
            }
            Decision::Refuse { outcome, .. } => format!("{outcome:?}"),
        }
    }
}

fn in_words(noted: &Noted) -> String {
    match noted {
        Noted::Branch(name) => name.clone(),
        other => format!("{}{}", other.as_str(), other.until().map_or_else(String::new, |until| format!(" {until}"))),
    }
}

const GO_ON: &str = "go to 2 at 2026-11-27T10:00:00Z";

#[test]
fn who_still_matches_and_agreed_is_written_to() {
    assert_eq!(Given::default().decided(), "send");
}

#[rstest]
#[case::record_gone(Given { facts: None, ..Given::default() }, "end record_gone: the record is no longer there")]
#[case::goal(Given::facts(|facts| facts.goal = Some(true)), "end goal: bought again")]
#[case::exit(Given::facts(|facts| facts.exit_when = vec![Some(true)]), "end exit: status is closed")]
#[case::where_false(Given::facts(|facts| facts.conditions = vec![Some(false)]), "end where_false: country is AT")]
#[case::where_unknown(Given::facts(|facts| facts.conditions = vec![None]), "end where_false: country is AT")]
#[case::goal_before_exit(
    Given::facts(|facts| { facts.goal = Some(true); facts.exit_when = vec![Some(true)] }),
    "end goal: bought again"
)]
fn what_ends_an_enrollment(#[case] given: Given, #[case] expected: &str) {
    assert_eq!(given.decided(), expected);
}

#[rstest]
#[case::nobody(Given::facts(|facts| facts.recipients.clear()), SkipReason::NoAddress)]
#[case::empty(Given::person(|person| person.email = Some(" ".into())), SkipReason::NoAddress)]
#[case::no_consent(Given::person(|person| person.email_consent = Some(false)), SkipReason::NoConsent)]
#[case::unknown_consent(Given::person(|person| person.email_consent = None), SkipReason::NoConsent)]
#[case::our_list(
    Given { suppressed: Some(SuppressionReason::Manual), ..Given::default() },
    SkipReason::Suppressed
)]
#[case::their_list(Given::person(|person| person.suppressed = Some("blocked".into())), SkipReason::Suppressed)]
fn what_leaves_out_one_message_lets_the_sequence_go_on(#[case] given: Given, #[case] reason: SkipReason) {
    assert_eq!(given.decided(), format!("skip {}, {GO_ON}", reason.as_str()));
}

fn said(allowed: bool) -> Preference {
    Preference {
        hash: AddressHash([1; 16]),
        channel: Channel::Email,
        topic: Some("offers".into()),
        allowed,
        since: instant("2026-11-18T08:00:00Z"),
        source: PreferenceSource::OneClick,
    }
}

#[test]
fn a_no_by_the_link_in_a_mail_outranks_the_crm_and_says_since_when() {
    let given = || Given { said: Some(said(false)), ..Given::default() };
    assert_eq!(given().decided(), format!("skip unsubscribed, {GO_ON}"));
    let given = given();
    let refused = decide(&Situation { said: given.said.as_ref(), ..given.situation() });
    let Decision::Refuse { outcome: Outcome::Skipped { detail, .. }, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(detail, "unsubscribed from offers on 2026-11-18");
}

#[rstest]
#[case::where_the_crm_says_nothing(None, true, "send")]
#[case::not_where_it_says_no(Some(false), true, "skip no_consent, go to 2 at 2026-11-27T10:00:00Z")]
#[case::the_yes_of_both(Some(true), true, "send")]
fn a_yes_by_the_link_in_a_mail_counts(#[case] crm: Option<bool>, #[case] allowed: bool, #[case] expected: &str) {
    let given = Given::person(|person| person.email_consent = crm);
    assert_eq!(Given { said: Some(said(allowed)), ..given }.decided(), expected);
}

#[rstest]
#[case::service(Purpose::Service)]
#[case::staff(Purpose::Staff)]
fn what_was_said_about_a_topic_is_about_marketing(#[case] purpose: Purpose) {
    let given = Given { said: Some(said(false)), ..Given::default() };
    assert_eq!(given.purpose(purpose).decided(), "send");
}

#[rstest]
#[case::needs_no_consent(Given::person(|person| person.email_consent = None), "send")]
#[case::never_past_a_suppression(
    Given { suppressed: Some(SuppressionReason::Unsubscribed), ..Given::default() },
    "skip suppressed, go to 2 at 2026-11-27T10:00:00Z"
)]
fn purpose_service(#[case] given: Given, #[case] expected: &str) {
    assert_eq!(given.purpose(Purpose::Service).decided(), expected);
}

#[rstest]
#[case::unsubscribed(Given { suppressed: Some(SuppressionReason::Unsubscribed), ..Given::default() }, "send")]
#[case::bounced(
    Given { suppressed: Some(SuppressionReason::Bounced), ..Given::default() },
    "skip suppressed, go to 2 at 2026-11-27T10:00:00Z"
)]
#[case::blocked_elsewhere(Given::person(|person| person.suppressed = Some("marketing".into())), "send")]
#[case::bounced_elsewhere(
    Given::person(|person| person.suppressed = Some("hard bounce".into())),
    "skip suppressed, go to 2 at 2026-11-27T10:00:00Z"
)]
fn purpose_staff_only_minds_bounces(#[case] given: Given, #[case] expected: &str) {
    assert_eq!(given.purpose(Purpose::Staff).decided(), expected);
}

#[test]
fn a_colleague_needs_no_consent_to_offers() {
    let given = Given::person(|person| {
        person.staff = true;
        person.email_consent = None;
    });
    assert_eq!(given.decided(), "send");
}

#[test]
fn a_sequence_that_begins_too_late_ends_and_one_under_way_leaves_out_a_message() {
    let old = instant("2026-11-10T10:00:00Z");
    let mut plain = rule();
    plain.nodes.truncate(3);
    let first = Given { rule: plain.clone(), claimed: Claimed { planned_at: old, ..claimed(0) }, ..Given::default() };
    assert_eq!(first.decided(), "end late: planned for 2026-11-10T10:00:00Z, 240 h ago");
    let later = Given { rule: plain, claimed: Claimed { planned_at: old, ..claimed(2) }, ..Given::default() };
    assert_eq!(later.decided(), "skip late, end completed");
}

#[test]
fn a_task_is_never_too_late_but_not_written_twice() {
    let old = instant("2026-01-10T10:00:00Z");
    let late = Given { claimed: Claimed { planned_at: old, ..claimed(3) }, ..Given::default() };
    assert_eq!(late.decided(), "send");
    let open = Given { claimed: claimed(3), task_open: true, ..Given::default() };
    assert_eq!(open.decided(), "skip task_open, end completed");
}

#[test]
fn what_an_operator_discards_is_skipped() {
    let given = Given { claimed: Claimed { discarded: true, ..claimed(0) }, ..Given::default() };
    assert_eq!(given.decided(), format!("skip discarded, {GO_ON}"));
}

#[rstest]
#[case::as_it_was(Some("2027-01-15"), "send")]
#[case::moved(Some("2027-02-15"), "end occasion_gone: the date it was about has changed")]
#[case::removed(None, "end occasion_gone: the date it was about has changed")]
fn a_reminder_follows_its_date(#[case] date: Option<&str>, #[case] expected: &str) {
    let mut given = Given::facts(|facts| {
        facts.date = Some(date.map_or(Value::Null, |date| Value::Date(date.parse().unwrap())));
    });
    given.claimed.occasion = "2027-01-15/-60 days".into();
    given.rule.trigger = Trigger::Date(DateTrigger { field: "renews_at".into(), at: civil::time(9, 0, 0, 0) });
    let offset = Offset { before: true, period: Period::days(60) };
    given.rule.entries = vec![Entry { offset: Some(offset), first: Some(0) }];
    assert_eq!(given.decided(), expected);
}

#[rstest]
#[case::first_that_holds(&[Some(true), Some(true)], "vip go to 0 at 2026-11-20T10:00:00Z")]
#[case::unknown_does_not_hold(&[None, Some(true)], "gold go to 2 at 2026-11-20T10:00:00Z")]
#[case::none_holds(&[Some(false), None], "otherwise go to 3 at 2026-11-20T10:00:00Z")]
fn a_branch_takes_the_first_case_that_holds(#[case] holds: &[Option<bool>], #[case] expected: &str) {
    let case = |name: &str, first| Case {
        name: name.into(),
        when: Condition::All(Vec::new()),
        text: String::new(),
        first: Some(first),
    };
    let branch = Step::Branch { cases: vec![case("vip", 0), case("gold", 2)], otherwise: Some(3) };
    let mut given = Given::facts(|facts| {
        facts.cases = holds.iter().enumerate().map(|(case, holds)| ((4, case), *holds)).collect();
    });
    given.rule = rule().with(node("branch", branch, None));
    given.claimed = claimed(4);
    assert_eq!(given.decided(), expected);
}

#[test]
fn a_damaged_version_is_held_not_ended() {
    let given = Given { claimed: claimed(99), ..Given::default() };
    assert_eq!(given.decided(), "broken: its rule version has no step 99");
}
