//! The webhook sender against real HTTP receivers, decent and not.

use crate::support::{Reply, http_receiver, instant, test_clock};
use nudged::action::webhook::{DestinationOptions, WebhookSender, sign};
use nudged::engine::port::{Message, Sender, Sent, WebhookCall};
use nudged::model::{DeliveryId, Outcome, Period, Unit};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};

const NOW: &str = "2026-11-21T10:00:00Z";

fn open(url: &str) -> DestinationOptions {
    DestinationOptions { allow_private: true, ..DestinationOptions::to(url) }
}

fn sender(options: DestinationOptions) -> WebhookSender {
    WebhookSender::new(&BTreeMap::from([("crm".to_owned(), options)]), test_clock(NOW)).unwrap()
}

fn call(destination: &str, keep_answer: bool) -> Message {
    Message::Webhook(WebhookCall {
        delivery: DeliveryId([9; 16]),
        attempt: 1,
        destination: destination.into(),
        body: json!({"record": {"key": "4711", "name": "Zoë"}}),
        keep_answer,
    })
}

async fn send(options: DestinationOptions) -> Sent {
    sender(options).send(call("crm", false)).await
}

#[tokio::test]
async fn a_call_is_signed_and_carries_its_key() {
    let receiver = http_receiver();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let options = DestinationOptions {
        secret: Some(secret.to_owned().into()),
        token: Some("t0ken".to_owned().into()),
        ..open(&format!("{}/hook", receiver.url))
    };
    let sent = send(options).await;
    assert_eq!(sent.outcome, Outcome::Sent { reply: "200 OK".into() });
    let request = receiver.received().remove(0);
    let id = "09".repeat(16);
    assert_eq!(
        (request.path.as_str(), request.key(), request.header("webhook-id")),
        ("/hook", id.as_str(), id.as_str())
    );
    assert_eq!(request.header("authorization"), "Bearer t0ken");
    assert_eq!(request.header("webhook-timestamp"), instant(NOW).as_second().to_string());
    let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &secret["whsec_".len()..]).unwrap();
    let expected = sign(&key, &id, instant(NOW).as_second(), &request.body);
    assert_eq!(request.header("webhook-signature"), expected);
    assert_eq!(request.json()["record"]["name"], "Zoë");
}

#[tokio::test]
async fn answers_are_told_apart() {
    let receiver = http_receiver();
    let sender = sender(open(&receiver.url));
    receiver.reply_next(Reply::status(429).header("retry-after", "90"));
    let sent = sender.send(call("crm", false)).await;
    let Outcome::Transient { retry_after, .. } = sent.outcome else { panic!("{:?}", sent.outcome) };
    assert_eq!(retry_after, Some(instant("2026-11-21T10:01:30Z")));
    for (status, expected) in
        [(500, "transient"), (503, "transient"), (404, "permanent"), (422, "permanent"), (204, "sent")]
    {
        receiver.reply_next(Reply::status(status));
        assert_eq!(sender.send(call("crm", false)).await.outcome.as_str(), expected, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (first, second) = (http_receiver(), http_receiver());
    first.reply_next(Reply::status(307).header("location", &second.url));
    let sent = send(open(&first.url)).await;
    assert!(
        matches!(&sent.outcome, Outcome::Permanent { reason } if reason.contains("redirects")),
        "{:?}",
        sent.outcome
    );
    assert_eq!((first.count(), second.count()), (1, 0));
}

#[tokio::test]
async fn an_answer_is_kept_only_when_wanted_and_when_it_is_short_json() {
    let receiver = http_receiver();
    let sender = sender(open(&receiver.url));
    receiver.reply_next(Reply::ok().json(&json!({"id": 5})));
    assert_eq!(sender.send(call("crm", true)).await.answer, Some(json!({"id": 5})));
    receiver.reply_next(Reply::ok().json(&json!({"id": 5})));
    assert_eq!(sender.send(call("crm", false)).await.answer, None);
    receiver.reply_next(Reply::ok().json(&json!("x".repeat(1 << 20))));
    let sent = sender.send(call("crm", true)).await;
    assert_eq!((sent.outcome.as_str(), sent.answer), ("sent", None));
    receiver.reply_next(Reply::ok());
    assert_eq!(sender.send(call("crm", true)).await.outcome.as_str(), "sent");
}

#[tokio::test]
async fn no_answer_in_time_leaves_the_outcome_unknown() {
    let receiver = http_receiver();
    receiver.reply_next(Reply::ok().held());
    let options = DestinationOptions { timeout: Period::new(1, Unit::Second), ..open(&receiver.url) };
    let sent = send(options).await;
    assert_eq!(sent.outcome.as_str(), "unknown", "{:?}", sent.outcome);
    receiver.wait_for(1);
    receiver.release();
}

/// Takes one connection and does `what` with it.
fn server(what: impl FnOnce(std::net::TcpStream) + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        if let Ok((socket, _)) = listener.accept() {
            what(socket);
        }
    });
    url
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown() {
    let url = server(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    });
    assert_eq!(send(open(&url)).await.outcome.as_str(), "unknown");
    let url = server(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"nonsense\r\n\r\n");
    });
    assert_eq!(send(open(&url)).await.outcome.as_str(), "unknown");
}

#[tokio::test]
async fn an_answer_whose_body_breaks_off_has_still_arrived() {
    let url = server(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    });
    assert_eq!(send(open(&url)).await.outcome.as_str(), "sent");
}

#[tokio::test]
async fn nobody_there_is_transient() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let sent = send(open(&format!("http://user:secret@{free}/path"))).await;
    assert!(
        matches!(&sent.outcome, Outcome::Transient { reason, .. } if !reason.contains("secret")),
        "{:?}",
        sent.outcome
    );
}

#[tokio::test]
async fn private_addresses_are_refused_as_numbers_and_as_names() {
    let receiver = http_receiver();
    let port = receiver.url.rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0"]
    {
        let options = DestinationOptions::to(format!("http://{host}:{port}/"));
        let error = WebhookSender::new(&BTreeMap::from([("crm".to_owned(), options)]), test_clock(NOW)).err();
        let error = error.unwrap_or_else(|| panic!("{host} was allowed")).to_string();
        assert!(error.starts_with("webhooks.crm.url: ") && error.contains("allow_private"), "{error}");
    }
    let sent = send(DestinationOptions::to(format!("http://localhost:{port}/"))).await;
    assert!(
        matches!(&sent.outcome, Outcome::Permanent { reason } if reason.contains("allow_private")),
        "{:?}",
        sent.outcome
    );
    assert_eq!(receiver.count(), 0);
    assert_eq!(send(open(&format!("http://localhost:{port}/"))).await.outcome.as_str(), "sent");
}

#[tokio::test]
async fn only_destinations_of_the_configuration_are_called() {
    let sent = sender(open("http://127.0.0.1:9/")).send(call("other", false)).await;
    assert!(matches!(&sent.outcome, Outcome::Permanent { reason } if reason.contains("no destination `other`")));
    for url in ["ftp://a.example/", "file:///etc/passwd", "nonsense"] {
        let options = BTreeMap::from([("crm".to_owned(), open(url))]);
        assert!(WebhookSender::new(&options, test_clock(NOW)).is_err(), "{url}");
    }
}
