//! Evaluate, sweep, dispatch, rescue, rehearse.
//!
//! Speaks to the outside only through the traits in [`port`]. Test, preview, explain and live run this
//! code with another clock, source or sender.

pub mod port;
