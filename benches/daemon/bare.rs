//! The same work with nothing around it: psql for the selection, raw sockets for the calls, smtp-source for mails.

use super::machine::memory_of;
use super::source::BenchSource;
use super::support::Database;
use super::support::guarded::program;
use jiff::Timestamp;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Who was last active in (`after`, `until`]: what a crossing of `until` asks.
fn selection(after: &str, until: &str) -> String {
    format!(
        "SELECT account_id, max(placed_at) FROM crm.orders o
        WHERE placed_at > {after} AND placed_at <= {until} AND status = 'paid' AND NOT EXISTS (
            SELECT FROM crm.orders n WHERE n.account_id = o.account_id AND n.placed_at > o.placed_at AND n.status = 'paid')
        GROUP BY account_id"
    )
}

fn literal(instant: Timestamp) -> String {
    format!("'{instant}'::timestamptz")
}

/// The best of five, by psql from its start to its end, and how many it found.
pub fn psql(source: &BenchSource, after: Timestamp, until: Timestamp) -> (Duration, usize) {
    let sql = selection(&literal(after), &literal(until));
    let found = source.crm.rows(&sql).len();
    let once = || {
        let began = Instant::now();
        let status = source.crm.command(&sql).stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()));
        began.elapsed()
    };
    (std::iter::repeat_with(once).take(5).min().expect("five"), found)
}

/// The same within one session of psql, by its own timing: no process, no connecting.
pub fn psql_session(source: &BenchSource, windows: &[(Timestamp, Timestamp)]) -> Vec<Duration> {
    let ask =
        |(after, until): &(Timestamp, Timestamp)| selection(&literal(*after), &literal(*until)).replace('\n', " ");
    let script: String = windows.iter().map(|window| ask(window) + " \\g /dev/null\n").collect();
    let mut psql = source.crm.command("\\timing on");
    let mut child = psql.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql starts");
    child.stdin.take().expect("the pipe was asked for").write_all(script.as_bytes()).expect("psql reads");
    let output = child.wait_with_output().expect("psql ends");
    let said = String::from_utf8_lossy(&output.stdout);
    let millis = said.lines().filter_map(|line| line.strip_prefix("Time: ")?.split_whitespace().next()?.parse().ok());
    millis.map(|millis: f64| Duration::from_secs_f64(millis / 1e3)).collect()
}

/// A session of psql that stays, ended when this is dropped.
pub struct Psql(Child);

impl Psql {
    /// Has run the script when this returns, or goes on with it where it ends in `\watch`.
    pub fn start(database: &Database, script: &str, ends: bool) -> Self {
        let mut psql = database.command("\\set FETCH_COUNT 1000");
        let mut child =
            psql.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql starts");
        let stdin = child.stdin.as_mut().expect("the pipe was asked for");
        writeln!(stdin, "{script}").expect("psql reads");
        if ends {
            writeln!(stdin, "SELECT 'done';").expect("psql reads");
            let mut lines = BufReader::new(child.stdout.as_mut().expect("the pipe was asked for")).lines();
            assert!(lines.any(|line| line.is_ok_and(|line| line == "done")), "psql ran the script");
        }
        Self(child)
    }

    /// Resident now and at its peak, in MiB.
    pub fn memory(&self) -> (f64, f64) {
        memory_of(self.0.id())
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The peak of psql while everybody who was last active before `until` streams through it, a thousand rows at a time,
/// in MiB.
pub fn streaming(source: &BenchSource, until: Timestamp) -> f64 {
    let sql = selection("'-infinity'", &literal(until)).replace('\n', " ");
    Psql::start(&source.crm, &format!("{sql} \\g /dev/null"), true).memory().1
}

/// The least that a restarted program does before its first call: asks who it is for, connects, sends. The best of five.
pub fn first_post(source: &BenchSource, port: u16, after: Timestamp, until: Timestamp) -> Duration {
    psql(source, after, until).0 + Duration::from_secs_f64(1.0 / posts(port, 1, 1))
}

/// Mails to the sink by `smtp-source`, each session one after another; how many a second.
pub fn mails(port: u16, count: usize, sessions: usize, bytes: usize) -> f64 {
    let folders = ["/usr/sbin", "/usr/lib/postfix/sbin", "/usr/libexec/postfix"].map(Into::into);
    let mut source = Command::new(program("smtp-source", &folders, "postfix"));
    source.args(["-d", "-s", &sessions.to_string(), "-m", &count.to_string(), "-l", &bytes.to_string()]);
    let began = Instant::now();
    let status = source.arg(format!("inet:127.0.0.1:{port}")).status();
    assert!(status.is_ok_and(|status| status.success()), "smtp-source failed");
    count as f64 / began.elapsed().as_secs_f64()
}

/// POSTs to the sink by hand, each connection one after another; how many a second.
pub fn posts(port: u16, count: usize, connections: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    runtime.block_on(async {
        let each = count / connections;
        let workers = (0..connections).map(|worker| tokio::spawn(post(port, worker * each..(worker + 1) * each)));
        for worker in workers.collect::<Vec<_>>() {
            worker.await.expect("no worker panics").expect("the sink answers");
        }
    });
    count as f64 / began.elapsed().as_secs_f64()
}

async fn post(port: u16, keys: std::ops::Range<usize>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let body = "x".repeat(300);
    let mut answer = [0; 1024];
    for key in keys {
        let head = "POST /hook HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json";
        let request = format!("{head}\r\nidempotency-key: raw-{key}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await?;
        // The sink's answer is one short packet.
        let read = stream.read(&mut answer).await?;
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
    Ok(())
}
