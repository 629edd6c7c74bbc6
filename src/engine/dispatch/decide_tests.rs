//! Eligibility at send, one reason at a time.

use super::decide::{Decision, Line, Situation, decide};
use super::moment::{Moment, Pacing};
use crate::engine::port::{Claimed, ContactStanding, Noted, OutboxToken, Then, Waiting};
use crate::engine::settings::Sending;
use crate::model::{
    AddressHash, Channel, ContactId, DeliveryId, Lane, Limits, MatchId, Outcome, Period, Preference, PreferenceSource,
    RecordId, SkipReason, SuppressionReason, Topic, Value,
};
use crate::rule::CheckedRule;
use crate::rule::checked::{
    Action, Backfill, Cadence, Case, DateTrigger, Email, Entry, Goal, Guard, Inactivity, Mode, Node, Offset, OnChange,
    OnDelete, OnRematch, Preferred, Purpose, Sms, Step, Task, Trigger, UnlessOpen, Until, Wait,
};
use crate::rule::compiled::{Facts, Listed, PersonFacts};
use crate::rule::condition::{Condition, Term};
use jiff::{Timestamp, civil, tz::TimeZone};
use rstest::rstest;
use serde_json::json;
use std::collections::BTreeMap;

const NOW: &str = "2026-11-20T10:00:00Z";

pub fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn term(text: &str) -> Term {
    Term { text: text.into(), condition: Condition::All(Vec::new()) }
}

pub fn node(id: &str, step: Step, next: Option<usize>) -> Node {
    Node { id: id.into(), step, next }
}

