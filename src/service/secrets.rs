//! Secrets that change while nudged runs: a reload reads them anew and hands them to the senders.
//!
//! Only secrets: whatever else the configuration says was read at the start, and half of a new configuration
//! would be worse than all of the old one.

use super::connect::senders;
use crate::action::SetupError;
use crate::config::Config;
use crate::engine::port::{Message, Sender, Sent};
use crate::model::Clock;
use async_trait::async_trait;
use std::sync::{Arc, PoisonError, RwLock};

/// Reads the configuration again, with its secrets.
pub type Reread = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

pub(super) struct Secrets {
    /// As read at the start.
    config: Config,
    reread: Reread,
    clock: Arc<dyn Clock>,
    senders: [Arc<Replaceable>; 2],
}

impl Secrets {
    /// The senders of emails and of what goes over HTTP, in this order, and what renews their secrets.
    pub fn new(
        config: Config,
        reread: Reread,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, [Arc<dyn Sender>; 2]), SetupError> {
        let senders = senders(&config, &clock)?.map(|sender| Arc::new(Replaceable::new(sender)));
        let handed = senders.clone().map(|sender| sender as Arc<dyn Sender>);
        Ok((Self { config, reread, clock, senders }, handed))
    }

    /// Sends with the present secrets from now on; what is under way ends with those it began with.
    pub fn renew(&self) -> Result<(), String> {
        let config = with_secrets_of(&self.config, &(self.reread)()?);
        let renewed = senders(&config, &self.clock).map_err(|error| error.to_string())?;
        for (sender, renewed) in self.senders.iter().zip(renewed) {
            sender.replace(renewed);
        }
        Ok(())
    }
}

fn with_secrets_of(config: &Config, newer: &Config) -> Config {
    let mut config = config.clone();
    config.email.password.clone_from(&newer.email.password);
    for (selector, options) in &mut config.email.dkim {
        if let Some(newer) = newer.email.dkim.get(selector) {
            options.key.clone_from(&newer.key);
        }
    }
    for (name, options) in &mut config.webhooks {
        if let Some(newer) = newer.webhooks.get(name) {
            options.secret.clone_from(&newer.secret);
            options.token.clone_from(&newer.token);
        }
    }
    for (name, options) in &mut config.chats {
        if let Some(newer) = newer.chats.get(name) {
            options.url.clone_from(&newer.url);
        }
    }
    for (name, options) in &mut config.sms.gateways {
        if let Some(newer) = newer.sms.gateways.get(name) {
            options.token.clone_from(&newer.token);
        }
    }
    config
}

/// A sender with another behind it, which may be exchanged.
struct Replaceable {
    behind: RwLock<Arc<dyn Sender>>,
}

impl Replaceable {
    fn new(sender: Arc<dyn Sender>) -> Self {
        Self { behind: RwLock::new(sender) }
    }

    fn replace(&self, sender: Arc<dyn Sender>) {
        *self.behind.write().unwrap_or_else(PoisonError::into_inner) = sender;
    }

    fn behind(&self) -> Arc<dyn Sender> {
        Arc::clone(&self.behind.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Sender for Replaceable {
    fn sessions(&self) -> usize {
        self.behind().sessions()
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        self.behind().departing(message)
    }

    async fn send(&self, message: Message) -> Sent {
        self.behind().send(message).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::webhook::DestinationOptions;
    use crate::engine::port::WebhookCall;
    use crate::model::{DeliveryId, Outcome, SystemClock};
    use std::sync::Mutex;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn config(url: &str, token: &str) -> Config {
        let destination = DestinationOptions {
            token: Some(token.to_owned().into()),
            allow_private: true,
            ..DestinationOptions::to(url.to_owned())
        };
        Config { webhooks: [("team".to_owned(), destination)].into(), ..Config::default() }
    }

    async fn call(sender: &dyn Sender) {
        let (body, destination) = (serde_json::json!({}), "team".into());
        let call = WebhookCall { delivery: DeliveryId([7; 16]), attempt: 1, destination, body, keep_answer: false };
        let sent = sender.send(Message::Webhook(call)).await;
        assert!(matches!(sent.outcome, Outcome::Sent { .. }), "{:?}", sent.outcome);
    }

    #[tokio::test]
    async fn a_reload_takes_the_new_secret_and_keeps_the_old_one_where_there_is_none() {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let written = Arc::new(Mutex::new(Ok("two")));
        let (url, told) = (server.uri(), Arc::clone(&written));
        let reread: Reread = Box::new(move || {
            let token: Result<&str, &str> = *told.lock().unwrap();
            token.map(|token| config(&url, token)).map_err(str::to_owned)
        });
        let (secrets, [_, webhook]) =
            Secrets::new(config(&server.uri(), "one"), reread, Arc::new(SystemClock)).unwrap();
        call(&*webhook).await;
        secrets.renew().unwrap();
        call(&*webhook).await;
        *written.lock().unwrap() = Err("the file is gone");
        assert_eq!(secrets.renew().unwrap_err(), "the file is gone");
        call(&*webhook).await;

        let requests = server.received_requests().await.unwrap();
        let tokens: Vec<&str> = requests.iter().map(|r| r.headers["authorization"].to_str().unwrap()).collect();
        assert_eq!(tokens, ["Bearer one", "Bearer two", "Bearer two"]);
    }
}
