//! `nudged suppress export`: the whole list, page by page, in the order of its hashes.

use super::super::{Context, Exit, Failure, Output};
use super::as_json;
use crate::model::Suppression;
use std::borrow::Cow;
use std::fmt::Write;

/// Entries that are read at once.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: As,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum As {
    #[default]
    Csv,
    Json,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    context.block_on(async {
        let store = context.state().await?;
        let (mut after, mut unnamed, mut listed) = (None, 0, 0_usize);
        output.data(if args.format == As::Csv { "address,channel,reason,since\n" } else { "[" });
        loop {
            let page = store.suppressions_after(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.hash);
            unnamed += page.iter().filter(|entry| entry.address.is_none()).count();
            match args.format {
                As::Csv => output.data(&lines(&page)),
                As::Json => page.iter().for_each(|entry| {
                    output.data(&format!("{}\n{}", if listed == 0 { "" } else { "," }, as_json(entry)));
                    listed += 1;
                }),
            }
            if output.is_closed() {
                return Ok(Exit::Success);
            }
        }
        if args.format == As::Json {
            output.line(if listed == 0 { "]" } else { "\n]" });
        }
        if unnamed > 0 {
            let absent = if args.format == As::Csv { "not in this list" } else { "without an address here" };
            output.talk(&format!(
                "{unnamed} more hold by their hashes alone (erased, or known from the journal): {absent}"
            ));
        }
        Ok(Exit::Success)
    })
}

/// What has an address, as lines of the file.
fn lines(page: &[Suppression]) -> String {
    page.iter().fold(String::new(), |mut text, entry| {
        if let Some(address) = &entry.address {
            let (channel, reason) = (entry.channel.as_str(), entry.reason.as_str());
            let _ = writeln!(text, "{},{channel},{reason},{}", cell(address), entry.since);
        }
        text
    })
}

fn cell(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}
