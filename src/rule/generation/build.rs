//! Building a generation: read and check everything, compile what is right, report all that is wrong.

use super::earlier::Earlier;
use super::enroll::enrolls;
use super::layout::Layout;
use super::lost::{Lost, mentions};
use super::overlap::overlaps;
use super::{Generation, Surroundings, Tree, hash, sample};
use crate::catalog::{self, Catalog, Column, Entity, Expression, Field};
use crate::diagnostic::{Finding, Place, Severity, SourceFile, bounded, defect, yaml};
use crate::model::{EntityName, FieldName, RuleId, TRACKING};
use crate::rule::check::{self, Fields, Filled, Known, Outcome, Row};
use crate::rule::checked::{Action, CheckedRule, Step};
use crate::rule::compiled::CompiledRule;
use crate::rule::definition;
use crate::rule::message::Templates;
use crate::rule::operands::sections;
use crate::rule::script::{self, Library, Script};
use crate::rule::statement::Dialect;
use crate::rule::written::RuleFile;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Everything that can be told without compiling: what `build` goes on with.
#[derive(Debug, Default)]
pub struct Checked {
    /// `None` when there is no readable catalog.
    pub catalog: Option<Arc<Catalog>>,
    /// The rules without errors, each with its file.
    pub rules: Vec<(Arc<CheckedRule>, Arc<SourceFile>)>,
    /// What the check of each rule file came to, by path.
    outcomes: BTreeMap<String, Outcome>,
    /// Errors and warnings of all files.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Reads and checks the catalog and every rule of a tree.
    #[must_use]
    pub fn of(tree: &Tree, surroundings: &Surroundings) -> Self {
        Self::of_layout(&Layout::of(tree), surroundings, &Earlier::default())
    }

    fn of_layout(layout: &Layout, surroundings: &Surroundings, earlier: &Earlier<'_>) -> Self {
        let mut checked = Self::default();
        let Some(catalog) = checked.read_catalog(layout, surroundings) else {
            // Without a catalog no name means anything, but a broken shape can still be told.
            checked.findings.extend(layout.rules.iter().flat_map(yaml::refusals::<RuleFile>));
            return checked;
        };
        let (templates, scripts) = (layout.template_names(), layout.script_names());
        let known = Known {
            catalog: &catalog,
            dialect: surroundings.dialect,
            schema: surroundings.schema.as_ref(),
            topics: &surroundings.topics,
            destinations: &surroundings.destinations,
            chats: &surroundings.chats,
            gateways: &surroundings.gateways,
            templates: &templates,
            scripts: &scripts,
        };
        let outcome =
            |file: &Arc<SourceFile>| earlier.outcome(file).cloned().unwrap_or_else(|| outcome_of(file, known));
        let outcomes: Vec<_> = layout.rules.iter().map(|file| (file, outcome(file))).collect();
        checked.findings.extend(identities(&outcomes));
        checked.findings.extend(enrolls(&outcomes));
        checked.findings.extend(of_rows(&outcomes));
        let ids: BTreeMap<_, _> = outcomes.iter().filter_map(|(_, outcome)| outcome.id.clone()).collect();
        let mut assumed = BTreeSet::new();
        for (file, outcome) in outcomes {
            checked.findings.extend(outcome.findings.iter().cloned());
            assumed.extend(outcome.assumed.iter().cloned());
            checked.rules.extend(outcome.rule.as_ref().map(|rule| (Arc::clone(rule), Arc::clone(file))));
            checked.outcomes.insert(file.path.clone(), outcome);
        }
        checked.findings.extend(overlaps(&checked.rules, &ids));
        checked.catalog = Some(earlier.catalog(with_assumed(catalog, assumed)));
        checked
    }

