//! The same work with nothing around it: psql for the selection, raw sockets for the calls.

use super::source::BenchSource;
use jiff::Timestamp;
use std::io::Write;
use std::process::Stdio;
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
