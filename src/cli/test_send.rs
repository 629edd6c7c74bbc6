//! `nudged test-send RULE --record RECORD --to ADDRESS`: one rendered mail to whoever asks for it.

use super::explain::CROSSINGS;
use super::rehearsal::Rehearsal;
use super::{Context, Exit, Failure, Format, Output, record};
use crate::engine::port::Message;
use crate::engine::rehearse::render_test;
use crate::model::{Clock, Outcome, RuleId, StepId, SystemClock};
use crate::service::senders;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rule's id.
    rule: String,
    /// For whom the mail is rendered: `customer:4711`. It need not match.
    #[arg(long, value_name = "RECORD")]
    record: String,
    /// Where the mail goes, whomever the rule would write to.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// The email step; by default the rule's first.
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let asked = record::parse(&args.record)?;
    let (mail, outcome) = context.block_on(async {
        let rehearsal = Rehearsal::open(context).await?;
        let (rule, step) = (RuleId::from(args.rule.as_str()), args.step.as_deref().map(StepId::from));
        rehearsal.unfit.of(&rule)?;
        rehearsal.unfit.warn(output);
        let record = record::in_catalog(asked, &rehearsal.generation.catalog);
        let previewer = rehearsal.previewer(CROSSINGS);
        let mail = render_test(&previewer, &rule, &record, step.as_ref(), &args.to).await?;
        if mail.made_up {
            output.talk(&format!(
                "{record} doesn't cross the trigger of {rule}: what the mail says of the occasion is made up of now"
            ));
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let [email, _] =
            senders(&rehearsal.config, &clock).map_err(|error| Failure::other(Exit::Config, error.to_string()))?;
        let sent = email.send(Message::Email(mail.email.clone())).await;
        Ok((mail, sent.outcome))
    })?;
    let detail = match &outcome {
        Outcome::Sent { reply } => reply.clone(),
        Outcome::Transient { reason, .. } | Outcome::Permanent { reason } | Outcome::Unknown { reason } => {
            reason.clone()
        }
        other => other.as_str().to_owned(),
    };
    let sent = matches!(outcome, Outcome::Sent { .. });
    match args.format {
        Format::Json => output.json(&json!({
            "step": mail.step,
            "to": mail.email.to_address,
            "meant_for": mail.meant_for,
            "occasion": if mail.made_up { "made_up" } else { "real" },
            "subject": mail.email.subject,
            "message_id": mail.email.delivery.to_string(),
            "outcome": outcome.as_str(),
            "detail": detail,
        })),
        Format::Table => {
            output.line(&format!("step       {}", mail.step));
            output.line(&format!("subject    {}", mail.email.subject));
            output.line(&format!("meant for  {}", mail.meant_for.as_deref().unwrap_or("nobody with an address")));
            output.line(&format!("sent to    {}", mail.email.to_address));
            output.line(&format!("{:10} {detail}", outcome.as_str()));
        }
    }
    Ok(if sent { Exit::Success } else { Exit::Failure })
}
