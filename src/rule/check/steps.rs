//! Steps, flattened into nodes that name their successor by index, in the order of the file.

use super::Checker;
use crate::catalog::{Entity, InsertValue};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::{RoleName, RuleId, StepId, TemplateName};
use crate::rule::checked::{Action, Case, Chat, Email, Entry, Node, Offset, Step, Task, UnlessOpen, Webhook};
use crate::rule::condition::Condition;
use crate::rule::contradiction::{clash, clash_on, taken_before};
use crate::rule::written::{
    BranchEntry, ChatEntry, EmailEntry, RuleFile, StepEntry, TaskEntry, TriggerEntry, UnlessOpenWord, WebhookEntry,
};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) type Steps = [At<StepEntry>];

/// The nodes so far, and the ids they have.
#[derive(Default)]
pub(super) struct Flow {
    nodes: Vec<Option<Node>>,
    /// How often a name was needed; explicit ids only once.
    ids: BTreeMap<String, usize>,
}

impl<'a> Checker<'a> {
    pub(super) fn steps(
        &mut self,
        written: &RuleFile,
        entity: &'a Entity,
        to: Option<&RoleName>,
    ) -> (Vec<Entry>, Vec<Node>) {
        let by_date = written.trigger.as_ref().is_some_and(|trigger| matches!(trigger.value, TriggerEntry::Date(_)));
        let mut flow = Flow::default();
        let mut entries = Vec::new();
        match (&written.steps, &written.offsets) {
            (Some(steps), None) if by_date => {
                let help = "a date rule says when, around the date: `offsets: {60 days before: [...]}`";
                self.wrong(&start_of(steps), "rule.offsets", "a date rule with `steps`", help);
            }
            (Some(steps), None) => {
                let first = self.sequence(&mut flow, entity, to, steps, None);
                entries.push(Entry { offset: None, first });
            }
            (steps, Some(offsets)) => {
                if let (Some(steps), true) = (steps, by_date) {
                    self.wrong(&start_of(steps), "rule.offsets", "both `steps` and `offsets`", "keep `offsets`");
                }
                for (name, steps) in offsets.iter() {
                    if !by_date {
                        let help = "only date rules have offsets: write `steps:`";
                        self.wrong(&name.range, "rule.offsets", "`offsets` without a date trigger", help);
                        break;
                    }
                    let offset = self.offset(name);
                    let first = self.sequence(&mut flow, entity, to, steps, None);
                    let Some(offset) = offset else { continue };
                    if entries.iter().any(|entry: &Entry| entry.offset == Some(offset)) {
                        self.wrong(&name.range, "rule.offsets", "this offset stands twice", "keep one");
                    }
                    entries.push(Entry { offset: Some(offset), first });
                }
            }
            (None, None) if by_date => {
                self.missing("offsets", "say what to do when: `offsets: {60 days before: [...]}`");
            }
            (None, None) => self.missing("steps", "say what to do: `steps: [{email: {template: hello}}]`"),
        }
        entries.sort_by_key(|entry| entry.offset.map_or(0, signed_seconds));
        (entries, flow.nodes.into_iter().flatten().collect())
    }

    /// `60 days before`, `on the day`, `1 day after`
    pub(super) fn offset(&mut self, name: &At<String>) -> Option<Offset> {
        let text = name.trim();
        if text == "on the day" {
            return Some(Offset::ON_THE_DAY);
        }
        let (period, before) = match (text.strip_suffix(" before"), text.strip_suffix(" after")) {
            (Some(period), _) => (period, true),
            (_, Some(period)) => (period, false),
            _ => {
                let message = format!("`{text}` is not an offset");
                self.wrong(
                    &name.range,
                    "rule.offsets",
                    message,
                    "write `60 days before`, `on the day` or `1 day after`",
                );
                return None;
            }
        };
        let period = self.period(period, &name.range)?;
        Some(Offset { before, period })
    }

    /// Lays out a list of steps; the last one goes on at `after`. Returns the index of the first.
    pub(super) fn sequence(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        steps: &Steps,
        after: Option<usize>,
    ) -> Option<usize> {
        let start = flow.nodes.len();
        let end = start + steps.len();
        flow.nodes.resize_with(end, || None);
        for (index, step) in (start..).zip(steps) {
            let next = if index + 1 < end { Some(index + 1) } else { after };
            let id = self.step_id(flow, step);
            if let Some(checked) = self.step(flow, entity, to, step, (&id, next)) {
                flow.nodes[index] = Some(Node { id, step: checked, next });
            }
        }
        (start < end).then_some(start)
    }

