//! `nudged enrollments show`: the timeline.

use super::{Steps, as_json, next_step, state, steps};
use crate::cli::{Context, Exit, Failure, Format, Output, record, text};
use crate::engine::port::{EnrollmentFilter, EnrollmentView, Happening, MissView};
use crate::engine::rehearse::freed_by;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An enrollment's id, as `list` shows it, or a record: `customer:4711`, `tenant/customer:4711`.
    #[arg(value_name = "ID|RECORD")]
    which: String,
    /// At most this many enrollments of a record, newest first.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

struct Shown {
    enrollments: Vec<EnrollmentView>,
    happenings: Vec<Happening>,
    /// What kept a record from matching.
    misses: Vec<MissView>,
    steps: Steps,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let shown = context.block_on(ask(args, context))?;
    if shown.enrollments.is_empty() && shown.misses.is_empty() {
        output.talk(&format!("there is no enrollment `{}`", args.which));
        return Ok(Exit::NotFound);
    }
    match args.format {
        Format::Json => output.json(&json!({
            "enrollments": shown.enrollments.iter().map(|view| in_json(view, &shown)).collect::<Vec<_>>(),
            "misses": shown.misses.iter().map(miss_json).collect::<Vec<_>>(),
        })),
        Format::Table => print(&shown, output),
    }
    Ok(Exit::Success)
}

async fn ask(args: &Args, context: &Context) -> Result<Shown, Failure> {
    let id = args.which.parse().ok();
    let of = if id.is_some() { None } else { Some(record::parse(&args.which)?) };
    let store = context.state().await?;
    let filter = EnrollmentFilter { id, record: of.clone(), limit: args.limit, ..EnrollmentFilter::default() };
    let mut enrollments = store.enrollments(&filter).await?;
    enrollments.reverse();
    let ids: Vec<i64> = enrollments.iter().map(|view| view.id).collect();
    let happenings = store.timelines(&ids).await?;
    let misses = match &of {
        Some(record) => store.misses(record).await?,
        None => Vec::new(),
    };
    let steps = steps(context, &*store).await?;
    Ok(Shown { enrollments, happenings, misses, steps })
}

/// A line of a timeline, as people read it.
struct Line {
    at: Timestamp,
    step: String,
    what: String,
    detail: String,
}

fn lines(view: &EnrollmentView, shown: &Shown) -> Vec<Line> {
    let line = |at, what: &str, detail: String| Line { at, step: "-".to_owned(), what: what.to_owned(), detail };
    let occasion = view.occasion.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string);
    let mut lines = vec![line(view.entered_at, "matched", occasion)];
    lines.extend(shown.happenings.iter().filter(|found| found.enrollment == view.id).map(happened));
    if let (Some(reason), Some(at)) = (view.ended, view.ended_at) {
        lines.push(line(at, "ended", reason.as_str().to_owned()));
    }
    if let Some((_, at)) = view.next {
        let step = next_step(view, &shown.steps).unwrap_or_default();
        let freed = |why: &String| format!("{why}; {}", freed_by(why, &view.rule));
        let detail = view.hold.as_ref().map(freed).unwrap_or_default();
        lines.push(Line { at, step, what: view.standing.clone().unwrap_or_default(), detail });
    }
    lines
}

fn happened(happening: &Happening) -> Line {
    let until = happening.until.map(text::at).unwrap_or_default();
    let (what, detail) = match happening.what.as_str() {
        "waits" => ("waits".to_owned(), format!("until {until}")),
        "asks" => ("waits".to_owned(), format!("for its condition, until {until} at most")),
        "step_gone" => ("stopped".to_owned(), happening.detail.clone()),
        "fell_back" => ("took another channel".to_owned(), happening.detail.clone()),
        "came_true" => ("goes on".to_owned(), "its condition holds".to_owned()),
        "time_up" => ("goes on".to_owned(), "its condition did not come true in time".to_owned()),
        "no_date" => ("goes on".to_owned(), "there is no date to wait for".to_owned()),
        "would_enroll" => ("recorded".to_owned(), format!("would enroll into {}", happening.detail)),
        "enrolled" => ("enrolled".to_owned(), format!("into {}", happening.detail)),
        "migrated" => {
            let version = happening.detail.get(..12).unwrap_or(&happening.detail);
            ("migrated".to_owned(), format!("to version {version}"))
        }
        other if text::reaction(other).is_some() => {
            (text::reaction(other).unwrap_or(other).to_owned(), happening.detail.clone())
        }
        other => match &happening.attempt {
            Some((kind, number, _)) if *number > 1 => {
                (format!("{kind} {other}, try {number}"), happening.detail.clone())
            }
            Some((kind, ..)) => (format!("{kind} {other}"), happening.detail.clone()),
            None => (other.to_owned(), happening.detail.clone()),
        },
    };
    Line { at: happening.at, step: happening.step.clone().unwrap_or_else(|| "-".to_owned()), what, detail }
}

fn print(shown: &Shown, output: &mut Output) {
    for (number, view) in shown.enrollments.iter().enumerate() {
        if number > 0 {
            output.line("");
        }
        let record = view.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string);
        let (lane, state) = (view.lane.as_str(), state(view));
        output.line(&format!("{} {record} in {} ({lane}): {state}", view.id, view.rule));
        let rows =
            lines(view, shown).into_iter().map(|line| vec![text::at(line.at), line.step, line.what, line.detail]);
        output.table(&["at", "step", "what", "detail"], rows.collect(), "");
    }
    if !shown.misses.is_empty() {
        if !shown.enrollments.is_empty() {
            output.line("");
        }
        output.line("crossed without a match");
        let row = |miss: &MissView| {
            let (seen, occasion) = (text::at(miss.seen_at), miss.occasion.to_string());
            vec![seen, miss.rule.to_string(), occasion, miss.reason.clone()]
        };
        output.table(&["at", "rule", "occasion", "this did not hold"], shown.misses.iter().map(row).collect(), "");
    }
}

fn in_json(view: &EnrollmentView, shown: &Shown) -> Json {
    let mut enrollment = as_json(view, &shown.steps);
    let mine = shown.happenings.iter().filter(|found| found.enrollment == view.id);
    let timeline = mine.map(|found| {
        json!({
            "at": found.at,
            "step": found.step,
            "what": found.what,
            "detail": found.detail,
            "until": found.until,
            "kind": found.attempt.as_ref().map(|attempt| &attempt.0),
            "number": found.attempt.as_ref().map(|attempt| attempt.1),
            "delivery": found.attempt.as_ref().map(|attempt| attempt.2.to_string()),
        })
    });
    enrollment["timeline"] = timeline.collect();
    enrollment
}

fn miss_json(miss: &MissView) -> Json {
    json!({
        "rule": miss.rule,
        "lane": miss.lane,
        "occasion": miss.occasion,
        "crossed_at": miss.crossed_at,
        "seen_at": miss.seen_at,
        "reason": miss.reason,
    })
}
