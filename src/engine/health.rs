//! Whether the source answers: announced once when it goes and once when it is back, with a pause
//! between tries that grows while it is away.

use super::event::Event;
use super::port::SourceError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct SourceHealth {
    away: Mutex<Option<Away>>,
}

#[derive(Debug, Clone)]
struct Away {
    since: Instant,
    reason: String,
    failures: u32,
}

impl SourceHealth {
    /// Notes a failure. Returns the event to announce if this one is news.
    pub fn failed(&self, error: &SourceError) -> Option<Event> {
        let SourceError::Unavailable(reason) = error else { return None };
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let news = away.is_none();
        let known = away.get_or_insert(Away { since: Instant::now(), reason: reason.clone(), failures: 0 });
        known.failures = known.failures.saturating_add(1);
        news.then(|| Event::SourceLost { reason: reason.clone() })
    }

    /// Notes an answer. Returns the event to announce if the source was away.
    pub fn answered(&self) -> Option<Event> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Event::SourceBack { after: away.since.elapsed() })
    }

    /// For how long it has not answered, and why it didn't at first; `None` while it does.
    pub fn away(&self) -> Option<(Duration, String)> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.as_ref().map(|away| (away.since.elapsed(), away.reason.clone()))
    }

    /// How long to wait before asking again: 1 s, doubling to a minute.
    pub fn pause(&self) -> Duration {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = away.as_ref().map_or(0, |away| away.failures.min(6));
        Duration::from_secs(1 << failures).min(Duration::from_mins(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announces_leaving_and_coming_back_once_each() {
        let health = SourceHealth::default();
        let gone = SourceError::Unavailable("refused".into());
        assert!(matches!(health.failed(&gone), Some(Event::SourceLost { .. })));
        assert!(health.failed(&gone).is_none());
        assert_eq!(health.away().map(|(_, reason)| reason).as_deref(), Some("refused"));
        assert_eq!(health.pause(), Duration::from_secs(4));
        assert!(matches!(health.answered(), Some(Event::SourceBack { .. })));
        assert!(health.answered().is_none());
        assert!(health.away().is_none());
        assert!(health.failed(&SourceError::Refused("no such column".into())).is_none());
    }
}
