//! `nudged preview RULE`: who matches now, and what they would get. Nothing is sent and nothing is written.

use super::message::{self, Files};
use super::rehearsal::Rehearsal;
use super::{Context, Exit, Failure, Format, Output, record, text};
use crate::action::email::Composer;
use crate::config::Config;
use crate::engine::placing::Place;
use crate::engine::port::Message;
use crate::engine::{EngineError, Preview, PreviewMatch, PreviewScope, preview};
use crate::model::{Period, RecordId, RuleId};
use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
    /// Look at crossings of this long (`7 days`); by default at those of one interval of the rule.
    #[arg(long, value_name = "PERIOD", conflicts_with = "records")]
    last: Option<Period>,
    /// Look at these records, however long ago they crossed: `customer:4711`.
    #[arg(long = "record", value_name = "RECORD")]
    records: Vec<String>,
    /// Write the rendered messages into this folder instead of showing them: `.eml` and `.html` for mails.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Look at most at this many records.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let asked = args.records.iter().map(|text| record::parse(text)).collect::<Result<Vec<RecordId>, Failure>>()?;
    let (found, config) = context.block_on(async {
        let rehearsal = Rehearsal::open(context).await?;
        let rule = RuleId::from(args.rule.as_str());
        rehearsal.unfit.of(&rule)?;
        rehearsal.unfit.warn(output);
        let catalog = &rehearsal.generation.catalog;
        let records: Vec<RecordId> = asked.into_iter().map(|record| record::in_catalog(record, catalog)).collect();
        let scope = scope(args, &records);
        let looker = rehearsal.previewer(args.limit);
        if let Some(about) = looker.generation.rules.get(&rule)
            && let Some(other) = records.iter().find(|record| record.entity != about.rule.for_each)
        {
            let (for_each, entity) = (about.rule.for_each.clone(), other.entity.clone());
            return Err(EngineError::OtherEntity { rule, for_each, entity }.into());
        }
        let mut found = preview(&looker, &rule, &scope).await?;
        // The same key may be somebody else's with another tenant.
        let is = |asked: &RecordId, found: &RecordId| {
            asked.key == found.key && (asked.tenant.as_str().is_empty() || asked.tenant == found.tenant)
        };
        let asked = |found: &RecordId| records.is_empty() || records.iter().any(|record| is(record, found));
        found.matches.retain(|matched| asked(&matched.record));
        found.misses.retain(|(record, ..)| asked(record));
        let told = |asked: &&RecordId| {
            found.matches.iter().any(|matched| is(asked, &matched.record))
                || found.misses.iter().any(|(record, ..)| is(asked, record))
        };
        for silent in records.iter().filter(|asked| !told(asked)) {
            output.talk(&format!(
                "{silent} is no record of the rule, or has nothing that it is about: see `nudged explain`"
            ));
        }
        Ok((found, rehearsal.config))
    })?;
    if let Some(folder) = &args.out {
        let written = write(&found, folder, &config, output)?;
        output.talk(&format!("{written} messages written to {}", folder.display()));
    }
    match args.format {
        Format::Json => output.json(&as_json(&found)),
        Format::Table => show(&found, args, output),
    }
    Ok(Exit::Success)
}

fn scope(args: &Args, records: &[RecordId]) -> PreviewScope {
    if !records.is_empty() {
        return PreviewScope::Records(records.iter().map(|record| record.key.clone()).collect());
    }
    args.last
        .map_or(PreviewScope::LastInterval, |last| PreviewScope::Last(SignedDuration::from_secs(last.max_seconds())))
}

