//! From an event that another system posts to the webhook that tells of its match: one at a time, then as many as the
//! public listener takes.

use super::nudged::{Nudged, Outlets, State};
use super::sink::{Sink, since_1970};
use super::source::customers;
use super::support::guarded::free_port;
use super::support::poll_until;
use super::{Bench, report};
use nudged::action::webhook::sign;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(5);
const SECRET: &str = "a secret of both";
const SAMPLES: usize = 300;
const BURST: usize = 5_000;

const RULE: &str = "version: 1
id: signed-up
mode: live
purpose: staff
for_each: customer
trigger:
  event: {name: signed-up, key: data.customer_id}
guard: {percent_per_day: 100, floor: 2000000}
steps:
  - webhook: {to: sink}
";

/// One connection to a listener, for one request after another.
struct Caller(BufReader<TcpStream>);

impl Caller {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket has options");
        Self(BufReader::new(stream))
    }

    /// The status of the answer.
    fn post(&mut self, number: usize) -> u16 {
        let customer = number % customers() as usize + 1;
        let body = format!("{{\"type\":\"signed-up\",\"data\":{{\"customer_id\":{customer}}}}}");
        let (id, at) = (format!("msg_{number}"), since_1970().as_secs() as i64);
        let signature = sign(SECRET.as_bytes(), &id, at, body.as_bytes());
        let request = format!(
            "POST /events/signed-up HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\n\
             webhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\nidempotency-key: {id}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).expect("it reads");
        self.answer()
    }

    fn answer(&mut self) -> u16 {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("it answers");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            status = status.or_else(|| line.split_whitespace().nth(1)?.parse().ok());
            length =
                line.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().expect("a length"));
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("it answers in full");
        status.expect("a status")
    }
}

pub fn measure(bench: &Bench) {
    for state in State::chosen() {
        let sink = Sink::start();
        let nudged =
            Nudged::configure(bench, state, Outlets::to(&sink), &[("signed-up.yaml".to_owned(), RULE.to_owned())]);
        let port = free_port();
        nudged.append(
            "config.toml",
            &format!("[events.signed-up]\nsecret = \"{SECRET}\"\n"),
            (
                "[web]\n",
                &format!("[web]\npublic_listen = \"127.0.0.1:{port}\"\npublic_url = \"https://bench.example\"\n"),
            ),
        );
        let life = nudged.start();
        poll_until(PATIENCE, || nudged.is_ready());
        let ours = one_by_one(port, &sink, 0);
        let beside = Sink::start();
        let bare = one_by_one(beside.port(), &beside, 0);
        let what = format!("{}: event posted → webhook arrived (target 1 s)", state.name());
        report::spread_beside(&what, ours, ("the same request posted to the receiver itself", bare));
        burst(port, &sink, state);
        life.kill();
    }
}

/// How long each takes to come out as a webhook.
fn one_by_one(port: u16, sink: &Sink, from: usize) -> Vec<Duration> {
    let mut caller = Caller::connect(port);
    let sample = |number: usize| {
        let began = since_1970();
        let before = sink.tally().keys;
        assert!((200..300).contains(&caller.post(from + number)), "the event is taken");
        poll_until(PATIENCE, || sink.tally().keys > before);
        sink.tally().last.saturating_sub(began)
    };
    (0..SAMPLES).map(sample).collect()
}

/// Over four connections; from the first request to the last webhook.
fn burst(port: u16, sink: &Sink, state: State) {
    let before = sink.tally().keys;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                let mut caller = Caller::connect(port);
                for number in (lane..BURST).step_by(4) {
                    assert_eq!(caller.post(SAMPLES + number), 202);
                }
            });
        }
    });
    let taken = BURST as f64 / began.elapsed().as_secs_f64();
    poll_until(PATIENCE, || sink.tally().keys >= before + BURST);
    let done = BURST as f64 / began.elapsed().as_secs_f64();
    report::rate(&format!("{}: events taken and kept, over four connections", state.name()), taken, None);
    report::rate("  matched, and their webhooks arrived", done, None);
}
