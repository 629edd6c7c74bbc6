//! The engine against a naive oracle: over random histories (late, backdated, edited and deleted facts, equal
//! and missing timestamps, zones, edited rules) and random instants of sweeping, real sweeps over a real source
//! enter what the definition of the trigger says.
//!
//! The oracle knows no windows. It keeps the true history of every occasion and says of each sweep which ones
//! *may* be entered (never before its time, never twice, never for somebody who doesn't hold), and which ones
//! *must* be there by now, since everything that was promised to find them has had its turn. A trigger is
//! added by an implementation of [`trigger::Trigger`].
//!
//! Other histories are tried in every run. A failing one prints its seed, and `NUDGED_SEED` tries the same again;
//! `NUDGED_ORACLE_CASES=200 cargo test --test it oracle` tries so many of each.

mod abandoned;
mod created;
mod date;
mod event;
mod first_look;
mod history;
mod inactivity;
mod judge;
mod query;
mod schedule;
mod survey;
mod trigger;
mod yearly;
