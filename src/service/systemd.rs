//! What systemd is told: ready, reloading, stopping, status, and that the scheduler still moves.
//!
//! Without `$NOTIFY_SOCKET` all of it is silence.

use sd_notify::NotifyState;
use std::time::Duration;

/// Everything is up: rules loaded, state open, listeners bound.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun; it ends with [`ready`], whatever came of it.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// Draining has begun and may take this long.
pub fn stopping(at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::ExtendTimeoutUsec(micros)]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// How often the unit wants to hear from us (half its `WatchdogSec=`), or `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|interval| interval / 2)
}

/// Feeds the watchdog for as long as `alive` says so. When it says no, systemd hears nothing more and
/// restarts the service after `WatchdogSec=`.
pub async fn watchdog(interval: Duration, alive: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(interval);
    loop {
        tick.tick().await;
        if alive() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the scheduler stands still; the watchdog is not fed any more");
        }
    }
}
