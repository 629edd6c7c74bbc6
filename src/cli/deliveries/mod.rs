//! `nudged deliveries`: what was sent and what wasn't, and an operator's decision over what hangs.

mod show;

use super::{Context, Exit, Failure, Format, LaneName, Output, record, text};
use crate::engine::port::{DeliveryFilter, DeliveryView, Store};
use crate::model::{DeliveryId, RuleId};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List deliveries, newest first.
    List(List),
    /// Where a delivery stands, what came of each try, and its message.
    Show(show::Args),
    /// Make dead or unknown deliveries due again.
    Retry(Choice),
    /// Give dead or unknown deliveries up; their sequences go on after them.
    Discard(Choice),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Of this rule.
    #[arg(long)]
    rule: Option<String>,
    /// Of rules that act, or of those that only record what they would do.
    #[arg(long, value_enum)]
    lane: Option<LaneName>,
    /// About this record: `customer:4711`, or `tenant/customer:4711`.
    #[arg(long, value_name = "RECORD")]
    record: Option<String>,
    /// Where it stands, or what came of the last try.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STATES))]
    state: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Where a delivery stands, and what may have come of it.
const STATES: [&str; 11] = [
    "due",
    "sending",
    "unknown",
    "dead",
    "sent",
    "recorded",
    "skipped",
    "transient",
    "permanent",
    "postponed",
    "ended",
];

/// So much of an id is shown, and fewer digits of one are too few to choose by.
const SHOWN: usize = 12;
const FEWEST: usize = 6;

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Choice {
    /// Delivery ids, or what they begin with, as `list` shows it.
    #[arg(value_name = "DELIVERY")]
    ids: Vec<String>,
    /// All of this state.
    #[arg(long, value_enum)]
    all: Option<Stuck>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Stuck {
    Dead,
    Unknown,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::List(args) => list(args, context, output),
        Command::Show(args) => show::run(args, context, output),
        Command::Retry(choice) => decide(choice, true, context, output),
        Command::Discard(choice) => decide(choice, false, context, output),
    }
}

fn list(args: &List, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let filter = DeliveryFilter {
        rule: args.rule.as_deref().map(RuleId::from),
        lane: args.lane.map(Into::into),
        record: args.record.as_deref().map(record::parse).transpose()?,
        state: args.state.clone(),
        limit: args.limit,
    };
    let found = context.block_on(async { Ok(context.state().await?.deliveries(&filter).await?) })?;
    match args.format {
        Format::Json => output.json(&found.iter().map(as_json).collect::<Vec<_>>()),
        Format::Table => {
            let header = ["delivery", "at", "record", "rule", "step", "state", "tries", "detail"];
            output.table(&header, found.iter().map(as_row).collect(), "no deliveries");
            if found.is_empty() {
                context.unknown_rule(args.rule.as_deref(), output)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn decide(choice: &Choice, retry: bool, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let (asked, done) = context.block_on(async {
        let store = context.state().await?;
        let mut ids = chosen(&*store, &choice.ids).await?;
        if let Some(stuck) = choice.all {
            ids.extend(stuck_in(&*store, stuck).await?);
        }
        let done = if retry { store.retry(&ids, now).await? } else { store.discard(&ids, now).await? };
        Ok((ids.len() as u64, done))
    })?;
    output.talk(&format!("{done} of {asked} deliveries {}", if retry { "are due again" } else { "are given up" }));
    Ok(if done == asked { Exit::Success } else { Exit::NotFound })
}

/// The deliveries that these ids or beginnings of ids name. Only what is stuck can be named by a beginning.
async fn chosen(store: &dyn Store, written: &[String]) -> Result<Vec<DeliveryId>, Failure> {
    let mut stuck = None;
    let mut ids = Vec::with_capacity(written.len());
    for text in written {
        if let Ok(id) = text.parse() {
            ids.push(id);
            continue;
        }
        beginning(text)?;
        if stuck.is_none() {
            let [dead, unknown] = [stuck_in(store, Stuck::Dead).await?, stuck_in(store, Stuck::Unknown).await?];
            stuck = Some([dead, unknown].concat());
        }
        let digits = text.to_ascii_lowercase();
        let of = |id: &&DeliveryId| id.to_string().starts_with(&digits);
        let found: Vec<&DeliveryId> = stuck.iter().flatten().filter(of).collect();
        match found[..] {
            [id] => ids.push(*id),
            [] => {
                let message = format!("no dead or unknown delivery begins with {text}; see `nudged deliveries list`");
                return Err(Failure::other(Exit::NotFound, message));
            }
            _ => {
                let message = format!("{} deliveries begin with {text}; give more digits", found.len());
                return Err(Failure::other(Exit::Usage, message));
            }
        }
    }
    Ok(ids)
}

/// Enough digits of an id to name a delivery by.
fn beginning(text: &str) -> Result<(), Failure> {
    if (FEWEST..=32).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    let message = format!("`{text}` is no delivery id: give at least {FEWEST} hexadecimal digits of one");
    Err(Failure::other(Exit::Usage, message))
}

async fn stuck_in(store: &dyn Store, stuck: Stuck) -> Result<Vec<DeliveryId>, Failure> {
    let state = match stuck {
        Stuck::Dead => "dead",
        Stuck::Unknown => "unknown",
    };
    let filter = DeliveryFilter { state: Some(state.to_owned()), limit: usize::MAX >> 1, ..DeliveryFilter::default() };
    Ok(store.deliveries(&filter).await?.into_iter().filter_map(|view| view.delivery).collect())
}

fn as_row(view: &DeliveryView) -> Vec<String> {
    vec![
        view.delivery.map_or_else(|| "-".to_owned(), |id| id.to_string()[..SHOWN].to_owned()),
        text::at(view.at),
        view.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string),
        view.rule.to_string(),
        view.step.clone(),
        view.state.clone(),
        view.attempts.to_string(),
        view.detail.clone(),
    ]
}

fn as_json(view: &DeliveryView) -> Json {
    json!({
        "delivery": view.delivery.map(|id| id.to_string()),
        "at": view.at,
        "record": view.record.as_ref().map(ToString::to_string),
        "rule": view.rule,
        "lane": view.lane,
        "step": view.step,
        "kind": view.kind,
        "state": view.state,
        "attempts": view.attempts,
        "detail": view.detail,
    })
}
