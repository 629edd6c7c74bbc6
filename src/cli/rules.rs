//! `nudged rules`: how every rule stands.

use super::{Context, Exit, Failure, Format, Output, status, text};
use serde_json::Value as Json;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let daemon = context.block_on(status::daemon(context))?;
    let rules = status::with_rests(&context.state_report()?["rules"], &daemon["rulebook"]["resting"]);
    match args.format {
        Format::Json => output.json(&rules),
        Format::Table => table(&rules, output),
    }
    Ok(Exit::Success)
}

/// One row a rule, lane and tenant.
pub fn table(rules: &Json, output: &mut Output) {
    let rows = rules.as_array().into_iter().flatten().map(|rule| {
        let status = match rule["reason"].as_str() {
            Some(reason) => format!("{}: {reason}", text::of(&rule["status"])),
            None => text::of(&rule["status"]),
        };
        let mut name = text::of(&rule["rule"]);
        if let Some(tenant) = rule["tenant"].as_str().filter(|tenant| !tenant.is_empty()) {
            name = format!("{name} ({tenant})");
        }
        vec![
            name,
            text::of(&rule["lane"]),
            status,
            text::of(&rule["matches"]),
            text::of(&rule["left_out"]),
            text::instant(&rule["swept_at"]),
        ]
    });
    output.table(&["rule", "lane", "status", "matches", "left out", "last sweep"], rows.collect(), "no rules yet");
}
