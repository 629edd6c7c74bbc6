//! What was expected against what was sent.

use super::Failure;
use crate::diagnostic::yaml::At;
use crate::diagnostic::{Finding, Report, SourceFile};
use crate::engine::port::{EnrollmentView, Message};
use crate::model::{EnrollmentState, RecordId, StepId, TemplateName};
use crate::rule::example::{Detail, Expected, ExpectedMessage, Want};
use jiff::{Timestamp, tz::TimeZone};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// A message that was sent.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub step: StepId,
    pub kind: &'static str,
    pub record: RecordId,
    pub template: Option<TemplateName>,
    pub message: Message,
    pub at: Timestamp,
}

impl Got {
    fn meets(&self, expected: &ExpectedMessage) -> bool {
        self.kind == expected.kind && expected.wants.iter().all(|want| self.has(want))
    }

    fn has(&self, want: &Want) -> bool {
        let text = want.text.as_str();
        match (want.detail, &self.message) {
            (Detail::Name, Message::Email(_)) => {
                self.template.as_ref().is_some_and(|template| template.as_str() == text) || self.step.as_str() == text
            }
            (Detail::Name, Message::Webhook(call)) => call.destination == text || self.step.as_str() == text,
            (Detail::Name, Message::Chat(chat)) => chat.to == text || self.step.as_str() == text,
            (Detail::Name, Message::Task(task)) => task.title == text || self.step.as_str() == text,
            (Detail::Name, Message::Write(draft)) => draft.what.name() == Some(text) || self.step.as_str() == text,
            (Detail::Name, Message::Sms(_)) => self.step.as_str() == text,
            (Detail::Record, _) => self.record.key.as_str() == text,
            (Detail::To, Message::Email(email)) => email.to_address == text,
            (Detail::To, Message::Task(task)) => {
                task.assignee_email.as_deref() == Some(text)
                    || task.assignee_key.as_ref().is_some_and(|key| key.as_str() == text)
            }
            (Detail::To, Message::Sms(sms)) => sms.to == text,
            (Detail::Contains, Message::Sms(sms)) => sms.text.contains(text),
            (Detail::Subject, Message::Email(email)) => email.subject.contains(text),
            (Detail::Contains, Message::Email(email)) => email.text.contains(text) || email.html.contains(text),
            (Detail::Contains, Message::Webhook(call)) => call.body.to_string().contains(text),
            (Detail::Contains, Message::Chat(chat)) => chat.text.contains(text),
            (Detail::Contains, Message::Task(task)) => task.body.as_deref().is_some_and(|body| body.contains(text)),
            (Detail::Contains, Message::Write(draft)) => draft.what.told().contains(text),
            (Detail::Due, Message::Task(task)) => task.due.is_some_and(|due| due.to_string() == text),
            _ => false,
        }
    }

    /// As a person would say what was sent.
    fn shown(&self, zone: &TimeZone) -> String {
        let what = match &self.message {
            Message::Email(email) => {
                let name = self.template.as_ref().map_or(self.step.as_str(), TemplateName::as_str);
                format!("email {name} to {} \"{}\"", email.to_address, email.subject)
            }
            Message::Webhook(call) => format!("webhook {} {}", call.destination, call.body),
            Message::Chat(chat) => format!("chat {} \"{}\"", chat.to, chat.text),
            Message::Sms(sms) => format!("sms {} to {} \"{}\"", self.step, sms.to, sms.text),
            Message::Task(task) => {
                let to = task.assignee_email.as_deref().map_or_else(String::new, |to| format!(" to {to}"));
                let due = task.due.map_or_else(String::new, |due| format!(" due {due}"));
                format!("task {}{to}{due}", task.title)
            }
            Message::Write(draft) => format!("{} {}", self.kind, draft.what.told()),
        };
        let at = self.at.to_zoned(zone.clone()).strftime("%F %H:%M");
        format!("{what}, about {}:{} at {at}", self.record.entity, self.record.key)
    }
}

impl Failure {
    fn new(file: &Arc<SourceFile>, range: &Range<usize>, message: String) -> Self {
        let finding = Finding::error("test.failed", message).at(Report::new(file).place(range));
        Self { finding, expected: Vec::new(), got: Vec::new(), reasons: Vec::new() }
    }

    /// Adds the difference and the engine's reasons to what is said.
    pub(super) fn because(mut self, reasons: &[String]) -> Self {
        self.reasons = reasons.to_vec();
        let mut help = String::new();
        for (mark, lines) in [("- expected", &self.expected), ("+ got     ", &self.got), ("  because ", &self.reasons)]
        {
            for line in lines {
                let _ = writeln!(help, "{mark} {line}");
            }
        }
        if !help.is_empty() {
            self.finding = self.finding.help(help.trim_end());
        }
        self
    }
}

/// Holds all that was sent against all that was expected, in any order.
pub(super) fn messages(file: &Arc<SourceFile>, expected: &Expected, got: &[Got], zone: &TimeZone) -> Option<Failure> {
    let mut left: Vec<&Got> = got.iter().collect();
    let mut missing: Vec<&ExpectedMessage> = Vec::new();
    for message in &expected.messages {
        match left.iter().position(|got| got.meets(message)) {
            Some(place) => drop(left.remove(place)),
            None => missing.push(message),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return None;
    }
    let (range, message) = match (missing.first(), left.first()) {
        (Some(first), None) => (&first.range, format!("`{first}` was not sent")),
        (Some(first), Some(_)) => (&first.range, format!("`{first}` was not sent, but something else")),
        (None, _) if expected.messages.is_empty() => (&expected.range, "something was sent".to_owned()),
        (None, _) => (&expected.range, "more was sent than expected".to_owned()),
    };
    let mut failure = Failure::new(file, range, message);
    failure.expected = missing.iter().map(ToString::to_string).collect();
    failure.got = left.iter().map(|got| got.shown(zone)).collect();
    Some(failure)
}

/// Holds the end of every sequence against the expected one.
pub(super) fn ends(file: &Arc<SourceFile>, ended: &At<String>, enrollments: &[EnrollmentView]) -> Option<Failure> {
    let end = |enrollment: &EnrollmentView| match (enrollment.state, enrollment.ended) {
        (EnrollmentState::Ended, Some(reason)) => reason.as_str().to_owned(),
        (EnrollmentState::Held, _) => "held".to_owned(),
        _ => "running".to_owned(),
    };
    if enrollments.is_empty() {
        let mut failure = Failure::new(file, &ended.range, "nobody entered the sequence".to_owned());
        failure.expected = vec![ended.value.clone()];
        return Some(failure);
    }
    let others = enrollments.iter().filter(|enrollment| end(enrollment) != ended.value);
    let got: Vec<String> = others
        .map(|enrollment| {
            let record = enrollment
                .record
                .as_ref()
                .map_or_else(String::new, |record| format!("{}:{}: ", record.entity, record.key));
            format!("{record}{}", end(enrollment))
        })
        .collect();
    if got.is_empty() {
        return None;
    }
    let mut failure = Failure::new(file, &ended.range, format!("the sequence has not ended by `{}`", ended.value));
    failure.expected = vec![ended.value.clone()];
    failure.got = got;
    Some(failure)
}

/// Looks for the words in the engine's reasons.
pub(super) fn reason(file: &Arc<SourceFile>, because: &At<String>, reasons: &[String]) -> Option<Failure> {
    if reasons.iter().any(|reason| reason.contains(because.as_str())) {
        return None;
    }
    let mut failure = Failure::new(file, &because.range, "this was not the reason".to_owned());
    failure.expected = vec![because.value.clone()];
    Some(failure)
}
