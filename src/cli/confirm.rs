//! `nudged confirm`: an operator's word on a state that was restored from a copy, or moved. Until then nothing is sent.

use super::{Context, Exit, Failure, Output};
use crate::engine::port::{Objection, Store};
use jiff::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The state was moved here (another machine, another disk), and nothing sends where it was.
    #[arg(long, conflicts_with_all = ["restored", "send", "skip"])]
    moved: bool,
    /// The state was restored from an older copy. Say also what becomes of what was planned since: it may have been
    /// sent before the restore.
    #[arg(long, requires = "doubtful")]
    restored: bool,
    #[command(flatten)]
    doubtful: Doubtful,
}

#[derive(Debug, clap::Args)]
#[group(id = "doubtful", multiple = false)]
struct Doubtful {
    /// Send what is in doubt, perhaps once more.
    #[arg(long, requires = "restored")]
    send: bool,
    /// Give up what is in doubt: those steps are skipped, and their enrollments go on.
    #[arg(long, requires = "restored")]
    skip: bool,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    context.block_on(async {
        let store = context.state().await?;
        let objections: Vec<Objection> = store.objections().await?.into_iter().map(|(_, found)| found).collect();
        if objections.is_empty() {
            output.talk("there is nothing to confirm: a running nudged has not found the state restored or moved");
            return Ok(Exit::Success);
        }
        if !args.moved && !args.restored {
            for objection in &objections {
                output.line(&objection.explain());
            }
            return Err(Failure::other(Exit::Usage, "say `--moved`, or `--restored` with `--send` or `--skip`"));
        }
        decide(args, &*store, &objections, output).await
    })
}

async fn decide(args: &Args, store: &dyn Store, found: &[Objection], output: &mut Output) -> Result<Exit, Failure> {
    let lost = found.iter().filter_map(|objection| match objection {
        Objection::Restored { lost, until, .. } => Some((*lost, *until)),
        Objection::Replaced | Objection::Moved => None,
    });
    let lost = lost.max_by_key(|(_, until)| *until);
    if let Some((lost, until)) = lost.filter(|_| args.moved) {
        let message = format!(
            "this state is older than what was sent: at most {lost} messages left after it was copied, the last before \
             {until}; say `--restored` with `--send` or `--skip`"
        );
        return Err(Failure::other(Exit::Usage, message));
    }
    // Where the witness was lost as well, anything planned until now is in doubt.
    let until = lost.map_or_else(Timestamp::now, |(_, until)| until);
    store.confirm_objections(args.doubtful.skip.then_some(until)).await?;
    if args.doubtful.skip {
        output.talk(&format!("confirmed; what was planned up to {until} is given up, all else is sent"));
    } else {
        output.talk("confirmed; what is due is sent");
    }
    Ok(Exit::Success)
}
