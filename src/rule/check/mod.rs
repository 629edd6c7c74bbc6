//! From the written rule to the checked one: every name resolved against the catalog, every value read by its
//! type. Goes on after every mistake, so that all are reported.
//!
//! Templates and scripts are only looked up by name here; their contents are checked where they are compiled.

mod abandoned;
mod condition;
mod created;
mod cron;
mod digest;
mod episodes;
mod event;
mod held;
mod message;
mod names;
mod query;
mod related;
mod select;
mod settings;
mod split;
mod steps;
mod tests;
mod trigger;
mod values;
mod voices;
mod wait;
mod writes;
mod yearly;

pub(super) use cron::Rounds;
pub use message::{Fields, Filled, Row};
pub use tests::examples;
pub(crate) use values::moment;

use super::checked::{Cadence, CheckedRule, Entry, Goal, Mode, Node, Purpose, Trigger};
use super::condition::{Condition, Term};
use super::contradiction::{Ground, clash, clash_on, implied, youngest};
use super::generation::Gateways;
use super::statement::Dialect;
use super::written::{Conditions, GoalEntry, ModeWord, RuleFile};
use crate::catalog::{Catalog, Entity, Schema};
use crate::diagnostic::yaml::{self, At, Content};
use crate::diagnostic::{Finding, Report, Severity, SourceFile, suggest};
use crate::model::{EntityName, FieldName, RoleName, RuleId, StepId, Topic, is_address};
use settings::Settings;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// What a rule may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub catalog: &'a Catalog,
    pub dialect: Dialect,
    /// With a live schema, a name that is neither a field nor a column is an error; without one it can't be told.
    pub schema: Option<&'a Schema>,
    pub topics: &'a BTreeSet<Topic>,
    pub destinations: &'a BTreeSet<String>,
    pub chats: &'a BTreeSet<String>,
    pub gateways: &'a Gateways,
    pub templates: &'a BTreeSet<String>,
    pub scripts: &'a BTreeSet<String>,
}

/// What came of checking one file.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The file's `id`, even when the rule is wrong elsewhere.
    pub id: Option<(RuleId, Range<usize>)>,
    /// Its former ids.
    pub was: Vec<(RuleId, Range<usize>)>,
    /// Rules that its steps enroll into, each with the step.
    pub enrolls: Vec<(RuleId, StepId, Range<usize>)>,
    /// `None` with any error.
    pub rule: Option<Arc<CheckedRule>>,
    /// Names that are taken for columns, since no live schema says otherwise.
    pub assumed: BTreeSet<(EntityName, FieldName)>,
    pub findings: Vec<Finding>,
    /// What holds of `occasion.row` unless another rule enrolls into this one.
    pub of_rows: Vec<Finding>,
}

/// Reads and checks a rule file.
#[must_use]
pub fn check(file: &Arc<SourceFile>, known: Known<'_>) -> Outcome {
    match yaml::read::<RuleFile>(file) {
        Ok(written) => Checker::new(file, known).rule(&written),
        Err(_) => Outcome { findings: yaml::refusals::<RuleFile>(file), ..Outcome::default() },
    }
}

/// Parts of a rule that need no entity.
struct Head {
    owner: Option<String>,
    mode: Option<Mode>,
    purpose: Option<Purpose>,
    script: Option<String>,
}

/// Parts of a rule that speak of its entity.
struct Body {
    for_each: EntityName,
    to: Option<RoleName>,
    trigger: Trigger,
    conditions: Vec<Term>,
    only_at_entry: Vec<Term>,
    goal: Option<Goal>,
    exit_when: Vec<Term>,
    cadence: Cadence,
    last_activity: Vec<FieldName>,
    entries: Vec<Entry>,
    nodes: Vec<Node>,
}

fn assemble(
    id: &RuleId,
    file: &SourceFile,
    written: &RuleFile,
    head: Head,
    settings: &Settings,
    body: Body,
) -> Option<CheckedRule> {
    Some(CheckedRule {
        id: id.clone(),
        was: written.was.iter().map(|id| RuleId::new(id.as_str())).collect(),
        file: file.path.clone(),
        description: written.description.as_ref().map_or_else(String::new, |text| text.value.clone()),
        owner: head.owner,
        mode: head.mode?,
        purpose: head.purpose?,
        for_each: body.for_each,
        to: body.to,
        sender: written.sender.as_ref().map(|name| name.value.clone()),
        track: written.track.as_ref().map(|track| track.value.iter().copied().collect()),
        trigger: body.trigger,
        conditions: body.conditions,
        only_at_entry: body.only_at_entry,
        script: head.script,
        goal: body.goal,
        exit_when: body.exit_when,
        cadence: body.cadence,
        backfill: settings.backfill,
        on_rematch: settings.on_rematch,
        late: settings.late,
        keep_trying: settings.keep_trying,
        recheck: settings.recheck,
        guard: settings.guard,
        expect: settings.expect,
        calendar: Arc::new(settings.calendar.clone()),
        spread: settings.spread,
        window: settings.window.clone(),
        priority: settings.priority,
        combine: settings.combine,
        last_activity: body.last_activity,
        on_change: settings.on_change,
        on_delete: settings.on_delete,
        resends_unknown: settings.resends_unknown,
        entries: body.entries,
        nodes: body.nodes,
    })
}

