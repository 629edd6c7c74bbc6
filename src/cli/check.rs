//! `nudged check`: would these files load?
//!
//! Offline it knows the files and the configuration; with `--db` it asks the database as well: whether
//! every table and column is there, and whether it accepts the SQL of every rule.

use super::{Context, Exit, Failure, Output};
use crate::config::Config;
use crate::diagnostic::render::summary;
use crate::diagnostic::{Finding, Severity};
use crate::model::Topic;
use crate::rule::generation::{Generation, Surroundings, Tree};
use crate::rule::statement::Dialect;
use crate::rulebook::{Inspected, Limits, inspect, read_tree};
use crate::service::{open_source, outside};
use secrecy::ExposeSecret;
use serde_json::json;
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
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum CheckFormat {
    /// Findings with the lines they are about, on stderr.
    #[default]
    Text,
    /// One JSON document on stdout.
    Json,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (rules, findings) = if args.db {
        let config = context.config()?;
        let tree = read_tree(&config.rules.directory, &Limits::default(), None)?;
        context.block_on(against_database(tree, &config))?
    } else {
        let config = context.config_without_secrets()?;
        let tree = read_tree(&config.rules.directory, &Limits::default(), None)?;
        offline(Arc::new(tree), &config, context.has_config())
    };
    Ok(report(args, rules, &findings, output))
}

/// How many rules would load, and every finding.
type Verdict = (usize, Vec<Finding>);

/// Without a configuration nobody can say which destinations and topics there are: names of those that
/// rules use are then taken for known, with a warning.
fn offline(tree: Arc<Tree>, config: &Config, has_config: bool) -> Verdict {
    let mut outside = outside(config);
    outside.emails |= !has_config;
    let mut surroundings = Surroundings {
        dialect: dialect(config.source.url.expose_secret()),
        schema: None,
        destinations: outside.destinations.clone(),
        topics: outside.topics.clone(),
    };
    let first = Generation::build(Arc::clone(&tree), &surroundings);
    let assumed = if has_config { 0 } else { assume(&mut surroundings, first.as_ref().err()) };
    let built = if assumed > 0 { Generation::build(tree, &surroundings) } else { first };
    let (rules, mut findings) = match built {
        Ok(generation) => {
            let unsendable = outside.unsendable(&generation);
            (generation.rules.len(), generation.warnings.into_iter().chain(unsendable).collect())
        }
        Err(findings) => (0, findings),
    };
    if assumed > 0 {
        let message = format!("{assumed} webhook destinations or topics are not checked without a configuration");
        findings.push(Finding::warning("config.none", message).help("name the configuration by `--config FILE`"));
    }
    (rules, findings)
}

/// Adds the names that were unknown; returns how many.
fn assume(surroundings: &mut Surroundings, findings: Option<&Vec<Finding>>) -> usize {
    let mut assumed = 0;
    for finding in findings.into_iter().flatten() {
        let Some(name) = finding.message.split('`').nth(1) else { continue };
        assumed += usize::from(match finding.code {
            "rule.unknown-destination" => surroundings.destinations.insert(name.to_owned()),
            "rule.unknown-topic" => surroundings.topics.insert(Topic::from(name)),
            _ => false,
        });
    }
    assumed
}

/// Offline nothing depends on it but the text of the SQL, which nobody sees.
fn dialect(url: &str) -> Dialect {
    match url.split_once(':') {
        Some(("mysql" | "mariadb", _)) => Dialect::MySql,
        Some(("sqlite", _)) => Dialect::Sqlite,
        _ => Dialect::Postgres,
    }
}

async fn against_database(tree: Tree, config: &Config) -> Result<Verdict, Failure> {
    let source = open_source(config)?;
    // Asked for the database, a database that doesn't answer is a failure and not a warning.
    source.now().await?;
    let inspected = inspect(Arc::new(tree), &*source, &outside(config), None).await;
    Ok(match inspected {
        Ok(Inspected { generation, mut refused }) => {
            let rules = generation.rules.len();
            let mut findings: Vec<Finding> = generation.warnings.into_iter().map(strict).collect();
            // Where the catalog and the tables differ, refused queries only say it again, a rule at a time.
            if !findings.iter().any(|finding| finding.severity == Severity::Error) {
                refused.sort_by(|(a, _), (b, _)| a.cmp(b));
                findings.extend(refused.into_iter().map(|(_, finding)| finding));
            }
            (rules, findings)
        }
        Err(findings) => (0, findings.into_iter().map(strict).collect()),
    })
}

/// A running daemon goes on with what it can where the catalog no longer fits the tables; somebody who
/// asks whether they fit wants to hear no.
fn strict(finding: Finding) -> Finding {
    let drift = ["catalog.no-table", "catalog.query", "catalog.no-column", "catalog.column-type", "catalog.constant"];
    if drift.contains(&finding.code) { Finding { severity: Severity::Error, ..finding } } else { finding }
}

fn report(args: &Args, rules: usize, findings: &[Finding], output: &mut Output) -> Exit {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    match args.format {
        CheckFormat::Json => output.json(&json!({
            "errors": errors,
            "warnings": warnings,
            "rules": rules,
            "findings": findings.iter().map(as_json).collect::<Vec<_>>(),
        })),
        CheckFormat::Text => {
            output.findings(findings);
            output.talk(&match (errors, warnings) {
                (0, 0) => format!("{rules} rules, nothing to complain about"),
                (0, _) => format!("{rules} rules, {}", summary(findings)),
                _ => summary(findings),
            });
        }
    }
    let failed = errors > 0 || (args.deny_warnings && warnings > 0);
    if failed { Exit::Rules } else { Exit::Success }
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
