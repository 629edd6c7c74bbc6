//! `nudged enrollments list`: who is in which sequence, and where.

use super::{Context, Exit, Failure, Format, LaneName, Output, record, text};
use crate::engine::port::{EnrollmentFilter, EnrollmentView};
use crate::model::{EnrollmentState, RuleId};
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List enrollments, newest first.
    List(List),
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
    let Command::List(list) = &args.command;
    let filter = EnrollmentFilter {
        rule: list.rule.as_deref().map(RuleId::from),
        lane: list.lane.map(Into::into),
        record: list.record.as_deref().map(record::parse).transpose()?,
        state: list.state.map(|state| match state {
            State::Active => EnrollmentState::Active,
            State::Held => EnrollmentState::Held,
            State::Ended => EnrollmentState::Ended,
        }),
        limit: list.limit,
    };
    let found = context.block_on(async { Ok(context.state().await?.enrollments(&filter).await?) })?;
    match list.format {
        Format::Json => output.json(&found.iter().map(as_json).collect::<Vec<_>>()),
        Format::Table => {
            let header = ["record", "rule", "lane", "state", "entered", "next step", "occasion"];
            output.table(&header, found.iter().map(as_row).collect(), "no enrollments");
            if found.is_empty() {
                context.unknown_rule(list.rule.as_deref(), output)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn state(view: &EnrollmentView) -> String {
    match (view.state, view.ended) {
        (EnrollmentState::Active, _) => "active".to_owned(),
        (EnrollmentState::Held, _) => "held".to_owned(),
        (EnrollmentState::Ended, Some(reason)) => format!("ended: {}", reason.as_str()),
        (EnrollmentState::Ended, None) => "ended".to_owned(),
    }
}

fn as_row(view: &EnrollmentView) -> Vec<String> {
    vec![
        view.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string),
        view.rule.to_string(),
        view.lane.as_str().to_owned(),
        state(view),
        text::at(view.entered_at),
        view.next.map_or_else(|| "-".to_owned(), |(node, at)| format!("{node} at {}", text::at(at))),
        view.occasion.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

fn as_json(view: &EnrollmentView) -> Json {
    json!({
        "match": view.match_id.to_string(),
        "record": view.record.as_ref().map(ToString::to_string),
        "rule": view.rule,
        "lane": view.lane,
        "state": view.state,
        "ended": view.ended,
        "occasion": view.occasion,
        "entered_at": view.entered_at,
        "ended_at": view.ended_at,
        "next": view.next.map(|(node, at)| json!({"node": node, "at": at})),
        "version": view.version,
    })
}
