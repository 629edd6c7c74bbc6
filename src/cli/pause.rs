//! `nudged pause` and `nudged resume`: an operator's word, which outranks files and survives reloads.

use super::{Context, Exit, Failure, Output};
use crate::model::RuleId;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
}

pub fn run(args: &Args, paused: bool, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let rule = RuleId::from(args.rule.as_str());
    let known = context.block_on(async {
        let store = context.state().await?;
        store.set_paused(&rule, paused).await.map_err(Failure::from)
    })?;
    if !known {
        return Err(Failure::other(
            Exit::NotFound,
            format!("there is no rule `{rule}` in the state; `nudged rules` lists them"),
        ));
    }
    output.talk(&if paused {
        format!("{rule} is paused: it neither matches nor sends until `nudged resume {rule}`")
    } else {
        format!("{rule} runs again")
    });
    Ok(Exit::Success)
}
