//! `nudged check`: would these files load?

use super::{Context, Exit, Failure, Output};
use crate::diagnostic::{Finding, Severity};
use crate::rule::generation::{Generation, Surroundings};
use crate::rule::statement::Dialect;
use crate::rulebook::{Limits, read_tree};
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
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
    let config = context.config_without_secrets()?;
    let tree = read_tree(&config.rules.directory, &Limits::default(), None)
        .map_err(|error| Failure::Rules(vec![Finding::error(error.code(), error.to_string())]))?;
    let surroundings = Surroundings {
        dialect: Dialect::Sqlite,
        schema: None,
        destinations: Default::default(),
        topics: config.marketing.topics.clone(),
    };
    let (rules, findings) = match Generation::build(Arc::new(tree), &surroundings) {
        Ok(generation) => (generation.rules.len(), generation.warnings),
        Err(findings) => (0, findings),
    };
    report(args, rules, &findings, output)
}

fn report(args: &Args, rules: usize, findings: &[Finding], output: &mut Output) -> Result<Exit, Failure> {
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
                (0, _) => format!("{rules} rules, {warnings} warnings"),
                _ => format!("{errors} errors, {warnings} warnings"),
            });
        }
    }
    let failed = errors > 0 || (args.deny_warnings && warnings > 0);
    Ok(if failed { Exit::Rules } else { Exit::Success })
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
