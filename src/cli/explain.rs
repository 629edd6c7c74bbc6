//! `nudged explain RULE --record RECORD`: term by term, why a record matches or doesn't.

use super::rehearsal::Rehearsal;
use super::{Context, Exit, Failure, Format, Output, message, record, text};
use crate::engine::port::{EnrollmentView, RuleState, RuleStatus, Standing};
use crate::engine::rehearse::{
    Crossed, Delivered, Explanation, Reached, RecordState, StepsOf, TermAnswer, delivered, explain,
};
use crate::model::{Channel, RecordId, RuleId};
use crate::rule::checked::{Backfill, Mode, Purpose};
use crate::rule::operands::{Operand, Section};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
    /// The record: `customer:4711`, or `tenant/customer:4711`.
    #[arg(long, value_name = "RECORD")]
    record: String,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Crossings of one record that are looked at.
pub(super) const CROSSINGS: usize = 20;

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let asked: RecordId = record::parse(&args.record)?;
    let told = context.block_on(async {
        let (rehearsal, rule) = (Rehearsal::open(context).await?, RuleId::from(args.rule.as_str()));
        rehearsal.unfit.of(&rule)?;
        rehearsal.unfit.warn(output);
        let record = record::in_catalog(asked, &rehearsal.generation.catalog);
        Ok(explain(&rehearsal.previewer(CROSSINGS), &rule, &record).await?)
    })?;
    match args.format {
        Format::Json => output.json(&as_json(&told)),
        Format::Table => show(&told, output),
    }
    Ok(Exit::Success)
}

fn show(told: &Explanation, output: &mut Output) {
    output.line(&format!("{} under {} ({})", told.record, told.rule, mode(told.mode)));
    output.line(&format!("{}", told.verdict));
    output.line("");
    output.line(&format!("rule       {}", standing(told)));
    for sweep in &told.held {
        let matches = sweep.matches;
        output.line(&format!("held       sweep {} of {matches} matches: {}", sweep.id, sweep.reason));
    }
    for crossed in &told.crossings {
        output.line(&format!("crossed    {}  {}", crossing(crossed), ledger(told, &crossed.standing)));
    }
    if let Some(ahead) = &told.ahead {
        let close = if ahead.standing.is_spent() { ledger(told, &ahead.standing) } else { String::new() };
        output.line(format!("crosses    {}  if nothing changes  {close}", crossing(ahead)).trim_end());
    }
    for reached in &told.recipients {
        output.line(&format!("recipient  {}", recipient(reached, &told.purpose)));
    }
    for enrollment in &told.enrollments {
        let stuck = told.stuck.as_ref().filter(|stuck| stuck.enrollment == enrollment.id);
        let stands = stuck.map_or_else(|| stands(enrollment), ToString::to_string);
        output.line(&format!("sequence   entered {}  {stands}", text::at(enrollment.entered_at)));
        for known in told.deliveries.iter().filter(|known| known.enrollment == enrollment.id) {
            output.line(&format!("delivery   {}", delivered(&known.last)));
        }
    }
    let terms: Vec<&TermAnswer> = all_terms(told).collect();
    if !terms.is_empty() || told.script.is_some() || told.score.is_some() {
        output.line("");
        let mut rows: Vec<Vec<String>> = terms.into_iter().map(term_row).collect();
        rows.extend(told.script.as_ref().map(|said| {
            let found = said.as_ref().err().map_or_else(String::new, |problem| format!("failed: {problem}"));
            let holds = said.as_ref().ok().copied();
            vec![holds_word(holds).to_owned(), "script".to_owned(), "eligible".to_owned(), found]
        }));
        rows.extend(told.score.as_ref().map(|said| {
            let found = match said {
                Ok(score) => score.to_string(),
                Err(problem) => format!("failed: {problem}"),
            };
            vec![String::new(), "script".to_owned(), "score".to_owned(), found]
        }));
        output.table(&["holds", "section", "term", "found"], rows, "");
    }
    if !told.steps.is_empty() {
        output.line("");
        let rows =
            told.steps.iter().map(|step| vec![text::at(step.due_at), step.step.to_string(), message::in_short(step)]);
        output.table(&["due", "step", steps_of(told.steps_of)], rows.collect(), "");
    }
}