    fn read_catalog(&mut self, layout: &Layout, surroundings: &Surroundings) -> Option<Catalog> {
        let Some(file) = &layout.catalog else {
            let finding = Finding::error("catalog.missing", "there is no `catalog.yaml` beside the rules");
            self.findings.push(finding.help("it says which tables hold what; docs/catalog.md shows one"));
            return None;
        };
        let reading = catalog::read_with(file, Some(&layout.calendars));
        self.findings.extend(reading.findings.iter().cloned());
        for (topic, range) in &reading.topics {
            // Consent to being tracked is about no mails.
            if topic.as_str() != TRACKING && !surroundings.topics.contains(topic) {
                let finding =
                    Finding::warning("catalog.unknown-topic", format!("the configuration has no topic `{topic}`"));
                let place = Place { file: Arc::clone(file), range: range.clone() };
                self.findings.push(finding.at(place).help("add it to `topics` in config.toml, or remove it here"));
            }
        }
        let Some(schema) = &surroundings.schema else {
            if let Some(catalog) = &reading.catalog {
                self.findings.extend(super::fits::unfit(&reading, catalog, surroundings, file));
            }
            return reading.catalog;
        };
        let habits = catalog::Habits {
            keeps_lengths: surroundings.dialect != Dialect::Sqlite,
            has_zero_dates: surroundings.dialect == Dialect::MySql,
            picks_uuids: surroundings.dialect == Dialect::MySql,
        };
        let drift = catalog::drift(&reading, schema, file, habits);
        // A running system goes on with what it can; `check --db` takes the same for errors.
        self.findings.extend(drift.into_iter().map(|finding| Finding { severity: Severity::Warning, ..finding }));
        let catalog = reading.catalog.as_ref().map(|catalog| catalog.with_schema(schema))?;
        self.findings.extend(super::fits::unfit(&reading, &catalog, surroundings, file));
        Some(catalog)
    }
}

/// Names of `occasion.row` that nobody has: who comes by an `enroll` step brings the other rule's.
fn of_rows(outcomes: &[(&Arc<SourceFile>, Outcome)]) -> Vec<Finding> {
    let targets: BTreeSet<&RuleId> =
        outcomes.iter().flat_map(|(_, outcome)| &outcome.enrolls).map(|(id, ..)| id).collect();
    let is_target = |outcome: &Outcome| outcome.id.as_ref().is_some_and(|(id, _)| targets.contains(id));
    let own = outcomes.iter().filter(|(_, outcome)| !is_target(outcome));
    own.flat_map(|(_, outcome)| outcome.of_rows.iter().cloned()).collect()
}

fn outcome_of(file: &Arc<SourceFile>, known: Known<'_>) -> Outcome {
    let refused = |panicked| Outcome { findings: vec![panicked], ..Outcome::default() };
    defect::caught(file, || check::check(file, known)).unwrap_or_else(refused)
}

