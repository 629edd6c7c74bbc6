//! Turns the engine's events into log lines and metrics.
//!
//! Lines carry `rule`, `record` and `delivery` as fields, which journald shows as RULE, RECORD and
//! DELIVERY. A record is named by its key; of what other machines answered only codes are logged.

use crate::engine::port::Noted;
use crate::engine::rehearse::freed_by;
use crate::engine::{Event, Mood, SweepReport};
use crate::model::{Key, Outcome, RecordId, unsaid};
use metrics::{counter, gauge, histogram};
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Logs and counts until the engine is gone.
pub async fn observe(mut events: Receiver<Event>) {
    gauge!("nudged_source_up").set(1.0);
    gauge!("nudged_sending_held").set(0.0);
    gauge!("nudged_room_short").set(0.0);
    loop {
        match events.recv().await {
            Ok(event) => told(&event),
            Err(RecvError::Lagged(lost)) => {
                counter!("nudged_events_lost_total").increment(lost);
                tracing::warn!(lost, "events came too fast for the log; the attempt log in the state has them all");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Logs and counts one event.
pub fn told(event: &Event) {
    count(event);
    log(event);
}

fn count(event: &Event) {
    match event {
        Event::SweepFinished(report) => {
            let rule = report.rule.to_string();
            let result = if report.held.is_some() { "held" } else { "done" };
            counter!("nudged_sweeps_total", "rule" => rule.clone(), "result" => result).increment(1);
            counter!("nudged_matches_total", "rule" => rule, "lane" => report.lane.as_str()).increment(report.entered);
            histogram!("nudged_sweep_seconds").record(report.took.as_secs_f64());
            if report.script_failed > 0 {
                counter!("nudged_script_failures_total", "rule" => report.rule.to_string())
                    .increment(report.script_failed);
            }
        }
        Event::ScriptFailed { rule } => {
            counter!("nudged_script_failures_total", "rule" => rule.to_string()).increment(1);
        }
        Event::SweepPostponed { rule, .. } => {
            counter!("nudged_sweeps_total", "rule" => rule.to_string(), "result" => "postponed").increment(1);
        }
        Event::SweepFailed { rule, .. } => {
            counter!("nudged_sweeps_total", "rule" => rule.to_string(), "result" => "failed").increment(1);
        }
        Event::AttemptFinished { kind, outcome, took, .. } => {
            counter!("nudged_attempts_total", "kind" => *kind, "outcome" => outcome.as_str()).increment(1);
            histogram!("nudged_attempt_seconds", "kind" => *kind).record(took.as_secs_f64());
        }
        Event::EnrollmentEnded { rule, reason, .. } => {
            counter!("nudged_enrollments_ended_total", "rule" => rule.to_string(), "reason" => reason.as_str())
                .increment(1);
        }
        Event::Expectation { rule, lane, mood, .. } => {
            let deviation = match mood {
                Mood::Quiet => -1.0,
                Mood::Usual => 0.0,
                Mood::Wild => 1.0,
            };
            gauge!("nudged_rule_expectation", "rule" => rule.to_string(), "lane" => lane.as_str()).set(deviation);
        }
        Event::PoolLow { pool, .. } => counter!("nudged_pools_low_total", "pool" => pool.clone()).increment(1),
        Event::ConsentsPostponed { count, .. } => {
            counter!("nudged_consents_unwritten_total", "why" => "postponed").increment(*count as u64);
        }
        Event::ConsentUnwritten { .. } => {
            counter!("nudged_consents_unwritten_total", "why" => "no_row").increment(1);
        }
        Event::SourceLost { .. } => gauge!("nudged_source_up").set(0.0),
        Event::SourceBack { .. } => gauge!("nudged_source_up").set(1.0),
        Event::StateFailed { .. } => counter!("nudged_state_failures_total").increment(1),
        Event::SendingHeld { .. } => gauge!("nudged_sending_held").set(1.0),
        Event::SendingFreed => gauge!("nudged_sending_held").set(0.0),
        Event::RoomShort { .. } => gauge!("nudged_room_short").set(1.0),
        Event::RoomBack { .. } => gauge!("nudged_room_short").set(0.0),
        _ => {}
    }
}

fn log(event: &Event) {
    match event {
        Event::GenerationAdopted { hash, rules, baselined, removed } => {
            let generation = hash.get(..12).unwrap_or(hash);
            tracing::info!(generation, rules, fresh = baselined.len(), removed = removed.len(), "generation adopted");
            for rule in removed {
                tracing::info!(%rule, "the rule is gone; what is under way follows its on_delete");
            }
        }
        Event::LeftOut { rule, count, .. } => {
            tracing::info!(%rule, count, "records that crossed before the rule's baseline are left out");
        }
        Event::SweepFinished(report) => log_sweep(report),
        Event::SweepPostponed { rule, reason, .. } => {
            tracing::warn!(%rule, reason = &*impersonal(reason), "sweep postponed");
        }
        Event::AnswerRefused { delivery, reason } => {
            let reason = &*impersonal(reason);
            tracing::error!(DELIVERY = %delivery, reason, "an answer to a survey can't be written; it is tried again");
        }
        Event::PoolLow { rule, pool, free } => {
            tracing::warn!(%rule, pool, free, "the pool of codes runs low");
        }
        Event::ConsentsPostponed { count, reason } => {
            let reason = &*impersonal(reason);
            tracing::error!(count, reason, "what readers decided can't be written into the CRM; it is tried again");
        }
        Event::ConsentUnwritten { delivery, topic } => {
            let topic = topic.as_ref().map_or("all", |topic| topic.as_str());
            tracing::warn!(DELIVERY = %delivery, topic, "what a reader decided is not written into the CRM: no row has the address any more; it holds all the same");
        }
        Event::SourceRefused { rule, reason } => {
            let reason = &*impersonal(reason);
            tracing::warn!(%rule, reason, "the database refuses the rule's question; all rules are checked against it again");
        }
        Event::SweepFailed { rule, reason, .. } => {
            tracing::error!(%rule, reason = &*impersonal(reason), "sweep failed; it is tried again");
        }
        Event::Matched { rule, lane, record, occasion, .. } => {
            tracing::info!(%rule, record = %named(record), lane = lane.as_str(), "matched");
            // A column's value, perhaps a personal one.
            tracing::debug!(%rule, record = %named(record), %occasion, "its occasion");
        }
        Event::Missed { rule, record, reason, .. } => {
            tracing::debug!(%rule, record = %named(record), reason, "crossed, but no match");
        }
        Event::Unread { rule, event, problem, .. } => log_unread(rule, event, problem),
        Event::StepDecided { rule, record, step, decided, .. } => log_step(rule, record, step, decided),
        Event::AttemptFinished { .. } => log_attempt(event),
        Event::EnrollmentEnded { rule, record, reason, detail, .. } => {
            tracing::info!(%rule, record = %named(record), reason = reason.as_str(), detail = &*impersonal(detail), "enrollment ended");
        }
        // The enrollment that it holds is told.
        Event::ScriptFailed { .. } => {}
        Event::StepsPostponed { rule, steps, reason, .. } => {
            tracing::error!(%rule, steps, reason = &*impersonal(reason), "due steps wait and are tried again");
        }
        Event::EnrollmentHeld { rule, record, reason, .. } => {
            let freed = freed_by(reason, rule);
            tracing::error!(%rule, record = %named(record), reason = &*impersonal(reason), "enrollment held {freed}, or an operator cancels it");
        }
        Event::RuleHeld { rule, reason, .. } => tracing::error!(%rule, reason, "rule held; see `nudged hold list`"),
        Event::RuleTripped { rule, reason, .. } => {
            tracing::error!(%rule, reason, "rule held until its script is repaired or an operator resumes it");
        }
        Event::Expectation { rule, mood: Mood::Usual, matched, expected, .. } => {
            tracing::info!(%rule, matched, expected, "the rule matches as many as expected again");
        }
        Event::Expectation { rule, mood, matched, expected, .. } => {
            tracing::error!(%rule, matched, expected, mood = mood.as_str(), "the rule matches fewer or more than expected");
        }
        Event::OwnerNotTold { rule, reason } => {
            tracing::error!(%rule, reason = &*impersonal(reason), "the rule's owner could not be told");
        }
        Event::SourceLost { reason } => {
            tracing::error!(reason = &*impersonal(reason), "the source does not answer; sweeps wait");
        }
        Event::SourceBack { after } => tracing::info!(after_s = after.as_secs(), "the source answers again"),
        Event::Recalled { entries } => {
            tracing::warn!(entries, "the state had forgotten entries of the suppression list; they hold again");
        }
        Event::StateFailed { reason } => {
            tracing::error!(reason = &*impersonal(reason), "the state database failed; work is tried again");
        }
        Event::Rescued(rescued) => {
            let (requeued, repeated, unknown) = (rescued.requeued, rescued.repeated, rescued.unknown);
            if requeued + repeated + unknown > 0 {
                tracing::warn!(requeued, repeated, unknown, "took back what a dead process held");
            }
        }
        Event::Pruned { what, count } => tracing::info!(what = what.as_str(), count, "forgot what had grown old"),
        Event::LedgerPruned { count } => tracing::info!(count, "dropped old matches from the ledger"),
        Event::SendingHeld { reason } => tracing::error!(reason, "NOTHING IS SENT until an operator confirms"),
        Event::SendingFreed => tracing::warn!("an operator has confirmed; what is due is sent"),
        Event::RoomShort { free } => {
            let free_mib = free / (1024 * 1024);
            tracing::error!(free_mib, "the disk of the state is nearly full: sweeps stop, what is due is still sent");
        }
        Event::RoomBack { free } => {
            let free_mib = free / (1024 * 1024);
            tracing::info!(free_mib, "there is room on the disk of the state again; sweeps go on");
        }
    }
}

fn log_attempt(event: &Event) {
    let Event::AttemptFinished { delivery, rule, record, step, kind, number, outcome, .. } = event else { return };
    let (what, whole) = (outcome.as_str(), detail(outcome));
    let detail = &*impersonal(&whole);
    if detail != whole {
        tracing::debug!(%rule, record = %named(record), %delivery, detail = whole, "what the other side said");
    }
    match outcome {
        Outcome::Permanent { .. } | Outcome::Unknown { .. } => {
            tracing::error!(%rule, record = %named(record), %delivery, %step, kind, number, outcome = what, detail, "delivery");
        }
        Outcome::Transient { .. } => {
            tracing::warn!(%rule, record = %named(record), %delivery, %step, kind, number, outcome = what, detail, "delivery");
        }
        _ => {
            tracing::info!(%rule, record = %named(record), %delivery, %step, kind, number, outcome = what, detail, "delivery");
        }
    }
}

fn log_sweep(report: &SweepReport) {
    let rule = &report.rule;
    let took_ms = report.took.as_millis() as u64;
    let (crossed, entered, known, missed, late) =
        (report.crossed, report.entered, report.known, report.missed, report.late);
    if let Some(reason) = &report.held {
        tracing::error!(%rule, crossed, entered, reason, "sweep held; see `nudged hold list`");
    } else if entered > 0 || late > 0 {
        tracing::info!(%rule, crossed, entered, known, missed, late, took_ms, "sweep");
    } else {
        tracing::debug!(%rule, crossed, known, missed, took_ms, "sweep");
    }
    if let Some(record) = &report.zone_unknown_of {
        let records = report.zone_unknown;
        tracing::warn!(%rule, records, record = %named(record), "unknown time zone: the catalog's is used; this record is one of them");
    }
    if let Some(record) = &report.locale_unknown_of {
        let records = report.locale_unknown;
        tracing::warn!(%rule, records, record = %named(record), "unknown locale: the catalog's is used; this record is one of them");
    }
    if report.script_failed > 0 || report.unreadable > 0 {
        let (script_failed, unreadable) = (report.script_failed, report.unreadable);
        tracing::warn!(%rule, script_failed, unreadable, "records could not be judged and are tried again");
    }
}

fn log_unread(rule: &crate::model::RuleId, event: &str, problem: &str) {
    tracing::warn!(%rule, event, problem, "an event names no record, which whoever sends it has to mend");
}

fn log_step(rule: &crate::model::RuleId, record: &RecordId, step: &crate::model::StepId, decided: &Noted) {
    let (what, detail) = (decided.as_str(), decided.detail());
    if let Some(until) = decided.until() {
        tracing::debug!(%rule, record = %named(record), %step, %until, what, "step");
    } else {
        tracing::debug!(%rule, record = %named(record), %step, detail, what, "step");
    }
}

fn detail(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Sent { reply } => reply.clone(),
        // A subject may name the person.
        Outcome::Recorded { .. } => String::new(),
        Outcome::Transient { reason, .. }
        | Outcome::Permanent { reason }
        | Outcome::Unknown { reason }
        | Outcome::Postponed { reason, .. } => reason.clone(),
        Outcome::Skipped { reason, detail } => format!("{}: {detail}", reason.as_str()),
        Outcome::Ended { reason, detail } => format!("{}: {detail}", reason.as_str()),
    }
}

/// Some tables have an address for a key. The log then shows a mark in its place, which is the same for the same record
/// until the next start.
fn named(record: &RecordId) -> String {
    static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    if record.key.as_str().contains('@') {
        let mark = MARKS.hash_one(record.key.as_str());
        return RecordId { key: Key::new(format!("(address {:08x})", mark as u32)), ..record.clone() }.to_string();
    }
    record.to_string()
}

/// Without the words of others, who like to name whom they refuse, and without addresses in ours.
fn impersonal(text: &str) -> Cow<'_, str> {
    let text = unsaid(text);
    if !text.contains('@') {
        return text;
    }
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        if word.contains('@') { format!("(address){}", &word[word.trim_end().len()..]) } else { word.to_owned() }
    });
    Cow::Owned(words.collect())
}

#[cfg(test)]
mod tests {
    use super::{impersonal, named};
    use crate::model::RecordId;

    #[test]
    fn a_key_that_is_an_address_is_shown_by_a_mark_of_its_own() {
        let record = |key: &str| RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
        let (anna, bob) = (record("anna@cafe.example"), record("bob@cafe.example"));
        assert!(named(&anna).starts_with("customer:(address ") && !named(&anna).contains('@'));
        assert_eq!((named(&anna) == named(&anna), named(&anna) == named(&bob)), (true, false));
        assert_eq!(named(&record("4711")), "customer:4711");
    }

    #[test]
    fn a_servers_reply_is_logged_without_whom_it_names() {
        assert_eq!(impersonal("550 5.1.1 “Anna Gruber has left”"), "550 5.1.1");
        assert_eq!(impersonal("no mail to <anna@example.org>: not ASCII"), "no mail to (address) not ASCII");
        assert_eq!(impersonal("the receiver answered 404 Not Found"), "the receiver answered 404 Not Found");
    }
}
