//! A receiver of webhooks as a process of its own: counts requests by idempotency key, answers 200 at once,
//! and tells at `GET /` what it counted. By hand on bare sockets, so that it is not what is measured.

use super::support::guarded::free_port;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The argument that makes this program the sink.
pub const MODE: &str = "--sink";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

pub struct Sink {
    pub url: String,
    port: u16,
    child: Child,
}

/// What a sink has counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub requests: usize,
    pub keys: usize,
    /// Since 1970.
    pub first: Duration,
    pub last: Duration,
}

impl Tally {
    /// What [`Counted::told`] wrote.
    pub fn read(text: &str) -> Self {
        let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        let [requests, keys, first, last] = numbers[..] else { panic!("four numbers: {text}") };
        let instant = Duration::from_nanos;
        Self { requests: requests as usize, keys: keys as usize, first: instant(first), last: instant(last) }
    }

    /// Arrivals a second, from the first to the last.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.last.saturating_sub(self.first).as_secs_f64()
    }

    pub fn repeats(&self) -> usize {
        self.requests - self.keys
    }
}

impl Sink {
    pub fn start() -> Self {
        let (port, child) = start(MODE);
        Self { url: format!("http://127.0.0.1:{port}/hook"), port, child }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn tally(&self) -> Tally {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the sink listens");
        stream.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").expect("the sink reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the sink answers");
        Tally::read(answer.split_once("\r\n\r\n").expect("a head and a body").1)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970")
}

/// This program once more, as the sink of this mode; it listens when this returns.
pub fn start(mode: &str) -> (u16, Child) {
    let port = free_port();
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args([mode, &port.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("setpriv is part of every system");
    let mut ready = [0; 1];
    child.stdout.as_mut().expect("the pipe was asked for").read_exact(&mut ready).expect("the sink listens");
    (port, child)
}

#[derive(Default)]
pub struct Counted {
    keys: HashMap<String, u32>,
    requests: u64,
    first: Option<Duration>,
    last: Duration,
}

impl Counted {
    pub fn add(&mut self, key: String) {
        let now = since_1970();
        self.first.get_or_insert(now);
        self.last = now;
        self.requests += 1;
        *self.keys.entry(key).or_default() += 1;
    }

    pub fn told(&self) -> String {
        let (first, last) = (self.first.unwrap_or_default().as_nanos(), self.last.as_nanos());
        format!("{} {} {first} {last}", self.requests, self.keys.len())
    }
}

/// The sink's own main.
pub fn serve(port: u16) {
    listen(port, |stream, counted| {
        tokio::spawn(receive(stream, counted));
    });
}

/// Hands over every connection, with what all of them count.
pub fn listen(port: u16, receive: impl Fn(tokio::net::TcpStream, Arc<Mutex<Counted>>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        print!("!");
        std::io::stdout().flush().expect("somebody reads");
        let counted = Arc::new(Mutex::new(Counted::default()));
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket has options");
            receive(stream, Arc::clone(&counted));
        }
    });
}

async fn receive(mut stream: tokio::net::TcpStream, counted: Arc<Mutex<Counted>>) -> Option<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(16 << 10);
    loop {
        while let Some(request) = Request::at_start_of(&buffer) {
            let answer = request.count(&counted);
            buffer.drain(..request.length);
            stream.write_all(answer.as_deref().unwrap_or(OK)).await.ok()?;
            if answer.is_some() {
                return None;
            }
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

struct Request {
    key: String,
    question: bool,
    length: usize,
}

impl Request {
    /// `None` until it has arrived in full.
    fn at_start_of(buffer: &[u8]) -> Option<Self> {
        let head_length = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&buffer[..head_length]).ok()?;
        let header = |wanted: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(':'));
            headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let body: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let length = head_length + body;
        let key = header("idempotency-key").unwrap_or_default().to_owned();
        (buffer.len() >= length).then(|| Self { key, question: head.starts_with("GET"), length })
    }

    /// Counts a webhook; answers a question.
    fn count(&self, counted: &Mutex<Counted>) -> Option<Vec<u8>> {
        let mut counted = counted.lock().expect("nobody panics with it");
        if self.question {
            let body = counted.told();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            return Some(answer.into_bytes());
        }
        counted.add(self.key.clone());
        None
    }
}
