//! A real HTTP receiver on loopback, on its own thread so that it answers whatever the test's runtime does.

use super::wait::poll_until;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    /// What stands behind `?`.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// The value of a header, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn key(&self) -> &str {
        self.header("idempotency-key")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: String,
    held: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status code");
        Self { status, headers: Vec::new(), body: String::new(), held: false }
    }

    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: &serde_json::Value) -> Self {
        Self { body: body.to_string(), ..self.header("content-type", "application/json") }
    }

    /// The request is read and counted, the answer waits for [`HttpReceiver::release`].
    pub fn held(self) -> Self {
        Self { held: true, ..self }
    }
}

struct Shared {
    received: Mutex<Vec<Received>>,
    next: Mutex<VecDeque<Reply>>,
    otherwise: Mutex<Reply>,
    released: watch::Sender<bool>,
}

/// A running receiver. It answers 200 to everything until told otherwise, and stops when dropped.
pub struct HttpReceiver {
    pub url: String,
    shared: Arc<Shared>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

pub fn http_receiver() -> HttpReceiver {
    let shared = Arc::new(Shared {
        received: Mutex::default(),
        next: Mutex::default(),
        otherwise: Mutex::new(Reply::ok()),
        released: watch::Sender::new(false),
    });
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes sockets");
            tokio::select! {
                served = axum::serve(listener, app) => served.expect("serving goes on"),
                _ = stopped => {}
            }
        });
    });
    HttpReceiver { url, shared, _stop: stop }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    // A sender killed half way through its body has not sent anything.
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else { return Response::default() };
    shared.received.lock().unwrap().push(Received { path, query, headers: head.headers, body });
    let scripted = shared.next.lock().unwrap().pop_front();
    let reply = scripted.unwrap_or_else(|| shared.otherwise.lock().unwrap().clone());
    if reply.held {
        let _ = shared.released.subscribe().wait_for(|released| *released).await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(reply.body.into()).expect("the reply's headers are valid")
}

impl HttpReceiver {
    /// Answers the next request with `reply`; later ones wait in line.
    pub fn reply_next(&self, reply: Reply) {
        self.shared.next.lock().unwrap().push_back(reply);
    }

    /// Answers everything else with `reply`.
    pub fn reply_always(&self, reply: Reply) {
        *self.shared.otherwise.lock().unwrap() = reply;
    }

    /// Lets held answers go, and all that follow.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// How often each idempotency key arrived.
    pub fn count_by_key(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for request in self.shared.received.lock().unwrap().iter() {
            *counts.entry(request.key().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Blocks until at least `count` requests have arrived.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        poll_until(super::PATIENCE, || self.count() >= count);
    }
}

#[tokio::test]
async fn requests_are_counted_by_key_and_answered_as_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let receiver = http_receiver();
    receiver.reply_next(Reply::status(503).header("retry-after", "7"));
    receiver.reply_next(Reply::ok().json(&serde_json::json!({"id": 5})).held());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |key: &'static str| {
        let request = client.post(format!("{}/hook", receiver.url)).header("Idempotency-Key", key).body("{}");
        async move { request.send().await.unwrap() }
    };

    let refused = post("a").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    let held = tokio::spawn(post("a"));
    super::wait_until(super::PATIENCE, async || receiver.count() == 2).await;
    assert!(!held.is_finished());
    receiver.release();
    assert_eq!(held.await.unwrap().json::<serde_json::Value>().await.unwrap(), serde_json::json!({"id": 5}));
    receiver.reply_always(Reply::status(204));
    assert_eq!(post("b").await.status().as_u16(), 204);

    receiver.wait_for(3);
    assert_eq!(receiver.count_by_key(), HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
    let first = &receiver.received()[0];
    assert_eq!((first.path.as_str(), first.json()), ("/hook", serde_json::json!({})));
}
