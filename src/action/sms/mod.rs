//! Text messages to phones, by the gateways of the configuration: Twilio and whoever speaks as it does, or any HTTP
//! interface by a form or JSON of one's own.
//!
//! A gateway takes no key that would make a repeat harmless, so a message whose outcome isn't known stays unknown, as a
//! mail does. Timeouts, private addresses, redirects and `Retry-After` are those of webhooks.

mod generic;
mod options;
mod twilio;

pub use options::{GatewayFormat, GatewayMethod, GatewayOptions, SmsOptions};

use super::webhook::destination::Destination;
use super::{SetupError, came_to, permanent};
use crate::engine::port::{Message, Sender, Sent, SmsMessage};
use crate::model::{Clock, Outcome};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whom messages really go to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Redirected {
    /// Whom they are for.
    #[default]
    No,
    /// This number, whoever they were for.
    To(String),
    /// Nobody: mails are redirected, and for text messages there is no number to redirect them to.
    KeptBack,
}

/// Hands messages to their gateways.
pub struct SmsSender {
    gateways: BTreeMap<String, Gateway>,
    redirected: Redirected,
    clock: Arc<dyn Clock>,
}

struct Gateway {
    options: GatewayOptions,
    destination: Destination,
}

impl SmsSender {
    pub fn new(options: &SmsOptions, redirected: Redirected, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let gateway = |(name, options): (&String, &GatewayOptions)| {
            let section = format!("sms.gateways.{name}");
            complete(&section, options)?;
            let destination = Destination::new(&section, &options.destination())?;
            Ok((name.clone(), Gateway { options: options.clone(), destination }))
        };
        let gateways = options.gateways.iter().map(gateway).collect::<Result<_, SetupError>>()?;
        Ok(Self { gateways, redirected, clock })
    }

    async fn deliver(&self, message: &SmsMessage) -> Sent {
        let gateway = match &message.via {
            Some(name) => self.gateways.get(name),
            None => self.gateways.values().next().filter(|_| self.gateways.len() == 1),
        };
        let Some(gateway) = gateway else {
            return permanent(match &message.via {
                Some(name) => format!("no gateway `{name}` in the configuration"),
                None => "which gateway it goes by can't be told".to_owned(),
            });
        };
        let (Gateway { options, destination }, now) = (gateway, self.clock.now());
        match options.format {
            GatewayFormat::Twilio => twilio::send(destination, options, message, now).await,
            GatewayFormat::Form | GatewayFormat::Json => generic::send(destination, options, message, now).await,
        }
    }
}

fn redirected(mut message: SmsMessage, number: &str) -> SmsMessage {
    let meant_for = std::mem::replace(&mut message.to, number.to_owned());
    message.text = format!("[to {meant_for}] {}", message.text);
    message
}

/// What the format needs is there.
fn complete(section: &str, options: &GatewayOptions) -> Result<(), SetupError> {
    let wrong = |key: &str, problem: &str| Err(SetupError::option(format!("{section}.{key}"), problem));
    match options.format {
        GatewayFormat::Twilio if options.account.as_deref().is_none_or(str::is_empty) => {
            wrong("account", "the Account SID is needed")
        }
        GatewayFormat::Twilio if options.token.is_none() => wrong("token", "the Auth Token is needed"),
        GatewayFormat::Twilio if options.from.is_some() == options.messaging_service.is_some() => {
            wrong("from", "either `from` or `messaging_service` is needed")
        }
        GatewayFormat::Form | GatewayFormat::Json if options.url.is_empty() => {
            wrong("url", "where messages go is needed")
        }
        GatewayFormat::Form if options.body.values().any(|value| value.is_array() || value.is_object()) => {
            wrong("body", "a form has plain values only; `format = \"json\"` may nest them")
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Sender for SmsSender {
    fn sessions(&self) -> usize {
        (self.gateways.len() * options::SESSIONS).clamp(1, 32)
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        match (&self.redirected, message) {
            (Redirected::KeptBack, _) => None,
            (Redirected::To(number), Message::Sms(sms)) => Some(Message::Sms(redirected(sms.clone(), number))),
            _ => Some(message.clone()),
        }
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Sms(message) = message else { return permanent("the text sender takes text messages only") };
        if message.text.trim().is_empty() {
            return permanent("there is no text: gateways refuse empty messages");
        }
        match &self.redirected {
            Redirected::No => self.deliver(&message).await,
            Redirected::KeptBack => came_to(Outcome::Sent {
                reply: "kept back: email.redirect_all_to is set, and sms.redirect_all_to is not".to_owned(),
            }),
            Redirected::To(number) => {
                let mut sent = self.deliver(&redirected(message, number)).await;
                if let Outcome::Permanent { reason } = &mut sent.outcome {
                    // The gateway speaks of our number; the real one isn't to be taken for gone.
                    *reason = format!("to sms.redirect_all_to: {reason}");
                }
                sent
            }
        }
    }
}
