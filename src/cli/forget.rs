//! `nudged forget RECORD`: erases a person from the state. What they matched stays known by its hash alone.

use super::export::{Known, gather, nothing};
use super::{Context, Exit, Failure, Output, record};
use crate::engine::port::{Forgotten, Store};
use crate::model::RecordId;
use jiff::Timestamp;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How long messages that are being sent are waited for: longer than any try may take.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The record: `customer:4711`, or `tenant/customer:4711`.
    record: String,
    /// Also remove this email address or phone number (with its country) from the suppression list's clear text, beside those
    /// that the CRM has of the record's people; an entry holds by its hash.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
}

/// What was done.
struct Done {
    forgotten: Forgotten,
    events: u64,
    addresses: u64,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let record = record::parse(&args.record)?;
    let known = context.block_on(async {
        let store = context.state().await?;
        gather(context, &*store, &record, &args.addresses).await
    })?;
    known.warn(output);
    if known.is_empty() {
        return Err(nothing(&record));
    }
    if known.is_erased() {
        let message = format!("nothing is left of {record} but hashes, which stay");
        return Err(Failure::other(Exit::NotFound, message));
    }
    if !args.yes && !confirmed(&record, &known, output)? {
        return Err(Failure::other(Exit::Failure, "nothing was erased"));
    }
    let done = context.block_on(async {
        let store = context.state().await?;
        erase(&*store, &record, &known).await
    })?;
    show(&record, &done, output);
    Ok(if done.forgotten.in_flight == 0 { Exit::Success } else { Exit::Failure })
}

fn confirmed(record: &RecordId, known: &Known, output: &mut Output) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::other(Exit::Usage, "erasing can't be undone; say --yes where nobody can be asked"));
    }
    let (dossier, events) = (&known.dossier, known.events.len());
    output.prompt(&format!(
        "Erase {record}: {} enrollments, {} misses, {} tasks, {events} events? This can't be undone. [y/N] ",
        dossier.enrollments.len(),
        dossier.misses.len(),
        dossier.tasks.len(),
    ));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A message that is being sent can't be called back. Its outcome is waited for, since a task that is being made bears
/// the record's key; then what it left is erased as well.
async fn erase(store: &dyn Store, record: &RecordId, known: &Known) -> Result<Done, Failure> {
    let ids: Vec<i64> = known.dossier.enrollments.iter().map(|enrolled| enrolled.id).collect();
    let mut forgotten = store.forget(record, Timestamp::now()).await?;
    let began = Instant::now();
    if forgotten.in_flight > 0 {
        while forgotten.in_flight > 0 && began.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            forgotten.in_flight = store.in_flight(&ids).await?;
        }
        let left = forgotten.in_flight;
        forgotten += store.forget(record, Timestamp::now()).await?;
        forgotten.in_flight = left;
    }
    let events = store.empty_events(&known.events.keys().copied().collect::<Vec<_>>()).await?;
    let addresses = store.unname(&known.hashes(store)).await?;
    Ok(Done { forgotten, events, addresses })
}

fn show(record: &RecordId, done: &Done, output: &mut Output) {
    let of = &done.forgotten;
    let counts = [
        (of.enrollments, "enrollments"),
        (of.cancelled, "of them under way, cancelled"),
        (of.attempts, "attempts, what was said of them"),
        (of.timeline, "lines of timelines"),
        (of.messages, "messages that were kept"),
        (of.misses, "crossings without a match"),
        (of.episodes, "keys of open episodes"),
        (of.tasks, "tasks of the built-in list"),
        (done.events, "bodies of events"),
        (done.addresses, "clear addresses on the suppression list"),
    ];
    let rows = counts.iter().filter(|(count, _)| *count > 0);
    output.table(
        &["erased", "of what"],
        rows.map(|(count, what)| vec![count.to_string(), (*what).to_owned()]).collect(),
        "nothing was left to erase",
    );
    if of.in_flight > 0 {
        output.talk(&format!("{} messages are still being sent; run this again when they are done", of.in_flight));
    }
    output.talk(&format!(
        "Hashes, counts and suppressions stay, so that no old occasion of {record} matches again. The CRM, mails that \
         were sent, backups of the state and logs are untouched: as long as the CRM has {record}, new occasions match."
    ));
}
