//! Checks a tree aside: types from the live schema, the rules themselves, their SQL in the database.

use super::consents::unwritten;
use super::{Examiner, own_fields, tenants, touched, wayout};
use crate::catalog::{self, Catalog, ColumnSchema, Entity, Schema, Table};
use crate::diagnostic::{Finding, Place, Severity, SourceFile, defect};
use crate::engine::port::{Deed, Source, SourceError, live_schema};
use crate::model::{EntityName, Key, RecordId, RuleId, Tenant, Topic};
use crate::rule::CompiledRule;
use crate::rule::answer::{self, AnswerValues};
use crate::rule::checked::{Action, Mode, Task, Trigger};
use crate::rule::compiled::{Reach, Subject, Window, any_record, any_row};
use crate::rule::generation::{Gateways, Generation, Rest, Surroundings, Tree};
use crate::rule::statement::{Dialect, Statement};
use crate::rule::task::{self, TaskValues};
use crate::rule::write;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What the configuration adds to the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Names of webhook destinations.
    pub destinations: BTreeSet<String>,
    /// Names of chats.
    pub chats: BTreeSet<String>,
    /// Ways to the phone network.
    pub gateways: Gateways,
    pub topics: BTreeSet<Topic>,
    /// Whether there is a sender for emails.
    pub emails: bool,
    /// Names of the events that other systems may send.
    pub events: BTreeSet<String>,
    /// Who rules may write as. `None`: nobody can say, so any name will do.
    pub senders: Option<BTreeSet<String>>,
    /// Whether the pages behind the links of mails can be reached.
    pub pages: bool,
    /// Whether the sender has a postal address.
    pub postal_address: bool,
}

impl Outside {
    /// Errors for live rules that the configuration leaves without a sender of emails, without a way for readers to say
    /// no, or without the events they wait for: said now, not by failures, or by silence, once it matters.
    pub fn unserved(&self, generation: &Generation) -> Vec<Finding> {
        let rules = generation.rules.values().filter(|rule| rule.rule.mode == Mode::Live);
        rules
            .flat_map(|rule| {
                let alone = self.unsendable(rule, generation).into_iter().chain(self.unheard(rule, generation));
                let alone = alone.chain(self.untextable(rule, generation));
                alone.chain(wayout::findings(self, rule, generation))
            })
            .collect()
    }

    fn unsendable(&self, rule: &CompiledRule, generation: &Generation) -> Option<Finding> {
        if !writes_email(rule) {
            return None;
        }
        if let Some(name) = rule.rule.sender.as_ref().filter(|name| self.is_unknown(name)) {
            let message =
                format!("the rule `{}` writes as `{name}`, whom the configuration doesn't have", rule.rule.id);
            let help = format!("add `[email.senders.{name}]` with its `from` to the configuration, or remove the key");
            let finding = Finding::error("rule.unknown-sender", message).help(help);
            return Some(placed(finding, rule, generation, "sender:"));
        }
        if self.emails {
            return None;
        }
        let message = format!("the rule `{}` sends emails, and the configuration names no sender", rule.rule.id);
        let finding = Finding::error("rule.no-sender", message);
        let help = "set `from` and `host` in `[email]` of the configuration, or `mode: shadow` here";
        Some(placed(finding.help(help), rule, generation, "email:"))
    }

    fn untextable(&self, rule: &CompiledRule, generation: &Generation) -> Option<Finding> {
        let texts = rule.rule.nodes.iter().any(|node| node.step.action().is_some_and(|action| action.sms().is_some()));
        if !texts || !self.gateways.names.is_empty() {
            return None;
        }
        let id = &rule.rule.id;
        let message = format!("the rule `{id}` sends text messages, and the configuration names no gateway");
        let finding = Finding::error("rule.no-gateway", message);
        let help = "add `[sms.gateways.NAME]` to the configuration, or `mode: shadow` here";
        Some(placed(finding.help(help), rule, generation, "sms:"))
    }

    fn is_unknown(&self, sender: &str) -> bool {
        self.senders.as_ref().is_some_and(|known| !known.contains(sender))
    }