fn stands(enrollment: &EnrollmentView) -> String {
    if enrollment.is_queued() {
        return "waits for the one before it to end".to_owned();
    }
    match (enrollment.ended, enrollment.next) {
        (Some(why), _) => format!("ended: {}", why.as_str()),
        (None, Some((_, due))) => format!("under way, the next at {}", text::at(due)),
        (None, None) => "under way".to_owned(),
    }
}

const fn steps_of(of: StepsOf) -> &'static str {
    match of {
        StepsOf::Match => "it would get",
        StepsOf::NewMatch => "a new match would get",
        StepsOf::UnderWay => "still to come",
    }
}

/// In the order in which they are asked.
fn all_terms(told: &Explanation) -> impl Iterator<Item = &TermAnswer> {
    told.base.iter().chain(&told.trigger).chain(&told.terms)
}

fn term_row(term: &TermAnswer) -> Vec<String> {
    vec![
        holds_word(term.holds).to_owned(),
        section(term.section).to_owned(),
        term.text.clone(),
        operands(&term.operands),
    ]
}

/// `country = AT, tickets = 1`; of several comparisons, each with what it came to.
pub(super) fn operands(operands: &[Operand]) -> String {
    let several = operands.len() > 1;
    let word = |operand: &Operand| {
        let value = operand.found();
        let judged = several && (operand.holds.is_some() || operand.section != Section::Trigger);
        let holds = if judged { format!(" ({})", holds_word(operand.holds)) } else { String::new() };
        format!("{} = {value}{holds}", operand.name)
    };
    operands.iter().map(word).collect::<Vec<_>>().join(", ")
}

const fn holds_word(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

const fn section(section: Section) -> &'static str {
    match section {
        Section::Base => "only",
        Section::Trigger => "trigger",
        Section::Where => "where",
        Section::OnlyAtEntry => "only_at_entry",
        Section::Goal => "goal",
        Section::ExitWhen => "exit_when",
        Section::Case(..) => "branch",
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Shadow => "shadow",
        Mode::Live => "live",
        Mode::Paused => "paused",
    }
}

fn standing(told: &Explanation) -> String {
    let Some(state) = &told.state else {
        let backfill = match told.backfill {
            Backfill::None => "it will look at what crosses after its first start".to_owned(),
            Backfill::Since(period) => format!("its first start looks back {period}"),
            Backfill::All => "its first start looks back to the beginning".to_owned(),
        };
        return format!("has not run yet; {backfill}");
    };
    let RuleState { baseline, progress, .. } = state;
    let last = || format!("last sweep {}", text::at(progress.swept_at));
    let swept = if progress.seeded { last() } else { "no sweep yet".to_owned() };
    let seen = format!("looks at {}; {swept}", looked_at(*baseline));
    match &state.status {
        RuleStatus::Running => seen,
        RuleStatus::Paused => format!("paused by an operator; {seen}"),
        RuleStatus::Held(reason) => format!("held: {reason}; {seen}"),
        RuleStatus::Removed => format!("not in the running generation; {seen}"),
    }
}

/// What `backfill: all` begins with lies before any CRM.
fn looked_at(baseline: Timestamp) -> String {
    if baseline.as_second() <= 0 {
        return "all that ever crossed".to_owned();
    }
    format!("what crossed after {}", text::at(baseline))
}

fn crossing(crossed: &Crossed) -> String {
    let offset = crossed.offset.as_ref().map_or_else(String::new, |offset| format!("  {offset}"));
    format!("{}{offset}  occasion {}", text::at(crossed.crossed_at), crossed.occasion)
}

