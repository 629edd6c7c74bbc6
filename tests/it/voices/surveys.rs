//! A survey, from the mail that asks to the follow-up on the answer: links, pages in a real browser, what the state keeps and
//! the CRM gets.

use super::world::settings;
use crate::support::{Browser, instant};
use crate::world::{CATALOG, Kind, Setup, World, days, hours, minutes};
use nudged::engine::Links;
use nudged::engine::port::Message;
use nudged::model::{Clock, RecordId};
use nudged::web::{Consent, PageOptions, public_router};
use rstest::rstest;
use std::path::Path;
use std::sync::Arc;

const ASK: &str = "version: 1
id: ask
mode: live
purpose: service
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 30 days}}
check_every: 1 hour
steps:
  - email: {template: ask, asks: nps}
";
const FOLLOW_UP: &str = "version: 1
id: detractors
mode: live
purpose: staff
for_each: customer
trigger: {survey: {of: answers, kind: nps, score: {at_most: 6}}}
check_every: 1 hour
steps:
  - webhook: {to: sink, body: {score: \"{{ occasion.value }}\"}}
";
const TEMPLATE: (&str, &str) = (
    "templates/ask.md",
    "---\nsubject: How did we do?\n---\n{% for score in range(11) %}[{{ score }}]({{ answer_url }}/{{ score }}) {% endfor %}\n",
);
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

/// A CRM that keeps answers, the engine over it, and the pages on a real socket.
struct Shop {
    world: World,
    base: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shop {
    /// With one customer, Ada, who has just been asked.
    async fn asking(kind: Kind) -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let settings = nudged::engine::Settings { links: Links::Served(Some(base.clone())), ..settings() };
        let catalog = CATALOG
            .replace("      contacts: {entity: contact, by: customer}\n    recipients:\n      main_contact", "      contacts: {entity: contact, by: customer}\n      answers: {entity: answer, by: customer}\n    recipients:\n      main_contact")
            .replace("suppressions:", "  answer: {table: answers, key: ref, at: answered_at, score: rating, kind: kind, fields: {customer: account_id}}
surveys:
  nps:
    insert:
      table: answers
      set: {ref: $ref, account_id: $record.key, country: $record.country, kind: nps, rating: $score, comment: $comment, answered_at: $now}
suppressions:");
        let tables = "CREATE TABLE answers (ref VARCHAR(40) PRIMARY KEY, account_id INTEGER, country VARCHAR(2), kind VARCHAR(20), rating INTEGER, comment VARCHAR(2000), answered_at {instant});
CREATE INDEX answers_answered ON answers (answered_at);
";
        let setup = Setup::of(kind, instant("2026-06-01T08:00:00Z"));
        let world = World::set_up(Setup { settings, catalog, tables, ..setup }).await;
        let clock: Arc<dyn Clock> = world.clock.clone();
        let store = Arc::clone(&world.store);
        let pages = Consent::new(store, clock, ["offers".into()].into(), PageOptions::default(), "Acme".to_owned());
        let serving = tokio::spawn(async move {
            axum::serve(listener, public_router([pages.router()])).await.unwrap();
        });
        let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES (1, 'C1', 'AT', {ordered});
                 INSERT INTO contacts VALUES (1, 1, 'ada@x.example', 'Ada', NULL, false);
                 INSERT INTO orders VALUES (1, 1, {ordered}, 'paid')"
            ))
            .await;
        world.load(&[("ask.yaml", ASK), ("detractors.yaml", FOLLOW_UP), TEMPLATE, LAYOUT]).await;
        world.pass(hours(1)).await;
        let sent = world.mail.take();
        let [Message::Email(mail)] = sent.as_slice() else { panic!("{sent:?}") };
        let start = mail.html.find(&format!("{base}/a/")).expect("the mail has links to answer");
        let link = mail.html[start..].split('"').next().unwrap().to_owned();
        assert!(link.ends_with("/0"), "{link}");
        let link = link.trim_end_matches("/0").to_owned();
        (Self { world, base, serving }, link)
    }

    async fn get(&self, url: &str) -> (u16, String) {
        self.ask(client().get(url)).await
    }

    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> (u16, String) {
        self.ask(client().post(url).form(fields)).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Score, comment and country of every row that the CRM has.
    async fn rows(&self) -> Vec<String> {
        use futures::TryStreamExt;
        use nudged::rule::statement::Statement;
        let sql = "SELECT rating, comment, country FROM answers ORDER BY ref".to_owned();
        let tenant = "".into();
        let rows = self.world.owner.rows(&tenant, Statement { sql, binds: Vec::new() });
        let rows: Vec<_> = rows.try_collect::<Vec<_>>().await.unwrap();
        rows.iter().map(|row| format!("{row:?}")).collect()
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn an_answer_reaches_the_crm_and_is_followed_up(#[case] kind: Kind) {
    let (shop, link) = Shop::asking(kind).await;
    // Scanners follow every link, and nothing comes of it.
    for score in [0, 5, 10] {
        let (status, page) = shop.get(&format!("{link}/{score}")).await;
        assert_eq!(status, 200);
        assert!(page.contains(&format!("value=\"{score}\" required checked")), "{page}");
    }
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);

    let (status, page) =
        shop.post(&format!("{link}/9"), &[("score", "3"), ("comment", "Too slow; '--\r\nSorry.")]).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Your answer has reached Acme"), "{page}");
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 1);
    let rows = shop.rows().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].contains('3') && rows[0].contains("Too slow; '--\\nSorry.") && rows[0].contains("AT"), "{rows:?}");

    shop.world.pass(hours(1)).await;
    let followed = shop.world.webhooks.take();
    let [Message::Webhook(call)] = followed.as_slice() else { panic!("{followed:?}") };
    assert_eq!(call.body["data"]["score"], "3");
    assert_eq!(call.body["data"]["record"]["key"], "1");
    // The same again is no news, and one row.
    shop.post(&format!("{link}/3"), &[("score", "3"), ("comment", "Too slow; '--\nSorry.")]).await;
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);
}

