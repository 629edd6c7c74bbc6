//! Text messages: what gateways are asked, what their answers mean, who is written to, and who said STOP.

use super::world::{customer, outcomes, settings, texts, world_with};
use crate::support::{Reply, http_receiver, instant, test_clock};
use crate::world::{Kind, World, days, hours};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nudged::action::HttpSender;
use nudged::action::chat::ChatSender;
use nudged::action::sms::{GatewayFormat, GatewayMethod, GatewayOptions, Redirected, SmsOptions, SmsSender};
use nudged::action::webhook::WebhookSender;
use nudged::diagnostic::SourceFile;
use nudged::engine::port::{Message, Sender, Sent, SmsMessage};
use nudged::engine::{PreviewScope, Previewer, Settings, preview};
use nudged::model::{Cap, Channel, Clock, DeliveryId, Outcome, Period, Suppression, SuppressionReason};
use nudged::rule::generation::{Gateways, Generation, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use nudged::web::{SmsAnswers, public_router};
use rstest::rstest;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: &str = "2026-11-21T10:00:00Z";
const TOKEN: &str = "s3cret";

fn twilio(url: &str) -> GatewayOptions {
    GatewayOptions {
        account: Some("AC42".to_owned()),
        token: Some(TOKEN.to_owned().into()),
        from: Some("+43720000000".to_owned()),
        allow_private: true,
        ..GatewayOptions::to(GatewayFormat::Twilio, url)
    }
}

fn options(gateway: GatewayOptions) -> SmsOptions {
    SmsOptions { gateways: BTreeMap::from([("phones".to_owned(), gateway)]), ..SmsOptions::default() }
}

fn sender_to(gateway: GatewayOptions, redirected: Redirected) -> HttpSender {
    let sms = SmsSender::new(&options(gateway), redirected, test_clock(NOW)).unwrap();
    let webhooks = WebhookSender::new(&BTreeMap::new(), test_clock(NOW)).unwrap();
    HttpSender::new(webhooks, ChatSender::new(&BTreeMap::new(), test_clock(NOW)).unwrap()).with_sms(sms)
}

fn message(text: &str) -> Message {
    let delivery = DeliveryId([9; 16]);
    Message::Sms(SmsMessage { delivery, to: "+436641234567".into(), via: None, text: text.into() })
}

async fn send(gateway: GatewayOptions, text: &str) -> Sent {
    sender_to(gateway, Redirected::No).send(message(text)).await
}

fn fields(body: &[u8]) -> BTreeMap<String, String> {
    serde_urlencoded::from_bytes(body).unwrap()
}

#[tokio::test]
async fn twilio_is_asked_as_it_documents() {
    let receiver = http_receiver();
    receiver.reply_next(Reply::status(201).json(&json!({"sid": "SM7", "status": "queued", "error_code": null})));
    receiver.reply_next(Reply::status(201));
    let sent = send(twilio(&receiver.url), "Grüße & bis bald +1").await.outcome;
    assert_eq!(sent, Outcome::Sent { reply: "201 SM7".into() });
    let service = GatewayOptions { from: None, messaging_service: Some("MG1".into()), ..twilio(&receiver.url) };
    assert_eq!(send(service, "Hi").await.outcome, Outcome::Sent { reply: "201".into() });
    let received = receiver.received();
    assert_eq!(received[0].path, "/2010-04-01/Accounts/AC42/Messages.json");
    assert_eq!(received[0].header("authorization"), format!("Basic {}", STANDARD.encode("AC42:s3cret")));
    assert_eq!(received[0].header("content-type"), "application/x-www-form-urlencoded");
    let pairs = |fields: &[(&str, &str)]| -> BTreeMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let asked = [("To", "+436641234567"), ("From", "+43720000000"), ("Body", "Grüße & bis bald +1")];
    assert_eq!(fields(&received[0].body), pairs(&asked));
    let asked = [("To", "+436641234567"), ("MessagingServiceSid", "MG1"), ("Body", "Hi")];
    assert_eq!(fields(&received[1].body), pairs(&asked));
}

#[tokio::test]
async fn other_gateways_are_asked_as_the_configuration_says() {
    let receiver = http_receiver();
    let url = format!("{}/v1/messages", receiver.url);
    let token = Some(TOKEN.to_owned().into());
    let own = || GatewayOptions {
        from: Some("Acme".into()),
        allow_private: true,
        ..GatewayOptions::to(GatewayFormat::Json, &url)
    };
    let body = BTreeMap::from([("messages".to_owned(), json!([{"to": "{to}", "content": "{text}", "ref": "{id}"}]))]);
    let headers = BTreeMap::from([("accept".to_owned(), "application/json".to_owned())]);
    let nested = GatewayOptions { body, headers, token: token.clone(), method: GatewayMethod::Put, ..own() };
    assert_eq!(send(nested, "for {to}").await.outcome.as_str(), "sent");
    let form = GatewayOptions {
        format: GatewayFormat::Form,
        token: token.clone(),
        key_header: Some("x-api-key".into()),
        ..own()
    };
    assert_eq!(send(form, "Hi").await.outcome.as_str(), "sent");
    let get = GatewayOptions { method: GatewayMethod::Get, token, account: Some("acme".into()), ..own() };
    assert_eq!(send(get, "a b").await.outcome.as_str(), "sent");

    let received = receiver.received();
    let id = "09".repeat(16);
    assert_eq!(received[0].json(), json!({"messages": [{"to": "+436641234567", "content": "for {to}", "ref": id}]}));
    assert_eq!(
        (received[0].header("authorization"), received[0].header("accept")),
        ("Bearer s3cret", "application/json")
    );
    assert_eq!(received[1].header("x-api-key"), "s3cret");
    assert_eq!(received[1].header("authorization"), "");
    assert_eq!(fields(&received[1].body)["from"], "Acme");
    assert_eq!(received[2].header("authorization"), format!("Basic {}", STANDARD.encode("acme:s3cret")));
    assert_eq!(fields(received[2].query.as_bytes())["text"], "a b");
}

#[tokio::test]
async fn what_a_gateway_refuses_stays_refused_and_what_it_doesnt_answer_is_in_doubt() {
    let receiver = http_receiver();
    let problem =
        |status: u16, code: u32| Reply::status(status).json(&json!({"code": code, "message": "To +436641234567"}));
    receiver.reply_next(problem(400, 21_610));
    receiver.reply_next(problem(401, 20_003));
    receiver.reply_next(problem(429, 20_429).header("retry-after", "30"));
    receiver.reply_next(Reply::status(503));
    receiver.reply_next(problem(400, 29_999));
    let outcome = async || send(twilio(&receiver.url), "Hi").await.outcome;
    assert_eq!(outcome().await, Outcome::Permanent { reason: "400 21610: the recipient has opted out".into() });
    assert_eq!(outcome().await, Outcome::Permanent { reason: "401 20003: the account or its token is wrong".into() });
    let Outcome::Transient { retry_after, reason } = outcome().await else { panic!("not transient") };
    assert_eq!(retry_after, Some(instant("2026-11-21T10:00:30Z")));
    assert!(reason.starts_with("429 20429"), "{reason}");
    assert_eq!(outcome().await.as_str(), "transient");
    assert_eq!(outcome().await, Outcome::Permanent { reason: "400 29999: “To …”".into() });
    receiver.reply_next(problem(500, 20_500));
    assert_eq!(outcome().await.as_str(), "unknown", "what broke may have taken it first");
    receiver.reply_next(Reply::status(502));
    let other = GatewayOptions { format: GatewayFormat::Json, ..twilio(&receiver.url) };
    assert_eq!(send(other, "Hi").await.outcome.as_str(), "unknown");

    receiver.reply_next(Reply::ok().held());
    let hasty = GatewayOptions { timeout: "1 second".parse().unwrap(), ..twilio(&receiver.url) };
    assert_eq!(send(hasty, "Hi").await.outcome.as_str(), "unknown", "it may have been sent");
    receiver.release();
    let asked = receiver.count();
    assert_eq!(send(twilio(&receiver.url), " \n").await.outcome.as_str(), "permanent", "nothing to say");
    assert_eq!(receiver.count(), asked, "nothing left the house");
}

#[tokio::test]
async fn in_staging_nobody_real_is_written_to() {
    let receiver = http_receiver();
    receiver.reply_next(Reply::status(400).json(&json!({"code": 21_610})));
    let redirected = sender_to(twilio(&receiver.url), Redirected::To("+4369911111111".into()));
    let sent = redirected.send(message("Hi")).await.outcome;
    let Outcome::Permanent { reason } = sent else { panic!("{sent:?}") };
    assert!(reason.starts_with("to sms.redirect_all_to:"), "{reason}");
    let asked = fields(&receiver.received()[0].body);
    assert_eq!((asked["To"].as_str(), asked["Body"].as_str()), ("+4369911111111", "[to +436641234567] Hi"));
    let kept = sender_to(twilio(&receiver.url), Redirected::KeptBack).send(message("Hi")).await.outcome;
    assert!(matches!(&kept, Outcome::Sent { reply } if reply.starts_with("kept back")), "{kept:?}");
    assert_eq!(receiver.count(), 1);
}

#[rstest]
#[case::no_account(GatewayOptions { account: None, ..twilio("") }, "sms.gateways.phones.account")]
#[case::no_sender(GatewayOptions { from: None, ..twilio("") }, "sms.gateways.phones.from")]
#[case::no_url(GatewayOptions::to(GatewayFormat::Json, ""), "sms.gateways.phones.url")]
#[case::inside(GatewayOptions::to(GatewayFormat::Json, "http://10.0.0.1/"), "sms.gateways.phones.url")]
fn an_incomplete_gateway_is_told_at_the_start(#[case] gateway: GatewayOptions, #[case] key: &str) {
    let error = SmsSender::new(&options(gateway), Redirected::No, test_clock(NOW)).err().unwrap().to_string();
    assert!(error.starts_with(key), "{error}");
}

const RULE: &str = "version: 1
id: silence
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 30 days}}
check_every: 1 hour
steps:
  - sms: {text: \"{{ to.first_name }}, we miss you. Reply STOP to end\"}
";

async fn silent(kind: Kind, settings: Settings) -> World {
    let world = world_with(kind, settings).await;
    customer(&world, 1, "'a@x.example', 'Ada', NULL, false, '0664 1234567', 'E', false").await;
    customer(&world, 2, "'b@x.example', 'Ben', NULL, true, '+43 (0)699 / 11 22 33 44', NULL, true").await;
    customer(&world, 3, "'c@x.example', 'Cleo', NULL, true, NULL, NULL, false").await;
    customer(&world, 4, "'d@x.example', 'Dan', NULL, true, 'ask reception', NULL, false").await;
    customer(&world, 5, "'e@x.example', 'Eve', NULL, true, '+49 151 234 567 89', NULL, false").await;
    world.crm.run("INSERT INTO blocked_phones VALUES ('+49 151 / 234-567.89')").await;
    world.load(&[("silence.yaml", RULE)]).await;
    world
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn only_who_agreed_and_has_a_number_gets_a_text_message(#[case] kind: Kind) {
    let world = silent(kind, settings()).await;
    world.pass(hours(1)).await;
    // Ada said no to mails, which is about mails alone.
    let expected = [("+436641234567".to_owned(), "Ada, we miss you. Reply STOP to end".to_owned())];
    assert_eq!(texts(&world), expected);
    let expected = [
        "sent ok",
        "skipped no_address: the recipient has no phone number",
        "skipped no_address: the recipient's phone number is none that can exist",
        "skipped no_consent: no consent to offers by phone",
        "skipped suppressed: “robinson list” (in the source)",
    ];
    assert_eq!(outcomes(&world).await, expected);
}

#[tokio::test]
async fn a_preview_shows_the_text_and_its_number() {
    let world = silent(Kind::Sqlite, settings()).await;
    world.clock.advance(hours(1));
    let (generation, sender) = (world.generation(), json!({}));
    let settings = settings();
    let previewer = Previewer {
        generation: &generation,
        source: &*world.source,
        store: &*world.store,
        sender: &sender,
        sending: Some(&settings.sending),
        now: world.now(),
        limit: 100,
    };
    let found = preview(&previewer, &"silence".into(), &PreviewScope::LastInterval).await.unwrap();
    let shown: Vec<String> = found
        .matches
        .iter()
        .flat_map(|matched| &matched.messages)
        .map(|message| match &message.content {
            Ok(Message::Sms(sms)) => format!("{} {}: {}", message.kind, sms.to, sms.text),
            Ok(other) => panic!("{other:?}"),
            Err(why) => format!("{} {why}", message.kind),
        })
        .collect();
    assert!(shown.contains(&"sms +436641234567: Ada, we miss you. Reply STOP to end".to_owned()), "{shown:?}");
    assert!(shown.contains(&"sms skipped (no_consent): no consent to offers by phone".to_owned()), "{shown:?}");
}

#[tokio::test]
async fn who_opted_out_at_the_gateway_is_written_to_no_more() {
    let world = silent(Kind::Sqlite, settings()).await;
    world.webhooks.answer([Outcome::Permanent { reason: "400 21610: the recipient has opted out".into() }]);
    world.pass(hours(1)).await;
    let hash = world.store.secret().address_hash(Channel::Sms, "+436641234567");
    let listed = world.store.suppressed(&[hash]).await.unwrap();
    assert_eq!(
        listed.iter().map(|entry| (entry.channel, entry.reason)).collect::<Vec<_>>(),
        [(Channel::Sms, SuppressionReason::Unsubscribed)]
    );
    // The same text as a mail address is somebody else.
    let mailbox = world.store.secret().address_hash(Channel::Email, "+436641234567");
    assert!(world.store.suppressed(&[mailbox]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_text_message_in_doubt_is_never_sent_again_by_itself() {
    let world = silent(Kind::Sqlite, settings()).await;
    world.webhooks.answer([Outcome::Unknown { reason: "no answer".into() }]);
    world.pass(hours(1)).await;
    world.pass(days(1)).await;
    assert_eq!(texts(&world).len(), 1);
    assert_eq!(world.store.overview(world.now()).await.unwrap().outbox_unknown, 1, "an operator decides");
}

/// The same person by two rules: one text message a day, and the mail besides.
#[tokio::test]
async fn caps_count_text_messages_apart_from_mails() {
    let mut settings = settings();
    let caps = vec![Cap { count: 1, per: Period::days(1) }];
    let limits = Arc::new(nudged::model::Limits { caps, ..nudged::model::Limits::default() });
    settings.sending.texts.limits = Arc::clone(&limits);
    settings.sending.limits = limits;
    let world = world_with(Kind::Sqlite, settings).await;
    customer(&world, 1, "'a@x.example', 'Ada', NULL, true, '0664 1234567', NULL, false").await;
    let second = RULE.replace("id: silence", "id: second").replace("we miss you", "really");
    let mail = RULE
        .replace("id: silence", "id: third")
        .replace("sms: {text: \"{{ to.first_name }}, we miss you. Reply STOP to end\"}", "email: {template: mail}");
    let template = ("templates/mail.md", "---\nsubject: We miss you\n---\nHello\n");
    let layout = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");
    world.load(&[("silence.yaml", RULE), ("second.yaml", &second), ("third.yaml", &mail), template, layout]).await;
    world.pass(hours(1)).await;
    assert_eq!(texts(&world).len(), 1);
    assert_eq!(world.mail.mails().len(), 1);
    world.pass(days(1)).await;
    assert_eq!(texts(&world).len(), 1, "the other one, a day later");
}

#[tokio::test]
async fn the_first_of_each_version_of_a_text_goes_to_the_seeds_too() {
    let mut settings = settings();
    settings.sending.texts.seeds = vec!["+4369900000000".to_owned()];
    let world = world_with(Kind::Sqlite, settings).await;
    customer(&world, 1, "'a@x.example', 'Ada', NULL, true, '0664 1234567', NULL, false").await;
    customer(&world, 2, "'b@x.example', 'Ben', NULL, true, '0664 7654321', NULL, false").await;
    world.load(&[("silence.yaml", RULE)]).await;
    world.pass(hours(1)).await;
    let sent = texts(&world);
    let copies: Vec<_> = sent.iter().filter(|(to, _)| to == "+4369900000000").collect();
    assert_eq!((sent.len(), copies.len()), (3, 1), "{sent:?}");
    assert!(copies[0].1.starts_with("[seed] "), "{copies:?}");
}

// ---- answers ---------------------------------------------------------------------------------------

const BASE: &str = "https://mail.acme.example";

/// As the documentation says: HMAC-SHA1 over the address and the sorted fields.
fn signature(token: &str, fields: &BTreeMap<&str, &str>) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let text = fields.iter().fold(format!("{BASE}/sms/phones"), |text, (name, value)| format!("{text}{name}{value}"));
    STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()).as_ref())
}

/// Serves the route on a real socket, and asks it.
async fn answered(world: &World, token: &str, body: &str) -> u16 {
    let clock: Arc<dyn Clock> = world.clock.clone();
    let answers = SmsAnswers::new(&options(twilio("")), Some(BASE.to_owned()), Arc::clone(&world.store), clock);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sms/phones", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, public_router([answers.router()])).await });
    let form = BTreeMap::from([("From", "+436641234567"), ("To", "+43720000000"), ("Body", body)]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let request = client.post(url).header("x-twilio-signature", signature(token, &form)).form(&form);
    let status = request.send().await.unwrap().status().as_u16();
    serving.abort();
    status
}

#[tokio::test]
async fn who_answers_stop_is_written_to_no_more_if_twilio_says_so() {
    let world = silent(Kind::Sqlite, settings()).await;
    let hash = world.store.secret().address_hash(Channel::Sms, "+436641234567");
    assert_eq!(answered(&world, "another", "STOP").await, 401, "anybody could say that");
    assert_eq!(answered(&world, TOKEN, "Please don't stop").await, 200);
    assert!(world.store.suppressed(&[hash]).await.unwrap().is_empty());
    assert_eq!(answered(&world, TOKEN, " Stop! ").await, 200);
    assert_eq!(answered(&world, TOKEN, "STOP").await, 200, "again is as welcome");
    let listed: Vec<Suppression> = world.store.suppressed(&[hash]).await.unwrap();
    assert_eq!(listed[0].reason, SuppressionReason::Unsubscribed);
    world.pass(hours(1)).await;
    assert_eq!(texts(&world), []);
    let outcomes = outcomes(&world).await;
    assert!(outcomes.contains(&"skipped suppressed: unsubscribed".to_owned()), "{outcomes:?}");
}

#[test]
fn with_several_gateways_a_text_message_names_one() {
    let file = |path: &str, text: &str| Arc::new(SourceFile { path: path.into(), text: text.into() });
    let catalog = "version: 1
time_zone: UTC
entities:
  customer:
    table: accounts
    key: id
    person: {phone: phone}
    consent: {phone: {any_topic: texts_ok}}
    relations: {orders: {entity: order, by: customer}}
    recipients: {main_contact: {self: true}}
  order: {table: orders, key: id, at: placed_at, fields: {customer: account_id}}
";
    let found = |text: &str| {
        let files = vec![file("catalog.yaml", catalog), file("silence.yaml", text)];
        let surroundings = Surroundings {
            dialect: Dialect::Postgres,
            schema: None,
            destinations: [].into(),
            chats: [].into(),
            gateways: Gateways { names: ["one".to_owned(), "two".to_owned()].into(), ..Gateways::default() },
            topics: ["offers".into()].into(),
        };
        Generation::build(Arc::new(Tree { files }), &surroundings).map_or_else(
            |findings| findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            |generation| generation.warnings.iter().map(|finding| finding.code).collect(),
        )
    };
    let rule = RULE.replace("{{ to.first_name }}, ", "");
    assert_eq!(found(&rule), ["rule.which-gateway"]);
    assert_eq!(found(&rule.replace("sms: {", "sms: {via: two, ")), [""; 0]);
}
