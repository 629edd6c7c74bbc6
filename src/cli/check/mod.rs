//! `nudged check`: would these files load?
//!
//! Offline it knows the files and the configuration; with `--db` it asks the database as well: whether
//! every table and column is there, and whether it accepts the SQL of every rule. The rules' own tests are played as a
//! reload plays them, so that nothing passes here which a running daemon turns down.

mod github;
mod sarif;

use super::offline::Offline;
use super::{Context, Exit, Failure, Output};
use crate::catalog::Table;
use crate::config::Config;
use crate::diagnostic::render::{counted, summary};
use crate::diagnostic::{Finding, Place, Severity};
use crate::rule::CompiledRule;
use crate::rule::generation::{Generation, Tree};
use crate::rule::index::{self, NeededIndex};
use crate::rulebook::{Examiner, Limits, inspect, read_tree};
use crate::service::{RuleExaminer, open_source, outside};
use crate::testbench::Bench;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask the database too: tables, columns, and the SQL of every rule.
    #[arg(long)]
    db: bool,
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
    /// Fail on warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// Leave the rules' own tests unplayed.
    #[arg(long)]
    no_tests: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum CheckFormat {
    /// Findings with the lines they are about, on stderr.
    #[default]
    Text,
    /// One JSON document on stdout.
    Json,
    /// SARIF 2.1.0 on stdout, for code hosts.
    Sarif,
    /// Annotations of GitHub Actions on stdout.
    Github,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let config = if args.db { context.config()? } else { context.config_without_secrets()? };
    let tree = Arc::new(read_tree(&config.rules.directory, &Limits::default(), None)?);
    let mut verdict = if args.db {
        context.block_on(against_database(tree, &config))?
    } else {
        offline(tree, &config, context.has_config())
    };
    if !args.no_tests {
        verdict.findings.extend(context.block_on_all_cores(tested(&verdict, &config))?);
    }
    Ok(report(args, &config.rules.directory, &verdict, output))
}

struct Verdict {
    /// `None`: nothing would load.
    generation: Option<Generation>,
    findings: Vec<Finding>,
}

impl Verdict {
    fn rules(&self) -> usize {
        self.generation.as_ref().map_or(0, |generation| generation.rules.len())
    }
}

fn offline(tree: Arc<Tree>, config: &Config, has_config: bool) -> Verdict {
    let Offline { built, outside, assumed, .. } = Offline::build(tree, config, has_config);
    let (generation, mut findings) = match built {
        Ok(generation) => {
            let findings = generation.warnings.iter().cloned().chain(outside.unserved(&generation)).collect();
            (Some(generation), findings)
        }
        Err(findings) => (None, findings),
    };
    if assumed > 0 {
        let message = format!(
            "not checked without a configuration: {} of webhook destinations, chats or topics",
            counted(assumed, "name")
        );
        findings.push(Finding::warning("config.none", message).help("name the configuration by `--config FILE`"));
    }
    Verdict { generation, findings }
}

async fn against_database(tree: Arc<Tree>, config: &Config) -> Result<Verdict, Failure> {
    let source = open_source(config)?;
    // Asked for the database, a database that doesn't answer is a failure and not a warning.
    source.now().await?;
    let inspected = inspect(tree, &*source, &outside(config), None).await;
    Ok(match inspected {
        Ok(mut inspected) => {
            let mut findings: Vec<Finding> = inspected.generation.warnings.iter().cloned().map(strict).collect();
            // Where the catalog and the tables differ, refused queries only say it again, a rule at a time.
            if !findings.iter().any(|finding| finding.severity == Severity::Error) {
                inspected.refused.sort_by(|(a, _), (b, _)| a.cmp(b));
                findings.extend(inspected.refusals());
                findings.extend(missing_indexes(&inspected.generation));
            }
            Verdict { generation: Some(inspected.generation), findings }
        }
        Err(findings) => Verdict { generation: None, findings: findings.into_iter().map(strict).collect() },
    })
}

/// What fails of the rules' own tests, as a reload plays them. Rules that are wrong have worse to tell.
async fn tested(verdict: &Verdict, config: &Config) -> Vec<Finding> {
    let is_wrong = verdict.findings.iter().any(|finding| finding.severity == Severity::Error);
    let Some(generation) = verdict.generation.as_ref().filter(|_| !is_wrong) else { return Vec::new() };
    let rules = generation.rules.keys().cloned().collect();
    let examiner = RuleExaminer::new(config.settings()).at_once(Bench::at_once()).within(config.rules.tests_within);
    examiner.examine(generation, &rules).await
}

