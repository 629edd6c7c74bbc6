//! `nudged suppress remove`: an address may be written to again.

use super::super::{Context, Exit, Failure, Output, text};
use super::reached_by;
use crate::model::{Suppression, SuppressionReason};
use jiff::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An email address, or a phone number (with its country: `+43…`).
    address: String,
    /// Also where the person unsubscribed or complained: it was their own decision, and this sets it aside.
    #[arg(long)]
    overrule_refusal: bool,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (channel, address) = reached_by(args.address.trim(), context.config_without_secrets()?.sms.country);
    context.block_on(async {
        let store = context.state().await?;
        let hash = store.secret().address_hash(channel, &address);
        let Some(entry) = store.suppressed(&[hash]).await?.pop() else {
            return Err(Failure::other(Exit::NotFound, format!("{address} is not on the list")));
        };
        if is_refusal(&entry) && !args.overrule_refusal {
            let (was, since) = (entry.reason.as_str(), text::at(entry.since));
            return Err(Failure::other(
                Exit::Usage,
                format!(
                    "{address} {was} on {since}: the person's own decision, so it stays; where they have asked to be \
                     written to again, say `--overrule-refusal`"
                ),
            ));
        }
        store.unsuppress(&[(channel, hash)], Timestamp::now()).await?;
        let (was, since) = (entry.reason.as_str(), text::at(entry.since));
        output.talk(&format!("{address} is off the list; it was `{was}` since {since}"));
        if store.preferences(&[hash]).await?.iter().any(|said| !said.allowed) {
            output.talk("what they said about topics still holds: see `nudged suppress show`");
        }
        Ok(Exit::Success)
    })
}

const fn is_refusal(entry: &Suppression) -> bool {
    matches!(entry.reason, SuppressionReason::Unsubscribed | SuppressionReason::Complained)
}