    fn unheard(&self, rule: &CompiledRule, generation: &Generation) -> Option<Finding> {
        let Trigger::Event(event) = &rule.rule.trigger else { return None };
        if self.events.contains(&event.name) {
            return None;
        }
        let message =
            format!("the rule `{}` waits for `{}`, which the configuration doesn't have", rule.rule.id, event.name);
        let finding = Finding::error("rule.no-event", message);
        let help =
            format!("add `[events.{}]` with its secret to the configuration, or `mode: shadow` here", event.name);
        Some(placed(finding.help(help), rule, generation, "event:"))
    }
}

pub(super) fn placed(finding: Finding, rule: &CompiledRule, generation: &Generation, at: &str) -> Finding {
    match generation.tree.files.iter().find(|file| file.path == rule.rule.file) {
        Some(file) => {
            let start = file.text.find(at).unwrap_or(0);
            finding.at(Place { file: Arc::clone(file), range: start..start })
        }
        None => finding,
    }
}

fn writes_email(rule: &CompiledRule) -> bool {
    rule.rule.nodes.iter().any(|node| node.step.action().is_some_and(|action| action.email().is_some()))
}

pub(super) const UNREACHABLE: &str = "source.unreachable";

/// How many statements the source checks at once.
const AT_ONCE: usize = 4;

/// A generation that is right in itself, and what the database thinks of it.
#[derive(Debug)]
pub struct Inspected {
    pub generation: Generation,
    /// Rules whose SQL the database does not accept.
    pub refused: Vec<(RuleId, Finding)>,
}

impl Inspected {
    /// The generation, if the database accepts all of it.
    pub fn accepted(self) -> Result<Generation, Vec<Finding>> {
        if self.refused.is_empty() {
            return Ok(self.generation);
        }
        Err(self.refusals())
    }

    /// What the database doesn't accept, each once: the rules share what the catalog says of tasks.
    #[must_use]
    pub fn refusals(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for (_, finding) in &self.refused {
            if !findings.contains(finding) {
                findings.push(finding.clone());
            }
        }
        findings
    }

    /// The same where the database changed under rules that run: those that are as they were, under the same catalog,
    /// rest, and the others go on. What somebody has just written must be accepted as a whole.
    pub fn drifted(mut self, running: &Generation) -> Result<(Generation, Vec<Finding>), Vec<Finding>> {
        let file = |tree: &Tree, path: &str| tree.files.iter().find(|file| file.path == path).cloned();
        let same = |path: &str| file(&self.generation.tree, path) == file(&running.tree, path);
        let untouched = |id: &RuleId| {
            let rule = self.generation.rules.get(id);
            same("catalog.yaml") && rule.is_some_and(|rule| same(&rule.rule.file))
        };
        if self.refused.iter().any(|(id, _)| !untouched(id)) {
            return self.accepted().map(|generation| (generation, Vec::new()));
        }
        let (resting, findings): (Vec<RuleId>, Vec<Finding>) = self.refused.into_iter().unzip();
        self.generation.resting.extend(resting.into_iter().map(|rule| (rule, Rest::Refused)));
        Ok((self.generation, findings))
    }
}

/// Builds a generation and has the source check its SQL. A source that is down leaves a warning. What
/// `running` has checked already isn't asked again. A panic is a finding like any other, for whatever runs must go on.
pub async fn inspect(
    tree: Arc<Tree>,
    source: &dyn Source,
    outside: &Outside,
    running: Option<&Arc<Generation>>,
) -> Result<Inspected, Vec<Finding>> {
    let inspecting = async {
        let built = build_aside(tree, source, outside, running).await?;
        let mut unserved = outside.unserved(&built.generation);
        if unserved.is_empty() {
            return built.asked(source, running).await;
        }
        unserved.extend(built.generation.warnings);
        Err(unserved)
    };
    caught(inspecting).await.unwrap_or_else(Err)
}

/// The same of rules that have run, which once were served, whatever the configuration lacks by now.
pub async fn inspect_past(tree: Arc<Tree>, source: &dyn Source, outside: &Outside) -> Result<Inspected, Vec<Finding>> {
    let inspecting = async { build_aside(tree, source, outside, None).await?.asked(source, None).await };
    caught(inspecting).await.unwrap_or_else(Err)
}

