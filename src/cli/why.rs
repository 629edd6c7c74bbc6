//! `nudged why RECORD`: what every rule did with a record, or why it didn't. No rule name needed.

use super::explain::CROSSINGS;
use super::rehearsal::Rehearsal;
use super::{Context, Exit, Failure, Format, Output, record, text};
use crate::engine::rehearse::{RecordState, RuleStory, why};
use crate::model::{Period, RecordId};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The record: `customer:4711`, or `tenant/customer:4711`.
    record: String,
    /// How far back the state is asked; it keeps what failed for 90 days.
    #[arg(long, default_value = "30 days", value_name = "PERIOD")]
    since: Period,
    /// Tell everything that happened, in order.
    #[arg(long, short)]
    verbose: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let asked: RecordId = record::parse(&args.record)?;
    let (asked, found) = context.block_on(ask(asked, args, context, output))?;
    if found.is_empty() {
        let message = format!("no rule is about {} records; `nudged rules` lists what runs", asked.entity);
        return Err(Failure::other(Exit::NotFound, message));
    }
    if !found.iter().any(|(_, story)| known(story)) {
        output.talk(&format!("{asked} is not in the source, and the state knows nothing of it"));
    }
    match args.format {
        Format::Json => output.json(&found.iter().map(|(record, story)| as_json(record, story)).collect::<Vec<_>>()),
        Format::Table => show(&found, args.verbose, output),
    }
    Ok(Exit::Success)
}

/// The record as its database names it, for every tenant where the source has several and none was named.
async fn ask(
    asked: RecordId,
    args: &Args,
    context: &Context,
    output: &mut Output,
) -> Result<(RecordId, Vec<(RecordId, RuleStory)>), Failure> {
    let rehearsal = Rehearsal::open(context).await?;
    rehearsal.unfit.warn(output);
    let asked = record::in_catalog(asked, &rehearsal.generation.catalog);
    let since = args.since.before(rehearsal.now, &rehearsal.generation.catalog.time_zone);
    let tenants = rehearsal.generation.catalog.tenants.as_ref().filter(|_| asked.tenant.as_str().is_empty());
    let records: Vec<RecordId> = match tenants {
        None => vec![asked.clone()],
        Some(tenants) => {
            tenants.names.iter().map(|tenant| RecordId { tenant: tenant.clone(), ..asked.clone() }).collect()
        }
    };
    let several = records.len() > 1;
    let mut found = Vec::new();
    for record in records {
        let stories = why(&rehearsal.previewer(CROSSINGS), &record, since).await?;
        if !several || stories.iter().any(known) {
            found.extend(stories.into_iter().map(|story| (record.clone(), story)));
        }
    }
    Ok((asked, found))
}

/// Whether the record is there, or was.
fn known(story: &RuleStory) -> bool {
    let there = story.explanation.as_ref().is_some_and(|told| told.record_state != RecordState::Gone);
    // Of a rule that rests nobody can say.
    there
        || story.rest.is_some()
        || !story.enrollments.is_empty()
        || !story.deliveries.is_empty()
        || !story.misses.is_empty()
}

fn show(found: &[(RecordId, RuleStory)], verbose: bool, output: &mut Output) {
    let mut last = None;
    for (record, story) in found {
        if last != Some(record) {
            output.line(&record.to_string());
            last = Some(record);
        }
        output.line(&format!("  {} ({}): {}", story.rule, story.lane.as_str(), story.outcome.text));
        if verbose {
            for (at, happened) in timeline(story) {
                output.line(&format!("      {}  {happened}", text::at(at)));
            }
        }
    }
}

/// Everything that is known of one record under one rule, oldest first.
fn timeline(story: &RuleStory) -> Vec<(Timestamp, String)> {
    let mut lines = Vec::new();
    for crossed in story.explanation.iter().flat_map(|told| &told.crossings) {
        lines.push((crossed.crossed_at, format!("crossed: occasion {}", crossed.occasion)));
    }
    for miss in &story.misses {
        lines.push((miss.seen_at, format!("asked, no match: {} (occasion {})", miss.reason, miss.occasion)));
    }
    for enrollment in &story.enrollments {
        let occasion = enrollment.occasion.as_ref().map_or("(erased)", |occasion| occasion.as_str());
        lines.push((enrollment.entered_at, format!("matched: occasion {occasion}")));
    }
    for delivery in &story.deliveries {
        let tries = if delivery.attempts > 1 { format!(" after {} tries", delivery.attempts) } else { String::new() };
        let detail = if delivery.detail.is_empty() { String::new() } else { format!(": {}", delivery.detail) };
        lines.push((delivery.at, format!("{} {}{tries}{detail}", delivery.step, delivery.state)));
    }
    for reaction in &story.reactions {
        let what = text::reaction(&reaction.what).unwrap_or(&reaction.what);
        let detail = if reaction.detail.is_empty() { String::new() } else { format!(": {}", reaction.detail) };
        let step = reaction.step.as_deref().unwrap_or("-");
        lines.push((reaction.at, format!("{step} {what}{detail}")));
    }
    for enrollment in &story.enrollments {
        if let (Some(at), Some(reason)) = (enrollment.ended_at, enrollment.ended) {
            let why = story.ends.get(&enrollment.id).filter(|why| !why.is_empty());
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            lines.push((at, format!("ended: {}{why}", reason.as_str())));
        }
    }
    let tried: Vec<Timestamp> = story.deliveries.iter().map(|delivery| delivery.at).collect();
    lines.sort_by_key(|(at, happened)| if happened.starts_with("ended: ") { after_tries(*at, &tried) } else { *at });
    lines
}

/// When an end has its place: what was tried in its second led to it, though the state learns of both at once.
fn after_tries(end: Timestamp, tried: &[Timestamp]) -> Timestamp {
    let same_second = tried.iter().filter(|tried| tried.as_second() == end.as_second());
    same_second.copied().max().map_or(end, |last| last.max(end))
}

fn as_json(record: &RecordId, story: &RuleStory) -> Json {
    json!({
        "record": record.to_string(),
        "rule": story.rule,
        "lane": story.lane,
        "outcome": story.outcome.code,
        "text": story.outcome.text,
        "explanation": story.explanation.as_ref().map(super::explain::as_json),
        "timeline": timeline(story).into_iter().map(|(at, happened)| json!({"at": at, "happened": happened})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_comes_after_what_was_tried_in_its_second() {
        let at = |text: &str| -> Timestamp { format!("2026-11-21T10:00:{text}Z").parse().unwrap() };
        let tried = [at("05.700"), at("09")];
        assert_eq!(after_tries(at("05.2"), &tried), at("05.7"));
        assert_eq!(after_tries(at("05.9"), &tried), at("05.9"));
        assert_eq!(after_tries(at("04.9"), &tried), at("04.9"), "what came later had another reason");
    }
}
