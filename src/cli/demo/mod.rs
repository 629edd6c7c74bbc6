//! `nudged demo`: the daemon against a small CRM whose customers live a month in half a minute.
//!
//! The daemon is the ordinary one, with another clock. `world` and `life` are the CRM and its people, who
//! know nothing of the daemon but what reaches them; `feed` and `narrate` show it to whoever watches.

mod clock;
mod crash;
mod feed;
mod home;
mod life;
mod mailbox;
mod month;
mod narrate;
mod receiver;
mod reloads;
mod show;
mod summary;
mod wire;
mod world;

use super::{Exit, Failure, Output};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the demo keeps its databases, its mails and what its receiver got.
    #[arg(long, default_value = "demo-data", value_name = "DIR")]
    directory: PathBuf,
    /// How many days pass in a second of the first month, where the machine keeps up.
    #[arg(long, default_value_t = 1.0, value_name = "DAYS", value_parser = speed)]
    days_per_second: f64,
    /// Forget an earlier demo in that directory and begin a new one.
    #[arg(long)]
    fresh: bool,
    /// End with the summary instead of going on in real time.
    #[arg(long)]
    exit_after_summary: bool,
    /// Kill a daemon while it sends, start it again, and count what was lost and repeated.
    #[arg(long, conflicts_with_all = ["fresh", "exit_after_summary", "days_per_second"])]
    crash: bool,
}

/// `rules` is what `--rules` says, if anything.
pub fn run(args: &Args, rules: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = if args.crash {
        runtime.block_on(crash::crash(&args.directory, output))
    } else {
        runtime.block_on(show::show(args, rules, output))
    };
    // Whatever hangs in a blocking thread doesn't keep a drained process.
    runtime.shutdown_background();
    exit
}

fn speed(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.001..=100.0).contains(&days) { Ok(days) } else { Err("expected a number from 0.001 to 100".to_owned()) }
}
