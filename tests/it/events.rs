//! Events of other systems: a real daemon, a real HTTP client, signatures that are right and wrong; and what the
//! engine makes of events that were kept.

use crate::site::{Process, Site, waited};
use crate::support::{HttpReceiver, PATIENCE, http_receiver, instant, poll_until};
use crate::world::{Kind, Setup, World, hours, minutes};
use jiff::{SignedDuration, Timestamp};
use nudged::action::webhook::sign;
use nudged::engine::Event;
use nudged::engine::port::{Inbound, Message};
use nudged::model::RecordId;
use nudged::store::sqlite::SqliteStore;
use serde_json::{Value as Json, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SECRET: &str = "a secret of both";

const RULE: &str = "version: 1
id: signed-up
description: Somebody signed up elsewhere.
mode: live
purpose: service
for_each: customer
trigger:
  event: {name: signed-up, key: data.customer_id}
check_every: 1 day
steps:
  - webhook: {to: team-chat, body: {text: \"{{ record.name }} took {{ occasion.row.data.plan }}\"}}
";

/// A daemon that listens for events, with one customer.
struct Shop {
    site: Site,
    address: String,
    receiver: HttpReceiver,
    _daemon: Process,
}

impl Shop {
    fn open() -> Self {
        let site = Site::new();
        let receiver = http_receiver();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        site.configure("http://127.0.0.1:9/", &receiver.url);
        site.configure("127.0.0.1:0", &free.to_string());
        site.configure("[log]", &format!("[events.signed-up]\nsecret = \"{SECRET}\"\n[log]"));
        fs::set_permissions(site.path("config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        site.rules(&[("signed-up.yaml", RULE)]);
        site.crm(
            "INSERT INTO accounts VALUES (7, 'Cafe 7', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00')",
        );
        let daemon = site.start();
        site.told("READY=1");
        Self { site, address: format!("http://{free}"), receiver, _daemon: daemon }
    }

    fn send(&self, call: &Call) -> u16 {
        // Whoever tests over TLS has done this before us.
        let _ = rustls::crypto::ring::default_provider().install_default();
        waited(async {
            let client = reqwest::Client::new();
            let mut request = client.post(format!("{}{}", self.address, call.path)).body(call.body.clone());
            for (name, value) in &call.headers {
                request = request.header(*name, value);
            }
            request.send().await.unwrap().status().as_u16()
        })
    }

    /// Reasons for which an event about this customer did not match.
    fn misses(&self, key: &str) -> Vec<String> {
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
        waited(async {
            let store = SqliteStore::open(Path::new(&self.site.path("state.db")), Timestamp::now()).await.unwrap();
            let misses = nudged::engine::port::View::misses(&store, &record).await.unwrap();
            store.close().await;
            misses.into_iter().map(|miss| miss.reason).collect()
        })
    }
}

/// A request, signed as it should be until somebody changes it.
struct Call {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn call(id: &str, body: &Json) -> Call {
    signed(id, Timestamp::now(), body.to_string(), SECRET)
}

fn signed(id: &str, at: Timestamp, body: String, secret: &str) -> Call {
    let signature = sign(secret.as_bytes(), id, at.as_second(), body.as_bytes());
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.as_second().to_string()),
        ("webhook-signature", format!("v1,c29tZXRoaW5nIGVsc2U= {signature}")),
    ];
    Call { path: "/events/signed-up", headers, body }
}

fn about(customer: i64) -> Json {
    json!({"type": "customer.signed_up", "data": {"customer_id": customer, "plan": "Complete"}})
}

#[test]
fn a_signed_event_matches_at_once_and_once() {
    let shop = Shop::open();
    assert_eq!(shop.send(&call("msg_1", &about(7))), 202);
    // The rule itself looks only once a day.
    shop.receiver.wait_for(1);
    assert_eq!(shop.receiver.received()[0].json()["data"]["text"], "Cafe 7 took Complete");
    assert_eq!(shop.send(&call("msg_1", &about(7))), 202, "the same event again is as welcome");
    assert_eq!(shop.send(&call("msg_2", &about(9_999))), 202);
    poll_until(PATIENCE, || shop.misses("9999") == ["no customer has this key"]);
    assert_eq!(shop.send(&call("msg_n", &json!({"data": {"customer_id": null}}))), 202);
    let told = || shop.site.log().lines().filter(|line| line.contains("an event names no record")).count();
    poll_until(PATIENCE, || told() > 0);
    let log = shop.site.log();
    assert!(log.contains("msg_n") && log.contains("`data.customer_id` is null"), "{log}");
    assert_eq!(shop.send(&call("msg_3", &about(7))), 202);
    shop.receiver.wait_for(2);
    assert_eq!(shop.receiver.count(), 2, "msg_1 and msg_3");
    assert_eq!((told(), shop.misses("")), (1, vec!["`data.customer_id` is null".to_owned()]), "once");
}

#[test]
fn an_event_that_names_a_record_and_cant_be_read_is_told_of() {
    let shop = Shop::open();
    shop.site
        .rules(&[("signed-up.yaml", &RULE.replace("key: data.customer_id", "key: data.customer_id, id: data.no"))]);
    // By the rule as it was, the event can be read and matches.
    assert_eq!(shop.site.run(&["reload"]).0, 0);
    let explained = |record: &str| shop.site.json(&["explain", "signed-up", "--record", record])["verdict"].clone();
    let none = "never crossed: no event `signed-up` that names it is kept";
    assert_eq!(explained("customer:7")["text"], none);
    let odd = json!({"data": {"customer_id": 7, "no": {"x": 1}}});
    assert_eq!(shop.send(&call("msg_o", &odd)), 202);
    let told = explained("customer:7");
    assert_eq!(told["code"], "never_crossed");
    let why = "the event can't be read: `data.no` is an object, and no text or whole number";
    assert_eq!(told["text"], format!("never crossed: an event `signed-up` names it, but {why}"));
    let shown = shop.site.json(&["preview", "signed-up", "--record", "customer:7"]);
    assert_eq!(shown["misses"], json!([{"record": "customer:7", "occasion": "msg_o", "reason": why}]));
}

#[test]
fn whatever_is_not_signed_lately_and_as_it_is_stays_outside() {
    let shop = Shop::open();
    let fine = || call("msg_1", &about(7));
    let now = Timestamp::now();
    let minutes_off = |count: i64| now + SignedDuration::from_mins(count);
    let without = |header: &str| {
        let mut call = fine();
        call.headers.retain(|(name, _)| *name != header);
        call
    };
    let refused = [
        ("another event", Call { path: "/events/signed-off", ..fine() }, 404),
        ("no event", Call { path: "/api/status", ..fine() }, 404),
        ("another secret", signed("msg_1", now, about(7).to_string(), "a guess"), 401),
        ("another body", Call { body: about(8).to_string(), ..fine() }, 401),
        ("a replay", signed("msg_1", minutes_off(-6), about(7).to_string(), SECRET), 401),
        ("a wrong clock", signed("msg_1", minutes_off(6), about(7).to_string(), SECRET), 401),
        ("no id", without("webhook-id"), 400),
        ("no time", without("webhook-timestamp"), 400),
        ("no signature", without("webhook-signature"), 400),
        ("no type", without("content-type"), 415),
        ("not JSON", signed("msg_1", now, "plan=Complete".to_owned(), SECRET), 400),
        ("no object", signed("msg_1", now, "[7]".to_owned(), SECRET), 400),
        ("what no database can keep", signed("msg_1", now, "{\"a\": [{\"b\\u0000\": 1}]}".to_owned(), SECRET), 400),
        ("too large", signed("msg_1", now, format!("{{\"a\":\"{}\"}}", "x".repeat(300_000)), SECRET), 413),
    ];
    for (what, call, status) in refused {
        assert_eq!(shop.send(&call), status, "{what}");
    }
    // None of them was kept: the first that is right is the first that matches.
    assert_eq!(shop.send(&fine()), 202);
    shop.receiver.wait_for(1);
    let log = shop.site.log();
    assert!(!log.contains(SECRET) && !log.contains("Complete"), "{log}");
}

#[test]
fn a_rule_that_waits_for_an_event_nobody_may_send_does_not_load() {
    let site = Site::new();
    site.rules(&[("signed-up.yaml", RULE)]);
    let (code, _, talk) = site.run(&["check"]);
    assert_ne!(code, 0, "{talk}");
    let (_, told, talk) = site.run(&["check", "--format", "json"]);
    assert!(told.contains("rule.no-event") || talk.contains("rule.no-event"), "{told}{talk}");
}

// ---- the engine ----------------------------------------------------------------------------------

const START: &str = "2026-10-10T07:00:00Z";

fn told(world: &World) -> Vec<String> {
    let texts = world.webhooks.take().into_iter().map(|message| match message {
        Message::Webhook(call) => call.body["data"]["text"].as_str().unwrap().to_owned(),
        other => panic!("not a webhook: {other:?}"),
    });
    texts.collect()
}

async fn keep(world: &World, id: &str, body: Json) {
    let event = Inbound { name: "signed-up".into(), id: id.into(), received_at: world.now(), body };
    world.store.accept(&event).await.unwrap();
}

#[tokio::test]
async fn what_was_kept_matches_once_the_source_answers() {
    let catalog =
        crate::world::CATALOG.replace("fields: {country: country_code}", "fields: {country: country_code, name: name}");
    let rule = RULE.replace("team-chat", "sink").replace("1 day", "1 minute");
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let world = World::set_up(Setup { catalog: catalog.clone(), ..Setup::of(kind, instant(START)) }).await;
        let created = world.crm.time(world.now());
        world.crm.run(&format!("INSERT INTO accounts VALUES (7, 'Ada', 'AT', {created})")).await;
        keep(&world, "msg_0", about(7)).await;
        world.load(&[("r.yaml", &rule)]).await;
        world.pass(minutes(1)).await;
        assert!(told(&world).is_empty(), "it came before the rule: {kind:?}");
        world.wire.cut(true);
        world.clock.advance(minutes(1));
        keep(&world, "msg_1", about(7)).await;
        keep(&world, "msg_2", json!({"data": {"plan": "no customer"}})).await;
        keep(&world, "msg_3", about(8)).await;
        world.clock.advance(hours(30));
        assert!(world.engine.sweep_due().await.is_err(), "{kind:?}");
        world.wire.cut(false);
        world.events();
        world.pass(minutes(1)).await;
        assert_eq!(told(&world), ["Ada took Complete"], "{kind:?}");
        let missed =
            |event: &Event| matches!(event, Event::Missed { reason, .. } if reason == "no customer has this key");
        let events = world.events();
        assert_eq!(events.iter().filter(|event| missed(event)).count(), 1, "{kind:?}");
        let unread = |events: &[Event]| -> Vec<(String, String)> {
            let told = |event: &Event| match event {
                Event::Unread { event, problem, .. } => Some((event.clone(), problem.clone())),
                _ => None,
            };
            events.iter().filter_map(told).collect()
        };
        let nobody = ("msg_2".to_owned(), "`data.customer_id` is not in the event".to_owned());
        assert_eq!(unread(&events), [nobody], "{kind:?}");
        let unreadable = |event: &Event| matches!(event, Event::SweepFinished(report) if report.unreadable > 0);
        assert!(!events.iter().any(unreadable), "nobody asks again: {kind:?}");
        let nobody = RecordId { tenant: "".into(), entity: "customer".into(), key: "".into() };
        let misses = world.store.misses(&nobody).await.unwrap();
        assert_eq!(misses.iter().map(|miss| miss.occasion.as_str()).collect::<Vec<_>>(), ["msg_2"], "{kind:?}");
        // A redelivery under a new id is a new event; the rule may look deeper.
        world.pass(minutes(1)).await;
        assert!(told(&world).is_empty(), "{kind:?}");
        assert_eq!(unread(&world.events()), [], "told once: {kind:?}");
    }
}

/// No tenant's sweep reads it as its own, so the first one's says that nobody does.
#[tokio::test]
async fn an_event_of_a_tenant_that_nobody_knows_is_told_once() {
    let tenants = "tenants: {names: [north, south], per_transaction: \"SET LOCAL app.tenant = $tenant\"}\nentities:\n";
    let catalog = crate::world::CATALOG
        .replace("fields: {country: country_code}", "fields: {country: country_code, name: name}")
        .replace("entities:\n", tenants);
    let rule = RULE
        .replace("team-chat", "sink")
        .replace("1 day", "1 minute")
        .replace("key: data.customer_id", "key: data.customer_id, tenant: shop");
    let per_transaction = Some("SET LOCAL app.tenant = $tenant".to_owned());
    let setup = Setup { catalog, per_transaction, ..Setup::of(Kind::Postgres, instant(START)) };
    let world = World::set_up(setup).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (7, 'Ada', 'AT', {created})")).await;
    world.load(&[("r.yaml", &rule)]).await;
    world.pass(minutes(1)).await;
    world.events();
    let of = |shop: &str| json!({"shop": shop, "data": {"customer_id": 7, "plan": shop}});
    for shop in ["north", "south", "west"] {
        keep(&world, shop, of(shop)).await;
    }
    world.pass(minutes(1)).await;
    let mut told = told(&world);
    told.sort();
    assert_eq!(told, ["Ada took north", "Ada took south"]);
    let unread = |event: Event| match event {
        Event::Unread { event, problem, .. } => Some((event, problem)),
        _ => None,
    };
    let stray = ("west".to_owned(), "`shop` names none of the catalog's tenants".to_owned());
    assert_eq!(world.events().into_iter().filter_map(unread).collect::<Vec<_>>(), [stray]);
    let nobody = RecordId { tenant: "north".into(), entity: "customer".into(), key: "".into() };
    let misses = world.store.misses(&nobody).await.unwrap();
    assert_eq!(misses.iter().map(|miss| miss.occasion.as_str()).collect::<Vec<_>>(), ["west"]);
    world.pass(minutes(1)).await;
    assert_eq!(world.events().into_iter().filter_map(unread).count(), 0, "told once");
}

/// PostgreSQL keeps it in no text: one event would have stopped its rule for good.
#[tokio::test]
async fn a_key_that_no_database_can_keep_stops_nobody_else() {
    let catalog =
        crate::world::CATALOG.replace("fields: {country: country_code}", "fields: {country: country_code, name: name}");
    let rule = RULE.replace("team-chat", "sink").replace("1 day", "1 minute");
    let setup = Setup { catalog, shared: true, ..Setup::of(Kind::Sqlite, instant(START)) };
    let world = World::set_up(setup).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (7, 'Ada', 'AT', {created})")).await;
    world.load(&[("r.yaml", &rule)]).await;
    world.pass(minutes(1)).await;
    keep(&world, "msg_1", json!({"data": {"customer_id": "\0", "plan": "\0"}})).await;
    keep(&world, "msg_2", about(7)).await;
    world.pass(minutes(1)).await;
    assert_eq!(told(&world), ["Ada took Complete"]);
}
