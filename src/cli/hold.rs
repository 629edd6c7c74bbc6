//! `nudged hold`: sweeps that the guard holds, for a person to look at and decide.

use super::{Context, Exit, Failure, Format, Output, text};
use crate::engine::port::{SweepId, SweepView};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List held sweeps.
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one held sweep.
    Show {
        /// Its id, as `list` shows it.
        sweep: String,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Let its matches go through their steps.
    Release {
        /// Its id.
        sweep: String,
    },
    /// Drop its matches: they stay in the ledger and never act.
    Drop {
        /// Its id.
        sweep: String,
    },
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::List { format } => {
            let held = held(context)?;
            match format {
                Format::Json => output.json(&held.iter().map(as_json).collect::<Vec<_>>()),
                Format::Table => {
                    let header = ["sweep", "rule", "lane", "matches", "since", "reason"];
                    output.table(&header, held.iter().map(as_row).collect(), "no sweep is held");
                }
            }
        }
        Command::Show { sweep, format } => {
            let found = held(context)?.into_iter().find(|view| view.id == *sweep).ok_or_else(|| unknown(sweep))?;
            match format {
                Format::Json => output.json(&as_json(&found)),
                Format::Table => {
                    output.line(&format!("sweep    {}\nrule     {} ({})", found.id, found.rule, found.lane.as_str()));
                    output.line(&format!("matches  {}\nsince    {}", found.matches, text::at(found.since)));
                    output.line(&format!("reason   {}", found.reason));
                }
            }
        }
        Command::Release { sweep } => decide(sweep, true, context, output)?,
        Command::Drop { sweep } => decide(sweep, false, context, output)?,
    }
    Ok(Exit::Success)
}

fn held(context: &Context) -> Result<Vec<SweepView>, Failure> {
    context.block_on(async { Ok(context.state().await?.held_sweeps().await?) })
}

fn decide(sweep: &str, release: bool, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if !held(context)?.iter().any(|view| view.id == sweep) {
        return Err(unknown(sweep));
    }
    let id = SweepId(sweep.to_owned());
    let matches =
        context.block_on(async { Ok(context.state().await?.decide_held(&id, release, Timestamp::now()).await?) })?;
    output
        .talk(&format!("{matches} matches {}", if release { "released" } else { "dropped; they stay in the ledger" }));
    Ok(())
}

fn unknown(sweep: &str) -> Failure {
    Failure::other(Exit::NotFound, format!("no held sweep has the id `{sweep}`; `nudged hold list` shows them"))
}

fn as_row(view: &SweepView) -> Vec<String> {
    vec![
        view.id.clone(),
        view.rule.to_string(),
        view.lane.as_str().to_owned(),
        view.matches.to_string(),
        text::at(view.since),
        view.reason.clone(),
    ]
}

fn as_json(view: &SweepView) -> Json {
    json!({
        "sweep": view.id,
        "rule": view.rule,
        "lane": view.lane,
        "matches": view.matches,
        "since": view.since,
        "reason": view.reason,
    })
}
