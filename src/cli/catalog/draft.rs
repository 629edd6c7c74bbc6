//! `nudged catalog draft`: tables, keys and names of columns as a first catalog. Nothing is overwritten.

use crate::catalog::draft::{Draft, Findings, draft, render};
use crate::cli::{Context, Exit, Failure, Output};
use crate::engine::port::{Source, SourceError};
use crate::service::open_source;
use crate::source::inventory;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The database, instead of the configured one: postgres://…, mysql://… or sqlite:PATH.
    #[arg(long)]
    url: Option<String>,
    /// Zone of timestamps that carry none; this machine's if left out.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Write to this file, which must not exist, instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let mut config = if args.url.is_some() { context.config_without_secrets()? } else { context.config()? };
    if let Some(url) = &args.url {
        config.source.url = url.clone().into();
    }
    let zone = match &args.time_zone {
        Some(zone) if jiff::tz::TimeZone::get(zone).is_err() => {
            return Err(Failure::other(Exit::Usage, format!("`{zone}` is not an IANA time zone")));
        }
        Some(zone) => zone.clone(),
        None => local_zone(),
    };
    let draft = context.block_on(async { Ok(drafted(&*open_source(&config)?, &zone).await?) })?;
    let text = render(&draft);
    match &args.out {
        None => output.data(&text),
        Some(path) => {
            let new = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            let written = new.and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(|error| Failure::other(Exit::Failure, format!("{}: {error}", path.display())))?;
            output.talk(&format!("{} entities written to {}", draft.entities.len(), path.display()));
        }
    }
    if draft.entities.is_empty() {
        output.talk("no table was found that this login may read and whose rows a column names");
    }
    Ok(Exit::Success)
}

/// A draft of all that the source shows.
pub async fn drafted(source: &dyn Source, zone: &str) -> Result<Draft, SourceError> {
    let inventory = inventory(source).await?;
    let tables: Vec<_> = inventory.tables.iter().map(|listed| listed.table.clone()).collect();
    let schema = source.schema(&tables).await?;
    Ok(draft(Findings { inventory: &inventory, schema: &schema }, zone))
}

/// The machine's zone, by its IANA name.
pub fn local_zone() -> String {
    jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}
