//! Open sessions, and what a conversation means for a delivery.

use super::reply::Reply;
use super::session::{Failure, Plan, Session};
use super::wire;
use crate::action::email::{Composed, Composer, EmailOptions};
use crate::action::{SetupError, came_to, permanent, tls, transient, unknown};
use crate::engine::port::{Message, Sender, Sent};
use crate::model::{Clock, Outcome, unsaid};
use async_trait::async_trait;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// How long an unused connection is trusted: routers forget them without a word, and then we would wait
/// for an answer that can't come.
const KEPT: Duration = Duration::from_secs(45);

/// Sends emails over at most `email.sessions` connections, which it keeps open.
pub struct SmtpSender {
    composer: Composer,
    clock: Arc<dyn Clock>,
    plan: Plan,
    sessions: usize,
    messages_per_session: u32,
    timeout: Duration,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
    /// The server could not be used at the last try: said once, not for every message.
    failing: AtomicBool,
}

/// What one try over one session came to, with the session where it can be used again.
enum Try {
    Done(Sent),
    /// The kept connection was dead before anything was handed over.
    Stale,
}

impl SmtpSender {
    pub fn new(options: &EmailOptions, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let wrong = |key: &str, problem: &str| SetupError::option(format!("email.{key}"), problem);
        let name = ServerName::try_from(options.host.clone())
            .map_err(|_| wrong("host", "neither a host name nor an IP address"))?;
        let credentials = match (&options.username, &options.password) {
            (Some(user), Some(password)) => Some((user.clone(), password.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(wrong("password", "missing beside `username`")),
            (None, Some(_)) => return Err(wrong("username", "missing beside `password`")),
        };
        if credentials.is_some() && options.tls == crate::action::email::Tls::None {
            return Err(wrong("tls", "`none` with a password would send it in the clear"));
        }
        let hello = options.hello.clone().unwrap_or_else(|| ClientId::default().to_string());
        if hello.is_empty() || hello.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("hello", "not a host name"));
        }
        let sessions = options.sessions.clamp(1, 200);
        Ok(Self {
            composer: Composer::new(options)?,
            clock,
            plan: Plan {
                host: options.host.clone(),
                port: options.port(),
                tls: options.tls,
                config: Arc::new(tls::config("email.ca_file", options.ca_file.as_deref())?),
                name,
                credentials,
                hello,
            },
            sessions,
            messages_per_session: options.messages_per_session.max(1),
            timeout: Duration::from_secs(options.timeout.max_seconds().unsigned_abs().max(1)),
            idle: Mutex::new(Vec::with_capacity(sessions)),
            permits: Semaphore::new(sessions),
            failing: AtomicBool::new(false),
        })
    }

    async fn deliver(&self, composed: &Composed) -> Sent {
        let Ok(_permit) = self.permits.acquire().await else { return transient("shutting down") };
        let deadline = Instant::now() + self.timeout;
        let data = wire::for_data(&composed.bytes);
        // A kept connection may have died while nobody looked; a new one is then worth a second try.
        while let Some(session) = self.take() {
            if let Try::Done(sent) = self.over(session, true, composed, &data, deadline).await {
                return sent;
            }
        }
        match timeout_at(deadline, Session::open(&self.plan)).await {
            Ok(Ok(session)) => match self.over(session, false, composed, &data, deadline).await {
                Try::Done(sent) => sent,
                Try::Stale => transient("the mail server hung up"),
            },
            Ok(Err(error)) => self.note_failure(&error.to_string()),
            Err(_) => self.note_failure("can't reach the mail server: it took too long to answer"),
        }
    }

    /// One try over one session. Puts the session back if it is still good.
    async fn over(&self, mut session: Session, kept: bool, composed: &Composed, data: &[u8], deadline: Instant) -> Try {
        let answer = timeout_at(deadline, session.deliver(&composed.from, &composed.to, data)).await;
        let sent = match answer {
            Err(_) => {
                session.closed = true;
                if session.handed_over {
                    unknown("the mail server did not answer in time after the message was handed over")
                } else {
                    transient("the mail server did not answer in time")
                }
            }
            Ok(Ok(reply)) => {
                self.note_success();
                came_to(Outcome::Sent { reply: reply.summary() })
            }
            Ok(Err(Failure::Broken(error))) if session.handed_over => {
                unknown(format!("the connection broke after the message was handed over: {error}"))
            }
            Ok(Err(Failure::Broken(_))) if kept => return Try::Stale,
            Ok(Err(Failure::Session(reply))) if kept && reply.closes() => return Try::Stale,
            Ok(Err(Failure::Broken(error))) => transient(format!("the connection broke: {error}")),
            Ok(Err(Failure::Session(reply))) => {
                self.note_failure(&format!("the mail server takes nothing from us: {}", reply.summary()))
            }
            Ok(Err(Failure::Message(reply))) => refused(&reply),
            Ok(Err(Failure::Unfit(reason))) => permanent(reason),
        };
        self.keep(session).await;
        Try::Done(sent)
    }

    fn take(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The most recently used is on top; when that one is too old, all are.
        let session = idle.pop().filter(|session| session.used.elapsed() < KEPT);
        if session.is_none() {
            idle.clear();
        }
        session
    }

    async fn keep(&self, session: Session) {
        if session.closed {
            return;
        }
        if session.messages >= self.messages_per_session {
            session.quit().await;
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Nothing can be sent at all: not the message's fault, so it is tried again, and an operator must know.
    fn note_failure(&self, reason: &str) -> Sent {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(host = %self.plan.host, reason = &*unsaid(reason), "no mail can be sent");
            tracing::debug!(host = %self.plan.host, reason, "what the mail server said");
        }
        transient(reason)
    }

    fn note_success(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(host = %self.plan.host, "mail can be sent again");
        }
    }
}

fn refused(reply: &Reply) -> Sent {
    if reply.is_transient() { transient(reply.summary()) } else { permanent(reply.summary()) }
}

#[async_trait]
impl Sender for SmtpSender {
    fn sessions(&self) -> usize {
        self.sessions
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        self.composer.departing(message)
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Email(email) = message else { return permanent("SMTP takes emails only") };
        match self.composer.compose(&email, self.clock.now()) {
            Ok(composed) => self.deliver(&composed).await,
            Err(error) => permanent(error.to_string()),
        }
    }
}