/// Two files with the same id, or a former id that another rule has.
fn identities(outcomes: &[(&Arc<SourceFile>, Outcome)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owners: BTreeMap<&RuleId, (&Arc<SourceFile>, &Range<usize>)> = BTreeMap::new();
    for (file, outcome) in outcomes {
        let Some((id, range)) = &outcome.id else { continue };
        if let Some((first, _)) = owners.get(id) {
            let place = Place { file: Arc::clone(file), range: range.clone() };
            let finding = Finding::error("rule.duplicate-id", format!("the id `{id}` is taken by {}", first.path));
            findings.push(finding.at(place).help("an id is a rule's identity: give each its own"));
        } else {
            owners.insert(id, (file, range));
        }
    }
    for (file, outcome) in outcomes {
        for (former, range) in &outcome.was {
            if let Some((other, _)) = owners.get(former).filter(|(other, _)| other.path != file.path) {
                let place = Place { file: Arc::clone(file), range: range.clone() };
                let message = format!("`was` names `{former}`, which {} still is", other.path);
                findings.push(Finding::error("rule.was", message).at(place).help("one of the two has to let go of it"));
            }
        }
    }
    findings
}

/// Offline, names that rules use and the catalog doesn't declare become fields of unknown type.
fn with_assumed(mut catalog: Catalog, assumed: BTreeSet<(EntityName, FieldName)>) -> Catalog {
    for (entity, name) in assumed {
        let Some(entity) = catalog.entities.get_mut(&entity) else { continue };
        let column = Column::named(name.as_str());
        let field = Field { name: name.clone(), expression: Expression::Column(column), currency: None };
        if !entity.fields.contains_key(&name) {
            entity.undeclared.insert(name.clone());
            entity.fields.insert(name, field);
        }
    }
    catalog
}

pub(super) fn build(
    tree: Arc<Tree>,
    surroundings: &Surroundings,
    earlier: Option<&Generation>,
) -> Result<Generation, Vec<Finding>> {
    let layout = Layout::of(&tree);
    let earlier = Earlier::of(earlier, &layout, surroundings);
    let Checked { catalog, rules, outcomes, mut findings } = Checked::of_layout(&layout, surroundings, &earlier);
    let read = earlier.templates(&layout).unwrap_or_else(|| Arc::new(Templates::read(&layout.templates)));
    if catalog.is_some() || !read.is_whole() {
        findings.extend(read.warnings().iter().cloned());
    }
    // Whatever is wrong with one template, the others are looked through as well.
    let templates = Some(Arc::clone(&read)).filter(|read| read.is_whole());
    let mut compiled = BTreeMap::new();
    if let Some(catalog) = &catalog {
        findings.extend(placeholders(&rules, catalog, &read, surroundings));
        let library = Library::of(&layout.scripts);
        let templates = templates.as_deref();
        let ready = Compiler { layout: &layout, library: &library, catalog, surroundings, templates };
        let has_lost = surroundings.schema.as_ref().is_some_and(|schema| Lost { schema }.any(catalog));
        for (rule, file) in &rules {
            // Where columns are gone, what a rule reads depends on its templates too.
            let known = earlier.compiled(file, catalog, &layout, ready.script_of(rule)).filter(|_| !has_lost);
            match known.map_or_else(|| ready.compile_aside(rule, file).map(Arc::new), Ok) {
                Ok(done) => {
                    compiled.insert(rule.id.clone(), done);
                }
                // Rules share scripts, and scripts share modules: each mistake is told once.
                Err(wrong) => wrong.into_iter().for_each(|finding| {
                    if !findings.contains(&finding) {
                        findings.push(finding);
                    }
                }),
            }
        }
    }
    findings.sort_by_cached_key(order);
    let findings = bounded(findings);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    let (Some(catalog), Some(templates), false) = (catalog, templates, failed) else { return Err(findings) };
    Ok(Generation {
        hash: hash::of_tree(&tree),
        tree,
        catalog,
        surroundings: Arc::new(surroundings.clone()),
        rules: compiled,
        templates,
        warnings: findings,
        resting: BTreeMap::new(),
        outcomes: Arc::new(outcomes),
    })
}

/// By file and place, so that people read findings as they read the files.
fn order(finding: &Finding) -> (String, usize) {
    finding.place.as_ref().map_or_else(Default::default, |place| (place.file.path.clone(), place.range.start))
}

pub(super) fn compile_pinned(
    generation: &Generation,
    text: &str,
    current: Option<&CheckedRule>,
) -> Result<CompiledRule, Vec<Finding>> {
    let layout = Layout::of(&generation.tree);
    let file = Arc::new(SourceFile { path: "(pinned version)".to_owned(), text: text.to_owned() });
    let (templates, scripts) = (layout.template_names(), layout.script_names());
    let surroundings = &generation.surroundings;
    let known = Known {
        catalog: &generation.catalog,
        dialect: surroundings.dialect,
        schema: surroundings.schema.as_ref(),
        topics: &surroundings.topics,
        destinations: &surroundings.destinations,
        chats: &surroundings.chats,
        gateways: &surroundings.gateways,
        templates: &templates,
        scripts: &scripts,
    };
    let outcome = check::check(&file, known);
    let Some(mut rule) = outcome.rule.map(Arc::unwrap_or_clone) else { return Err(outcome.findings) };
    // A rule that moved to another entity has nothing to say about records of this one.
    if let Some(current) = current.filter(|current| current.for_each == rule.for_each) {
        rule.conditions.clone_from(&current.conditions);
        rule.goal.clone_from(&current.goal);
        rule.exit_when.clone_from(&current.exit_when);
        rule.script.clone_from(&current.script);
        // What it is about decides about consent and caps, which are as current as when and how soon to write.
        rule.purpose.clone_from(&current.purpose);
        rule.resends_unknown = current.resends_unknown;
        rule.window.clone_from(&current.window);
        rule.priority = current.priority;
        rule.combine = current.combine;
    }
    let catalog = if outcome.assumed.is_empty() {
        Arc::clone(&generation.catalog)
    } else {
        Arc::new(with_assumed(Catalog::clone(&generation.catalog), outcome.assumed))
    };
    let templates = Some(generation.templates.as_ref());
    let library = Library::of(&layout.scripts);
    Compiler { layout: &layout, library: &library, catalog: &catalog, surroundings, templates }
        .compile(&Arc::new(rule), &file)
}

pub(super) fn over(generation: Generation, catalog: Catalog) -> Result<Generation, Vec<Finding>> {
    let layout = Layout::of(&generation.tree);
    let catalog = Arc::new(catalog);
    let templates = Some(generation.templates.as_ref());
    let library = Library::of(&layout.scripts);
    let surroundings = &generation.surroundings;
    let compiler = Compiler { layout: &layout, library: &library, catalog: &catalog, surroundings, templates };
    let mut rules = BTreeMap::new();
    for (id, rule) in &generation.rules {
        let Some(file) = layout.rules.iter().find(|file| file.path == rule.rule.file) else { continue };
        rules.insert(id.clone(), Arc::new(compiler.compile(&rule.rule, file)?));
    }
    Ok(Generation { catalog, rules, ..generation })
}

/// Compiles checked rules against one catalog.
struct Compiler<'a> {
    layout: &'a Layout,
    library: &'a Library,
    catalog: &'a Arc<Catalog>,
    surroundings: &'a Surroundings,
    /// `None` while one of them is broken.
    templates: Option<&'a Templates>,
}

