//! The life of one delivery.
//!
//! ```text
//!            claim            mark, before any I/O        definite success
//!   due ───────────▶ claimed ─────────────────▶ sending ─────────────────▶ (done: row leaves the outbox)
//!    ▲                  │                        │  │ │
//!    │ lease ran out    │                        │  │ └─ permanent failure, last retry ─▶ dead
//!    └──────────────────┘                        │  └─── crash or no answer ───────────▶ unknown
//!    ▲                                           │                                          │
//!    └── transient failure (later), postponed ───┘◀──── late definite outcome, operator ────┘
//! ```

use super::{AttemptNumber, EndReason};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a delivery in the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its due time.
    Due,
    /// Leased by a node that has not begun any I/O: safe to hand to another.
    Claimed,
    /// Committed before the first byte left: from here on a crash leaves the outcome unknown.
    Sending,
    /// It may or may not have arrived. A webhook is retried with the same key; an email waits for policy.
    Unknown,
    /// Failed for good; an operator can retry or discard it.
    Dead,
}

impl DeliveryState {
    pub const ALL: [Self; 5] = [Self::Due, Self::Claimed, Self::Sending, Self::Unknown, Self::Dead];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Claimed => "claimed",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Dead => "dead",
        }
    }

    /// Whether the drawing above has an arrow from `self` to `next`.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Due, Self::Claimed)
                | (Self::Claimed, Self::Due | Self::Sending)
                | (Self::Sending, Self::Due | Self::Unknown | Self::Dead)
                | (Self::Unknown | Self::Dead, Self::Due)
                | (Self::Unknown, Self::Dead)
        )
    }
}

/// What one try, or one refusal to try, came to. Every one is written to the attempt log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Accepted by the other side; `reply` is what it said (a status line, never a body).
    Sent { reply: String },
    /// Written down only: the shadow lane. `what` is what would have been sent, without to whom.
    Recorded { what: String },
    /// Failed in a way that may pass. `retry_after` is what the other side asked for.
    Transient { reason: String, retry_after: Option<Timestamp> },
    /// Failed in a way that won't pass.
    Permanent { reason: String },
    /// No definite answer after the effect may have happened.
    Unknown { reason: String },
    /// This message is not sent, the sequence goes on.
    Skipped { reason: SkipReason, detail: String },
    /// Not now; tried again at `until`.
    Postponed { until: Timestamp, reason: String },
    /// The enrollment ended before this message.
    Ended { reason: EndReason, detail: String },
}

impl Outcome {
    /// The name in the attempt log, metrics and lists.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Recorded { .. } => "recorded",
            Self::Transient { .. } => "transient",
            Self::Permanent { .. } => "permanent",
            Self::Unknown { .. } => "unknown",
            Self::Skipped { .. } => "skipped",
            Self::Postponed { .. } => "postponed",
            Self::Ended { .. } => "ended",
        }
    }
}

/// Why a message was left out while its sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Consent is missing, null or withdrawn.
    NoConsent,
    /// The person said no to the topic, by a link in a mail.
    Unsubscribed,
    /// The address is on the suppression list.
    Suppressed,
    /// The recipient role led to nobody, or to somebody without an address.
    NoAddress,
    /// Nothing was heard of them for longer than the configuration's `sunset`.
    Sunset,
    /// `unless_open`: an open task is there already.
    TaskOpen,
    /// Past the rule's `late`.
    Late,
    /// An operator discarded it.
    Discarded,
    /// It was there when the rule looked for the first time.
    LeftOut,
    /// `when_empty: skip`: the pool has no code left.
    PoolEmpty,
    /// Another message to the same person says it as well.
    Combined,
    /// Somebody has changed what was to be written, between two tries at it.
    Changed,
}

impl SkipReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoConsent => "no_consent",
            Self::Unsubscribed => "unsubscribed",
            Self::Suppressed => "suppressed",
            Self::NoAddress => "no_address",
            Self::Sunset => "sunset",
            Self::TaskOpen => "task_open",
            Self::Late => "late",
            Self::Discarded => "discarded",
            Self::LeftOut => "left_out",
            Self::PoolEmpty => "pool_empty",
            Self::Combined => "combined",
            Self::Changed => "changed",
        }
    }
}

/// How long to wait after the `attempt`th failure: full exponential backoff from 30 s to 6 h, with the
/// upper half random, so that a recovered receiver is not hit by everybody at once. `jitter` is in 0..1.
#[must_use]
pub fn backoff(attempt: AttemptNumber, jitter: f64) -> jiff::SignedDuration {
    let ceiling = 30.0 * 2_f64.powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX).min(16));
    let ceiling = ceiling.min(6.0 * 3_600.0);
    jiff::SignedDuration::from_millis((ceiling * 1_000.0 * (0.5 + jitter.clamp(0.0, 1.0) / 2.0)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_allows_no_way_back_from_sending_to_claimed_and_no_unsent_death() {
        use DeliveryState as S;
        assert!(S::Due.can_become(S::Claimed) && S::Claimed.can_become(S::Sending));
        assert!(!S::Sending.can_become(S::Claimed));
        assert!(!S::Due.can_become(S::Dead) && !S::Due.can_become(S::Sending));
        for state in S::ALL {
            assert!(!state.can_become(state), "{state:?} may not become itself");
        }
    }

    #[test]
    fn backoff_doubles_within_its_bounds() {
        assert_eq!(backoff(1, 0.0).as_secs(), 15);
        assert_eq!(backoff(1, 1.0).as_secs(), 30);
        assert_eq!(backoff(3, 1.0).as_secs(), 120);
        assert_eq!(backoff(60, 1.0).as_secs(), 6 * 3_600);
    }
}