pub fn email(template: &str) -> Step {
    Step::Act(Action::Email(Email { template: template.into(), to: None, confirms: None, asks: None, digest: None }))
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
        track: None,
        trigger: Trigger::Inactivity(Inactivity { of: "orders".into(), silent_for: Period::days(90), fallback: None }),
        conditions: vec![term("country is AT")],
        only_at_entry: Vec::new(),
        script: None,
        goal: Some(Goal {
            name: "bought again".into(),
            when: Condition::All(Vec::new()),
            within: Some(Period::days(30)),
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
        window: None,
        priority: 50,
        combine: false,
        last_activity: vec!["last_order".into(), "last_login".into()],
        on_change: OnChange::Pin,
        on_delete: OnDelete::Drain,
        resends_unknown: false,
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

pub fn facts() -> Facts {
    Facts {
        key: "1".into(),
        conditions: vec![Some(true)],
        only_at_entry: Vec::new(),
        goal: Some(false),
        goal_ever: Some(false),
        exit_when: vec![Some(false)],
        cases: BTreeMap::new(),
        score: crate::rule::Score::NotAsked,
        record: BTreeMap::new(),
        days: BTreeMap::new(),
        recipients: BTreeMap::from([("main_contact".into(), person())]),
        zone: TimeZone::UTC,
        unsaid: crate::rule::compiled::Unsaid::default(),
    }
}

pub fn claimed(node: usize) -> Claimed {
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
pub struct Given {
    pub rule: CheckedRule,
    pub claimed: Claimed,
    pub facts: Option<Facts>,
    pub suppressed: Option<SuppressionReason>,
    pub said: Option<Preference>,
    pub task_open: bool,
    pub number: Line<'static>,
    pub sending: Sending,
    pub standing: Option<ContactStanding>,
    pub pace: Box<Pacing<'static>>,
}

fn unhurried() -> Box<Pacing<'static>> {
    Box::new(|_, _| None)
}

impl Default for Given {
    fn default() -> Self {
        Self {
            rule: rule(),
            claimed: claimed(0),
            facts: Some(facts()),
            suppressed: None,
            said: None,
            task_open: false,
            number: Line::default(),
            sending: Sending::default(),
            standing: None,
            pace: unhurried(),
        }
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

    /// Everything that can put a message off does: until 11:00 the window, until 12:00 the rate, until 13:00 the cap.
    fn not_now() -> Self {
        let limits = Limits { caps: vec!["1 per day".parse().unwrap()], ..Limits::default() };
        let standing = ContactStanding {
            contact: ContactId([1; 16]),
            sends: vec![(DeliveryId([9; 16]), instant("2026-11-19T13:00:00Z"))],
            waiting: Vec::new(),
        };
        Self {
            sending: Sending {
                window: Some("11:00-20:00".parse().unwrap()),
                limits: limits.into(),
                ..Sending::default()
            },
            standing: Some(standing),
            pace: Box::new(|_, _| Some((instant("2026-11-20T12:00:00Z"), "the rate of 5/s is reached".to_owned()))),
            ..Self::default()
        }
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
            number: self.number,
            moment: Moment {
                sending: &self.sending,
                delivery: DeliveryId([1; 16]),
                contact: self.standing.as_ref(),
                pace: &*self.pace,
            },
        }
    }

    pub fn decided(self) -> String {
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
            Decision::Refuse { outcome: Outcome::Postponed { until, reason }, then, .. } => {
                assert_eq!(then, Then::Again { due_at: until, counts: false });
                format!("{}: {reason}", until.strftime("%H:%M"))
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
#[case::goal_after_its_time(Given::facts(|facts| facts.goal_ever = Some(true)), "end exit: bought again, later than 30 days")]
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
#[case::none_that_can_exist(
    Given::person(|person| person.email = Some("Ada <a@b.example>".into())),
    SkipReason::NoAddress
)]
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
        delivery: None,
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
        facts.days.extend(date.map(|date| ("renews_at".into(), date.parse().unwrap())));
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

const WINDOW: &str = "11:00: outside the send window 11:00-20:00 in UTC";
const RATE: &str = "12:00: the rate of 5/s is reached";
const CAP: &str = "13:00: the cap of 1 per day is reached";

#[test]
fn window_then_cap_then_rate_put_a_message_off() {
    assert_eq!(Given::not_now().decided(), WINDOW);
    let mut given = Given::not_now();
    given.sending.window = None;
    // Asking for a slot of the rate would take it.
    given.pace = Box::new(|_, _| panic!("who is capped takes no slot"));
    assert_eq!(given.decided(), CAP);
    let mut given = Given { standing: None, ..Given::not_now() };
    given.sending.window = None;
    assert_eq!(given.decided(), RATE);
    let mut given = Given { pace: unhurried(), standing: None, ..Given::not_now() };
    given.sending.window = None;
    assert_eq!(given.decided(), "send");
}

#[test]
fn whoever_agreed_to_nothing_is_left_out_and_not_put_off() {
    let mut given = Given::not_now();
    given.facts.as_mut().unwrap().recipients.get_mut("main_contact").unwrap().email_consent = None;
    assert_eq!(given.decided(), format!("skip no_consent, {GO_ON}"));
    let given = Given { suppressed: Some(SuppressionReason::Bounced), ..Given::not_now() };
    assert_eq!(given.decided(), format!("skip suppressed, {GO_ON}"));
    let old = instant("2026-11-10T10:00:00Z");
    let late = Given { claimed: Claimed { planned_at: old, ..claimed(2) }, ..Given::not_now() };
    assert!(late.decided().starts_with("skip late"), "what was put off for too long is not sent");
}

#[test]
fn service_leaves_at_any_hour_but_not_faster_and_staff_at_once() {
    assert_eq!(Given::not_now().purpose(Purpose::Service).decided(), RATE);
    let calm = Given { pace: unhurried(), ..Given::not_now() };
    assert_eq!(calm.purpose(Purpose::Service).decided(), "send");
    assert_eq!(Given::not_now().purpose(Purpose::Staff).decided(), "send");
}

#[test]
fn the_window_is_by_the_readers_clock_and_a_rule_narrows_it() {
    let mut given = Given { pace: unhurried(), standing: None, ..Given::not_now() };
    let zone = |given: &mut Given, zone: &str| {
        given.facts.as_mut().unwrap().recipients.get_mut("main_contact").unwrap().zone = Some(zone.into());
    };
    zone(&mut given, "Europe/Vienna");
    assert_eq!(given.decided(), "send", "it is eleven in Vienna");
    let mut given = Given { pace: unhurried(), standing: None, ..Given::not_now() };
    zone(&mut given, "Europe/Vienna");
    given.rule.window = Some("14:00-15:00 FRI".parse().unwrap());
    assert_eq!(given.decided(), "13:00: outside the send window 11:00-20:00 and 14:00-15:00 FRI in Europe/Vienna");
    let mut given = Given { pace: unhurried(), standing: None, ..Given::not_now() };
    given.rule.window = Some("21:00-22:00".parse().unwrap());
    assert_eq!(given.decided(), "10:00: the send windows 11:00-20:00 and 21:00-22:00 are never open together");
}

#[rstest]
#[case::before_us(51, "2026-11-20T10:59:00Z", "11:00: a message of priority 51 to the same person goes first")]
#[case::overdue(51, "2026-11-20T08:00:00Z", "10:01: a message of priority 51 to the same person goes first")]
#[case::too_far_off(51, "2026-11-20T11:01:00Z", "send")]
#[case::no_more_important(50, "2026-11-20T10:59:00Z", "send")]
fn the_more_important_of_two_goes_first(#[case] priority: u8, #[case] due_at: &str, #[case] expected: &str) {
    let mut given = Given { pace: unhurried(), ..Given::not_now() };
    given.sending.window = None;
    let standing = given.standing.as_mut().unwrap();
    standing.sends.clear();
    standing.waiting = vec![Waiting { id: 2, priority, due_at: instant(due_at) }];
    assert_eq!(given.decided(), expected);
}

#[test]
fn nobody_waits_where_there_is_a_place_for_both_or_for_itself() {
    let waiting = |id| vec![Waiting { id, priority: 99, due_at: instant(NOW) }];
    let given = |caps: &str, id| {
        let mut given = Given { pace: unhurried(), ..Given::not_now() };
        let limits = Limits { caps: vec![caps.parse().unwrap()], ..Limits::default() };
        given.sending = Sending { limits: limits.into(), ..Sending::default() };
        given.standing.as_mut().unwrap().sends.clear();
        given.standing.as_mut().unwrap().waiting = waiting(id);
        given
    };
    assert_eq!(given("2 per day", 2).decided(), "send");
    // Its own row, by the token of what is claimed.
    assert_eq!(given("1 per day", 1).decided(), "send");
    let mut again = given("1 per day", 1);
    again.standing.as_mut().unwrap().sends = vec![(DeliveryId([1; 16]), instant(NOW))];
    assert_eq!(again.decided(), "send", "a delivery that is tried again has its place");
}

#[test]
fn who_was_not_heard_of_for_long_gets_no_more_offers() {
    let given = |fields: &[(&str, Value)], purpose: Option<Purpose>| {
        let mut given = Given::facts(|facts| {
            facts.record = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        });
        given.sending.sunset = Some(Period::new(18, crate::model::Unit::Month));
        if let Some(purpose) = purpose {
            given.rule.purpose = purpose;
        }
        given
    };
    let old = ("last_order", Value::Date(civil::date(2025, 3, 1)));
    let login = ("last_login", Value::Instant(instant("2025-06-01T00:00:00Z")));
    assert_eq!(given(std::slice::from_ref(&old), None).decided(), format!("skip sunset, {GO_ON}"));
    assert_eq!(given(&[old.clone(), login], None).decided(), "send", "the latest counts");
    assert_eq!(given(&[("last_order", Value::Null)], None).decided(), "send", "nobody knows");
    assert_eq!(given(&[old], Some(Purpose::Service)).decided(), "send");
}

// ---- text messages and preferred channels ---------------------------------------------------------

fn sms() -> Action {
    Action::Sms(Sms { text: "Hello".into(), to: None, via: None })
}

/// The same rule with this as its first step.
fn first(action: Action, mut given: Given) -> Given {
    given.rule.nodes[0].step = Step::Act(action);
    given
}

fn listed(address: &str) -> Vec<Listed> {
    vec![Listed { address: address.into(), reason: "robinson list".into() }]
}

fn with_phone(change: impl FnOnce(&mut PersonFacts)) -> Given {
    let mut given = Given::person(|person| {
        person.phone = Some("0664 1234567".into());
        person.phone_consent = Some(true);
        change(person);
    });
    given.sending.texts.country = "AT".parse().ok();
    given
}

#[test]
fn a_text_message_has_its_own_number_consent_and_list() {
    let decided = |given: Given| first(sms(), given).decided();
    assert_eq!(decided(with_phone(|_| {})), "send");
    let skips = |given: Given, reason: &str| {
        let decided = decided(given);
        assert!(decided.starts_with(&format!("skip {reason},")), "{decided} in place of {reason}");
    };
    skips(with_phone(|person| person.phone = None), "no_address");
    skips(with_phone(|person| person.phone = Some("ask me".into())), "no_address");
    skips(with_phone(|person| person.phone_consent = None), "no_consent");
    skips(with_phone(|person| person.listed_numbers = listed("0043 664 1234567")), "suppressed");
    assert_eq!(decided(with_phone(|person| person.listed_numbers = listed("+496641234567"))), "send");
    // What holds for the mailbox doesn't hold for the phone.
    assert_eq!(decided(with_phone(|person| person.email_consent = Some(false))), "send");
    assert_eq!(decided(with_phone(|person| person.suppressed = Some("bounce".into()))), "send");
    let mut listed = with_phone(|_| {});
    listed.number.suppressed = Some(SuppressionReason::Unsubscribed);
    skips(listed, "suppressed");
    let listed_mailbox = Given { suppressed: Some(SuppressionReason::Bounced), ..with_phone(|_| {}) };
    assert_eq!(decided(listed_mailbox), "send");
    let mut homeless = with_phone(|_| {});
    homeless.sending.texts.country = None;
    skips(homeless, "no_address");
}

#[test]
fn text_messages_wait_for_their_own_window_rate_and_caps() {
    let mut given = with_phone(|_| {});
    given.sending.texts.window = "12:00-18:00".parse().ok();
    assert!(first(sms(), given).decided().starts_with("12:00: outside the send window"));

    let mut given = with_phone(|_| {});
    given.pace = Box::new(|by, _| (by == Channel::Sms).then(|| (instant("2026-11-20T10:00:01Z"), "slowly".to_owned())));
    assert_eq!(first(sms(), given).decided(), "10:00: slowly");

    // The cap of mails counts no text message, nor theirs a mail.
    let full = Given { pace: unhurried(), ..Given::not_now() };
    let mut given = with_phone(|_| {});
    given.sending.limits = full.sending.limits.clone();
    given.standing = full.standing.clone();
    assert_eq!(first(sms(), given).decided(), "send");
}

fn message() -> Action {
    let task = Task { title: "Call".into(), body: None, assign_to: None, due: None, unless_open: None };
    let email = Email { template: "mail".into(), to: None, confirms: None, asks: None, digest: None };
    Action::Preferred(Preferred { ways: vec![Action::Email(email), sms(), Action::Task(task)] })
}

fn chosen(given: Given) -> String {
    let given = first(message(), given);
    match decide(&given.situation()) {
        Decision::Act { action, fell_back, .. } => {
            format!("{} {}", crate::engine::dispatch::kind(action), fell_back.unwrap_or_default()).trim().to_owned()
        }
        Decision::Refuse { outcome: Outcome::Skipped { reason, detail }, .. } => {
            format!("{} {detail}", reason.as_str())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn the_preferred_channel_is_taken_and_the_next_one_where_it_cant_be() {
    let prefers = |channel: &str| with_phone(|person| person.channel = Some(channel.to_owned()));
    assert_eq!(chosen(prefers("sms")), "sms");
    assert_eq!(chosen(prefers("email")), "email");
    assert_eq!(chosen(prefers("task")), "task");
    assert_eq!(chosen(with_phone(|_| {})), "email", "nobody knows: in the order of the file");
    // A task is a call.
    let called = |change: fn(&mut PersonFacts)| {
        chosen(with_phone(|person| {
            person.channel = Some("task".to_owned());
            change(person);
        }))
    };
    assert_eq!(called(|person| person.phone_consent = None), "task", "nobody knows: a colleague does");
    assert_eq!(called(|person| person.phone_consent = Some(false)), "email task: no consent to offers by phone");
    assert_eq!(
        called(|person| person.listed_numbers = listed("+436641234567")),
        "email task: “robinson list” (in the source)"
    );
    assert_eq!(chosen(prefers("fax")), "email fax: nothing is sent that way");
    let without = |change: fn(&mut PersonFacts)| {
        with_phone(|person| {
            person.channel = Some("sms".into());
            change(person);
        })
    };
    assert_eq!(chosen(without(|person| person.phone = None)), "email sms: the recipient has no phone number");
    assert_eq!(
        chosen(without(|person| person.phone_consent = Some(false))),
        "email sms: no consent to offers by phone"
    );
    let neither = without(|person| {
        person.phone_consent = None;
        person.email = None;
    });
    assert_eq!(chosen(neither), "task sms: no consent to offers by phone; email: the recipient has no address",);
}

#[test]
fn a_channel_that_is_only_busy_is_waited_for() {
    let mut given = with_phone(|person| person.channel = Some("sms".into()));
    given.sending.texts.window = "12:00-18:00".parse().ok();
    assert!(first(message(), given).decided().starts_with("12:00: "), "not by mail at ten");
}
