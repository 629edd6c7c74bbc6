//! One rule, made ready to be played: compiled for SQLite, live, over tables of its own.

use super::Bench;
use super::plain::{complete, plain};
use super::shape::{Clues, shape};
use crate::catalog::{self, Catalog, Schema};
use crate::diagnostic::{Finding, Severity, SourceFile};
use crate::engine::{Sending, Settings};
use crate::model::{RuleId, StepId, TemplateName};
use crate::rule::check::{self, Known};
use crate::rule::checked::{CheckedRule, Mode, Trigger};
use crate::rule::compiled::CompiledRule;
use crate::rule::example::Example;
use crate::rule::generation::{Checked, Generation, Surroundings, Tree};
use crate::rule::statement::Dialect;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) struct Stage {
    pub generation: Arc<Generation>,
    pub rule: Arc<CompiledRule>,
    pub file: Arc<SourceFile>,
    pub examples: Vec<Example>,
    /// The tables of the source.
    pub tables: Schema,
    pub settings: Settings,
}

impl Stage {
    /// Compiles the rule of a file. The findings are those of the files, not of the tests.
    pub fn set(bench: &Bench, file: &Arc<SourceFile>) -> Result<Self, Vec<Finding>> {
        let tree = Arc::new(bench.tree.around(file));
        let mut tables = tables(bench, &tree, file);
        let surroundings =
            Surroundings { dialect: Dialect::Sqlite, schema: Some(tables.clone()), ..bench.surroundings.clone() };
        let generation = Generation::build(Arc::clone(&tree), &surroundings)?;
        let catalog = plain(&generation.catalog);
        complete(&mut tables, &catalog);
        let mut generation = generation.over(catalog)?;
        let examples = examples(&tree, file, &generation.catalog, &surroundings);
        let catalog = Arc::clone(&generation.catalog);
        let mut own = None;
        for rule in generation.rules.values_mut() {
            if rule.rule.file == file.path {
                *rule = Arc::new(CompiledRule { rule: Arc::new(live(&rule.rule)), ..CompiledRule::clone(rule) });
                own = Some(Arc::clone(rule));
            } else {
                let (other, text) = (Arc::new(for_enrolling(&rule.rule)), Arc::clone(&rule.text));
                let compiled = CompiledRule::compile(other, text, &catalog, Dialect::Sqlite)?;
                *rule = Arc::new(CompiledRule { script: rule.script.clone(), ..compiled });
            }
        }
        let Some(rule) = own else {
            return Err(vec![Finding::error("test.broken", format!("there is no rule in {}", file.path))]);
        };
        // A handful of messages has no speed, and copies of them would be taken for more.
        let sending = Sending { rate: None, per_domain: None, seeds: Vec::new(), ..bench.settings.sending.clone() };
        let settings = Settings { max_skew: None, sending, ..bench.settings.clone() };
        Ok(Self { generation: Arc::new(generation), rule, file: Arc::clone(file), examples, tables, settings })
    }
}

impl Stage {
    /// The template that a step of one of the rules sends.
    pub fn template_of(&self, rule: &RuleId, step: &StepId) -> Option<TemplateName> {
        let nodes = &self.generation.rules.get(rule)?.rule.nodes;
        Some(nodes.iter().find(|node| node.id == *step)?.step.action()?.email()?.template.clone())
    }

    pub fn step_id(&self, rule: &RuleId, node: usize) -> Option<&StepId> {
        self.generation.rules.get(rule)?.rule.nodes.get(node).map(|node| &node.id)
    }
}

/// A rule that the tested one enrolls into: what else would start it is for its own tests.
fn for_enrolling(rule: &CheckedRule) -> CheckedRule {
    CheckedRule { trigger: Trigger::Enrolled, ..live(rule) }
}

/// As if it were live and for few: a test is about what a rule does, whatever its mode, and a handful of records
/// is no audience to spread.
fn live(rule: &CheckedRule) -> CheckedRule {
    CheckedRule { mode: Mode::Live, spread: None, ..rule.clone() }
}

fn tables(bench: &Bench, tree: &Arc<Tree>, file: &Arc<SourceFile>) -> Schema {
    let written = tree.files.iter().find(|file| matches!(file.path.as_str(), "catalog.yaml" | "catalog.yml"));
    let Some(reading) = written.map(catalog::read) else { return Schema::default() };
    let checked = Checked::of(tree, &bench.surroundings);
    let Some(catalog) = checked.catalog else { return Schema::default() };
    let examples = examples(tree, file, &catalog, &bench.surroundings);
    let named = named(tree);
    shape(&Clues {
        catalog: &catalog,
        declared: reading.catalog.as_ref().unwrap_or(&catalog),
        uses: &reading.uses,
        live: bench.surroundings.schema.as_ref(),
        rule: checked.rules.iter().find(|(rule, _)| rule.file == file.path).map(|(rule, _)| rule.as_ref()),
        examples: &examples,
        source: &file.text,
        named: &named,
    })
}

fn examples(tree: &Tree, file: &Arc<SourceFile>, catalog: &Catalog, surroundings: &Surroundings) -> Vec<Example> {
    let (templates, scripts) = tree.names();
    let known = Known {
        catalog,
        dialect: surroundings.dialect,
        schema: surroundings.schema.as_ref(),
        topics: &surroundings.topics,
        destinations: &surroundings.destinations,
        chats: &surroundings.chats,
        gateways: &surroundings.gateways,
        templates: &templates,
        scripts: &scripts,
    };
    let (examples, findings) = check::examples(file, known);
    // The build has told of all of them.
    debug_assert!(surroundings.schema.is_none() || findings.iter().all(|found| found.severity < Severity::Error));
    examples
}

/// What templates and scripts call `record.NAME`: columns, even where the catalog doesn't list them.
fn named(tree: &Tree) -> Vec<String> {
    let mut names = BTreeSet::new();
    for file in &tree.files {
        for (start, _) in file.text.match_indices("record.") {
            let rest = &file.text[start + "record.".len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && name != "key" {
                names.insert(name);
            }
        }
    }
    names.into_iter().collect()
}
