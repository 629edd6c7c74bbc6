//! `nudged suppress`: addresses that must not be written to, whatever a rule says.

mod export;
mod import;
mod remove;
mod sheet;

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
    /// Take an address off the list again.
    Remove(remove::Args),
    /// Add the addresses of a CSV file, all of them or, where a line is wrong, none.
    Import(import::Args),
    /// Print the whole list as CSV, as `import` reads it.
    Export(export::Args),
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

impl From<On> for Channel {
    fn from(on: On) -> Self {
        match on {
            On::Email => Self::Email,
            On::Sms => Self::Sms,
        }
    }
}

impl From<Why> for SuppressionReason {
    fn from(why: Why) -> Self {
        match why {
            Why::Manual => Self::Manual,
            Why::Unsubscribed => Self::Unsubscribed,
            Why::Bounced => Self::Bounced,
            Why::Complained => Self::Complained,
        }
    }
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::Add(args) => add(args, context, output),
        Command::Remove(args) => remove::run(args, context, output),
        Command::Import(args) => import::run(args, context, output),
        Command::Export(args) => export::run(args, context, output),
        Command::Show { address, format } => show_address(address, *format, context, output),
        Command::List { limit, format } => list(*limit, *format, context, output),
    }
}

fn add(args: &Add, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (channel, reason) = (Channel::from(args.channel), SuppressionReason::from(args.reason));
    let country = context.config_without_secrets()?.sms.country;
    let mut addresses = Vec::new();
    for address in given(&args.addresses)? {
        let wrong = |why: String| Failure::other(Exit::Usage, format!("{why}; nothing was added"));
        addresses.push(on_channel(channel, &address, country).map_err(wrong)?);
    }
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

/// An address as its channel has it, or what is wrong with it.
fn on_channel(channel: Channel, address: &str, country: Option<Country>) -> Result<String, String> {
    let address = address.trim();
    match channel {
        Channel::Email => {
            let is_one = address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
            let is_one = is_one && !address.contains(|letter: char| letter.is_whitespace() || letter.is_control());
            is_one.then(|| address.to_owned()).ok_or_else(|| {
                let is_number = e164(address, country).is_some();
                let help = if is_number { "; phone numbers are added with `--channel sms`" } else { "" };
                format!("`{address}` is not an email address{help}")
            })
        }
        Channel::Sms => e164(address, country).ok_or_else(|| {
            format!(
                "`{address}` is not a phone number: write it with its country, such as `+43 664 1234567`, or set \
                 `sms.country`"
            )
        }),
    }
}

/// An address by its channel: what has no `@` and can be a phone number is one, in its international form.
pub(super) fn reached_by(address: &str, country: Option<Country>) -> (Channel, String) {
    match e164(address, country).filter(|_| !address.contains('@')) {
        Some(number) => (Channel::Sms, number),
        None => (Channel::Email, address.to_owned()),
    }
}

fn given(arguments: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for argument in arguments {
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
