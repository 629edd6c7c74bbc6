//! `nudged simulate --days 30 [RULE…]`: who would get what and when, over the real audience.

use super::progress::Progress;
use super::rehearsal::{self, Scratch};
use super::{Context, Exit, Failure, Format, Output, text};
use crate::engine::port::{AttemptView, Store};
use crate::engine::rehearse::{Happened, RuleDays, Simulator};
use crate::model::RuleId;
use crate::service::{open_source, snapshot_state, state_is_new};
use crate::store::sqlite::SqliteStore;
use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these rules.
    #[arg(value_name = "RULE")]
    named: Vec<String>,
    /// How many days ahead.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=400))]
    days: u16,
    /// Only the counts, without a line for every message.
    #[arg(long)]
    summary: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (days, attempts) = context.block_on(ask(args, context, output))?;
    match args.format {
        Format::Json => output.json(&as_json(&days, &attempts, args.summary)),
        Format::Table => show(&days, args.summary, output),
    }
    Ok(Exit::Success)
}

async fn ask(
    args: &Args,
    context: &Context,
    output: &mut Output,
) -> Result<(BTreeMap<RuleId, RuleDays>, Vec<Json>), Failure> {
    let config = context.config()?;
    let source = open_source(&config)?;
    let (generation, unfit) = rehearsal::load(&config, &*source, &config.rules.directory).await?;
    args.named.iter().try_for_each(|rule| unfit.of(&RuleId::from(rule.as_str())))?;
    unfit.warn(output);
    let generation = Arc::new(generation);
    let from = source.now().await?;
    let until = from.saturating_add(SignedDuration::from_hours(24 * i64::from(args.days))).unwrap_or(from);
    let scratch = Scratch::new()?;
    output.talk("the source is frozen: nobody orders, answers or moves in these days; only time passes");
    if !state_is_new(&config.state) {
        snapshot_state(&config.state, &scratch.state(), from).await?;
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::scratch(scratch.state(), from).await?);
    let settings = config.settings();
    let only = args.named.iter().map(|rule| RuleId::from(rule.as_str())).collect();
    let simulator = Simulator { source, store, generation, settings, from, until, only };
    let progress = Progress::start("simulated up to", from, until);
    let mut lines = Vec::new();
    let days = simulator.run(|happened| match happened {
        Happened::Reached(at) => progress.at(at),
        Happened::Attempt(_) if args.summary => {}
        Happened::Attempt(attempt) => match args.format {
            // As it comes: an audience of any size streams.
            Format::Table => output.one_line(&line(&attempt)),
            Format::Json => lines.push(attempt_json(&attempt)),
        },
    });
    let days = days.await?;
    progress.end();
    Ok((days, lines))
}

fn line(attempt: &AttemptView) -> String {
    let record = attempt.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string);
    let detail = if attempt.detail.is_empty() { String::new() } else { format!(": {}", attempt.detail) };
    let what = match attempt.outcome.as_str() {
        "sent" => attempt.kind.clone(),
        outcome => format!("{} {outcome}", attempt.kind),
    };
    format!("{}  {record}  {}  {}  {what}{detail}", text::at(attempt.finished_at), attempt.rule, attempt.step)
}

fn attempt_json(attempt: &AttemptView) -> Json {
    json!({
        "at": attempt.finished_at,
        "record": attempt.record.as_ref().map(ToString::to_string),
        "rule": attempt.rule,
        "lane": attempt.lane,
        "step": attempt.step,
        "kind": attempt.kind,
        "outcome": attempt.outcome,
        "detail": attempt.detail,
    })
}

fn show(days: &BTreeMap<RuleId, RuleDays>, summary: bool, output: &mut Output) {
    if !summary && !days.is_empty() {
        output.line("");
    }
    let rows = days.iter().map(|(rule, days)| {
        let count = |outcome: &str| days.outcomes.get(outcome).copied().unwrap_or(0).to_string();
        let others: u64 = days.outcomes.values().sum::<u64>()
            - ["sent", "recorded", "skipped", "ended"]
                .iter()
                .map(|outcome| days.outcomes.get(*outcome).copied().unwrap_or(0))
                .sum::<u64>();
        vec![
            rule.to_string(),
            days.matched.to_string(),
            days.left_out.to_string(),
            count("sent"),
            count("recorded"),
            count("skipped"),
            count("ended"),
            others.to_string(),
        ]
    });
    let header = ["rule", "matched", "left out", "sent", "recorded", "skipped", "ended", "other"];
    output.table(&header, rows.collect(), "nothing would happen");
    for (rule, days) in days {
        for stopped in &days.stopped {
            output.line(&format!("{rule}: {stopped}"));
        }
        for reason in &days.held {
            output.line(&format!("{rule}: held: {reason}"));
        }
        if let Some(told) = account(days) {
            output.one_line(&format!("{rule}: {told}"));
        }
        if let Some(guessed) = text::guessed(&days.guessed) {
            output.line(&format!("{rule}: {guessed}"));
        }
    }
}

/// What became of the matches, where some did not simply go through the steps: `of 3 matches 2 completed, 1 late`.
fn account(days: &RuleDays) -> Option<String> {
    if days.came_to.keys().all(|came_to| ["completed", "under_way"].contains(&came_to.as_str())) {
        return None;
    }
    let of = |(came_to, count): (&String, &u64)| format!("{count} {}", came_to.replace('_', " "));
    let mut told =
        format!("of {} matches {}", days.matched, days.came_to.iter().map(of).collect::<Vec<_>>().join(", "));
    let why: Vec<String> = days.cancelled.iter().map(|(why, count)| format!("{count}: {why}")).collect();
    if !why.is_empty() {
        told = format!("{told} ({})", why.join("; "));
    }
    Some(told)
}

fn as_json(days: &BTreeMap<RuleId, RuleDays>, attempts: &[Json], summary: bool) -> Json {
    let rule = |(rule, days): (&RuleId, &RuleDays)| {
        let RuleDays { matched, came_to, cancelled, left_out, outcomes, held, stopped, guessed } = days;
        let stopped: Vec<Json> =
            stopped.iter().map(|stopped| json!({"by": stopped.by(), "text": stopped.to_string()})).collect();
        json!({
            "rule": rule, "matched": matched, "came_to": came_to, "cancelled": cancelled, "left_out": left_out,
            "outcomes": outcomes, "held": held, "stopped": stopped, "guessed": guessed,
        })
    };
    let mut shown = json!({"source": "frozen", "rules": days.iter().map(rule).collect::<Vec<_>>()});
    if !summary {
        shown["attempts"] = json!(attempts);
    }
    shown
}