impl<'a> Compiler<'a> {
    fn script_of(&self, rule: &CheckedRule) -> Option<&'a Arc<SourceFile>> {
        rule.script.as_deref().and_then(|name| self.layout.script(name))
    }

    /// A defect that one rule meets is that rule's error.
    fn compile_aside(&self, rule: &Arc<CheckedRule>, file: &Arc<SourceFile>) -> Result<CompiledRule, Vec<Finding>> {
        defect::caught(file, || self.compile(rule, file)).unwrap_or_else(|panicked| Err(vec![panicked]))
    }

    fn compile(&self, rule: &Arc<CheckedRule>, file: &Arc<SourceFile>) -> Result<CompiledRule, Vec<Finding>> {
        let script_file = self.script_of(rule);
        let script = script_file.map(|file| self.script(rule, file)).transpose()?;
        if asks_score(rule) && !script.as_ref().is_some_and(Script::has_score) {
            return Err(vec![no_score(file, script_file)]);
        }
        let text: Arc<str> = Arc::from(file.text.as_str());
        let read = self.without_gone(rule, file, script_file);
        let catalog = read.as_ref().unwrap_or(self.catalog);
        let compiled = CompiledRule::compile(Arc::clone(rule), Arc::clone(&text), catalog, self.surroundings.dialect)?;
        // What a rule means doesn't change with the columns that are left.
        let definition = if read.is_some() {
            definition::definition(rule, &text, self.catalog)
        } else {
            compiled.definition.clone()
        };
        let definition = match script_file {
            Some(script) => definition::with_script(&definition, self.with_imports(script)),
            None => definition,
        };
        Ok(CompiledRule { definition, script, ..compiled })
    }

    /// The catalog without what the database has lost and the rule doesn't need: it reads on without, while a rule that
    /// needs it is refused by the database. `None`: nothing is lost.
    fn without_gone(
        &self,
        rule: &CheckedRule,
        file: &SourceFile,
        script: Option<&Arc<SourceFile>>,
    ) -> Option<Arc<Catalog>> {
        let lost = Lost { schema: self.surroundings.schema.as_ref()? };
        if !lost.any(self.catalog) {
            return None;
        }
        let scripts = script.into_iter().flat_map(|script| self.with_imports(script));
        let properties: BTreeSet<String> = scripts.flat_map(|file| script::fields_named(&file.text)).collect();
        let emails = rule.nodes.iter().filter_map(|node| node.step.action()).flat_map(Action::ways);
        let templates = emails.filter_map(|action| Some(&action.email()?.template));
        let uses = templates.flat_map(|template| self.templates.into_iter().flat_map(|all| all.uses(template)));
        let paths: Vec<&str> = uses.map(|used| used.path.as_str()).collect();
        let named = |name: &str| {
            let in_template = || paths.iter().any(|path| path.split('.').any(|part| part == name));
            mentions(&file.text, name) || properties.contains(name) || in_template()
        };
        let mut catalog = Catalog::clone(self.catalog);
        lost.leave_out(&mut catalog, rule, named);
        Some(Arc::new(catalog))
    }

    fn script(&self, rule: &CheckedRule, file: &Arc<SourceFile>) -> Result<Script, Vec<Finding>> {
        let Some(entity) = self.catalog.entity(&rule.for_each) else { return Err(Vec::new()) };
        let script = Script::compile_with(file, self.library, &sample::facts(self.catalog, entity, rule))?;
        if script.has_score() && entity.has_score_field() {
            return Err(vec![hidden_score(file, entity)]);
        }
        Ok(script)
    }

    fn with_imports(&self, file: &'a Arc<SourceFile>) -> impl Iterator<Item = &'a SourceFile> {
        script::with_imports(&self.layout.scripts, file).into_iter().map(Arc::as_ref)
    }
}