fn ledger(told: &Explanation, standing: &Standing) -> String {
    match standing {
        Standing::New => "not in the ledger".to_owned(),
        Standing::Missed { reason, .. } => format!("crossed, and failed `{reason}`"),
        Standing::Known => "in the ledger".to_owned(),
        Standing::TooClose { to } => format!("{} the match of {}", told.closeness, text::at(*to)),
    }
}

fn recipient(reached: &Reached, purpose: &Purpose) -> String {
    let (what, field, by) = match reached.channel {
        Channel::Email => ("address", "email", ""),
        Channel::Sms => ("phone number that can be read", "phone", " by text message"),
    };
    let address = reached.address.clone().unwrap_or_else(|| nobody(reached, what, field));
    let mut notes = Vec::new();
    if let Purpose::Topic(topic) = purpose {
        match reached.consent {
            _ if reached.staff => {}
            Some(true) => notes.push(format!("agreed to {topic}")),
            Some(false) => notes.push(format!("no consent to {topic}")),
            None => notes.push(format!("consent to {topic} is not known, which counts as no")),
        }
    }
    notes.extend(reached.staff.then(|| "one of ours".to_owned()));
    notes.extend(reached.suppressed.as_ref().map(|reason| format!("suppressed: {reason}")));
    let notes = if notes.is_empty() { String::new() } else { format!("  {}", notes.join("; ")) };
    format!("{}{by}: {address}{notes}", reached.role)
}

/// A role leads to one person, who may be another than the one that can be reached.
fn nobody(reached: &Reached, what: &str, field: &str) -> String {
    match &reached.person {
        None => "nobody".to_owned(),
        Some(_) if reached.staff => format!("a colleague with no {what}"),
        Some(key) => format!(
            "{key}, who has no {what}; `only: {{{field}: present}}` of the role picks one who has (docs/catalog.md, Recipients)"
        ),
    }
}

pub(super) fn as_json(told: &Explanation) -> Json {
    json!({
        "rule": told.rule,
        "record": told.record.to_string(),
        "now": told.now,
        "mode": mode(told.mode),
        "lane": told.lane,
        "verdict": {"code": told.verdict.code(), "text": told.verdict.to_string(), "term": told.verdict.failed_term(),
                    "holds_at": told.verdict.holds_at()},
        "record_state": match &told.record_state {
            RecordState::Present => json!("present"),
            RecordState::Gone => json!("gone"),
            RecordState::LeftOut => json!("left_out"),
            RecordState::Unreadable(problem) => json!({"unreadable": problem}),
        },
        "baseline": told.state.as_ref().map(|state| state.baseline),
        "watermark": told.state.as_ref().map(|state| state.progress.watermark),
        "standing": standing(told),
        "held": told.held.iter().map(|sweep| json!({"sweep": sweep.id, "reason": sweep.reason})).collect::<Vec<_>>(),
        "crossings": told.crossings.iter().map(crossed_json).collect::<Vec<_>>(),
        "ahead": told.ahead.as_ref().map(crossed_json),
        "terms": all_terms(told).map(term_json).collect::<Vec<_>>(),
        "script": told.script.as_ref().map(|said| match said {
            Ok(eligible) => json!({"eligible": eligible}),
            Err(problem) => json!({"failed": problem}),
        }),
        "score": told.score.as_ref().map(|said| match said {
            Ok(score) => json!({"is": score}),
            Err(problem) => json!({"failed": problem}),
        }),
        "recipients": told.recipients.iter().map(|reached| json!({
            "role": reached.role,
            "channel": reached.channel.as_str(),
            "address": reached.address,
            "person": reached.person,
            "staff": reached.staff,
            "consent": reached.consent,
            "suppressed": reached.suppressed,
        })).collect::<Vec<_>>(),
        "enrollments": told.enrollments.iter().map(|enrollment| json!({
            "occasion": enrollment.occasion,
            "entered_at": enrollment.entered_at,
            "state": enrollment.state,
            "ended": enrollment.ended,
            "next_at": enrollment.next.map(|(_, due)| due),
            "deliveries": deliveries_json(told, enrollment.id),
        })).collect::<Vec<_>>(),
        "stuck": told.stuck.as_ref().map(|stuck| json!({
            "state": stuck.state,
            "step": stuck.step,
            "why": stuck.why,
            "delivery": stuck.delivery.map(|id| id.to_string()),
            "enrollment": stuck.enrollment,
            "text": stuck.to_string(),
        })),
        "steps_of": match told.steps_of {
            StepsOf::Match => "match",
            StepsOf::NewMatch => "new_match",
            StepsOf::UnderWay => "under_way",
        },
        "steps": told.steps.iter().map(message::as_json).collect::<Vec<_>>(),
    })
}

