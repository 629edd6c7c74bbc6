//! What the links and the picture of a tracked mail lead to: on to the page, by way of a note.
//!
//! A click is answered before anything is kept, and by nothing but what was signed: where it leads stands in the link
//! itself, so nobody can have us send people elsewhere. Links go on to work when tracking is switched off.

mod machine;
mod recorder;

pub use recorder::Recorder;

use crate::engine::port::Store;
use crate::model::{BadLink, Clock, TrackedLink, Tracking};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What came faster than it could be kept is lost; more than a mail to everybody brings within a second.
const WAITING: usize = 10_000;

/// A picture of one transparent dot.
const DOT: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\
\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// A request for a link, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    link: TrackedLink,
    at: Timestamp,
    /// What gives it away as a machine's.
    machine: Option<&'static str>,
}

/// What the routes work with.
#[derive(Clone)]
pub struct Tracker {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tracks: Arc<BTreeSet<Tracking>>,
    requests: mpsc::Sender<Request>,
}

impl Tracker {
    /// The routes, and what keeps notes of what they see. What comes sooner than `after` a mail was sent is a
    /// machine's.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tracks: BTreeSet<Tracking>,
        after: SignedDuration,
    ) -> (Self, Recorder) {
        let (requests, queue) = mpsc::channel(WAITING);
        let recorder = Recorder::new(Arc::clone(&store), Arc::clone(&clock), queue, after);
        (Self { store, clock, tracks: Arc::new(tracks), requests }, recorder)
    }

    /// The routes, for the public listener.
    pub fn router(self) -> Router {
        Router::new().route("/t/{token}", get(follow)).route("/o/{token}", get(open)).with_state(self)
    }

    fn read(&self, token: &str) -> Result<TrackedLink, BadLink> {
        self.store.secret().read_tracked(token).inspect_err(|_| {
            metrics::counter!("nudged_links_refused_total", "why" => "forged").increment(1);
        })
    }

    /// Leaves it to the recorder, which is never waited for.
    fn note(&self, what: Tracking, link: TrackedLink, method: &Method, headers: &HeaderMap) {
        if !self.tracks.contains(&what) {
            return;
        }
        let request = Request { link, at: self.clock.now(), machine: machine::tell(method, headers) };
        if self.requests.try_send(request).is_err() {
            metrics::counter!("nudged_reactions_lost_total").increment(1);
        }
    }
}

async fn follow(
    State(tracker): State<Tracker>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let link = tracker.read(&token).ok();
    let page = link.as_ref().and_then(|link| link.page.as_deref());
    let (Some(link), Some(location)) = (&link, page.and_then(|page| HeaderValue::from_str(page).ok())) else {
        return refused();
    };
    tracker.note(Tracking::Clicks, link.clone(), &method, &headers);
    (StatusCode::FOUND, quiet([(header::LOCATION, location)])).into_response()
}

async fn open(
    State(tracker): State<Tracker>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(link) = tracker.read(&token).ok().filter(|link| link.page.is_none()) else { return refused() };
    tracker.note(Tracking::Opens, link, &method, &headers);
    (quiet([(header::CONTENT_TYPE, HeaderValue::from_static("image/gif"))]), DOT).into_response()
}

fn refused() -> Response {
    (StatusCode::NOT_FOUND, quiet([]), format!("{}\n", BadLink::Forged)).into_response()
}

/// Kept by nobody, found by no search engine, and the page doesn't hear which mail led to it.
fn quiet<const MORE: usize>(more: [(header::HeaderName, HeaderValue); MORE]) -> HeaderMap {
    let always = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, private")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow")),
    ];
    always.into_iter().chain(more).collect()
}
