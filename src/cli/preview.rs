//! `nudged preview RULE`: who matches now, and what they would get. Nothing is sent and nothing is written.

use super::{Context, Exit, Failure, Format, Output, record, text};
use crate::engine::port::{Email, Message, Store};
use crate::engine::{Preview, PreviewMatch, PreviewMessage, PreviewScope, Previewer, preview};
use crate::model::{Key, Period, RuleId};
use crate::rulebook::{Inspected, Limits, inspect, read_tree};
use crate::service::{open_source, outside, state_is_new};
use crate::store::sqlite::SqliteStore;
use jiff::SignedDuration;
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
    /// Look at crossings of this long (`7 days`); by default at those of one interval of the rule.
    #[arg(long, value_name = "PERIOD", conflicts_with = "records")]
    last: Option<Period>,
    /// Look at these records, however long ago they crossed: `customer:4711`.
    #[arg(long = "record", value_name = "RECORD")]
    records: Vec<String>,
    /// Write the rendered messages into this folder instead of showing them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Look at most at this many records.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let found = context.block_on(ask(args, context))?;
    if let Some(folder) = &args.out {
        let written = write(&found, folder)?;
        output.talk(&format!("{written} messages written to {}", folder.display()));
    }
    match args.format {
        Format::Json => output.json(&as_json(&found)),
        Format::Table => show(&found, args, output),
    }
    Ok(Exit::Success)
}

async fn ask(args: &Args, context: &Context) -> Result<Preview, Failure> {
    let config = context.config()?;
    let source = open_source(&config)?;
    let tree = read_tree(&config.rules.directory, &Limits::default(), None)?;
    let generation = inspect(Arc::new(tree), &*source, &outside(&config), None)
        .await
        .and_then(Inspected::accepted)
        .map_err(Failure::Rules)?;
    let scratch = state_is_new(&config.state).then(Scratch::new).transpose()?;
    let store: Arc<dyn Store> = match &scratch {
        Some(scratch) => Arc::new(SqliteStore::open(scratch.0.join("state.db"), source.now().await?).await?),
        None => context.state().await?,
    };
    let settings = config.engine.settings(&config.sender, config.service.drain());
    let previewer = Previewer {
        generation: &generation,
        source: &*source,
        store: &*store,
        sender: &settings.sender,
        now: source.now().await?,
        limit: args.limit,
    };
    Ok(preview(&previewer, &RuleId::from(args.rule.as_str()), &scope(args)?).await?)
}

/// Before the first start nobody has matched yet: an empty state stands in, and goes with the preview.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("nudged-preview-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in a temporary directory is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scope(args: &Args) -> Result<PreviewScope, Failure> {
    if !args.records.is_empty() {
        let keys =
            args.records.iter().map(|text| Ok(record::parse(text)?.key)).collect::<Result<Vec<Key>, Failure>>()?;
        return Ok(PreviewScope::Records(keys));
    }
    Ok(args
        .last
        .map_or(PreviewScope::LastInterval, |last| PreviewScope::Last(SignedDuration::from_secs(last.max_seconds()))))
}

fn show(found: &Preview, args: &Args, output: &mut Output) {
    for matched in &found.matches {
        let known = if matched.known { " (in the ledger already: would not match again)" } else { "" };
        output.line(&format!(
            "{}  crossed {}  occasion {}{known}",
            matched.record,
            text::at(matched.crossed_at),
            matched.occasion
        ));
        for message in &matched.messages {
            output.line(&format!("    {}  {}  {}", text::at(message.due_at), message.step, headline(message)));
            if args.out.is_none()
                && let Ok(Message::Email(email)) = &message.content
            {
                email.text.trim_end().lines().for_each(|line| output.line(&format!("        | {line}")));
            }
        }
    }
    for (record, occasion, reason) in &found.misses {
        output.line(&format!("{record}  no match: {reason}  (occasion {occasion})"));
    }
    let more = if found.truncated { "; more crossed than were looked at (--limit)" } else { "" };
    output.talk(&format!("{} match, {} don't{more}; nothing was sent", found.matches.len(), found.misses.len()));
}

fn headline(message: &PreviewMessage) -> String {
    match &message.content {
        Ok(Message::Email(email)) => format!("email to {}: {}", email.to_address, email.subject),
        Ok(Message::Webhook(call)) => format!("webhook to {}: {}", call.destination, call.body),
        Ok(Message::Task(task)) => format!("task: {}", task.title),
        Err(why) => format!("{}: nothing: {why}", message.kind),
    }
}

/// One folder a record, one file a message.
fn write(found: &Preview, folder: &Path) -> Result<usize, Failure> {
    let mut written = 0;
    for matched in &found.matches {
        let place = folder.join(file_name(&matched.record.to_string()));
        std::fs::create_dir_all(&place)?;
        for (index, message) in matched.messages.iter().enumerate() {
            let stem = format!("{:02}-{}", index + 1, file_name(message.step.as_str()));
            written += write_message(&place.join(stem), message)?;
        }
    }
    Ok(written)
}

fn write_message(stem: &Path, message: &PreviewMessage) -> Result<usize, Failure> {
    match &message.content {
        Ok(Message::Email(email)) => {
            std::fs::write(stem.with_extension("html"), &email.html)?;
            std::fs::write(stem.with_extension("txt"), plain(email))?;
        }
        Ok(Message::Webhook(call)) => std::fs::write(stem.with_extension("json"), format!("{:#}\n", call.body))?,
        Ok(Message::Task(task)) => {
            std::fs::write(
                stem.with_extension("txt"),
                format!("{}\n\n{}\n", task.title, task.body.as_deref().unwrap_or("")),
            )?;
        }
        Err(_) => return Ok(0),
    }
    Ok(1)
}

fn plain(email: &Email) -> String {
    format!("To: {}\nSubject: {}\n\n{}", email.to_address, email.subject, email.text)
}

/// A name that stays one file below the folder, whatever keys look like.
fn file_name(text: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    text.chars().map(safe).collect::<String>().trim_start_matches('.').to_owned()
}

fn as_json(found: &Preview) -> Json {
    json!({
        "matches": found.matches.iter().map(match_json).collect::<Vec<_>>(),
        "misses": found.misses.iter().map(|(record, occasion, reason)| json!({
            "record": record.to_string(), "occasion": occasion, "reason": reason,
        })).collect::<Vec<_>>(),
        "truncated": found.truncated,
    })
}

fn match_json(matched: &PreviewMatch) -> Json {
    let message = |message: &PreviewMessage| {
        let mut shown = json!({"step": message.step, "kind": message.kind, "due_at": message.due_at});
        match &message.content {
            Ok(Message::Email(email)) => {
                shown["to"] = json!(email.to_address);
                shown["subject"] = json!(email.subject);
                shown["text"] = json!(email.text);
                shown["html"] = json!(email.html);
            }
            Ok(Message::Webhook(call)) => {
                shown["destination"] = json!(call.destination);
                shown["body"] = call.body.clone();
            }
            Ok(Message::Task(task)) => {
                shown["title"] = json!(task.title);
                shown["body"] = json!(task.body);
                shown["due"] = json!(task.due);
            }
            Err(why) => shown["nothing"] = json!(why),
        }
        shown
    };
    json!({
        "record": matched.record.to_string(),
        "occasion": matched.occasion,
        "crossed_at": matched.crossed_at,
        "known": matched.known,
        "messages": matched.messages.iter().map(message).collect::<Vec<_>>(),
    })
}
