//! What an operator's signals ask for.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and stop; a second one: stop now.
    Stop,
    /// SIGHUP: load the rules now.
    Reload,
}

/// The signals of this process, from the moment it listens.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            () = stop(&mut self.terminate, &mut self.interrupt) => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// The next that asks to stop. A wish to reload stays to be heard.
    pub async fn stop(&mut self) {
        stop(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn stop(terminate: &mut Stream, interrupt: &mut Stream) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
