//! `nudged plan [DIR]`: these rules against the running ones, and what the change would do to whom.

use super::rehearsal::{self, Rehearsal};
use super::{Context, Exit, Failure, Format, Output, text};
use crate::diagnostic::render::counted;
use crate::engine::rehearse::{Change, Comparer, Comparison, Elsewhere, Part, People, RuleComparison};
use crate::rule::checked::Backfill;
use crate::rulebook::from_stored;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rules directory to compare with what runs; by default the configured one.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Name at most this many records of each kind.
    #[arg(long, default_value_t = 10)]
    names: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Records read at once.
const BATCH: usize = 2_000;

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (comparison, runs) = context.block_on(ask(args, context, output))?;
    match args.format {
        Format::Json => output.json(&as_json(&comparison, runs)),
        Format::Table => show(&comparison, runs, output),
    }
    Ok(Exit::Success)
}

async fn ask(args: &Args, context: &Context, output: &mut Output) -> Result<(Comparison, bool), Failure> {
    let rehearsal = Rehearsal::open(context).await?;
    let (config, source) = (&rehearsal.config, &*rehearsal.source);
    let other = match &args.directory {
        Some(directory) => Some(rehearsal::load(config, source, directory).await?),
        None => None,
    };
    let unfit = other.as_ref().map_or(&rehearsal.unfit, |(_, unfit)| unfit);
    unfit.warn(output);
    let running = match rehearsal.store.last_generation().await? {
        None => None,
        Some(stored) => match rehearsal::load_past(config, source, from_stored(stored.files)).await {
            Ok((running, lost)) => {
                lost.warn_of_past(unfit, output);
                Some(running)
            }
            Err(Failure::Rules(findings)) => {
                output.findings(&findings);
                output.talk("warning: what runs can't be read any more; everything is shown as added");
                None
            }
            Err(failure) => return Err(failure),
        },
    };
    let mut previewer = rehearsal.previewer(BATCH);
    if let Some((other, _)) = &other {
        previewer.generation = other;
    }
    let comparer = Comparer { previewer, running: running.as_ref(), batch: BATCH, names: args.names };
    Ok((comparer.compare().await?, running.is_some()))
}

fn show(comparison: &Comparison, runs: bool, output: &mut Output) {
    if !runs {
        output.talk("nothing runs yet; every rule is new");
    }
    for compared in &comparison.rules {
        show_rule(compared, output);
    }
    if !comparison.files.is_empty() {
        output.line(&format!("other files that differ: {}", comparison.files.join(", ")));
    }
    let (changed, unchanged) = (comparison.rules.len(), comparison.unchanged);
    let differ = if changed == 1 { "differs" } else { "differ" };
    let rules = counted(changed, "rule");
    output.talk(&format!("{rules} {differ}, {unchanged} don't; nothing was changed"));
}

fn show_rule(compared: &RuleComparison, output: &mut Output) {
    let line = match &compared.change {
        Change::Added => format!("+ {}  added", compared.rule),
        Change::Removed => format!("- {}  removed", compared.rule),
        Change::Renamed { from, parts } => format!("~ {}  was {from}{}", compared.rule, words(parts)),
        Change::Changed(parts) => format!("~ {}  changed{}", compared.rule, words(parts)),
    };
    output.line(&line);
    if let Some(reason) = compared.uncounted.filter(|_| compared.asks_who()) {
        output.line(&format!("    match      not counted: {reason}; try it in shadow"));
    } else if compared.asks_who() {
        let moved = compared.moved_to.map_or_else(String::new, |lane| format!(" in the {} lane", lane.as_str()));
        output.line(&format!("    match      {} before, {} after{moved}", compared.before, compared.after));
        people("newly", &compared.newly, output);
        people("no longer", &compared.no_longer, output);
        if compared.newly.count > 0 {
            output.line(&format!("    at once    {}", at_once(compared)));
        }
    }
    let under_way = &compared.under_way;
    if under_way.people.count > 0 {
        people("under way", &under_way.people, output);
        output.line(&format!("               they {}", under_way.fate));
        if under_way.ending.count > 0 {
            people("ending", &under_way.ending, output);
            output.line(
                "               the new `where` isn't true of them, which ends their sequence at its next message",
            );
        }
    }
    if let Some(Elsewhere { lane, count, fate }) = under_way.elsewhere {
        output.line(&format!("    elsewhere  {count} are under way in the {} lane, and {fate}", lane.as_str()));
    }
}

fn words(parts: &[Part]) -> String {
    if parts.is_empty() {
        return String::new();
    }
    format!(": {}", parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", "))
}

fn at_once(compared: &RuleComparison) -> String {
    if let Some(at) = compared.planned {
        return format!("none; all who meet it then match at the next planned instant, {}", text::at(at));
    }
    let left_out = compared.newly.count - compared.at_once.min(compared.newly.count);
    let why = match compared.backfill {
        Backfill::None => "`backfill: none`".to_owned(),
        Backfill::Since(period) => format!("`backfill: {period}`"),
        Backfill::All => "`backfill: all`".to_owned(),
    };
    format!("{} of those newly matching enter with the first sweep, {left_out} are left out ({why})", compared.at_once)
}

fn people(label: &str, people: &People, output: &mut Output) {
    if people.count == 0 {
        return;
    }
    let named: Vec<String> = people.named.iter().map(ToString::to_string).collect();
    let more = if people.count > named.len() as u64 { ", …" } else { "" };
    output.line(&format!("    {label:<10} {}: {}{more}", people.count, named.join(", ")));
}

fn as_json(comparison: &Comparison, runs: bool) -> Json {
    json!({
        "running": runs,
        "rules": comparison.rules.iter().map(rule_json).collect::<Vec<_>>(),
        "unchanged": comparison.unchanged,
        "files": comparison.files,
    })
}

fn rule_json(compared: &RuleComparison) -> Json {
    let (change, from, parts): (&str, Option<&str>, &[Part]) = match &compared.change {
        Change::Added => ("added", None, &[]),
        Change::Removed => ("removed", None, &[]),
        Change::Renamed { from, parts } => ("renamed", Some(from.as_str()), parts),
        Change::Changed(parts) => ("changed", None, parts),
    };
    let people = |people: &People| json!({"count": people.count, "named": people.named.iter().map(ToString::to_string).collect::<Vec<_>>()});
    let mut shown = json!({
        "rule": compared.rule,
        "change": change,
        "from": from,
        "parts": parts.iter().map(|part| part.as_str()).collect::<Vec<_>>(),
    });
    if let Some(reason) = compared.uncounted.filter(|_| compared.asks_who()) {
        shown["not_counted"] = json!(reason);
    } else if compared.asks_who() {
        shown["moved_to"] = json!(compared.moved_to);
        shown["before"] = json!(compared.before);
        shown["after"] = json!(compared.after);
        shown["newly"] = people(&compared.newly);
        shown["no_longer"] = people(&compared.no_longer);
        shown["at_once"] = json!(compared.at_once);
        shown["planned"] = json!(compared.planned);
    }
    shown["under_way"] = json!({
        "people": people(&compared.under_way.people),
        "ending": people(&compared.under_way.ending),
        "fate": compared.under_way.fate,
        "elsewhere": compared.under_way.elsewhere.map(|Elsewhere { lane, count, fate }| json!({
            "lane": lane,
            "count": count,
            "fate": fate,
        })),
    });
    shown
}