/// What fails of the tests of rules that are not as they were in `old`.
pub(super) async fn examined(examiner: &dyn Examiner, generation: &Generation, old: &Tree) -> Vec<Finding> {
    let examining = async { examiner.examine(generation, &touched(generation, old)).await };
    caught(examining).await.unwrap_or_else(|panicked| panicked)
}

/// What this comes to, or the finding that it panicked.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Vec<Finding>> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| vec![defect::met()])
}

/// A generation that the source wasn't asked about yet.
struct Built {
    generation: Generation,
    /// The tables are those that the running one knows.
    schema_is_same: bool,
    /// Why the source can't be asked.
    warnings: Vec<Finding>,
}

async fn build_aside(
    tree: Arc<Tree>,
    source: &dyn Source,
    outside: &Outside,
    running: Option<&Arc<Generation>>,
) -> Result<Built, Vec<Finding>> {
    let (schema, warnings) = schema_of(&tree, source, running.map(AsRef::as_ref)).await?;
    let schema_is_same = running.is_some_and(|running| running.surroundings.schema == schema);
    let surroundings = Surroundings { schema, ..offline(source, outside) };
    // Checking a thousand rules takes a while, and the scheduler runs on the same threads.
    let earlier = running.cloned();
    let built = tokio::task::spawn_blocking(move || match earlier {
        Some(earlier) => Generation::build_after(tree, &surroundings, &earlier),
        None => Generation::build(tree, &surroundings),
    });
    let generation = built.await.map_err(|_| vec![defect::met()])??;
    Ok(Built { generation, schema_is_same, warnings })
}

impl Built {
    async fn asked(self, source: &dyn Source, running: Option<&Arc<Generation>>) -> Result<Inspected, Vec<Finding>> {
        let Self { mut generation, schema_is_same, mut warnings } = self;
        let known = running.filter(|running| schema_is_same && running.catalog == generation.catalog);
        let fresh = fresh(&generation, known.map(AsRef::as_ref));
        let mut refused = Vec::new();
        if warnings.is_empty() {
            refused = prepare_all(&generation, source, fresh.clone(), &mut warnings).await?;
        }
        if !warnings.is_empty() {
            // Without the live schema even the types of its columns are guesses.
            let unchecked = fresh.iter().map(|rule| (rule.rule.id.clone(), Rest::Unchecked));
            generation.resting.extend(unchecked);
        }
        if warnings.is_empty() && running.is_none_or(|running| running.catalog != generation.catalog) {
            let unshown = tenants::unshown(&generation, source).await;
            refused.extend(untold(&generation, &refused, &unshown.entities));
            warnings = unshown.others;
            warnings.extend(silent(&generation, source).await);
            warnings.extend(unwritten(&generation, source).await);
        }
        generation.warnings.append(&mut warnings);
        generation.warnings.extend(arrays(&generation, source, &fresh).await);
        Ok(Inspected { generation, refused })
    }
}

/// The rules that can't be shown their records, but those of which something else is told already.
fn untold(
    generation: &Generation,
    refused: &[(RuleId, Finding)],
    unshown: &[(EntityName, Finding)],
) -> Vec<(RuleId, Finding)> {
    let told: HashSet<&RuleId> = refused.iter().map(|(rule, _)| rule).collect();
    let rules = generation.rules.values().filter(|rule| !told.contains(&rule.rule.id));
    let of = |entity: &EntityName| unshown.iter().find(|(name, _)| name == entity).map(|(_, finding)| finding.clone());
    rules.filter_map(|rule| Some((rule.rule.id.clone(), of(&rule.rule.for_each)?))).collect()
}

fn offline(source: &dyn Source, outside: &Outside) -> Surroundings {
    Surroundings {
        dialect: source.dialect(),
        schema: None,
        destinations: outside.destinations.clone(),
        chats: outside.chats.clone(),
        gateways: outside.gateways.clone(),
        topics: outside.topics.clone(),
    }
}

