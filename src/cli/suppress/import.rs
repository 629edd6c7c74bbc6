//! `nudged suppress import`: the addresses of a list. The whole list is read before the first is added, so that a wrong line leaves
//! the state as it was; read a second time it is added batch by batch, and what is there stays, so that a run that was cut off
//! is simply repeated.

use super::super::{Context, Exit, Failure, Output};
use super::sheet::{Defaults, Line, Row, Sheet};
use super::{On, Why};
use crate::diagnostic::render::counted;
use crate::engine::port::Store;
use crate::model::Suppression;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek};
use std::os::unix::fs::OpenOptionsExt;

/// Addresses that are added in one transaction.
const BATCH: usize = 1_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A CSV file whose first line names its columns: `address` (or `email`, or `phone`), and as there are `channel`,
    /// `reason` and `since`; `-` reads stdin.
    file: String,
    /// Of lines that don't say it. Without it, what has an `@` is an email address, all else a phone number.
    #[arg(long, value_enum)]
    channel: Option<On>,
    /// Of lines that don't say it.
    #[arg(long, value_enum, default_value_t)]
    reason: Why,
    /// What stands between columns: one character, or `tab`.
    #[arg(long, default_value = ",", value_parser = separator)]
    separator: u8,
    /// Add the other lines where some are wrong.
    #[arg(long)]
    skip_refused: bool,
}

fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" => Ok(b'\t'),
        [one] if one.is_ascii_punctuation() && *one != b'"' => Ok(*one),
        _ => Err("write one character, such as `;`, or `tab`".to_owned()),
    }
}

/// The file, which is read twice.
struct List<'a> {
    file: File,
    args: &'a Args,
    defaults: Defaults,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let country = context.config_without_secrets()?.sms.country;
    let file = opened(&args.file)
        .map_err(|error| Failure::other(Exit::Usage, format!("{} can't be read: {error}", args.file)))?;
    let (channel, reason) = (args.channel.map(Into::into), args.reason.into());
    let mut list = List { file, args, defaults: Defaults { channel, reason, country, now: Timestamp::now() } };
    let (good, refused) = list.examine(output)?;
    if refused > 0 && !args.skip_refused {
        let message = format!(
            "{} refused; nothing was added; mend them, or say `--skip-refused` to add the other {good}",
            counted(refused, "line")
        );
        return Err(Failure::other(Exit::Usage, message));
    }
    let added = context.block_on(async {
        let store = context.state().await?;
        list.add(&*store, output).await
    })?;
    let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
    output.talk(&format!("{added} added, {} on the list before{refused}", good.saturating_sub(added)));
    Ok(Exit::Success)
}

/// Stdin can't be read twice, so it is kept meanwhile in a file without a name.
fn opened(name: &str) -> io::Result<File> {
    if name != "-" {
        return File::open(name);
    }
    let path = std::env::temp_dir().join(uuid::Uuid::new_v4().simple().to_string());
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(file)
}

impl List<'_> {
    fn sheet(&mut self) -> Result<Sheet<BufReader<&File>>, Failure> {
        self.file.rewind()?;
        let sheet = Sheet::open(BufReader::new(&self.file), self.args.separator, self.defaults)?;
        sheet.map_err(|why| Failure::other(Exit::Usage, format!("{}: {why}; nothing was added", self.args.file)))
    }

    /// Tells every line that is wrong; how many are good, and how many not.
    fn examine(&mut self, output: &mut Output) -> Result<(usize, usize), Failure> {
        let mut sheet = self.sheet()?;
        if !sheet.others().is_empty() {
            output.talk(&format!("columns that say nothing here: {}", sheet.others().join(", ")));
        }
        let (mut good, mut refused) = (0, 0);
        while let Some((number, row)) = sheet.next()? {
            match row {
                Ok(_) => good += 1,
                Err(why) => {
                    refused += 1;
                    output.talk(&format!("line {number}: {why}"));
                }
            }
        }
        Ok((good, refused))
    }

    async fn add(&mut self, store: &dyn Store, output: &mut Output) -> Result<usize, Failure> {
        let mut sheet = self.sheet()?;
        let mut added = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(line) = sheet.next()?
            {
                batch.extend(entry(store, line));
            }
            if batch.is_empty() {
                return Ok(added);
            }
            match store.suppress(&batch).await {
                Ok(some) => added += some as usize,
                Err(error) => {
                    output.talk(&format!("{added} were added before this; import the file once more"));
                    return Err(error.into());
                }
            }
        }
    }
}

fn entry(store: &dyn Store, (_, row): Line) -> Option<Suppression> {
    let Row { channel, address, reason, since } = row.ok()?;
    let hash = store.secret().address_hash(channel, &address);
    Some(Suppression { channel, hash, address: Some(address), reason, since })
}
