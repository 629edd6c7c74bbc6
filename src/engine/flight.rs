//! Which claimed rows are under way in this process: what a heartbeat keeps, and what a drain waits for.

use super::port::OutboxToken;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The rows that are claimed and not settled yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Flight(Arc<Aboard>);

#[derive(Debug)]
struct Aboard {
    tokens: Mutex<HashSet<OutboxToken>>,
    count: watch::Sender<usize>,
}

impl Default for Aboard {
    fn default() -> Self {
        Self { tokens: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Aboard {
    fn tokens(&self) -> MutexGuard<'_, HashSet<OutboxToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    pub fn board(&self, token: OutboxToken) -> Ticket {
        self.0.tokens().insert(token);
        self.0.count.send_modify(|count| *count += 1);
        Ticket { flight: self.clone(), token }
    }

    pub fn is_empty(&self) -> bool {
        *self.0.count.borrow() == 0
    }

    pub fn tokens(&self) -> Vec<OutboxToken> {
        self.0.tokens().iter().copied().collect()
    }

    /// Resolves once every row that was claimed has been settled, released or lost.
    pub async fn landed(&self) {
        // The sender lives in `self`, so the channel can't close while we wait.
        let _ = self.0.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One row under way, until it is dropped: also by a panic, so that whoever loses a row loses its lease.
#[derive(Debug)]
pub(super) struct Ticket {
    flight: Flight,
    token: OutboxToken,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flight.0.tokens().remove(&self.token);
        self.flight.0.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_row_is_under_way_until_its_ticket_is_gone() {
        let flight = Flight::default();
        let token = |id| OutboxToken { id, epoch: 1 };
        let (first, second) = (flight.board(token(1)), flight.board(token(2)));
        drop(first);
        assert_eq!(flight.tokens(), [token(2)]);
        assert!(!flight.is_empty());
        drop(second);
        flight.landed().await;
        assert!(flight.is_empty() && flight.tokens().is_empty());
    }
}
