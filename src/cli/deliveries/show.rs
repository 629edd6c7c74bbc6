//! `nudged deliveries show`: one delivery, with its message as it was kept or as it would be now.

use super::{as_json, beginning};
use crate::cli::rehearsal::Rehearsal;
use crate::cli::{Context, Exit, Failure, Format, Output, message, text};
use crate::engine::port::{AttemptView, DeliveryStory, KeptMessage, Store};
use crate::engine::rehearse::render_anew;
use crate::model::DeliveryId;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A delivery's id, or what it begins with, as `list` shows it.
    #[arg(value_name = "DELIVERY")]
    delivery: String,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Deliveries that a beginning may name before it is too short.
const SEVERAL: usize = 2;

/// Kinds of which messages are kept, where they are.
const KEPT: [&str; 4] = ["email", "sms", "chat", "webhook"];

/// A message, and what is to be known of it before it is believed.
struct Shown {
    label: String,
    kept: bool,
    message: Json,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let (story, shown) = context.block_on(async {
        let story = found(&*context.state().await?, &args.delivery).await?;
        let mut shown: Vec<Shown> = story.kept.iter().map(|kept| as_kept(kept, &story)).collect();
        if shown.is_empty() {
            shown.push(anew(context, &story).await);
        }
        Ok((story, shown))
    })?;
    match args.format {
        Format::Json => output.json(&in_json(&story, &shown)),
        Format::Table => print(&story, &shown, output),
    }
    Ok(Exit::Success)
}

async fn found(store: &dyn Store, written: &str) -> Result<DeliveryStory, Failure> {
    let digits = written.to_ascii_lowercase();
    beginning(&digits)?;
    let filled = |with: &str| -> Result<DeliveryId, Failure> {
        let id = format!("{digits}{}", with.repeat(32 - digits.len()));
        id.parse().map_err(|problem: String| Failure::other(Exit::Usage, problem))
    };
    let named = store.deliveries_between(filled("0")?, filled("f")?, SEVERAL).await?;
    let unknown = || {
        let message = format!("no delivery begins with {written}; see `nudged deliveries list`");
        Failure::other(Exit::NotFound, message)
    };
    match named[..] {
        [] => Err(unknown()),
        [(enrollment, id)] => store.delivery(enrollment, id).await?.ok_or_else(unknown),
        _ => Err(Failure::other(Exit::Usage, format!("several deliveries begin with {written}; give more digits"))),
    }
}

fn as_kept(kept: &KeptMessage, story: &DeliveryStory) -> Shown {
    let at = text::at(kept.sent_at);
    let in_doubt = |tried: &AttemptView| tried.finished_at == kept.sent_at && tried.outcome == "unknown";
    let label = if story.tries.iter().any(in_doubt) {
        format!("as it was sent on {at}; whether it arrived is not known")
    } else {
        format!("as it was sent on {at}")
    };
    Shown { label, kept: true, message: message::kept_as_json(kept) }
}

/// Whatever hinders it, the rest is shown.
async fn anew(context: &Context, story: &DeliveryStory) -> Shown {
    let rendered = match combined_into(story) {
        Some(id) => Err(format!("it became one message with others: see `nudged deliveries show {id}`")),
        None => rendered(context, story).await,
    };
    match rendered {
        Ok(message) => Shown { label: rendered_label(story).to_owned(), kept: false, message },
        Err(why) => Shown {
            label: format!("no message: none was kept, and it can't be rendered now: {why}"),
            kept: false,
            message: json!({"nothing": why}),
        },
    }
}

async fn rendered(context: &Context, story: &DeliveryStory) -> Result<Json, String> {
    if story.row.is_none() {
        return Err("the person was erased".to_owned());
    }
    let told = |failure: Failure| match failure {
        Failure::Rules(_) => format!("{failure}; see `nudged check`"),
        other => other.to_string(),
    };
    let rehearsal = Rehearsal::open(context).await.map_err(told)?;
    rehearsal.unfit.of(&story.view.rule).map_err(told)?;
    let rendered = render_anew(&rehearsal.previewer(1), story).await;
    rendered.map(|rendered| message::as_json(&rendered)).map_err(|error| error.to_string())
}

fn rendered_label(story: &DeliveryStory) -> &'static str {
    if !story.tries.iter().any(|tried| ["sent", "unknown"].contains(&tried.outcome.as_str())) {
        "rendered now: it has not been sent"
    } else if KEPT.contains(&story.view.kind.as_str()) {
        "rendered now: the record and the template may have changed since; set retention.messages to keep what is sent"
    } else {
        "rendered now: the record and the rule may have changed since; what it made is in the CRM"
    }
}

/// The delivery whose message tells of its match as well.
fn combined_into(story: &DeliveryStory) -> Option<DeliveryId> {
    let detail = &story.tries.last()?.detail;
    detail.rsplit_once("combined into ")?.1.parse().ok()
}

fn print(story: &DeliveryStory, shown: &[Shown], output: &mut Output) {
    let view = &story.view;
    let record = view.record.as_ref().map_or_else(|| "(erased)".to_owned(), ToString::to_string);
    output.line(&format!("delivery  {}", view.delivery.map_or_else(|| "-".to_owned(), |id| id.to_string())));
    output.line(&format!("record    {record}"));
    output.line(&format!("rule      {} ({})", view.rule, view.lane.as_str()));
    output.line(&format!("step      {} ({})", if view.step.is_empty() { "-" } else { &view.step }, view.kind));
    output.line(&format!("state     {} at {}", view.state, text::at(view.at)));
    if story.tries.last().is_none_or(|last| last.detail != view.detail) && !view.detail.is_empty() {
        output.line(&format!("because   {}", view.detail));
    }
    output.line("");
    let row = |tried: &AttemptView| {
        vec![text::at(tried.finished_at), tried.number.to_string(), tried.outcome.clone(), tried.detail.clone()]
    };
    output.table(&["at", "try", "outcome", "reply"], story.tries.iter().map(row).collect(), "no attempts are known");
    for Shown { label, message, .. } in shown {
        output.line("");
        output.line(label);
        for line in message::lines(message) {
            output.line(&format!("    {line}"));
        }
    }
}

fn in_json(story: &DeliveryStory, shown: &[Shown]) -> Json {
    let mut told = as_json(&story.view);
    let tried = |tried: &AttemptView| json!({"number": tried.number, "at": tried.finished_at, "outcome": tried.outcome, "reply": tried.detail});
    told["tries"] = story.tries.iter().map(tried).collect();
    let message = |shown: &Shown| {
        let mut message = shown.message.clone();
        message["label"] = json!(shown.label);
        message["kept"] = json!(shown.kept);
        message
    };
    told["messages"] = shown.iter().map(message).collect();
    told
}