/// The live schema of the tables that the catalog names. While the source is down, the one that the
/// running generation knows.
async fn schema_of(
    tree: &Tree,
    source: &dyn Source,
    running: Option<&Generation>,
) -> Result<(Option<Schema>, Vec<Finding>), Vec<Finding>> {
    let file = tree.files.iter().find(|file| file.path == "catalog.yaml");
    // What is wrong with the catalog is for the whole check to report.
    let Some(catalog) = file.and_then(|file| catalog::read(file).catalog) else { return Ok((None, Vec::new())) };
    match live_schema(source, &catalog).await {
        Ok(schema) => {
            let known = running.and_then(|running| running.surroundings.schema.as_ref());
            Ok((Some(schema.since(known)), Vec::new()))
        }
        Err(error @ SourceError::Unavailable(_)) => {
            let known = running.and_then(|running| running.surroundings.schema.clone());
            Ok((known, vec![unreachable(&error)]))
        }
        Err(error @ SourceError::Refused(_)) => Err(vec![Finding::error("source.refused", error.to_string())]),
    }
}

/// Entities of rules that show a tenant no record at all: row-level security answers with silence, and so does a filter
/// that fits no row.
async fn silent(generation: &Generation, source: &dyn Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let catalog = &generation.catalog;
    let watched: BTreeSet<&EntityName> = generation.rules.values().map(|rule| &rule.rule.for_each).collect();
    let tenants = catalog.tenants.as_ref().map_or_else(|| vec![Tenant::new("")], |tenants| tenants.names.clone());
    for entity in watched.into_iter().filter_map(|name| catalog.entity(name)) {
        for tenant in &tenants {
            let Some((message, help)) = silence_of(catalog, source, entity, tenant).await else { continue };
            let whom = if tenant.as_str().is_empty() { String::new() } else { format!(" for the tenant `{tenant}`") };
            findings.push(Finding::warning("catalog.no-rows", format!("{message}{whom}")).help(help));
        }
    }
    findings
}

/// What is missing of an entity's rows, and why that may be. What can't be asked now is told elsewhere.
async fn silence_of(
    catalog: &Catalog,
    source: &dyn Source,
    entity: &Entity,
    tenant: &Tenant,
) -> Option<(String, &'static str)> {
    let (dialect, name) = (source.dialect(), &entity.name);
    let is_empty = async |statement| matches!(source.rows(tenant, statement).try_next().await, Ok(None));
    if is_empty(any_row(catalog, dialect, entity)?).await {
        let help = "if there should be some: row-level security and missing permissions answer with silence";
        return Some((format!("`{name}` shows no row at all"), help));
    }
    if is_empty(any_record(catalog, dialect, entity)?).await {
        let help = "compare the filter with what stands in its columns: a mark that nobody has set is NULL, which \
                    `[false, missing]` takes in";
        return Some((format!("`{name}` has rows, and its `only` leaves out every one of them"), help));
    }
    None
}

fn unreachable(error: &SourceError) -> Finding {
    Finding::warning(UNREACHABLE, format!("the rules were not checked against the database: {error}"))
}

/// The rules that `known`, over the same catalog and schema, doesn't have in the same version.
fn fresh(generation: &Generation, known: Option<&Generation>) -> Vec<Arc<CompiledRule>> {
    let fresh = generation.rules.values().filter(|rule| !known.is_some_and(|known| knows(known, rule)));
    fresh.cloned().collect()
}

