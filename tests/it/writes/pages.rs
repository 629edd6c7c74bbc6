//! From the button of a page to the CRM's own column, over HTTP, on the three databases.

use super::consent::{RULE, TEMPLATE, columns};
use super::*;
use crate::world::{hours, minutes};
use nudged::engine::port::Message;
use nudged::engine::{Links, Settings};
use nudged::web::{Consent, PageOptions, public_router};
use std::collections::BTreeSet;

/// An office whose mails lead to pages on a real socket.
struct Office {
    world: World,
    /// The link to unsubscribe in the mail to Ada.
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Office {
    async fn open(kind: Kind) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let setup = setup(kind);
        let settings = Settings { links: Links::Served(Some(base)), ..setup.settings.clone() };
        let world = World::set_up(Setup { settings, ..setup }).await;
        for (id, name) in [(1, "ada"), (2, "bob")] {
            world.crm.run(&format!("INSERT INTO accounts (id, name) VALUES ({id}, '{name}')")).await;
            world
                .crm
                .run(&format!(
                    "INSERT INTO contacts (id, account_id, email, news_ok, no_calls)
                     VALUES ({}, {id}, '{name}@x.example', true, false)",
                    id + 4
                ))
                .await;
        }
        let (store, clock): (_, Arc<dyn Clock>) = (Arc::clone(&world.store), world.clock.clone());
        let topics = BTreeSet::from(["offers".into()]);
        let pages = Consent::new(store, clock, topics, PageOptions::default(), "Acme".to_owned());
        let serving = tokio::spawn(async move {
            axum::serve(listener, public_router([pages.router()])).await.unwrap();
        });
        world.load(&[("offers.yaml", RULE), ("templates/hello.md", TEMPLATE)]).await;
        world.pass(hours(1)).await;
        let mut mails = world.mail.take().into_iter();
        let url = mails.find_map(|message| match message {
            Message::Email(email) if email.to_address == "ada@x.example" => {
                let (_, value) = email.headers.into_iter().find(|(name, _)| name == "List-Unsubscribe")?;
                Some(value.trim_matches(['<', '>']).to_owned())
            }
            _ => None,
        });
        Self { world, url: url.unwrap(), serving }
    }

    async fn post(&self, url: &str, body: impl Into<String>) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let form = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body.into());
        let answer = form.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// A form as the page has it now, with these fields.
    async fn filled(&self, url: &str, fields: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = client.get(url).send().await.unwrap().text().await.unwrap();
        let stood = page.split("name=\"stood\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        format!("{fields}&stood={stood}")
    }

    async fn carried(&self) -> Vec<String> {
        self.world.engine.carry_consents().await.unwrap();
        columns(&self.world).await
    }
}

#[tokio::test]
async fn what_is_decided_on_a_page_stands_in_the_persons_own_row() {
    for kind in KINDS {
        let office = Office::open(kind).await;
        let page = office.post(&office.url, "scope=topic").await;
        assert_eq!(columns(&office.world).await[0], "5 | 1 | 0 | 0", "{kind:?}: the page asks the CRM nothing");
        assert_eq!(office.carried().await, ["5 | 0 | 0 | 0", "6 | 1 | 0 | 0"], "{kind:?}");

        // From there to the page of preferences, and yes again.
        let link = page.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().replace("&#x2f;", "/");
        let base = office.url.split("/u/").next().unwrap();
        let preferences = format!("{base}/p/{}", link.strip_prefix("../p/").unwrap());
        office.world.clock.advance(minutes(5));
        let chosen = office.filled(&preferences, "scope=chosen&shown=offers&topic=offers").await;
        office.post(&preferences, chosen).await;
        assert_eq!(office.carried().await, ["5 | 1 | 0 | 1", "6 | 1 | 0 | 0"], "{kind:?}: with when it was given");
        office.world.clock.advance(minutes(5));
        office.post(&preferences, "scope=chosen&shown=offers&topic=offers").await;
        office.world.crm.run("UPDATE contacts SET news_ok = false WHERE id = 5").await;
        assert_eq!(office.carried().await[0], "5 | 0 | 0 | 1", "{kind:?}: a tick that stays says nothing");

        // One click of a mail program, and to all.
        office.world.crm.run("UPDATE contacts SET news_ok = true WHERE id = 5").await;
        office.world.clock.advance(minutes(5));
        office.post(&office.url, "List-Unsubscribe=One-Click").await;
        assert_eq!(office.carried().await[0], "5 | 0 | 0 | 1", "{kind:?}");
        office.world.clock.advance(minutes(5));
        let chosen = office.filled(&preferences, "scope=chosen&shown=offers&topic=offers").await;
        office.post(&preferences, chosen).await;
        assert_eq!(office.carried().await[0], "5 | 1 | 0 | 1", "{kind:?}");
        office.world.clock.advance(minutes(5));
        office.post(&preferences, "scope=all").await;
        assert_eq!(office.carried().await, ["5 | 0 | 0 | 1", "6 | 1 | 0 | 0"], "{kind:?}: nobody else's row");
    }
}
