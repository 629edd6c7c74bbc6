//! The way out of a mail, and the way back: real mails over a real SMTP server, read by a mail library, their links
//! followed by an HTTP client or a browser, bounces made by the mail server itself.

mod bounced;
mod browser;
mod confirm;
mod copied;
mod signed;
mod tracked;
mod unsubscribe;

use crate::operator::ready;
use crate::site::{Process, Site, waited};
use crate::support::guarded::free_port;
use crate::support::{PATIENCE, poll_until, smtp};
use jiff::Timestamp;
use mail_parser::{Message, MessageParser};
use nudged::store::sqlite::SqliteStore;
use serde_json::Value as Json;
use std::fs;
use std::path::Path;

/// Two mails about offers, an hour apart.
const OFFERS: &str = "version: 1
id: silence
description: Silent for 90 days.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
backfill: 30 days
check_every: 1 hour
steps:
  - email: {template: hello}
  - wait: {for: 1 hour}
  - email: {template: hello, id: again}
";

/// A company that writes to people over Postfix, and answers the links of its mails.
struct Office {
    site: Site,
    base: String,
    daemon: Option<Process>,
}

impl Office {
    /// With these customers, who all agreed to offers and have been silent for 91 days.
    fn new(rule: &str, addresses: &[&str]) -> Self {
        let site = Site::new();
        let (port, server) = (free_port(), smtp());
        let way = format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"", server.plain);
        site.configure("transport = \"folder\"", &way);
        site.configure("[webhooks.team-chat]", "return_path = \"bounces@linden.example\"\n[webhooks.team-chat]");
        site.configure("127.0.0.1:0", &format!("127.0.0.1:{port}"));
        site.configure("https://mail.linden.example", &format!("http://127.0.0.1:{port}"));
        site.rules(&[("silence.yaml", rule)]);
        let template = "---\nsubject: \"We miss {{ record.name }}\"\n---\nHello {{ to.first_name }}!\n";
        fs::write(site.folder.path().join("rules/templates/hello.md"), template).unwrap();
        for (id, address) in (1..).zip(addresses) {
            site.crm(&format!(
                "INSERT INTO accounts VALUES ({id}, 'Cafe {id}', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00');
                 INSERT INTO contacts VALUES ({id}, {id}, 'Anna', 'Gruber', '{address}', NULL, 'manager', 1, NULL, NULL, 1, NULL);
                 INSERT INTO orders VALUES ({id}, {id}, datetime('now', '-91 days'), 'paid', 12.5);"
            ));
        }
        Self { site, base: format!("http://127.0.0.1:{port}"), daemon: None }
    }

    fn open(mut self) -> Self {
        self.daemon = Some(ready(&self.site));
        self
    }

    /// Stops, lets the next step of everybody be due, and starts again.
    fn an_hour_passes(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.signal("TERM");
        assert_eq!(daemon.ends().code(), Some(0), "{}", self.site.log());
        self.site.sql("state.db", "UPDATE outbox SET due_at = due_at - 3600000000");
        self.daemon = Some(self.site.start());
        self.site.told("READY=1");
    }

    fn list(&self) -> Vec<Json> {
        self.site.json(&["suppress", "list"]).as_array().unwrap().clone()
    }

    /// Reason and detail of what holds for an address.
    fn holds_for(&self, address: &str) -> Vec<String> {
        let held = self.site.json(&["suppress", "show", address]);
        held.as_array().unwrap().iter().map(|entry| entry["reason"].as_str().unwrap().to_owned()).collect()
    }

    fn skipped(&self) -> Vec<String> {
        let skipped = self.site.json(&["deliveries", "list", "--state", "skipped"]);
        skipped.as_array().unwrap().iter().map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect()
    }

    /// Something of the state itself.
    fn state<T>(&self, ask: impl AsyncFnOnce(&SqliteStore) -> T) -> T {
        waited(async {
            let store = SqliteStore::open(Path::new(&self.site.path("state.db")), Timestamp::now()).await.unwrap();
            let answer = ask(&store).await;
            store.close().await;
            answer
        })
    }
}

/// The first mail to an address, whole.
fn mail_to(address: &str) -> String {
    smtp().wait_for(address, 1).remove(0)
}

fn parsed(mail: &str) -> Message<'_> {
    MessageParser::default().parse(mail.as_bytes()).unwrap()
}

/// The address in `<…>` of a header.
fn link_in(mail: &str, header: &str) -> String {
    let mail = parsed(mail);
    let value = mail.header_raw(header).unwrap_or_else(|| panic!("no {header}")).trim();
    value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap().to_owned()
}

/// Status, headers and body of an answer.
type Answer = (u16, reqwest::header::HeaderMap, String);

fn asked(request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> Answer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    waited(async {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let answer = request(&client).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    })
}

fn get(url: &str) -> Answer {
    asked(|client| client.get(url))
}

fn post(url: &str, kind: &'static str, body: &str) -> Answer {
    asked(|client| client.post(url).header("content-type", kind).body(body.to_owned()))
}

const FORM: &str = "application/x-www-form-urlencoded";

/// As a mail program does it (RFC 8058).
fn one_click(url: &str) -> Answer {
    post(url, FORM, "List-Unsubscribe=One-Click")
}
