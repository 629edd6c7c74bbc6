//! `nudged suppress`: addresses that must not be written to, whatever a rule says.

use super::{Context, Exit, Failure, Format, Output, text};
use crate::model::{Channel, Country, Preference, Suppression, SuppressionReason, e164};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::io::Read;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add addresses. They hold from the next message on.
    Add(Add),
    /// Show what holds for one address.
    Show {
        address: String,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the newest entries, and who unsubscribed from what.
    List {
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Addresses; `-` reads them from stdin, one a line.
    #[arg(required = true)]
    addresses: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    channel: On,
    #[arg(long, value_enum, default_value_t)]
    reason: Why,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum On {
    #[default]
    Email,
    Sms,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Why {
    #[default]
    Manual,
    Unsubscribed,
    Bounced,
    Complained,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::Add(args) => add(args, context, output),
        Command::Show { address, format } => show_address(address, *format, context, output),
        Command::List { limit, format } => list(*limit, *format, context, output),
    }
}

fn add(args: &Add, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let channel = match args.channel {
        On::Email => Channel::Email,
        On::Sms => Channel::Sms,
    };
    let addresses = addresses(&args.addresses)?;
    if channel == Channel::Email
        && let Some(wrong) = addresses.iter().find(|address| !address.contains('@'))
    {
        return Err(Failure::other(Exit::Usage, format!("`{wrong}` is not an email address; nothing was added")));
    }
    let country = context.config_without_secrets()?.sms.country;
    let mut numbers = Vec::new();
    if channel == Channel::Sms {
        for address in &addresses {
            let wrong = || {
                let help = "write it with its country: `+43 664 1234567`, or set `sms.country`";
                Failure::other(Exit::Usage, format!("`{address}` is not a phone number; nothing was added; {help}"))
            };
            numbers.push(e164(address, country).ok_or_else(wrong)?);
        }
    }
    let addresses = if channel == Channel::Sms { numbers } else { addresses };
    let reason = match args.reason {
        Why::Manual => SuppressionReason::Manual,
        Why::Unsubscribed => SuppressionReason::Unsubscribed,
        Why::Bounced => SuppressionReason::Bounced,
        Why::Complained => SuppressionReason::Complained,
    };
    let asked = addresses.len();
    let added = context.block_on(async {
        let store = context.state().await?;
        let since = Timestamp::now();
        let entry = |address: String| Suppression {
            channel,
            hash: store.secret().address_hash(channel, &address),
            address: Some(address),
            reason,
            since,
        };
        let entries: Vec<Suppression> = addresses.into_iter().map(entry).collect();
        Ok(store.suppress(&entries).await?)
    })?;
    output.talk(&format!("{added} added, {} on the list before", (asked as u64).saturating_sub(added)));
    Ok(Exit::Success)
}

/// An address by its channel: what has no `@` and can be a phone number is one, in its international form.
pub(super) fn reached_by(address: &str, country: Option<Country>) -> (Channel, String) {
    match e164(address, country).filter(|_| !address.contains('@')) {
        Some(number) => (Channel::Sms, number),
        None => (Channel::Email, address.to_owned()),
    }
}

fn addresses(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for argument in given {
        if argument == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            all.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        } else {
            all.push(argument.trim().to_owned());
        }
    }
    Ok(all)
}

fn list(limit: usize, format: Format, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (listed, said) = context.block_on(async {
        let store = context.state().await?;
        Ok((store.suppressions(limit).await?, store.newest_preferences(limit).await?))
    })?;
    let listed = listed.iter().map(|entry| (entry.since, as_row(entry), as_json(entry)));
    let refused = said.iter().filter(|said| !said.allowed);
    let refused = refused.map(|said| (said.since, said_row(NOT_KEPT, said), said_json(None, said)));
    let mut found: Vec<_> = listed.chain(refused).collect();
    found.sort_by_key(|(since, ..)| std::cmp::Reverse(*since));
    found.truncate(limit);
    show(found, format, "nobody is suppressed", output);
    Ok(Exit::Success)
}

/// All that holds for one address: an entry of the list, and what the person said about topics.
fn show_address(address: &str, format: Format, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (channel, address) = reached_by(address, context.config_without_secrets()?.sms.country);
    let address = address.as_str();
    let (listed, said) = context.block_on(async {
        let store = context.state().await?;
        let hash = store.secret().address_hash(channel, address);
        Ok((store.suppressed(&[hash]).await?, store.preferences(&[hash]).await?))
    })?;
    let listed = listed.iter().map(|entry| (entry.since, as_row(entry), as_json(entry)));
    let said = said.iter().map(|said| (said.since, said_row(address, said), said_json(Some(address), said)));
    show(listed.chain(said).collect(), format, "nothing stands against this address", output);
    Ok(Exit::Success)
}

fn show(found: Vec<(Timestamp, Vec<String>, Json)>, format: Format, nothing: &str, output: &mut Output) {
    match format {
        Format::Json => output.json(&found.into_iter().map(|(.., json)| json).collect::<Vec<_>>()),
        Format::Table => {
            let header = ["address", "channel", "reason", "since"];
            output.table(&header, found.into_iter().map(|(_, row, _)| row).collect(), nothing);
        }
    }
}

/// Links of mails carry no address, so what was said by them is kept without.
const NOT_KEPT: &str = "(by its link)";

fn in_words(said: &Preference) -> String {
    let topic = said.topic.as_ref().map_or("all topics", |topic| topic.as_str());
    if said.allowed { format!("wants {topic}") } else { format!("unsubscribed from {topic}") }
}

fn said_row(address: &str, said: &Preference) -> Vec<String> {
    vec![address.to_owned(), said.channel.as_str().to_owned(), in_words(said), text::at(said.since)]
}

fn said_json(address: Option<&str>, said: &Preference) -> Json {
    json!({
        "address": address,
        "channel": said.channel,
        "reason": in_words(said),
        "topic": said.topic,
        "allowed": said.allowed,
        "by": said.source,
        "since": said.since,
    })
}

fn as_row(entry: &Suppression) -> Vec<String> {
    vec![
        entry.address.clone().unwrap_or_else(|| "(erased)".to_owned()),
        entry.channel.as_str().to_owned(),
        entry.reason.as_str().to_owned(),
        text::at(entry.since),
    ]
}

fn as_json(entry: &Suppression) -> Json {
    json!({"address": entry.address, "channel": entry.channel, "reason": entry.reason, "since": entry.since})
}
