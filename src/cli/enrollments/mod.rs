//! `nudged enrollments`: who is in which sequence, and where; what happened to each; and an operator's decision.

mod decide;
mod show;

use super::offline::Offline;
use super::{Context, Exit, Failure, Format, LaneName, Output, record, text};
use crate::diagnostic::SourceFile;
use crate::engine::pinned_steps;
use crate::engine::port::{EnrollmentFilter, EnrollmentView, Store};
use crate::model::{EnrollmentState, RuleId, StepId, VersionHash};
use crate::rule::generation::{Generation, Tree};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List enrollments, newest first.
    List(List),
    /// Everything that happened to an enrollment, or to a record in all rules, and what was prevented and why.
    Show(show::Args),
    /// End enrollments that are under way.
    Cancel(decide::Cancel),
    /// Let enrollments go on with the steps of their rule as it is now, from the step of the same id.
    Migrate(decide::Migrate),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Of this rule.
    #[arg(long)]
    rule: Option<String>,
    /// Of rules that act, or of those that only record what they would do.
    #[arg(long, value_enum)]
    lane: Option<LaneName>,
    /// Of this record: `customer:4711`, or `tenant/customer:4711`.
    #[arg(long, value_name = "RECORD")]
    record: Option<String>,
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum State {
    Active,
    Held,
    Ended,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::List(args) => list(args, context, output),
        Command::Show(args) => show::run(args, context, output),
        Command::Cancel(args) => decide::cancel(args, context, output),
        Command::Migrate(args) => decide::migrate(args, context, output),
    }
}

fn list(list: &List, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let filter = EnrollmentFilter {
        rule: list.rule.as_deref().map(RuleId::from),
        lane: list.lane.map(Into::into),
        record: list.record.as_deref().map(record::parse).transpose()?,
        state: list.state.map(|state| match state {
            State::Active => EnrollmentState::Active,
            State::Held => EnrollmentState::Held,
            State::Ended => EnrollmentState::Ended,
        }),
        id: None,
        other_than: None,
        below: None,
        limit: list.limit,
    };
    let (found, steps) = context.block_on(async {
        let store = context.state().await?;
        let found = store.enrollments(&filter).await?;
        let steps = if found.is_empty() { HashMap::new() } else { steps(context, &*store).await? };
        Ok((found, steps))
    })?;
    match list.format {
        Format::Json => output.json(&found.iter().map(|view| as_json(view, &steps)).collect::<Vec<_>>()),
        Format::Table => {
            let header = ["id", "record", "rule", "lane", "state", "entered", "next step", "occasion"];
            let rows = found.iter().map(|view| as_row(view, &steps));
            output.table(&header, rows.collect(), "no enrollments");
            if found.is_empty() {
                context.unknown_rule(list.rule.as_deref(), output)?;
            }
        }
    }
    Ok(Exit::Success)
}

/// By version, the ids of its steps.
type Steps = HashMap<VersionHash, Vec<StepId>>;

/// The rules that the daemon last ran, as far as they can be told without the database.
pub(super) async fn last_rules(context: &Context, store: &dyn Store) -> Result<Option<Generation>, Failure> {
    let Some(stored) = store.last_generation().await? else { return Ok(None) };
    let file = |(path, text): (String, String)| Arc::new(SourceFile { path, text });
    let tree = Arc::new(Tree { files: stored.files.into_iter().map(file).collect() });
    let config = context.config()?;
    Ok(Offline::build(tree, &config, context.has_config()).built.ok())
}

async fn steps(context: &Context, store: &dyn Store) -> Result<Steps, Failure> {
    match last_rules(context, store).await? {
        Some(generation) => Ok(pinned_steps(store, &generation).await?),
        None => Ok(HashMap::new()),
    }
}

/// The step an enrollment stands at: by its id, or by its number where its version can't be told.
fn next_step(view: &EnrollmentView, steps: &Steps) -> Option<String> {
    let (node, _) = view.next?;
    let steps = view.version.as_deref().and_then(|version| steps.get(&VersionHash::new(version)));
    let known = steps.and_then(|steps| steps.get(node));
    Some(known.map_or_else(|| format!("step {}", node + 1), ToString::to_string))
}

fn state(view: &EnrollmentView) -> String {
    match (view.state, view.ended) {
        (EnrollmentState::Active, _) => "active".to_owned(),
        (EnrollmentState::Held, _) => "held".to_owned(),
        (EnrollmentState::Ended, Some(reason)) => format!("ended: {}", reason.as_str()),
        (EnrollmentState::Ended, None) => "ended".to_owned(),
    }
}

fn as_row(view: &EnrollmentView, steps: &Steps) -> Vec<String> {
    let next = next_step(view, steps).zip(view.next);
    vec![
        view.id.to_string(),
        view.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string),
        view.rule.to_string(),
        view.lane.as_str().to_owned(),
        state(view),
        text::at(view.entered_at),
        next.map_or_else(|| "-".to_owned(), |(step, (_, at))| format!("{step} at {}", text::at(at))),
        view.occasion.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

fn as_json(view: &EnrollmentView, steps: &Steps) -> Json {
    json!({
        "id": view.id,
        "match": view.match_id.to_string(),
        "record": view.record.as_ref().map(ToString::to_string),
        "rule": view.rule,
        "lane": view.lane,
        "state": view.state,
        "ended": view.ended,
        "occasion": view.occasion,
        "entered_at": view.entered_at,
        "ended_at": view.ended_at,
        "next": view.next.map(|(node, at)| json!({"node": node, "step": next_step(view, steps), "at": at})),
        "standing": view.standing,
        "hold": view.hold,
        "version": view.version,
    })
}