/// Has the source type-check the statements of these rules. An error: where that met a defect.
async fn prepare_all(
    generation: &Generation,
    source: &dyn Source,
    fresh: Vec<Arc<CompiledRule>>,
    warnings: &mut Vec<Finding>,
) -> Result<Vec<(RuleId, Finding)>, Vec<Finding>> {
    let now = source.now().await.unwrap_or(Timestamp::UNIX_EPOCH);
    let catalog = &generation.catalog;
    let asked = fresh.into_iter().map(|rule| async move {
        let answer = caught(accepts(&rule, catalog, source, now)).await;
        (rule, answer)
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let (mut refused, mut panicked) = (Vec::new(), Vec::new());
    let of_queries =
        answers.iter().any(|(_, answer)| matches!(answer, Ok(Err((SourceError::Refused(_), Asked::Query)))));
    let of_fields = if of_queries { own_fields::refused(generation, source).await } else { HashMap::new() };
    for (rule, answer) in answers {
        let Ok(answer) = answer else {
            panicked.push(placed(defect::met(), &rule, generation, "id:"));
            continue;
        };
        match answer {
            Err((error @ SourceError::Unavailable(_), _)) if warnings.is_empty() => warnings.push(unreachable(&error)),
            Ok(()) | Err((SourceError::Unavailable(_), _)) => {}
            Err((error @ SourceError::Refused(_), asked)) => {
                let finding = match asked {
                    Asked::Query => {
                        let of_field = of_fields.get(&error.to_string()).cloned();
                        of_field.unwrap_or_else(|| refusal(&rule, generation, &error))
                    }
                    Asked::Task(insert) => task_refusal(insert, generation, &error),
                    Asked::Write(what) => forbidden(&rule, generation, &what, &error),
                };
                refused.push((rule.rule.id.clone(), finding));
            }
        }
    }
    if panicked.is_empty() { Ok(refused) } else { Err(panicked) }
}

/// Columns of several values that queries of rules' own show to templates, which see one text of them.
async fn arrays(generation: &Generation, source: &dyn Source, fresh: &[Arc<CompiledRule>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.dialect() != Dialect::Postgres {
        return findings;
    }
    for rule in fresh {
        let Trigger::Query(query) = &rule.rule.trigger else { continue };
        if query.row.is_empty() {
            continue;
        }
        // Whether it is accepted at all has been asked before.
        let Ok(columns) = source.describe(&query.without_bounds()).await else { continue };
        let is_shown = |column: &&ColumnSchema| column.is_array() && query.row.contains(&column.name);
        for column in columns.iter().filter(is_shown) {
            let name = &column.name;
            let message = format!("`{name}` is {} in the database, and templates see it as one text", column.declared);
            let help = format!("let the SQL return `array_to_string({name}, ', ') AS {name}`, or `to_json({name})`");
            findings.push(placed(Finding::warning("rule.query", message).help(help), rule, generation, "row:"));
        }
    }
    findings
}

/// Whether the source takes the statements of a rule, and lets it write what it writes.
async fn accepts(
    rule: &CompiledRule,
    catalog: &Catalog,
    source: &dyn Source,
    now: Timestamp,
) -> Result<(), (SourceError, Asked)> {
    prepare(rule, catalog, source, now).await?;
    may_write(rule, catalog, source).await
}

fn knows(known: &Generation, rule: &CompiledRule) -> bool {
    let same = |old: &Arc<CompiledRule>| old.text == rule.text && old.definition == rule.definition;
    !known.resting.contains_key(&rule.rule.id) && known.rules.get(&rule.rule.id).is_some_and(same)
}

/// As long as the delivery ids are that tasks and answers keep.
const REFERENCE: &str = "00000000000000000000000000000000";

/// What the database was asked when it refused.
enum Asked {
    Query,
    /// This insert of the catalog's tasks.
    Task(usize),
    /// Whether it may be written: what that would be about.
    Write(String),
}

/// Whether the database lets this login write what the rule writes: it plans the statements and runs none.
async fn may_write(rule: &CompiledRule, catalog: &Catalog, source: &dyn Source) -> Result<(), (SourceError, Asked)> {
    // In shadow nothing is written.
    if rule.rule.mode != Mode::Live {
        return Ok(());
    }
    let first = catalog.tenants.as_ref().and_then(|tenants| tenants.names.first());
    let tenant = first.cloned().unwrap_or_else(|| Tenant::new(""));
    let dialect = source.dialect();
    let mut probes = write::probes(&rule.rule, catalog, dialect);
    probes.extend(rows(rule, catalog, dialect).into_iter().map(|(what, insert)| (what, write::explained(insert))));
    for (what, statement) in probes {
        source.transact(&tenant, vec![Deed::Read(statement)]).await.map_err(|error| (error, Asked::Write(what)))?;
    }
    Ok(())
}

fn forbidden(rule: &CompiledRule, generation: &Generation, what: &str, error: &SourceError) -> Finding {
    let message = format!("the database does not allow the rule `{}` {what}: {error}", rule.rule.id);
    let help = "`nudged catalog grants` prints what this login needs";
    placed(Finding::error("rule.write-refused", message).help(help), rule, generation, "steps:")
}

async fn prepare(
    rule: &CompiledRule,
    catalog: &Catalog,
    source: &dyn Source,
    now: Timestamp,
) -> Result<(), (SourceError, Asked)> {
    for statement in queries(rule, catalog, source.dialect(), now) {
        source.prepare(&statement).await.map_err(|error| (error, Asked::Query))?;
    }
    for (insert, statement) in tasks(rule, catalog, source.dialect(), now).iter().enumerate() {
        source.prepare(statement).await.map_err(|error| (error, Asked::Task(insert)))?;
    }
    Ok(())
}

/// Every statement that the rule can come to run, over an empty window and about nobody: those of sweeps, of the
/// nightly reconcile, and of the tasks it writes and asks for.
pub fn probes(rule: &CompiledRule, catalog: &Catalog, dialect: Dialect, now: Timestamp) -> Vec<Statement> {
    [queries(rule, catalog, dialect, now), tasks(rule, catalog, dialect, now)].concat()
}

fn queries(rule: &CompiledRule, catalog: &Catalog, dialect: Dialect, now: Timestamp) -> Vec<Statement> {
    let hour_ago = now.checked_sub(SignedDuration::from_hours(1)).unwrap_or(now);
    let window = Window { after: hour_ago, until: now, now };
    let nobody = Key::from("0");
    let keys = std::slice::from_ref(&nobody);
    let mut statements = rule.crossings(Reach::Crossed(window));
    statements.extend(rule.crossings(Reach::Changed(window, hour_ago)));
    statements.extend(rule.crossings(Reach::Chunk { window, after: Some(&nobody), upto: Some(&nobody) }));
    statements.extend(rule.inside(now));
    statements.extend(rule.course(keys, window));
    statements.push(rule.chunk_end(Some(&nobody), 1));
    statements.extend(rule.count_until(now));
    statements.push(rule.count_records());
    statements.push(rule.facts(&[Subject { key: nobody.clone(), since: Some(now), entered: Some(now) }], now));
    statements.extend(rule.unwanted_probes());
    if tasks_of(rule).any(|task| task.unless_open.is_some()) {
        statements.extend(task::open_tasks(catalog, dialect, &rule.rule.for_each, keys));
    }
    statements
}

/// The inserts of a task of this rule's, in their order; none if it makes none.
fn tasks(rule: &CompiledRule, catalog: &Catalog, dialect: Dialect, now: Timestamp) -> Vec<Statement> {
    let record = some_record(rule, catalog);
    tasks_with(rule, catalog, dialect, &some_task(&record, now))
}

fn tasks_with(rule: &CompiledRule, catalog: &Catalog, dialect: Dialect, task: &TaskValues<'_>) -> Vec<Statement> {
    if tasks_of(rule).next().is_none() { Vec::new() } else { task::inserts(catalog, dialect, task) }
}

fn some_record(rule: &CompiledRule, catalog: &Catalog) -> RecordId {
    let entity = rule.rule.for_each.clone();
    let key = catalog.entity(&entity).map_or_else(|| Key::from("0"), write::any_key);
    RecordId { tenant: Tenant::new(""), entity, key }
}

/// The rows that the rule adds, each with what that would be about: those of its tasks, and of answers to what it asks.
fn rows(rule: &CompiledRule, catalog: &Catalog, dialect: Dialect) -> Vec<(String, Statement)> {
    let now = Timestamp::UNIX_EPOCH;
    let record = some_record(rule, catalog);
    let tables = catalog.tasks.iter().flat_map(|tasks| &tasks.inserts).map(|insert| &insert.table);
    // A key of colleagues may be of another type than that of the record.
    let task = TaskValues { assignee_key: None, ..some_task(&record, now) };
    let of_tasks = tasks_with(rule, catalog, dialect, &task).into_iter().zip(tables);
    let mut rows: Vec<_> = of_tasks.map(|(insert, table)| (format!("to write tasks into `{table}`"), insert)).collect();
    let asked = rule.rule.nodes.iter().filter_map(|node| match node.step.action()? {
        Action::Email(email) => catalog.surveys.get(email.asks.as_ref()?),
        _ => None,
    });
    for question in asked {
        let (reference, fields, comment) = (REFERENCE, &serde_json::Map::new(), None);
        let values = AnswerValues { reference, record: &record, fields, score: question.lowest, comment, at: now };
        let told = format!("to write answers into `{}`", question.insert.table);
        rows.extend(answer::statements(catalog, dialect, question, &values).map(|statement| (told.clone(), statement)));
    }
    rows
}

fn tasks_of(rule: &CompiledRule) -> impl Iterator<Item = &Task> {
    rule.rule.nodes.iter().filter_map(|node| node.step.action().and_then(Action::task))
}

/// A task with everything that a recipe can ask for but the record's own fields, which only a record has.
fn some_task(record: &RecordId, now: Timestamp) -> TaskValues<'_> {
    TaskValues {
        reference: REFERENCE,
        record,
        facts: None,
        title: "Call",
        body: Some("Call"),
        due: Some(now.to_zoned(TimeZone::UTC).date()),
        assignee_key: Some(&record.key),
        assignee_email: Some("nobody@example.com"),
        score: None,
        comment: None,
        now,
    }
}

fn refusal(rule: &CompiledRule, generation: &Generation, error: &SourceError) -> Finding {
    let message = format!("the database does not accept the query of rule `{}`: {error}", rule.rule.id);
    let help = "compare the tables with the SQL and the types that the rule and the catalog write themselves";
    let finding = Finding::error("rule.query-refused", message).help(help);
    match generation.tree.files.iter().find(|file| file.path == rule.rule.file) {
        Some(file) => finding.at(Place { file: Arc::clone(file), range: 0..0 }),
        None => finding,
    }
}

/// Of all rules alike, at the table's place in the catalog.
fn task_refusal(insert: usize, generation: &Generation, error: &SourceError) -> Finding {
    let table =
        generation.catalog.tasks.as_ref().and_then(|tasks| tasks.inserts.get(insert)).map(|insert| &insert.table);
    let name = table.map(ToString::to_string).unwrap_or_default();
    let message = format!("the database does not accept tasks in `{name}`: {error}");
    let help = "compare the table with what `set` of the catalog's `tasks` puts into it";
    let finding = Finding::error("catalog.task-refused", message).help(help);
    match table {
        Some(table) => in_catalog(finding, generation, table),
        None => finding,
    }
}

/// At the catalog's line that begins so.
pub(super) fn at_line(finding: Finding, generation: &Generation, begin: &str) -> Finding {
    let Some(file) = generation.tree.files.iter().find(|file| file.path == "catalog.yaml") else { return finding };
    let start =
        if file.text.starts_with(begin) { Some(0) } else { file.text.find(&format!("\n{begin}")).map(|at| at + 1) };
    let range = start.map_or(0..0, |start| start..start + begin.len());
    finding.at(Place { file: Arc::clone(file), range })
}

/// Where the catalog first names the table.
pub(super) fn in_catalog(finding: Finding, generation: &Generation, table: &Table) -> Finding {
    let Some(file) = generation.tree.files.iter().find(|file| file.path == "catalog.yaml") else { return finding };
    let range = catalog::read(file).tables.get(table).cloned().unwrap_or(0..0);
    finding.at(Place { file: Arc::clone(file), range })
}

/// The tree with every file that has an error put back to its version in `good`, or left out when it has
/// none. `None` when nothing could be put back, or when the catalog is what is broken.
pub fn isolate(tree: &Tree, good: &Tree, findings: &[Finding]) -> Option<Tree> {
    let broken: HashSet<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.place.as_ref().map_or("catalog.yaml", |place| place.file.path.as_str()))
        .collect();
    if broken.is_empty() || broken.contains("catalog.yaml") {
        return None;
    }
    let last_good = |path: &str| good.files.iter().find(|file| file.path == path);
    let files: Vec<Arc<SourceFile>> = tree
        .files
        .iter()
        .filter_map(|file| if broken.contains(file.path.as_str()) { last_good(&file.path) } else { Some(file) })
        .cloned()
        .collect();
    (files != tree.files).then_some(Tree { files })
}

/// What the files are as the state keeps them, and back.
pub fn to_stored(tree: &Tree) -> Vec<(String, String)> {
    tree.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect()
}

pub fn from_stored(files: Vec<(String, String)>) -> Tree {
    Tree { files: files.into_iter().map(|(path, text)| Arc::new(SourceFile { path, text })).collect() }
}
