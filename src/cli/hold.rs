//! `nudged hold`: sweeps that the guard holds, for a person to look at and decide.

use super::released::{CHUNK, Outlook, outlook, too_late};
use super::{Context, Exit, Failure, Format, Output, text};
use crate::engine::Prospect;
use crate::engine::port::{HeldMatch, SweepId, SweepView};
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
    /// Show one held sweep and whom it matched.
    Show {
        /// Its id, as `list` shows it.
        sweep: String,
        /// List at most this many matches (0: none).
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Go on after this place, as the last page named it.
        #[arg(long, value_name = "PLACE", default_value_t = 0)]
        after: i64,
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
        Command::Show { sweep, limit, after, format } => {
            show(sweep, Page { after: *after, limit: *limit }, *format, context, output)?;
        }
        Command::Release { sweep } => decide(sweep, true, context, output)?,
        Command::Drop { sweep } => decide(sweep, false, context, output)?,
    }
    Ok(Exit::Success)
}

fn held(context: &Context) -> Result<Vec<SweepView>, Failure> {
    context.block_on(async { Ok(context.state().await?.held_sweeps().await?) })
}

/// A part of a sweep's matches.
#[derive(Debug, Clone, Copy)]
struct Page {
    after: i64,
    limit: usize,
}

fn show(sweep: &str, page: Page, format: Format, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let found = held(context)?.into_iter().find(|view| view.id == *sweep).ok_or_else(|| unknown(sweep))?;
    let (people, more) = people(sweep, page, context)?;
    let Outlook { told, unasked } =
        context.block_on(async { outlook(context, &*context.state().await?, &people).await })?;
    if let Some(why) = unasked {
        output.talk(&format!("what a release would do goes by the time alone, since facts can't be asked for: {why}"));
    }
    let matches = people.iter().zip(&told);
    match format {
        Format::Json => {
            let mut shown = as_json(&found);
            shown["people"] = matches.map(match_as_json).collect();
            shown["next"] = json!(more);
            output.json(&shown);
        }
        Format::Table => {
            output.line(&format!("sweep    {}\nrule     {} ({})", found.id, found.rule, found.lane.as_str()));
            output.line(&format!("matches  {}\nsince    {}", found.matches, text::at(found.since)));
            output.line(&format!("reason   {}\n", found.reason));
            let header = ["record", "occasion", "matched", "would"];
            output.table(&header, matches.map(match_as_row).collect(), "no matches from there on");
            if let Some(place) = more {
                output.talk(&format!("there are more: `nudged hold show {sweep} --after {place}`"));
            }
        }
    }
    Ok(())
}

/// Whom the sweep matched, and the place to go on from where that isn't all.
fn people(sweep: &str, page: Page, context: &Context) -> Result<(Vec<HeldMatch>, Option<i64>), Failure> {
    let id = SweepId(sweep.to_owned());
    context.block_on(async {
        let store = context.state().await?;
        let mut people: Vec<HeldMatch> = Vec::new();
        // One more than asked for tells whether there are more.
        while people.len() <= page.limit {
            let after = people.last().map_or(page.after, |last| last.place);
            let found = store.held_matches(&id, after, (page.limit + 1 - people.len()).min(CHUNK)).await?;
            if found.is_empty() {
                return Ok((people, None));
            }
            people.extend(found);
        }
        people.truncate(page.limit);
        let more = people.last().map_or(page.after, |last| last.place);
        Ok((people, Some(more)))
    })
}

fn decide(sweep: &str, release: bool, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if !held(context)?.iter().any(|view| view.id == sweep) {
        return Err(unknown(sweep));
    }
    let id = SweepId(sweep.to_owned());
    let (matches, late) = context.block_on(async {
        let store = context.state().await?;
        let late = if release { too_late(context, &*store, &id).await? } else { 0 };
        let matches = store.decide_held(&id, release, Timestamp::now()).await?;
        // The daemon enters staged matches only with its next large sweep, which may be far.
        while store.expand(CHUNK).await? > 0 {}
        Ok((matches, late))
    })?;
    output.talk(&match (release, late) {
        (false, _) => format!("{matches} matches dropped; they stay in the ledger"),
        (true, 0) => format!("{matches} matches released"),
        (true, late) => {
            format!("{matches} matches released; {late} of them are too late by now, and end without acting")
        }
    });
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

/// What a release makes of it.
fn would(prospect: &Prospect) -> String {
    let more = |detail: &str| if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    match prospect {
        Prospect::Acts => "act".to_owned(),
        Prospect::Nothing { reason, detail } => format!("not act: {reason}{}", more(detail)),
        Prospect::Waits(why) => format!("wait: {why}"),
        Prospect::Unknown(why) => format!("unknown: {why}"),
    }
}

fn match_as_row((held, prospect): (&HeldMatch, &Prospect)) -> Vec<String> {
    vec![
        held.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string),
        held.occasion.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        text::at(held.matched_at),
        would(prospect),
    ]
}

fn match_as_json((held, prospect): (&HeldMatch, &Prospect)) -> Json {
    let (would, left_out, why) = match prospect {
        Prospect::Acts => ("act", None, None),
        Prospect::Nothing { reason, detail } => ("nothing", Some(*reason), Some(detail)),
        Prospect::Waits(why) => ("wait", None, Some(why)),
        Prospect::Unknown(why) => ("unknown", None, Some(why)),
    };
    json!({
        "record": held.record.as_ref().map(ToString::to_string),
        "occasion": held.occasion,
        "matched_at": held.matched_at,
        "would": would,
        "left_out": left_out,
        "why": why.filter(|why| !why.is_empty()),
    })
}
