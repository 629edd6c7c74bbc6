//! A webhook receiver in the same process, as a chat tool or an automation server would be. It keeps
//! every request with its idempotency key, so that lost and repeated calls can be counted.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The `Idempotency-Key` header: the same for every try of one delivery.
    pub key: String,
    /// The body's own `text`, or the whole body.
    pub text: String,
}

/// Listens on a free port of this machine until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    calls: broadcast::Sender<Call>,
    book: Arc<Book>,
    server: tokio::task::JoinHandle<io::Result<()>>,
}

/// Every call so far, in memory and in a file.
#[derive(Debug)]
struct Book {
    calls: Mutex<(Vec<Call>, std::fs::File)>,
    sender: broadcast::Sender<Call>,
    /// A receiver that takes its time has calls under way when the daemon is killed.
    pace: Duration,
}

impl Receiver {
    /// Calls of earlier runs are read from `book`, new ones are appended.
    pub async fn start(book: &Path, pace: Duration) -> io::Result<Self> {
        let earlier = read_book(book)?;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(book)?;
        let (sender, _) = broadcast::channel(4_096);
        let book = Arc::new(Book { calls: Mutex::new((earlier, file)), sender: sender.clone(), pace });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/{*any}", post(receive)).with_state(Arc::clone(&book));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, calls: sender, book, server })
    }

    /// What to put into the configuration.
    pub fn url(&self) -> String {
        format!("http://{}/team-chat", self.address)
    }

    /// Calls as they arrive.
    pub fn follow(&self) -> broadcast::Receiver<Call> {
        self.calls.subscribe()
    }

    /// How often each key has arrived, over all runs.
    pub fn times_by_key(&self) -> HashMap<String, usize> {
        let guard = self.book.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = HashMap::new();
        for call in &guard.0 {
            *times.entry(call.key.clone()).or_insert(0) += 1;
        }
        times
    }

    /// What has arrived, under whatever keys: where every match has words of its own, more keys than these are repeats.
    pub fn texts(&self) -> HashSet<String> {
        let guard = self.book.calls.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0.iter().map(|call| call.text.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn read_book(path: &Path) -> io::Result<Vec<Call>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A line cut short by a kill was never answered, so the sender tries again.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

async fn receive(State(book): State<Arc<Book>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    let call = Call { key, text: text_of(&body) };
    if book.enter(&call).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    tokio::time::sleep(book.pace).await;
    let _ = book.sender.send(call);
    StatusCode::OK
}

impl Book {
    fn enter(&self, call: &Call) -> io::Result<()> {
        let mut guard = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(call).map_err(io::Error::other)?;
        line.push(b'\n');
        guard.1.write_all(&line)?;
        guard.0.push(call.clone());
        Ok(())
    }
}

/// The rule's own words, wherever in the body they stand.
fn text_of(body: &[u8]) -> String {
    let whole = || String::from_utf8_lossy(body).into_owned();
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { return whole() };
    find_text(&json).map_or_else(whole, str::to_owned)
}

fn find_text(json: &serde_json::Value) -> Option<&str> {
    let object = json.as_object()?;
    object.get("text").and_then(serde_json::Value::as_str).or_else(|| object.values().find_map(find_text))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(receiver: &Receiver, key: &str, body: &'static str) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(receiver.address).await.unwrap();
        let request = format!(
            "POST /team-chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn calls_are_kept_with_their_keys_across_runs() {
        let directory = tempfile::tempdir().unwrap();
        let book = directory.path().join("webhooks.jsonl");
        let receiver = Receiver::start(&book, Duration::ZERO).await.unwrap();
        let mut calls = receiver.follow();
        assert_eq!(post(&receiver, "a", r#"{"data":{"text":"2/10"}}"#).await, 200);
        assert_eq!(post(&receiver, "a", r#"{"text":"2/10"}"#).await, 200);
        assert_eq!(calls.recv().await.unwrap(), Call { key: "a".to_owned(), text: "2/10".to_owned() });
        drop(receiver);
        let again = Receiver::start(&book, Duration::ZERO).await.unwrap();
        assert_eq!(post(&again, "b", "plain").await, 200);
        assert_eq!(again.times_by_key(), HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
    }
}