    fn step(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        step: &At<StepEntry>,
        (id, next): (&StepId, Option<usize>),
    ) -> Option<Step> {
        match &step.value {
            StepEntry::Email(email) => self.email(entity, to, email).map(Step::Act),
            StepEntry::Webhook(webhook) => Some(self.webhook(entity, webhook)),
            StepEntry::Chat(chat) => Some(self.chat(entity, chat)),
            StepEntry::Task(task) => self.task(entity, task).map(Step::Act),
            StepEntry::Wait(wait) => self.wait(flow, entity, to, (&**wait, &step.range), next),
            StepEntry::Branch(branch) => self.branch(flow, entity, to, branch, next),
            StepEntry::Split(split) => Some(self.split(flow, entity, to, (split, &step.range), (id, next))),
            StepEntry::Enroll(enroll) => {
                let rule = RuleId::new(enroll.rule.as_str());
                self.enrolls.push((rule.clone(), id.clone(), enroll.rule.range.clone()));
                Some(Step::Enroll(rule))
            }
            StepEntry::Stop(_) => Some(Step::Stop),
            StepEntry::Update(update) => self.update(entity, update, &step.range),
            StepEntry::Assign(assign) => self.assign(entity, assign, &step.range),
            StepEntry::Claim(claim) => Some(self.claim(claim)),
            StepEntry::Sms(sms) => self.sms(entity, to, sms).map(Step::Act),
            StepEntry::Message(message) => self.message(entity, to, message).map(Step::Act),
            StepEntry::Digest(digest) => self.digest(entity, to, digest).map(Step::Act),
        }
    }

    /// A given id, or kind and template; the second of a name gets `-2`.
    fn step_id(&mut self, flow: &mut Flow, step: &At<StepEntry>) -> StepId {
        let (own, default) = match &step.value {
            StepEntry::Email(email) => (&email.id, format!("email-{}", email.template.value)),
            StepEntry::Webhook(webhook) => (&webhook.id, format!("webhook-{}", webhook.to.value)),
            StepEntry::Chat(chat) => (&chat.id, format!("chat-{}", chat.to.value)),
            StepEntry::Task(task) => (&task.id, "task".to_owned()),
            StepEntry::Wait(wait) => (&wait.id, "wait".to_owned()),
            StepEntry::Branch(branch) => (&branch.id, "branch".to_owned()),
            StepEntry::Split(split) => (&split.id, "split".to_owned()),
            StepEntry::Enroll(enroll) => (&enroll.id, format!("enroll-{}", enroll.rule.value)),
            StepEntry::Stop(end) => (&end.id, "stop".to_owned()),
            StepEntry::Update(update) => (&update.id, "update".to_owned()),
            StepEntry::Assign(assign) => (&assign.id, "assign".to_owned()),
            StepEntry::Claim(claim) => (&claim.id, format!("claim-{}", claim.pool.value)),
            StepEntry::Sms(sms) => (&sms.id, "sms".to_owned()),
            StepEntry::Message(message) => (&message.id, "message".to_owned()),
            StepEntry::Digest(digest) => (&digest.id, format!("digest-{}", digest.template.value)),
        };
        let name = own.as_ref().map_or(default, |id| id.value.clone());
        let count = flow.ids.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        match (own, *count) {
            (_, 1) => StepId::new(name),
            (Some(id), _) => {
                self.wrong(
                    &id.range,
                    "rule.step-id",
                    format!("the step id `{name}` stands twice"),
                    "give each its own",
                );
                StepId::new(name)
            }
            (None, count) => StepId::new(format!("{name}-{count}")),
        }
    }

    pub(super) fn email(&mut self, entity: &'a Entity, to: Option<&RoleName>, written: &EmailEntry) -> Option<Action> {
        if !self.known.templates.contains(written.template.as_str()) {
            let known = self.known.templates.iter().map(String::as_str);
            self.unknown("rule.unknown-template", "template", &written.template, known);
        }
        let own = match &written.to {
            Some(own) => Some(self.recipient(entity, own)?),
            None => None,
        };
        match own.as_ref().or(to) {
            Some(role) => self.mailable(entity, role, written.to.as_ref().unwrap_or(&written.template)),
            // A role that is not known has been reported already.
            None if self.has_role => {}
            None => {
                let help = "add `to:` with a recipient role to the rule or to this step";
                self.wrong(&written.template.range, "rule.no-recipient", "this email goes to nobody", help);
            }
        }
        let confirms = written.confirms.as_ref().and_then(|topic| self.topic(topic));
        let template = TemplateName::new(written.template.as_str());
        let surveys = &self.known.catalog.surveys;
        if let Some(asks) = written.asks.as_ref().filter(|asks| !surveys.contains_key(asks.as_str())) {
            self.unknown("rule.unknown-survey", "survey", asks, surveys.keys().map(String::as_str));
        }
        let asks = written.asks.as_ref().map(|asks| asks.value.clone());
        Some(Action::Email(Email { template, to: own, confirms, asks, digest: None }))
    }