fn deliveries_json(told: &Explanation, enrollment: i64) -> Vec<Json> {
    let of = told.deliveries.iter().filter(|known| known.enrollment == enrollment);
    let one = |known: &Delivered| {
        let last = &known.last;
        json!({
            "delivery": last.delivery.map(|id| id.to_string()),
            "step": last.step,
            "kind": last.kind,
            "state": last.state,
            "at": last.at,
            "attempts": last.attempts,
            "detail": last.detail,
        })
    };
    of.map(one).collect()
}

fn crossed_json(crossed: &Crossed) -> Json {
    let standing = match &crossed.standing {
        Standing::New => json!("new"),
        Standing::Known => json!("known"),
        Standing::TooClose { to } => json!({"too_close_to": to}),
        Standing::Missed { reason, .. } => json!({"missed": reason}),
    };
    json!({
        "occasion": crossed.occasion,
        "crossed_at": crossed.crossed_at,
        "offset": crossed.offset,
        "value": crossed.value,
        "ledger": standing,
    })
}

fn term_json(term: &TermAnswer) -> Json {
    let operand = |operand: &Operand| {
        let mut shown = json!({"name": operand.name, "value": operand.value.to_json(), "holds": operand.holds});
        if operand.note.is_some() {
            shown["found"] = json!(operand.found());
        }
        shown
    };
    json!({
        "section": section(term.section),
        "term": term.text,
        "holds": term.holds,
        "basis": term.basis.as_str(),
        "operands": term.operands.iter().map(operand).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::{looked_at, recipient};
    use crate::engine::rehearse::Reached;
    use crate::model::Channel;
    use crate::rule::checked::Purpose;

    #[test]
    fn whom_a_role_leads_to_is_told_where_nothing_can_be_sent() {
        let reached = |person: Option<&str>, staff, channel| Reached {
            role: "main_contact".into(),
            channel,
            address: None,
            person: person.map(Into::into),
            staff,
            consent: None,
            suppressed: None,
        };
        let told = |reached: Reached| recipient(&reached, &Purpose::Service);
        assert_eq!(told(reached(None, false, Channel::Email)), "main_contact: nobody");
        let without = told(reached(Some("7"), false, Channel::Email));
        assert!(without.starts_with("main_contact: 7, who has no address; `only: {email: present}`"), "{without}");
        let texts = told(reached(Some("7"), false, Channel::Sms));
        assert!(texts.contains("has no phone number that can be read; `only: {phone: present}`"), "{texts}");
        let colleague = told(reached(Some("7"), true, Channel::Email));
        assert_eq!(colleague, "main_contact: a colleague with no address  one of ours");
    }

    #[test]
    fn a_rule_that_looks_back_for_ever_is_told_so() {
        assert_eq!(looked_at("1900-01-01T00:00:00Z".parse().unwrap()), "all that ever crossed");
        let since = looked_at("2026-11-10T08:00:00Z".parse().unwrap());
        assert_eq!(since, "what crossed after 2026-11-10 08:00:00Z");
    }
}