fn show(found: &Preview, args: &Args, output: &mut Output) {
    for matched in &found.matches {
        output.line(&format!(
            "{}  crossed {}  occasion {}{}",
            matched.record,
            text::at(matched.crossed_at),
            matched.occasion,
            standing(found, matched)
        ));
        for message in &matched.messages {
            output.one_line(&format!(
                "    {}  {}  {}",
                text::at(message.due_at),
                message.step,
                message::headline(message)
            ));
            if args.out.is_none()
                && let Ok(Message::Email(email)) = &message.content
            {
                email.text.trim_end().lines().for_each(|line| output.line(&format!("        | {line}")));
            }
        }
    }
    for (record, occasion, reason) in &found.misses {
        output.one_line(&format!("{record}  no match: {reason}  (occasion {occasion})"));
    }
    let since =
        found.since.map_or_else(String::new, |since| format!("; looked at what crossed since {}", text::at(since)));
    let more = if found.truncated { "; more crossed than were looked at (--limit)" } else { "" };
    output.talk(&format!("{}{more}; nothing was sent{since}", counts(found)));
    if let Some(guessed) = text::guessed(&found.guessed).filter(|_| !found.matches.is_empty()) {
        output.talk(&guessed);
    }
    if let Some(first) = found.first_sweep {
        let since = if first.as_second() <= 0 { "ever".to_owned() } else { format!("since {}", text::at(first)) };
        output.talk(&format!(
            "the rule has not run yet, and by its `backfill` the first sweep takes in what crossed {since}: see it with \
             `--last`, or count it with `nudged plan`"
        ));
    }
}

/// `2 match, 1 did already, 3 would be left out, 4 don't`
fn counts(found: &Preview) -> String {
    let count = |of: fn(&PreviewMatch) -> bool| found.matches.iter().filter(|matched| of(matched)).count();
    let known = count(|matched| matched.known);
    let close = count(|matched| matched.too_close_to.is_some());
    let left_out = count(|matched| matched.left_out);
    let mut counts = vec![format!("{} match", count(PreviewMatch::would_match))];
    let idle = count(PreviewMatch::begins_nothing);
    if idle > 0 {
        counts.push(format!("{idle} of them to begin nothing"));
    }
    if known > 0 {
        counts.push(format!("{known} did already"));
    }
    if close > 0 {
        counts.push(format!("{close} {} another match", found.closeness));
    }
    match found.planned {
        Some(at) if left_out > 0 => {
            counts.push(format!("{left_out} would at the next planned instant, {}", text::at(at)));
        }
        _ if left_out > 0 => counts.push(format!("{left_out} would be left out")),
        _ => {}
    }
    counts.push(format!("{} don't", found.misses.len()));
    counts.join(", ")
}

fn standing(found: &Preview, matched: &PreviewMatch) -> String {
    match (matched.too_close_to, found.planned) {
        (Some(to), _) => format!(" ({} the match of {}: would not match)", found.closeness, text::at(to)),
        _ if matched.known => " (in the ledger already: would not match again)".to_owned(),
        (_, Some(at)) if matched.left_out => {
            format!(" (planned before the rule began: it first matches at {})", text::at(at))
        }
        _ if matched.left_out => " (left out: before the rule began; `backfill` takes such in)".to_owned(),
        _ => matched.place.map_or_else(String::new, |place| beside(place).to_owned()),
    }
}

/// What the record's others have to do with it.
const fn beside(place: Place) -> &'static str {
    match place {
        Place::Nothing => {
            " (begins nothing: another of this record is under way, or comes first; `on_rematch: ignore`)"
        }
        Place::Replaced => " (begins nothing: a newer one takes its place; `on_rematch: restart`)",
        Place::Queued => " (begins when the one before it has ended; `on_rematch: queue`)",
        Place::Running | Place::Ended(_) => "",
    }
}

/// One folder a record, one file a message.
fn write(found: &Preview, folder: &Path, config: &Config, output: &mut Output) -> Result<usize, Failure> {
    let composer = match Composer::new(&config.email) {
        Ok(composer) => Some(composer),
        Err(error) => {
            output.talk(&format!("mails are written as text and HTML, without .eml: {error}"));
            None
        }
    };
    let mut files = Files::new(folder, composer.as_ref());
    let mut written = 0;
    for matched in &found.matches {
        written += files.write(&matched.record, &matched.messages)?;
    }
    Ok(written)
}