/// What is true of whoever crosses.
fn crossed(trigger: &Trigger, settings: &Settings, cadence: &Cadence) -> Vec<Condition> {
    let mut found = implied(trigger);
    if let Trigger::Created(created) = trigger {
        found.extend(youngest(created, (settings.keep_trying, settings.late), settings.backfill, cadence));
    }
    found
}

/// Where a name stands last in a condition.
fn last_key(node: &yaml::Node, name: &str) -> Option<Range<usize>> {
    match &node.content {
        Content::Map(entries) => entries
            .iter()
            .rev()
            .find_map(|(key, inner)| last_key(inner, name).or_else(|| (key.value == name).then(|| key.range.clone()))),
        Content::List(items) => items.iter().rev().find_map(|item| last_key(item, name)),
        Content::Scalar(_) => None,
    }
}

/// Whether the script's score can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    /// In a trigger, which SQL answers alone.
    InTrigger,
    Tested,
    /// Over related rows, which no script sees.
    OfRelated,
}

#[expect(clippy::struct_excessive_bools, reason = "each says what holds where the checker reads now")]
struct Checker<'a> {
    report: Report,
    known: Known<'a>,
    assumed: BTreeSet<(EntityName, FieldName)>,
    /// Names that `saved.NAME` can have in templates, and in conditions of what follows.
    saved: BTreeSet<String>,
    /// Conditions are read now that may ask for it.
    may_ask_saved: bool,
    has_script: bool,
    /// What `score` means where conditions are read now.
    scores: Scores,
    /// The rule names a `to`, known or not.
    has_role: bool,
    /// What `where` says, which holds for every message.
    outer: Vec<Condition>,
    /// The rule's records; `None` until its entity is known.
    ground: Option<Ground<'a>>,
    /// As written.
    id: Option<String>,
    enrolls: Vec<(RuleId, StepId, Range<usize>)>,
    /// A step before has chosen a colleague.
    assigned: bool,
    /// What `occasion.row` has; `None` until the trigger is known.
    row: Option<Row<'a>>,
    of_rows: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn new(file: &Arc<SourceFile>, known: Known<'a>) -> Self {
        Self {
            report: Report::new(file),
            known,
            assumed: BTreeSet::new(),
            saved: BTreeSet::new(),
            may_ask_saved: false,
            has_script: false,
            scores: Scores::InTrigger,
            has_role: false,
            outer: Vec::new(),
            ground: None,
            id: None,
            enrolls: Vec::new(),
            assigned: false,
            row: None,
            of_rows: Vec::new(),
        }
    }

    fn rule(mut self, written: &RuleFile) -> Outcome {
        self.empty_keys();
        self.version(written.version.as_ref());
        let id = self.id(written);
        self.id = id.as_ref().map(|(id, _)| id.as_str().to_owned());
        let head = self.head(written);
        let settings = self.settings(written);
        let body =
            self.for_each(written.for_each.as_ref()).and_then(|entity| self.body(written, entity, &head, &settings));
        self.tests(written);
        self.quoting();
        let rule = id.as_ref().and_then(|(id, _)| assemble(id, self.report.file(), written, head, &settings, body?));
        let findings = self.report.into_findings();
        let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
        let was = written.was.iter().map(|id| (RuleId::new(id.as_str()), id.range.clone())).collect();
        let rule = rule.filter(|_| !failed).map(Arc::new);
        let of_rows = self.of_rows;
        Outcome { id, was, enrolls: self.enrolls, rule, assumed: self.assumed, findings, of_rows }
    }

    /// What stands on its own.
    fn head(&mut self, written: &RuleFile) -> Head {
        self.has_script = written.script.is_some();
        self.has_role = written.to.is_some();
        Head {
            owner: written.owner.as_ref().map(|owner| self.owner(owner)),
            mode: self.mode(written.mode.as_ref()),
            purpose: self.purpose(written.purpose.as_ref()),
            script: written.script.as_ref().map(|script| self.script(script)),
        }
    }

    /// What needs the entity: names of its fields, relations and recipients.
    fn body(&mut self, written: &RuleFile, entity: &'a Entity, head: &Head, settings: &Settings) -> Option<Body> {
        let to = written.to.as_ref().and_then(|to| self.recipient(entity, to));
        let trigger = self.trigger(written, entity);
        let (catalog, schema) = (self.known.catalog, self.known.schema);
        self.row = trigger.as_ref().map(|trigger| Row::of(trigger, entity, catalog, schema));
        self.scores = Scores::Tested;
        let conditions = self.terms(entity, written.conditions.as_ref());
        let only_at_entry = self.terms(entity, written.only_at_entry.as_ref());
        let cadence = self.cadence(written, trigger.as_ref());
        let crossed = trigger.as_ref().map(|trigger| crossed(trigger, settings, &cadence)).unwrap_or_default();
        self.ground = Some(Ground::of(self.known.catalog, entity));
        self.possible(written, &crossed, &conditions, &only_at_entry);
        let goal = written.goal.as_ref().and_then(|goal| self.goal(entity, goal));
        self.without_effect(written, trigger.as_ref());
        if let Some(Trigger::Segment(segment)) = &trigger {
            self.backfill_of_segment(written, segment, settings.backfill);
        }
        let (entries, nodes) = self.steps(written, entity, to.as_ref());
        // It is asked before every message, and may name what any step keeps.
        let exit_when = self.exit_when(entity, written.exit_when.as_ref());
        if let Some(Purpose::Topic(topic)) = &head.purpose {
            self.consent(entity, topic, written, (to.as_ref(), &nodes));
        }
        let (for_each, last_activity) = (entity.name.clone(), entity.last_activity.clone());
        let trigger = trigger?;
        Some(Body {
            for_each,
            to,
            trigger,
            conditions,
            only_at_entry,
            goal,
            exit_when,
            cadence,
            last_activity,
            entries,
            nodes,
        })
    }

    /// A rule whose conditions exclude each other is dead, and would look as if nobody matched.
    fn possible(&mut self, written: &RuleFile, crossed: &[Condition], conditions: &[Term], only_at_entry: &[Term]) {
        let asked = || conditions.iter().chain(only_at_entry).map(|term| &term.condition);
        let named = |found: Option<String>, what| found.map(|name| (name, what));
        let found = named(clash(asked()), "itself")
            .or_else(|| named(clash(asked().chain(crossed)), "what the trigger waits for"))
            .or_else(|| named(clash_on(self.ground, asked().chain(crossed)), "what the catalog says of its rows"));
        if let Some((name, what)) = found {
            let mut nodes = [&written.only_at_entry, &written.conditions].into_iter().flatten();
            let place = nodes.find_map(|conditions| last_key(&conditions.0, &name));
            let place = place.or_else(|| written.for_each.as_ref().map(|entity| entity.range.clone()));
            let message = format!("nobody can match: what is asked of `{name}` excludes {what}");
            let finding = Finding::warning("rule.never-matches", message);
            self.report.add(&place.unwrap_or(0..0), finding.help("write alternatives as `any: [...]`, or remove one"));
            return;
        }
        self.outer = conditions.iter().map(|term| term.condition.clone()).collect();
    }

    /// A key with nothing behind it is a mistake: `where:` whose lines are all commented out would match everybody.
    fn empty_keys(&mut self) {
        let file = Arc::clone(self.report.file());
        let Ok(yaml::Node { content: Content::Map(entries), .. }) = yaml::read(&file) else { return };
        for (key, node) in entries {
            if node.is_null(&file.text) {
                let finding = Finding::error("rule.empty-key", format!("nothing stands behind `{}:`", key.value));
                self.report.add(&key.range, finding.help("fill it in or remove the key"));
            }
        }
    }

    fn version(&mut self, version: Option<&At<u64>>) {
        match version {
            None => self.missing("version", "begin the file with `version: 1`"),
            Some(version) if version.value != 1 => {
                let finding = Finding::error("rule.version", format!("unknown version {}", version.value));
                self.report.add(&version.range, finding.help("this nudged reads version 1"));
            }
            Some(_) => {}
        }
    }

    fn missing(&mut self, key: &str, help: &str) {
        let finding = Finding::error("rule.missing-key", format!("the key `{key}` is missing"));
        let end = self.report.source().find('\n').unwrap_or(self.report.source().len());
        self.report.add(&(0..end), finding.label("in this file").help(help));
    }

    fn id(&mut self, written: &RuleFile) -> Option<(RuleId, Range<usize>)> {
        for former in &written.was {
            self.id_letters(former);
            if written.id.as_ref().is_some_and(|id| id.value == former.value) {
                let finding = Finding::error("rule.was", format!("`{}` is the rule's id now", former.value));
                self.report.add(&former.range, finding.help("`was` lists ids that the rule had before"));
            }
        }
        let Some(id) = &written.id else {
            self.missing("id", "give the rule a name that stays: `id: win-back-90`");
            return None;
        };
        self.id_letters(id);
        Some((RuleId::new(id.as_str()), id.range.clone()))
    }

    fn id_letters(&mut self, id: &At<String>) {
        let fine = (1..=100).contains(&id.len())
            && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
        if !fine {
            let finding = Finding::error("rule.id", format!("`{}` can't be an id", id.value));
            self.report.add(&id.range, finding.help("use up to 100 lower-case letters, digits, `-`, `_` and `.`"));
        }
    }

    fn for_each(&mut self, name: Option<&At<String>>) -> Option<&'a Entity> {
        let Some(name) = name else {
            self.missing("for_each", "name the entity whose records are watched: `for_each: customer`");
            return None;
        };
        let found = self.known.catalog.entities.get(name.as_str());
        if found.is_none() {
            let known = self.known.catalog.entities.keys().map(EntityName::as_str);
            self.unknown("rule.unknown-entity", "entity", name, known.clone());
            // What is probably meant, so that the other mistakes are told of in the same pass.
            return self.known.catalog.entities.get(suggest::nearest(name, known)?);
        }
        found
    }

    fn mode(&mut self, mode: Option<&At<ModeWord>>) -> Option<Mode> {
        let Some(mode) = mode else {
            self.missing("mode", "begin with `mode: shadow`: it records what it would do and sends nothing");
            return None;
        };
        Some(match mode.value {
            ModeWord::Shadow => Mode::Shadow,
            ModeWord::Live => Mode::Live,
            ModeWord::Paused => Mode::Paused,
        })
    }

    fn purpose(&mut self, purpose: Option<&At<String>>) -> Option<Purpose> {
        let Some(purpose) = purpose else {
            self.missing("purpose", "say why you write: a topic of the configuration, `service` or `staff`");
            return None;
        };
        match purpose.as_str() {
            "service" => Some(Purpose::Service),
            "staff" => Some(Purpose::Staff),
            topic if self.known.topics.contains(topic) => Some(Purpose::Topic(Topic::new(topic))),
            _ => {
                let known = self.known.topics.iter().map(Topic::as_str).chain(["service", "staff"]);
                self.unknown("rule.unknown-topic", "topic", purpose, known);
                None
            }
        }
    }

    /// A topic of the configuration.
    fn topic(&mut self, topic: &At<String>) -> Option<Topic> {
        if self.known.topics.contains(topic.as_str()) {
            return Some(Topic::new(topic.as_str()));
        }
        let known = self.known.topics.iter().map(Topic::as_str);
        self.unknown("rule.unknown-topic", "topic", topic, known);
        None
    }

    fn owner(&mut self, owner: &At<String>) -> String {
        if !is_address(owner) {
            let finding = Finding::error("rule.owner", format!("`{}` is not an email address", owner.value));
            self.report.add(&owner.range, finding.help("write `name@example.com`"));
        }
        owner.value.clone()
    }

    fn script(&mut self, script: &At<String>) -> String {
        if !self.known.scripts.contains(script.as_str()) {
            let known = self.known.scripts.iter().map(String::as_str);
            self.unknown("rule.unknown-script", "script", script, known);
        }
        script.value.clone()
    }

    fn goal(&mut self, entity: &'a Entity, goal: &GoalEntry) -> Option<Goal> {
        let when = self.one_condition(entity, &goal.when)?;
        let text = goal.when.0.entries_line(self.report.source());
        let name = goal.name.as_ref().map_or_else(|| "goal".to_owned(), |name| name.value.clone());
        Some(Goal { name, when, within: self.period_of(goal.within.as_ref()), text })
    }

    /// One term at most, so that nobody has to ask whether one or all of several must hold.
    fn exit_when(&mut self, entity: &'a Entity, written: Option<&Conditions>) -> Vec<Term> {
        let Some(written) = written else { return Vec::new() };
        let text = written.0.entries_line(self.report.source());
        self.later_condition(entity, written).map(|condition| Term { text, condition }).into_iter().collect()
    }

    fn unknown<'n>(
        &mut self,
        code: &'static str,
        what: &str,
        name: &At<String>,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) {
        self.unknown_as(code, format!("unknown {what} `{}`", name.value), name, known);
    }

    /// As [`Checker::unknown`], in other words.
    fn unknown_as<'n>(
        &mut self,
        code: &'static str,
        message: String,
        name: &At<String>,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) {
        let mut finding = Finding::error(code, message);
        if let Some(help) = suggest::help(name, known) {
            finding = finding.help(help);
        }
        self.report.add(&name.range, finding);
    }

    fn wrong(&mut self, range: &Range<usize>, code: &'static str, message: impl Into<String>, help: &str) {
        self.report.add(range, Finding::error(code, message).help(help));
    }
}
