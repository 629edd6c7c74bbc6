//! `nudged backtest RULE --from DATE --to DATE`: the occasions the rule would have had, by day.

use super::{Context, Exit, Failure, Format, Output, progress::Progress, rehearsal, text};
use crate::diagnostic::render::counted;
use crate::engine::rehearse::{Backtest, BacktestHit, Backtester, Tally, TermCount, Told};
use crate::model::{Period, RuleId, at_local};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::operands::Section;
use crate::service::{open_source, state_is_new};
use jiff::{SignedDuration, civil};
use serde_json::{Value as Json, json};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
    /// The first day, in the catalog's zone.
    #[arg(long, value_name = "DATE")]
    from: civil::Date,
    /// The last day; by default today.
    #[arg(long, value_name = "DATE")]
    to: Option<civil::Date>,
    /// Look at intervals of this length instead of the rule's own: faster, and blurs what came and went within.
    #[arg(long, value_name = "PERIOD")]
    every: Option<Period>,
    /// List every record that would have matched, too.
    #[arg(long)]
    records: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Rows of one facts statement.
const BATCH: usize = 2_000;
/// Columns of the longest bar, where there is room, and of the other columns of its table.
const BAR: usize = 40;
const BESIDE: usize = 48;

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (backtest, hits) = context.block_on(ask(args, context, output))?;
    match args.format {
        Format::Json => output.json(&as_json(&backtest, &hits, args.records)),
        Format::Table => show(&backtest, output),
    }
    Ok(Exit::Success)
}

async fn ask(args: &Args, context: &Context, output: &mut Output) -> Result<(Backtest, Vec<Json>), Failure> {
    let config = context.config()?;
    let source = open_source(&config)?;
    let (generation, unfit) = rehearsal::load(&config, &*source, &config.rules.directory).await?;
    let rule = RuleId::from(args.rule.as_str());
    unfit.of(&rule)?;
    unfit.warn(output);
    let now = source.now().await?;
    let start = |date: civil::Date| at_local(date.at(0, 0, 0, 0), &generation.catalog.time_zone);
    let from = start(args.from);
    let until = args.to.and_then(|to| to.tomorrow().ok()).map_or(now, start).min(now);
    if from >= until {
        return Err(Failure::other(Exit::Usage, "nothing lies between --from and --to; the last day is today at most"));
    }
    let every = args.every.map(|every| SignedDuration::from_secs(every.max_seconds()));
    let waits = |rule: &Arc<CompiledRule>| matches!(rule.rule.trigger, Trigger::Event(_));
    let store = match generation.rules.get(&rule).filter(|rule| waits(rule)) {
        Some(_) if !state_is_new(&config.state) => Some(context.state().await?),
        _ => None,
    };
    let (source, store, batch) = (&*source, store.as_deref(), BATCH);
    let backtester = Backtester { generation: &generation, source, store, from, until, every, batch };
    let progress = Progress::start("looked up to", from, until);
    let mut hits = Vec::new();
    let told = |told: Told| match told {
        Told::Looked(at) => progress.at(at),
        Told::Hit(hit) if args.records && hit.matched => match args.format {
            // As they come: a table of any length streams.
            Format::Table => output.line(&hit_line(&hit)),
            Format::Json => hits.push(hit_json(&hit)),
        },
        Told::Hit(_) => {}
    };
    let backtest = backtester.run(&rule, told).await?;
    progress.end();
    Ok((backtest, hits))
}