fn as_json(found: &Preview) -> Json {
    json!({
        "matches": found.matches.iter().map(match_json).collect::<Vec<_>>(),
        "misses": found.misses.iter().map(|(record, occasion, reason)| json!({
            "record": record.to_string(), "occasion": occasion, "reason": reason,
        })).collect::<Vec<_>>(),
        "truncated": found.truncated,
        "since": found.since,
        "first_sweep": found.first_sweep,
        "guessed": found.guessed,
    })
}

fn match_json(matched: &PreviewMatch) -> Json {
    json!({
        "record": matched.record.to_string(),
        "occasion": matched.occasion,
        "crossed_at": matched.crossed_at,
        "known": matched.known,
        "too_close_to": matched.too_close_to,
        "left_out": matched.left_out,
        "begins": matched.place.and_then(begins),
        "messages": matched.messages.iter().map(message::as_json).collect::<Vec<_>>(),
    })
}

/// When it takes the first step; `None`: its rule has none.
const fn begins(place: Place) -> Option<&'static str> {
    match place {
        Place::Running => Some("now"),
        Place::Queued => Some("queued"),
        Place::Nothing => Some("ignored"),
        Place::Replaced => Some("replaced"),
        Place::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{counts, standing};
    use crate::engine::placing::Place;
    use crate::engine::{Preview, PreviewMatch};
    use crate::model::RecordId;

    fn crossed(known: bool, left_out: bool, too_close: bool) -> PreviewMatch {
        let at = "2026-11-10T08:00:00Z".parse().unwrap();
        PreviewMatch {
            record: RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() },
            occasion: "a".into(),
            crossed_at: at,
            known,
            too_close_to: too_close.then_some(at),
            left_out,
            place: None,
            messages: Vec::new(),
        }
    }

    #[test]
    fn each_that_would_not_match_is_counted_apart_and_says_why() {
        let matches = vec![
            crossed(false, false, false),
            crossed(true, false, false),
            crossed(false, true, false),
            crossed(false, false, true),
        ];
        let shown = Preview { matches, closeness: "within the cooldown of", ..Preview::default() };
        let told = "1 match, 1 did already, 1 within the cooldown of another match, 1 would be left out, 0 don't";
        assert_eq!(counts(&shown), told);
        let why: Vec<String> = shown.matches.iter().map(|matched| standing(&shown, matched)).collect();
        assert_eq!(why[3], " (within the cooldown of the match of 2026-11-10 08:00:00Z: would not match)");
        assert!(why[0].is_empty() && why[2].contains("`backfill` takes such in"), "{why:?}");
    }

    #[test]
    fn one_that_begins_nothing_matches_and_says_why() {
        let second = PreviewMatch { place: Some(Place::Nothing), ..crossed(false, false, false) };
        let first = PreviewMatch { place: Some(Place::Running), ..crossed(false, false, false) };
        let shown = Preview { matches: vec![first, second], ..Preview::default() };
        assert_eq!(counts(&shown), "2 match, 1 of them to begin nothing, 0 don't");
        assert_eq!(standing(&shown, &shown.matches[0]), "");
        assert!(standing(&shown, &shown.matches[1]).ends_with("comes first; `on_rematch: ignore`)"));
    }

    #[test]
    fn no_backfill_takes_in_what_a_schedule_planned_before_it_began() {
        let planned = Some("2026-11-16T08:00:00Z".parse().unwrap());
        let shown = Preview { matches: vec![crossed(false, true, false)], planned, ..Preview::default() };
        assert_eq!(counts(&shown), "0 match, 1 would at the next planned instant, 2026-11-16 08:00:00Z, 0 don't");
        let why = standing(&shown, &shown.matches[0]);
        assert_eq!(why, " (planned before the rule began: it first matches at 2026-11-16 08:00:00Z)");
    }
}
