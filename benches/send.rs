//! How fast the adapters alone can send: emails to `smtp-sink` beside `smtp-source`, webhooks to a local sink
//! beside a raw client that writes ready-made bytes. Run with `cargo bench --bench send`.
//!
//! `SEND_MAILS`, `SEND_WEBHOOKS` and `SEND_SESSIONS` change the amounts.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints its figures and stops at the first error"
)]

use futures::StreamExt;
use nudged::action::email::smtp::SmtpSender;
use nudged::action::email::{EmailOptions, Tls};
use nudged::action::webhook::{DestinationOptions, WebhookSender};
use nudged::engine::port::{Email, Message, Sender, WebhookCall};
use nudged::model::{DeliveryId, Outcome, SystemClock};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        emails(number("SEND_MAILS", 20_000), number("SEND_SESSIONS", 10)).await;
        webhooks(number("SEND_WEBHOOKS", 50_000), number("SEND_SESSIONS", 32)).await;
    });
}

fn report(what: &str, count: usize, took: Duration) -> f64 {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:<44} {count:>7} in {:>6.2} s  {rate:>8.0}/s", took.as_secs_f64());
    rate
}

/// Sends `count` messages, `sessions` at a time; every one must be taken.
async fn send_all(
    sender: &dyn Sender,
    sessions: usize,
    count: usize,
    message: impl Fn(DeliveryId) -> Message,
) -> Duration {
    let started = Instant::now();
    let outcomes = futures::stream::iter(0..count).map(|index| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        sender.send(message(DeliveryId(id)))
    });
    let failed = outcomes
        .buffer_unordered(sessions)
        .filter(|sent| std::future::ready(!matches!(sent.outcome, Outcome::Sent { .. })))
        .count()
        .await;
    assert_eq!(failed, 0, "every message must be taken");
    started.elapsed()
}

struct Sink(Child);

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn postfix_program(name: &str) -> Command {
    let folders = ["/usr/sbin", "/usr/lib/postfix/sbin", "/usr/libexec/postfix"];
    let path = folders.iter().map(|folder| format!("{folder}/{name}")).find(|path| std::path::Path::new(path).exists());
    let mut command = Command::new(path.unwrap_or_else(|| panic!("{name} is missing: apt-get install postfix")));
    command.stdout(Stdio::null());
    command
}

fn smtp_sink() -> (Sink, u16) {
    let port = StdListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a free port").port();
    let mut sink = postfix_program("smtp-sink");
    if Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        sink.args(["-u", "nobody"]);
    }
    let sink = Sink(sink.arg(format!("inet:127.0.0.1:{port}")).arg("1000").spawn().expect("smtp-sink starts"));
    let started = Instant::now();
    while StdStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "smtp-sink does not listen");
        std::thread::yield_now();
    }
    (sink, port)
}

fn mail(delivery: DeliveryId) -> Message {
    Message::Email(Email {
        tracked_html: None,
        delivery,
        to_address: "ada@x.example".into(),
        to_name: Some("Ada Lovelace".into()),
        subject: "We miss you, Ada".into(),
        html: format!(
            "<!doctype html><html><body>{}</body></html>",
            "<p>Some hundred words of a decent mail.</p>\n".repeat(30)
        ),
        text: "Some hundred words of a decent mail.\n".repeat(30),
        sender: None,
        from: None,
        reply_to: None,
        images: Vec::new(),
        return_tag: None,
        signed: Vec::new(),
        headers: vec![("List-Unsubscribe".into(), "<https://acme.example/u/1>".into())],
    })
}

async fn emails(count: usize, sessions: usize) {
    let (_sink, port) = smtp_sink();
    let started = Instant::now();
    let bare = postfix_program("smtp-source")
        .args([
            "-d",
            "-s",
            &sessions.to_string(),
            "-m",
            &count.to_string(),
            "-l",
            "3000",
            &format!("inet:127.0.0.1:{port}"),
        ])
        .status()
        .expect("smtp-source runs");
    assert!(bare.success(), "smtp-source failed");
    let bare = report(&format!("smtp-source -d, {sessions} sessions"), count, started.elapsed());

    let options = EmailOptions {
        from: "Acme <hi@acme.example>".into(),
        host: "127.0.0.1".into(),
        port: Some(port),
        tls: Tls::None,
        sessions,
        messages_per_session: u32::MAX,
        ..EmailOptions::default()
    };
    let sender = SmtpSender::new(&options, Arc::new(SystemClock)).expect("the options are valid");
    let ours =
        report(&format!("nudged, emails, {sessions} sessions"), count, send_all(&sender, sessions, count, mail).await);
    println!("ratio to smtp-source: {:.2}\n", ours / bare);
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers every request on a thread of its own; reads heads and bodies by their length, and nothing more.
fn http_sink() -> SocketAddr {
    let listener = StdListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let address = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes sockets");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket));
            }
        });
    });
    address
}

async fn answer(mut socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let mut buffer = Vec::with_capacity(8_192);
    loop {
        while let Some(length) = request_length(&buffer) {
            buffer.drain(..length);
            if socket.write_all(ANSWER).await.is_err() {
                return;
            }
        }
        if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let length = text.split("content-length:").nth(1)?.lines().next()?.trim().parse::<usize>().ok()?;
    (buffer.len() >= head + length).then_some(head + length)
}

fn webhook(delivery: DeliveryId) -> Message {
    let body = serde_json::json!({
        "event": "win-back-90", "record": {"entity": "customer", "key": "4711", "name": "Acme", "tier": "vip"},
        "occasion": {"at": "2026-08-21T10:00:00Z"}, "sent_at": "2026-11-21T10:00:00Z",
    });
    Message::Webhook(WebhookCall { delivery, attempt: 1, destination: "sink".into(), body, keep_answer: false })
}

async fn webhooks(count: usize, sessions: usize) {
    let address = http_sink();
    let started = Instant::now();
    let clients = (0..sessions).map(|_| tokio::spawn(post_raw(address, count / sessions)));
    futures::future::join_all(clients).await.into_iter().for_each(|client| client.expect("the raw client works"));
    let bare = report(&format!("raw POSTs, {sessions} sessions"), count / sessions * sessions, started.elapsed());

    let options = DestinationOptions {
        secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into()),
        allow_private: true,
        sessions,
        ..DestinationOptions::to(format!("http://{address}/hook"))
    };
    let sender = WebhookSender::new(&BTreeMap::from([("sink".to_owned(), options)]), Arc::new(SystemClock));
    let sender = sender.expect("the options are valid");
    let took = send_all(&sender, sessions, count, webhook).await;
    let ours = report(&format!("nudged, webhooks, {sessions} sessions"), count, took);
    println!("ratio to raw POSTs: {:.2}", ours / bare);
}

async fn post_raw(address: SocketAddr, count: usize) {
    let body = "x".repeat(300);
    let request = format!("POST /hook HTTP/1.1\r\nhost: sink\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut socket = TcpStream::connect(address).await.expect("the sink listens");
    socket.set_nodelay(true).expect("a socket has options");
    let mut answer = [0; ANSWER.len()];
    for _ in 0..count {
        socket.write_all(request.as_bytes()).await.expect("the sink reads");
        socket.read_exact(&mut answer).await.expect("the sink answers");
    }
}