#[tokio::test]
async fn an_answer_may_be_changed_for_a_week() {
    let (shop, link) = Shop::asking(Kind::Sqlite).await;
    shop.post(&format!("{link}/3"), &[("score", "3")]).await;
    shop.world.engine.tell_answers().await.unwrap();
    shop.world.clock.advance(days(6));
    let (_, page) = shop.get(&link).await;
    assert!(page.contains("value=\"3\" required checked"), "what was said is shown: {page}");
    let (_, page) = shop.post(&link, &[("score", "8"), ("comment", "Better now")]).await;
    assert!(page.contains("has taken the place"), "{page}");
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 1);
    let rows = shop.rows().await;
    assert!(rows.len() == 1 && rows[0].contains('8') && rows[0].contains("Better now"), "{rows:?}");
    shop.world.clock.advance(days(2));
    let (_, page) = shop.post(&link, &[("score", "1")]).await;
    assert!(page.contains("too long ago"), "{page}");
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);
}

#[tokio::test]
async fn a_source_that_is_away_gets_the_answer_later() {
    let (shop, link) = Shop::asking(Kind::Sqlite).await;
    shop.world.wire.cut(true);
    let (status, page) = shop.post(&format!("{link}/7"), &[("score", "7")]).await;
    assert!(status == 200 && page.contains("Thank you"), "{page}");
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);
    shop.world.wire.cut(false);
    shop.world.clock.advance(minutes(1));
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 1);
    assert_eq!(shop.rows().await.len(), 1);
}

#[tokio::test]
async fn only_genuine_links_and_real_scores_count() {
    let (shop, link) = Shop::asking(Kind::Sqlite).await;
    let (status, _) = shop.post(&format!("{}/a/AAAA/9", shop.base), &[("score", "9")]).await;
    assert_eq!(status, 404);
    for wrong in ["11", "-1", "x", ""] {
        let (status, page) = shop.post(&format!("{link}/9"), &[("score", wrong)]).await;
        assert!(status == 200 && page.contains("Send"), "asked once more: {page}");
    }
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);
    shop.world.clock.advance(days(61));
    assert_eq!(shop.get(&format!("{link}/9")).await.0, 410);
}

#[tokio::test]
async fn who_is_erased_has_answered_nothing() {
    let (shop, link) = Shop::asking(Kind::Sqlite).await;
    shop.post(&format!("{link}/3"), &[("score", "3"), ("comment", "My secret")]).await;
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let kept = shop.world.store.dossier(&record).await.unwrap();
    assert!(kept.enrollments.iter().any(|found| found.saved.to_string().contains("My secret")), "it is handed out");
    shop.world.store.forget(&record, shop.world.now()).await.unwrap();
    assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 0);
    assert_eq!(shop.rows().await, [""; 0]);
    assert_eq!(shop.get(&format!("{link}/3")).await.0, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_answers_in_a_browser_on_a_phone_and_on_a_desktop() {
    for (width, height, name) in [(390, 844, "phone"), (1280, 800, "desktop")] {
        let (shop, link) = Shop::asking(Kind::Sqlite).await;
        let answered = tokio::task::spawn_blocking(move || {
            let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
            std::fs::create_dir_all(&picture).unwrap();
            let browser = Browser::open(width, height);
            browser.go(&format!("{link}/9"));
            assert!(browser.text().contains("Is this what you want to tell Acme?"), "{}", browser.text());
            assert_eq!(browser.count("input[type=radio]"), 11);
            assert_eq!(browser.run("return document.querySelector('input:checked').value"), "9");
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide), 0, "the page is wider than the window");
            let low = "return [...document.querySelectorAll('button, .scores label, textarea')].filter(e => e.getBoundingClientRect().height < 40).length";
            assert_eq!(browser.run(low), 0, "something to press is lower than 40 pixels");
            assert_eq!(browser.complaints(), Vec::<String>::new());
            browser.screenshot(&picture.join(format!("{name}-5-answer.png")));
            browser.click("input[value='4']");
            browser.run("document.querySelector('textarea').value = 'Nobody called back.'; return 1");
            browser.click("button");
            browser.wait_for("Thank you! Your answer has reached Acme.");
            browser.screenshot(&picture.join(format!("{name}-6-answered.png")));
        });
        answered.await.unwrap();
        assert_eq!(shop.world.engine.tell_answers().await.unwrap(), 1);
        let rows = shop.rows().await;
        assert!(rows[0].contains('4') && rows[0].contains("Nobody called back."), "{rows:?}");
    }
}