fn asks_score(rule: &CheckedRule) -> bool {
    sections(rule).iter().any(|(.., condition)| condition.asks_score())
}

fn no_score(file: &Arc<SourceFile>, script: Option<&Arc<SourceFile>>) -> Finding {
    let name = script.map_or("its script", |script| script.path.as_str());
    let finding = Finding::error("rule.no-score", format!("a condition tests `score`, which {name} doesn't have"));
    let finding = finding.at(Place { file: Arc::clone(file), range: place_of(&file.text, "score:") });
    finding.help("add `fn score(record, now)` to it, or declare the field `score` in the catalog")
}

fn hidden_score(file: &Arc<SourceFile>, entity: &Entity) -> Finding {
    let message = format!("`{}` has a field `score`, which conditions mean: nobody calls this function", entity.name);
    let finding = Finding::error("script.hidden-score", message);
    let finding = finding.at(Place { file: Arc::clone(file), range: place_of(&file.text, "fn score") });
    finding.help("give the field another name in the catalog, or remove the function")
}

/// Placeholders in template files that the records of the rules using them don't have.
fn placeholders(
    rules: &[(Arc<CheckedRule>, Arc<SourceFile>)],
    catalog: &Catalog,
    templates: &Templates,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let nodes = rules.iter().flat_map(|(rule, _)| &rule.nodes);
    let targets: BTreeSet<&RuleId> =
        nodes.filter_map(|node| if let Step::Enroll(target) = &node.step { Some(target) } else { None }).collect();
    for (rule, _) in rules {
        let Some(entity) = catalog.entity(&rule.for_each) else { continue };
        let schema = surroundings.schema.as_ref();
        let is_known = schema.and_then(|schema| schema.of(entity)).is_some();
        let actions = || rule.nodes.iter().filter_map(|node| node.step.action()).flat_map(Action::ways);
        let row = if targets.contains(&rule.id) { Row::Open } else { Row::of(&rule.trigger, entity, catalog, schema) };
        let filled = Filled {
            rule,
            entity,
            fields: Fields::of(rule.script.is_some(), is_known),
            saved: actions().filter_map(Action::saves).collect(),
            row,
        };
        for action in actions() {
            let Action::Email(email) = action else { continue };
            let uses = templates.uses(&email.template).iter();
            let unknown = uses.filter_map(|used| Some((filled.finding(&used.path)?, used)));
            let prints = templates.prints(&email.template).iter();
            let empty = prints.filter_map(|used| Some((filled.link_finding(&used.path, email)?, used)));
            for (finding, used) in unknown.chain(empty) {
                let finding = finding.at(used.place.clone());
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
    }
    findings
}

/// Where a file first says this.
fn place_of(text: &str, words: &str) -> Range<usize> {
    text.find(words).map_or(0..0, |start| start..start + words.len())
}
