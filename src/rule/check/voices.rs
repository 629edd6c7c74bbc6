//! Text messages, and steps that choose among channels.

use super::Checker;
use crate::catalog::Entity;
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::{RoleName, Segments, outside_gsm};
use crate::rule::checked::{Action, Preferred, Sms};
use crate::rule::written::{MessageEntry, SmsEntry, WayWord};
use std::ops::Range;

/// How long a placeholder is taken for, in a text whose length is estimated.
const USUAL_VALUE: &str = "xxxxxxxxxx";

impl<'a> Checker<'a> {
    pub(super) fn sms(&mut self, entity: &'a Entity, to: Option<&RoleName>, written: &SmsEntry) -> Option<Action> {
        self.line(entity, &written.text, &written.text.range);
        self.length(&written.text);
        let known = &self.known.gateways.names;
        if let Some(via) = written.via.as_ref().filter(|via| !known.contains(via.as_str())) {
            self.unknown("rule.unknown-gateway", "gateway", via, known.iter().map(String::as_str));
        }
        if written.via.is_none() && known.len() > 1 {
            let names = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let help = format!("name one of {names}: `via: …`");
            self.wrong(&written.text.range, "rule.which-gateway", "there are several gateways", &help);
        }
        let own = match &written.to {
            Some(own) => Some(self.recipient(entity, own)?),
            None => None,
        };
        match own.as_ref().or(to) {
            Some(role) => self.textable(entity, role, written.to.as_ref().unwrap_or(&written.text)),
            // A role that is not known has been reported already.
            None if self.has_role => {}
            None => {
                let help = "add `to:` with a recipient role to the rule or to this step";
                self.wrong(&written.text.range, "rule.no-recipient", "this text message goes to nobody", help);
            }
        }
        let via = written.via.as_ref().map(|via| via.value.clone());
        Some(Action::Sms(Sms { text: written.text.value.clone(), to: own, via }))
    }

    /// Long texts, and those that one letter makes long, are paid for many times over.
    fn length(&mut self, text: &At<String>) {
        let most = self.known.gateways.segments as usize;
        let (estimate, fixed) = estimated(text);
        let segments = Segments::of(&estimate);
        if segments.count <= most {
            return;
        }
        let message = format!("this text is about {} segments, more than the {most} of `sms.segments`", segments.count);
        let finding = Finding::warning("rule.long-text", message);
        let finding = match outside_gsm(&fixed) {
            Some(letter) => finding.help(format!("`{letter}` is not of the phone alphabet, which halves what fits")),
            None => finding.help("make it shorter; every segment is paid for"),
        };
        self.report.add(&text.range, finding);
    }

    /// A role that text messages go to must lead to phone numbers.
    fn textable(&mut self, entity: &'a Entity, role: &RoleName, at: &At<String>) {
        let Some(recipient) = entity.recipients.get(role) else { return };
        let Some(person) = self.person_of(entity, recipient) else {
            let message = format!("`{role}` is a fixed email address, which can't take text messages");
            return self.wrong(&at.range, "rule.no-address", message, "name a role that leads to people");
        };
        if person.person.as_ref().is_none_or(|person| person.phone.is_none()) {
            let message = format!("people of `{}` have no phone number in the catalog", person.name);
            self.wrong(&at.range, "rule.no-address", message, "add `phone:` to that entity's `person`");
        }
    }

    pub(super) fn message(
        &mut self,
        entity: &'a Entity,
        to: Option<&RoleName>,
        written: &MessageEntry,
    ) -> Option<Action> {
        let mut ways: Vec<(WayWord, Action)> = Vec::new();
        let mut given = 0;
        if let Some(email) = &written.email {
            given += 1;
            ways.extend(self.email(entity, to, email).map(|action| (WayWord::Email, action)));
        }
        if let Some(sms) = &written.sms {
            given += 1;
            ways.extend(self.sms(entity, to, sms).map(|action| (WayWord::Sms, action)));
        }
        if let Some(task) = &written.task {
            given += 1;
            ways.extend(self.task(entity, task).map(|action| (WayWord::Task, action)));
        }
        let range = &written.channel.range;
        if given < 2 {
            let help = "name what to send on each: `email:`, `sms:` and `task:`";
            self.wrong(range, "rule.one-channel", "there is nothing to choose from", help);
            return None;
        }
        self.prefers(entity, to, written, range);
        let ordered = self.ordered(written, &ways);
        (ways.len() == given).then_some(Action::Preferred(Preferred { ways: ordered }))
    }

    /// Those that `otherwise` names in its order; without it, all as they stand.
    fn ordered(&mut self, written: &MessageEntry, ways: &[(WayWord, Action)]) -> Vec<Action> {
        let mut ordered: Vec<Action> = Vec::new();
        for word in &written.otherwise {
            match ways.iter().find(|(way, _)| *way == word.value) {
                Some((_, action)) if ordered.contains(action) => {
                    self.wrong(&word.range, "rule.one-channel", "this channel stands twice", "keep one");
                }
                Some((_, action)) => ordered.push(action.clone()),
                None => {
                    let help = "say above what to send on it, or remove it";
                    self.wrong(&word.range, "rule.one-channel", "nothing is sent on this channel", help);
                }
            }
        }
        // What isn't listed can still be preferred; it is never fallen back on before what is.
        let rest: Vec<Action> =
            ways.iter().map(|(_, action)| action).filter(|action| !ordered.contains(action)).cloned().collect();
        ordered.extend(rest);
        ordered
    }

    /// The people written to have a preference at all.
    fn prefers(&mut self, entity: &'a Entity, to: Option<&RoleName>, written: &MessageEntry, range: &Range<usize>) {
        let own = written.email.as_ref().and_then(|email| email.to.as_ref());
        let own = own.or_else(|| written.sms.as_ref().and_then(|sms| sms.to.as_ref()));
        let own = own.and_then(|own| entity.recipients.get(own.as_str()));
        let Some(recipient) = own.or_else(|| to.and_then(|to| entity.recipients.get(to))) else { return };
        let Some(person) = self.person_of(entity, recipient) else { return };
        if person.person.as_ref().is_none_or(|person| person.channel.is_none()) {
            let message = format!("the catalog doesn't say which channel people of `{}` prefer", person.name);
            let finding = Finding::warning("rule.no-preference", message);
            let help = "add `channel:` with a field to that entity's `person`; until then the first way is tried first";
            self.report.add(range, finding.help(help));
        }
    }
}

/// The text with usual values for its placeholders, and without them.
fn estimated(text: &str) -> (String, String) {
    let (mut estimate, mut fixed) = (String::new(), String::new());
    let mut rest = text.trim();
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (before, tag) = rest.split_at(start);
        let value = tag.starts_with("{{");
        estimate.push_str(before);
        fixed.push_str(before);
        if value {
            estimate.push_str(USUAL_VALUE);
        }
        let end = if value { "}}" } else { "%}" };
        rest = tag.find(end).map_or("", |at| &tag[at + end.len()..]);
    }
    estimate.push_str(rest);
    fixed.push_str(rest);
    (estimate, fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_count_as_usual_values() {
        let (estimate, fixed) = estimated(" Hi {{ to.first_name }}{% if x %}, come{% endif %}! ");
        assert_eq!((estimate.as_str(), fixed.as_str()), ("Hi xxxxxxxxxx, come!", "Hi , come!"));
        assert_eq!(estimated("{{ open").0, USUAL_VALUE);
    }
}
