//! The ordinary service, put together for the demo: its own clock, SQLite on both sides, mail into a
//! folder, webhooks to the receiver next door.

use super::home::Home;
use super::receiver::Receiver;
use crate::action::email::{EmailOptions, FolderSender};
use crate::action::webhook::{DestinationOptions, WebhookSender};
use crate::cli::{Exit, Failure};
use crate::config::MarketingOptions;
use crate::engine::port::Store;
use crate::engine::{Links, Sending, Settings};
use crate::model::{Clock, Limits};
use crate::rulebook::{Outside, RulebookOptions};
use crate::service::{Beside, Daemon, Outfit, StartError};
use crate::source::{self, SourceOptions};
use crate::store::sqlite::SqliteStore;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The destination that the demo's rules call.
const DESTINATION: &str = "team-chat";

/// Starts the daemon; its state is returned beside it, for those who look on.
pub async fn start(
    home: &Home,
    rules: &Path,
    clock: &Arc<dyn Clock>,
    receiver: &Receiver,
) -> Result<(Daemon, Arc<dyn Store>), Failure> {
    let url = format!("sqlite:{}", home.crm().display());
    let source = source::connect(&SourceOptions::new(url).clock(Arc::clone(clock)))?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(home.state(), clock.now()).await?);
    let email = EmailOptions {
        folder: home.mailbox(),
        from: "Linden & Finch <hello@lindenfinch.example>".to_owned(),
        ..EmailOptions::default()
    };
    let email = FolderSender::new(&email, Arc::clone(clock)).map_err(failed)?;
    // The receiver is on this machine, which destinations may not be unless it is allowed.
    let destination = DestinationOptions { allow_private: true, ..DestinationOptions::to(receiver.url()) };
    let destinations = BTreeMap::from([(DESTINATION.to_owned(), destination)]);
    let webhook = WebhookSender::new(&destinations, Arc::clone(clock)).map_err(failed)?;
    let outfit = Outfit {
        clock: Arc::clone(clock),
        source,
        store: Arc::clone(&store),
        email: Arc::new(email),
        webhook: Arc::new(webhook),
        rules: RulebookOptions { directory: rules.to_owned(), ..RulebookOptions::default() },
        outside: Outside {
            destinations: [DESTINATION.to_owned()].into(),
            chats: [].into(),
            topics: ["offers".into()].into(),
            emails: true,
            pages: true,
            postal_address: true,
            ..Outside::default()
        },
        settings: settings(),
        renew: None,
        beside: Beside::default(),
    };
    let daemon = Daemon::start(outfit).await.map_err(StartError::Rules)?;
    Ok((daemon, store))
}

fn settings() -> Settings {
    // The window and the caps that a configuration has if it doesn't say. Rates are left out, for an hour passes in
    // 40 ms, and so is the warm-up.
    let MarketingOptions { window, cap: caps, .. } = MarketingOptions::default();
    let limits = Arc::new(Limits { caps, ..Limits::default() });
    Settings {
        sending: Sending { window, limits, ..Sending::default() },
        // The source is asked with our clock, so there is nothing to compare.
        max_skew: None,
        // An hour passes in 40 ms: look at the state more often than the default of a second.
        poll: Duration::from_millis(20),
        sender: json!({"name": "Linden & Finch Coffee Roasters", "postal_address": "Rosengasse 4 · 1010 Vienna"}),
        links: Links::Served(Some("https://mail.lindenfinch.example".to_owned())),
        ..Settings::default()
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::other(Exit::Config, error.to_string())
}
