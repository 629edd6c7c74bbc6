//! `nudged test`: plays the `tests:` of rules on the real engine, over a database of their own.
//!
//! Nothing of the outside is touched: no CRM, no state, no mail. With `--db` the live tables are asked for the
//! types of their columns, and for nothing else.

mod junit;
mod show;

use super::offline::Offline;
use super::{Context, Exit, Failure, Format, Output};
use crate::config::Config;
use crate::diagnostic::{Finding, SourceFile};
use crate::engine::Settings;
use crate::rule::generation::{Generation, Surroundings, Tree};
use crate::rulebook::{Inspected, Limits, inspect, read_tree};
use crate::service::{open_source, outside};
use crate::testbench::{Bench, RuleReport, coverage};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this long a person at a terminal wants to see something move.
const LONG: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids of rules, or files in the rules directory; all of them if none is named.
    #[arg(value_name = "RULE|FILE")]
    targets: Vec<String>,
    /// Take the types of columns from the database.
    #[arg(long)]
    db: bool,
    /// Also show what the tests never reached.
    #[arg(long)]
    coverage: bool,
    /// Write the results as `JUnit` XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let config = if args.db { context.config()? } else { context.config_without_secrets()? };
    let tree = Arc::new(read_tree(&config.rules.directory, &Limits::default(), None)?);
    let (surroundings, generation) = if args.db {
        context.block_on(live(&tree, &config))?
    } else {
        let Offline { built, surroundings, .. } = Offline::build(Arc::clone(&tree), &config, context.has_config());
        (surroundings, built.map_err(Failure::Rules)?)
    };
    let bench = Bench { tree, surroundings, settings: settings(&config) };
    let files = chosen(&args.targets, &bench, &generation)?;
    let reports = play(context, &bench, &files)?;
    report(args, &reports, output)
}

fn settings(config: &Config) -> Settings {
    config.settings()
}

/// The types of the live tables.
async fn live(tree: &Arc<Tree>, config: &Config) -> Result<(Surroundings, Generation), Failure> {
    let source = open_source(config)?;
    source.now().await?;
    let inspected = inspect(Arc::clone(tree), &*source, &outside(config), None).await;
    let generation = inspected.and_then(Inspected::accepted).map_err(Failure::Rules)?;
    Ok((Surroundings::clone(&generation.surroundings), generation))
}

/// The files of the rules that were named.
fn chosen(targets: &[String], bench: &Bench, generation: &Generation) -> Result<Vec<Arc<SourceFile>>, Failure> {
    let files = bench.rule_files();
    if targets.is_empty() {
        return Ok(files);
    }
    let mut chosen: Vec<Arc<SourceFile>> = Vec::new();
    for target in targets {
        let path = generation.rules.get(target.as_str()).map(|rule| rule.rule.file.as_str());
        let named = |file: &&Arc<SourceFile>| {
            path.map_or_else(
                || target == &file.path || target.ends_with(&format!("/{}", file.path)),
                |path| path == file.path,
            )
        };
        let Some(file) = files.iter().find(named) else {
            return Err(Failure::other(Exit::NotFound, format!("there is no rule and no rule file `{target}`")));
        };
        if !chosen.contains(file) {
            chosen.push(Arc::clone(file));
        }
    }
    Ok(chosen)
}

fn play(context: &Context, bench: &Bench, files: &[Arc<SourceFile>]) -> Result<Vec<RuleReport>, Failure> {
    let bar = ProgressBar::with_draw_target(Some(files.len() as u64), ProgressDrawTarget::hidden());
    let began = Instant::now();
    let tell = |_: &RuleReport| {
        if bar.is_hidden() && began.elapsed() > LONG {
            // Draws nothing where stderr is no terminal.
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.inc(1);
    };
    let played = context.block_on_all_cores(bench.play(files, Bench::at_once(), tell))?;
    bar.finish_and_clear();
    played.map_err(Failure::Rules)
}

fn report(args: &Args, reports: &[RuleReport], output: &mut Output) -> Result<Exit, Failure> {
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::document(reports))?;
    }
    let covered = args.coverage.then(|| coverage(reports));
    match args.format {
        Format::Json => output.json(&show::json(reports, covered.as_ref())),
        Format::Table => show::table(reports, covered.as_ref(), output),
    }
    let failures: Vec<Finding> =
        reports.iter().flat_map(RuleReport::failures).map(|found| found.finding.clone()).collect();
    if args.format == Format::Table {
        output.findings(&failures);
    }
    output.talk(&show::summary(reports));
    Ok(if failures.is_empty() { Exit::Success } else { Exit::Rules })
}
