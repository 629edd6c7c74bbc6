//! The SQL of the state, one table a file. States and lanes are kept as small numbers or names; this page
//! says which.

pub mod answer;
pub mod assignment;
pub mod attempt;
pub mod consent_owed;
pub mod contact;
pub mod enrollment;
pub mod episode;
pub mod gathering;
pub mod generation;
pub mod inbox;
pub mod journal;
pub mod ledger;
pub mod message;
pub mod miss;
pub mod outbox;
pub mod own_write;
pub mod personal;
pub mod preference;
pub mod reaction;
pub mod rule_state;
pub mod rule_version;
pub mod send;
pub mod suppression;
pub mod sweep;
pub mod task;
pub mod timeline;

use crate::engine::port::StoreError;
use crate::model::{DeliveryState, EndReason, EnrollmentState, Lane};

/// `outbox.state`. The first five are [`DeliveryState`]; statements name them by number.
pub mod outbox_state {
    pub const DUE: i64 = 0;
    pub const CLAIMED: i64 = 1;
    pub const SENDING: i64 = 2;
    pub const UNKNOWN: i64 = 3;
    pub const DEAD: i64 = 4;
    /// Its enrollment is held.
    pub const HELD: i64 = 5;
    /// Waits for another enrollment of the same record and rule to end.
    pub const QUEUED: i64 = 6;
}

/// `enrollment.state`. The first three are [`EnrollmentState`].
pub mod enrollment_state {
    pub const ACTIVE: i64 = 0;
    pub const HELD: i64 = 1;
    pub const ENDED: i64 = 2;
    /// Part of a sweep that is not released, or not yet expanded.
    pub const STAGED: i64 = 3;
}

/// `sweep.state`.
pub mod sweep_state {
    /// Being staged.
    pub const OPEN: i64 = 0;
    /// All its matches have been entered, or dropped.
    pub const DONE: i64 = 1;
    /// Waits for an operator.
    pub const HELD: i64 = 2;
    /// Its staged matches are being turned into enrollments.
    pub const RELEASED: i64 = 3;
    /// Its staged matches are being ended.
    pub const DROPPED: i64 = 4;
}

pub const fn delivery_code(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Due => outbox_state::DUE,
        DeliveryState::Claimed => outbox_state::CLAIMED,
        DeliveryState::Sending => outbox_state::SENDING,
        DeliveryState::Unknown => outbox_state::UNKNOWN,
        DeliveryState::Dead => outbox_state::DEAD,
    }
}

/// The name of an outbox state for people.
pub fn delivery_name(code: i64) -> &'static str {
    match code {
        outbox_state::HELD => "held",
        outbox_state::QUEUED => "queued",
        _ => DeliveryState::ALL.into_iter().find(|state| delivery_code(*state) == code).map_or("?", |s| s.as_str()),
    }
}

pub const fn enrollment_code(state: EnrollmentState) -> i64 {
    match state {
        EnrollmentState::Active => enrollment_state::ACTIVE,
        EnrollmentState::Held => enrollment_state::HELD,
        EnrollmentState::Ended => enrollment_state::ENDED,
    }
}

pub const fn enrollment_named(code: i64) -> EnrollmentState {
    match code {
        enrollment_state::ENDED => EnrollmentState::Ended,
        enrollment_state::HELD => EnrollmentState::Held,
        _ => EnrollmentState::Active,
    }
}

fn unread(what: &str, text: &str) -> StoreError {
    StoreError::Broken(format!("`{text}` is not {what}: was the state edited by hand?"))
}

pub fn lane(text: &str) -> Result<Lane, StoreError> {
    [Lane::Shadow, Lane::Live].into_iter().find(|lane| lane.as_str() == text).ok_or_else(|| unread("a lane", text))
}

pub fn end_reason(text: &str) -> Result<EndReason, StoreError> {
    let name = serde_json::Value::String(text.to_owned());
    serde_json::from_value(name).map_err(|_| unread("an end", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_no_two_states_share_one() {
        for state in DeliveryState::ALL {
            assert_eq!(delivery_name(delivery_code(state)), state.as_str());
        }
        for state in [EnrollmentState::Active, EnrollmentState::Held, EnrollmentState::Ended] {
            assert_eq!(enrollment_named(enrollment_code(state)), state);
        }
        assert_eq!(lane("shadow").unwrap(), Lane::Shadow);
        assert_eq!(end_reason(EndReason::WhereFalse.as_str()).unwrap(), EndReason::WhereFalse);
        assert!(end_reason("tired").is_err());
    }
}