/// An index and the rules that need it.
type Wanted<'a> = (NeededIndex, Vec<&'a Arc<CompiledRule>>);

/// Each index once, at the first rule that needs it.
fn missing_indexes(generation: &Generation) -> Vec<Finding> {
    let Some(schema) = &generation.surroundings.schema else { return Vec::new() };
    let dialect = generation.surroundings.dialect;
    let mut wanted: BTreeMap<(Table, String), Wanted<'_>> = BTreeMap::new();
    for rule in generation.rules.values() {
        for needed in index::missing(&rule.rule, &generation.catalog, schema, generation.surroundings.dialect) {
            let place = (needed.table.clone(), needed.column.clone());
            let entry = wanted.entry(place).or_insert_with(|| (needed, Vec::new()));
            if !entry.1.iter().any(|other| other.rule.id == rule.rule.id) {
                entry.1.push(rule);
            }
        }
    }
    let finding = |(needed, rules): Wanted<'_>| {
        let others = match rules.len() {
            1 => String::new(),
            more => format!(" and {} more", more - 1),
        };
        let (first, purpose) = (rules[0], needed.purpose.in_words());
        let message = format!(
            "no index of `{}` begins with `{}`: for the rule `{}`{others} {purpose}",
            needed.table,
            needed.begins_with(dialect, &generation.catalog),
            first.rule.id
        );
        let create = needed.create(dialect, &generation.catalog);
        let finding = Finding::warning("rule.no-index", message).help(format!("{create};"));
        match generation.tree.files.iter().find(|file| file.path == first.rule.file) {
            Some(file) => {
                let start = file.text.find("\ntrigger:").map_or(0, |newline| newline + 1);
                finding.at(Place { file: Arc::clone(file), range: start..start + "trigger".len().min(file.text.len()) })
            }
            None => finding,
        }
    };
    wanted.into_values().map(finding).collect()
}

/// A running daemon goes on with what it can where the catalog no longer fits the tables; somebody who
/// asks whether they fit wants to hear no.
fn strict(finding: Finding) -> Finding {
    let drift = ["catalog.no-table", "catalog.query", "catalog.no-column", "catalog.column-type", "catalog.constant"];
    if drift.contains(&finding.code) { Finding { severity: Severity::Error, ..finding } } else { finding }
}

fn report(args: &Args, directory: &Path, verdict: &Verdict, output: &mut Output) -> Exit {
    let (rules, findings) = (verdict.rules(), verdict.findings.as_slice());
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    match args.format {
        CheckFormat::Json => output.json(&json!({
            "errors": errors,
            "warnings": warnings,
            "rules": rules,
            "findings": findings.iter().map(as_json).collect::<Vec<_>>(),
        })),
        CheckFormat::Sarif => output.json(&sarif::document(findings, &directory.to_string_lossy())),
        CheckFormat::Github => output.data(&github::lines(findings, &directory.to_string_lossy())),
        CheckFormat::Text => {
            output.findings(findings);
            output.talk(&match (errors, warnings) {
                (0, 0) => format!("{}, nothing to complain about", counted(rules, "rule")),
                (0, _) => format!("{}, {}", counted(rules, "rule"), summary(findings)),
                _ => summary(findings),
            });
        }
    }
    let failed = errors > 0 || (args.deny_warnings && warnings > 0);
    if failed { Exit::Rules } else { Exit::Success }
}

/// A file of the rules directory, as seen from where the command runs.
fn path(root: &str, file: &str) -> String {
    let root = root.strip_prefix("./").unwrap_or(root).trim_end_matches('/');
    if matches!(root, "" | ".") { file.to_owned() } else { format!("{root}/{file}") }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let position = finding.place.as_ref().map(|place| {
        let (line, column) = place.line_column();
        json!({"file": place.file.path, "line": line, "column": column, "start": place.range.start, "end": place.range.end})
    });
    json!({
        "code": finding.code,
        "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": finding.message,
        "at": position,
        "label": finding.label,
        "help": finding.help,
    })
}