fn show(backtest: &Backtest, output: &mut Output) {
    let most = backtest.days.iter().map(|day| day.tally.matched).max().unwrap_or(0);
    let longest = output.width().saturating_sub(BESIDE).clamp(10, BAR);
    let rows = backtest.days.iter().map(|day| {
        let Tally { crossed, as_of, matched } = day.tally;
        vec![
            day.date.to_string(),
            crossed.to_string(),
            as_of.to_string(),
            matched.to_string(),
            bar(matched, most, longest),
        ]
    });
    output.table(&["day", "crossed", "as of then", "all terms", ""], rows.collect(), "");
    let Tally { crossed, as_of, matched } = backtest.total;
    output.line(&format!("total       {crossed} crossed, {as_of} by what history can tell, {matched} by all terms"));
    if !backtest.terms.is_empty() {
        output.line("");
        let rows = backtest.terms.iter().map(|term| {
            let section = section(term).to_owned();
            let (held, failed) = (term.held.to_string(), term.failed.to_string());
            vec![term.basis.as_str().to_owned(), section, term.text.clone(), held, failed]
        });
        output.table(&["basis", "section", "term", "held", "failed"], rows.collect(), "");
    }
    if !backtest.crosses_by.is_empty() {
        let columns = backtest.crosses_by.join(", ");
        output.line(&format!("crossed     current: what crossed goes by {columns} as of today"));
    }
    if backtest.cooling > 0 {
        let answers = counted(usize::try_from(backtest.cooling).unwrap_or(usize::MAX), "answer");
        output.line(&format!("cooldown    {answers} within that of one that matched, and not counted as a match"));
    }
    if backtest.script {
        output.line("script      current: it saw the fields as they stand today");
    }
    let (looks, unjudged) = (backtest.looks, backtest.unjudged);
    let odd = if unjudged > 0 { format!("; {unjudged} could not be judged") } else { String::new() };
    output.talk(&format!("{looks} looks from {} to {}{odd}", text::at(backtest.from), text::at(backtest.until)));
}

fn bar(count: u64, most: u64, longest: usize) -> String {
    if count == 0 || most == 0 {
        return String::new();
    }
    let width = (count as f64 / most as f64 * longest as f64).round().max(1.0) as usize;
    "█".repeat(width)
}

const fn section(term: &TermCount) -> &'static str {
    match term.section {
        Section::OnlyAtEntry => "only_at_entry",
        _ => "where",
    }
}

fn hit_line(hit: &BacktestHit) -> String {
    format!("{}  {}  occasion {}", text::at(hit.crossed_at), hit.record, hit.occasion)
}

fn hit_json(hit: &BacktestHit) -> Json {
    json!({"record": hit.record.to_string(), "occasion": hit.occasion, "crossed_at": hit.crossed_at})
}

fn as_json(backtest: &Backtest, hits: &[Json], records: bool) -> Json {
    let tally = |tally: Tally| json!({"crossed": tally.crossed, "as_of": tally.as_of, "matched": tally.matched});
    let mut shown = json!({
        "rule": backtest.rule,
        "from": backtest.from,
        "until": backtest.until,
        "looks": backtest.looks,
        "total": tally(backtest.total),
        "days": backtest.days.iter().map(|day| {
            let mut line = json!({"date": day.date});
            if let (Some(line), Json::Object(counts)) = (line.as_object_mut(), tally(day.tally)) {
                line.extend(counts);
            }
            line
        }).collect::<Vec<_>>(),
        "terms": backtest.terms.iter().map(|term| json!({
            "section": section(term),
            "term": term.text,
            "basis": term.basis.as_str(),
            "held": term.held,
            "failed": term.failed,
        })).collect::<Vec<_>>(),
        "crossed_by_current": backtest.crosses_by,
        "script": backtest.script.then_some("current"),
        "cooling": backtest.cooling,
        "unjudged": backtest.unjudged,
    });
    if records {
        shown["records"] = json!(hits);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn the_longest_bar_is_full_and_the_shortest_is_seen() {
        assert_eq!(bar(10, 10, super::BAR).chars().count(), super::BAR);
        assert_eq!(bar(1, 1_000, 40).chars().count(), 1);
        assert_eq!((bar(0, 10, 40), bar(0, 0, 40)), (String::new(), String::new()));
    }
}