    fn webhook(&mut self, entity: &'a Entity, written: &WebhookEntry) -> Step {
        if !self.known.destinations.contains(written.to.as_str()) {
            let known = self.known.destinations.iter().map(String::as_str);
            self.unknown("rule.unknown-destination", "destination", &written.to, known);
        }
        let body = written.body.as_ref().map(|body| {
            self.lines_in(entity, body);
            body.to_json(self.report.source())
        });
        let save = written.save.as_ref().map(|save| save.value.clone());
        self.saved.extend(save.clone());
        Step::Act(Action::Webhook(Webhook { to: written.to.value.clone(), body, save }))
    }

    fn chat(&mut self, entity: &'a Entity, written: &ChatEntry) -> Step {
        if !self.known.chats.contains(written.to.as_str()) {
            let known = self.known.chats.iter().map(String::as_str);
            self.unknown("rule.unknown-chat", "chat", &written.to, known);
        }
        self.line(entity, &written.text, &written.text.range);
        Step::Act(Action::Chat(Chat { to: written.to.value.clone(), text: written.text.value.clone() }))
    }

    pub(super) fn task(&mut self, entity: &'a Entity, written: &TaskEntry) -> Option<Action> {
        self.line(entity, &written.title, &written.title.range);
        self.held_by_tasks(&written.title, &InsertValue::Title);
        if let Some(body) = &written.body {
            self.line(entity, body, &body.range);
            self.held_by_tasks(body, &InsertValue::Body);
        }
        let assign_to = match &written.assign_to {
            Some(role) => Some(self.recipient(entity, role)?),
            None => None,
        };
        let due = match &written.due {
            Some(due) => Some(self.period(due, &due.range)?),
            None => None,
        };
        let unless_open = written.unless_open.as_ref().map(|word| match word.value {
            UnlessOpenWord::Any => UnlessOpen::Any,
            UnlessOpenWord::Same => UnlessOpen::Same,
        });
        let body = written.body.as_ref().map(|body| body.value.clone());
        Some(Action::Task(Task { title: written.title.value.clone(), body, assign_to, due, unless_open }))
    }

    fn branch(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        written: &BranchEntry,
        next: Option<usize>,
    ) -> Option<Step> {
        let mut cases: Vec<Case> = Vec::new();
        for case in &written.cases {
            if cases.iter().any(|other| other.name == case.name.value) {
                let message = format!("the case `{}` stands twice", case.name.value);
                self.wrong(&case.name.range, "rule.case", message, "give each its own name");
            }
            let when = self.later_condition(entity, &case.when);
            if let Some(reason) = when.as_ref().and_then(|when| self.untaken(&cases, when)) {
                let finding = Finding::warning("rule.never-matches", format!("nobody takes this case: {reason}"));
                self.report.add(&case.name.range, finding.help("change its condition, or remove the case"));
            }
            let first = self.sequence(flow, entity, to, &case.steps, next).or(next);
            let text = case.when.0.entries_line(self.report.source());
            cases.extend(when.map(|when| Case { name: case.name.value.clone(), when, text, first }));
        }
        let otherwise = written.otherwise.as_ref().and_then(|steps| self.sequence(flow, entity, to, steps, next));
        (cases.len() == written.cases.len()).then_some(Step::Branch { cases, otherwise })
    }

    /// Why nobody takes a case after these.
    fn untaken(&self, before: &[Case], when: &Condition) -> Option<String> {
        let holds: Vec<&Condition> = self.outer.iter().chain([when]).collect();
        if let Some(name) = clash(holds.iter().copied()) {
            return Some(format!("with `where`, what is asked of `{name}` excludes itself"));
        }
        if let Some(name) = clash_on(self.ground, holds.iter().copied()) {
            return Some(format!("what is asked of `{name}` excludes what the catalog says of its rows"));
        }
        let takes_all = |cases: &[&Condition]| taken_before(self.ground, &holds, cases);
        if let Some(case) = before.iter().find(|case| takes_all(&[&case.when])) {
            return Some(format!("whoever fits it takes `{}` before it", case.name));
        }
        let all: Vec<&Condition> = before.iter().map(|case| &case.when).collect();
        takes_all(&all).then(|| "whoever fits it takes one of those before it".to_owned())
    }
}

fn start_of(steps: &At<Vec<At<StepEntry>>>) -> Range<usize> {
    steps.first().map_or_else(|| steps.range.clone(), |step| step.range.clone())
}

fn signed_seconds(offset: Offset) -> i64 {
    let seconds = offset.period.max_seconds();
    if offset.before { -seconds } else { seconds }
}
