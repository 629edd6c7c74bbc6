//! `nudged run`: starts everything in order, serves until told to stop, stops everything in order.
//!
//! ```text
//!   listeners ─▶ state ─▶ source ─▶ rules ─▶ senders ─▶ engine ─▶ READY
//! ```
//! Listeners come first, so that a second daemon with the same configuration ends before it touches the
//! state. The source may be away at the start; sweeps wait for it.

use super::beside::Beside;
use super::connect::{OpenError, open_source, open_state};
use super::daemon::{Daemon, Outfit};
use super::maildir;
use super::observe::observe;
use super::secrets::{Reread, Secrets};
use super::signals::{Signal, Signals};
use super::systemd;
use super::vitals::ProcessVitals;
use crate::action::SetupError;
use crate::config::Config;
use crate::diagnostic::render::counted;
use crate::engine::port::{Inbox, Source, Store, StoreError, WitnessError};
use crate::engine::{Drained, Event, Links, Settings};
use crate::model::{Clock, SystemClock};
use crate::rule::generation::Gateways;
use crate::rulebook::{Handle, Outside, RulebookError, Standing};
use crate::web::{
    self, Admin, BadSecret, Bounces, Consent, Intake, Listeners, Public, PublicListener, Recorder, ServeError,
    SmsAnswers, Tracker, Vitals,
};
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use jiff::SignedDuration;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    State(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] OpenError),
    #[error(transparent)]
    Rules(#[from] RulebookError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Witness(#[from] WitnessError),
    #[error(transparent)]
    Secret(#[from] BadSecret),
    #[error("signals can't be listened to: {0}")]
    Signals(std::io::Error),
    #[error("metrics can't be set up: {0}")]
    Metrics(String),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop, and everything under way was done.
    Drained,
    /// Asked to stop, and something was left to the next start.
    Forced,
    /// The engine or the rulebook ended by itself: a bug, and a reason to be restarted.
    Broken,
}

/// More than the engine's own drain deadline, which gives work back when it passes.
const GRACE: Duration = Duration::from_secs(5);

/// Between two checks that a refusing database brings about.
const RECHECK: Duration = Duration::from_mins(1);

/// Runs the daemon of a configuration until it is told to stop. `reread` reads that configuration again, for its
/// secrets, at a reload.
pub async fn run(config: Config, reread: Reread) -> Result<Ended, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut signals = Signals::listen().map_err(StartError::Signals)?;
    // It connects to nothing yet, and a configuration without a source is said before anything is made.
    let source = open_source(&config)?;
    let metrics = install_metrics()?;
    let listeners = Listeners::bind(&config.web).await?;
    let public = PublicListener::bind(&config.web).await?;
    let store = open_state(&config.state, clock.now(), true).await?;
    let beside = Beside::open(&config.state, &store.secret().name())?;
    if !beside.dead.is_empty() {
        tracing::info!(nodes = beside.dead.len(), "a dead node's leases are taken over");
        store.bury(&beside.dead).await?;
    }
    let starting = start(&config, reread, source, Arc::clone(&store), Arc::clone(&clock), beside);
    let Some(mut daemon) = unless_stopped(starting, &mut signals).await? else { return Ok(Ended::Drained) };

    let vitals = Arc::new(ProcessVitals::new(config.service.stalled(), Arc::clone(daemon.engine())));
    let (public_routes, recorder) = public_routes(&config, &daemon, &store, &clock)?;
    let recording = tokio::spawn(recorder.run());
    let intake = Intake::new(Arc::clone(&store), Arc::clone(&clock));
    let bounced = config.email.bounce_maildir.clone().map(|maildir| maildir::watch(maildir, intake));
    let redirected = Some(config.email.redirect_all_to.clone()).filter(|to| !to.is_empty());
    let admin = admin(redirected, &daemon, store, clock, Arc::clone(&vitals), metrics.clone());
    let (stop_web, web_stopped) = watch::channel(false);
    let serving = tokio::spawn(serve_web(listeners, web::router(admin), public, public_routes, web_stopped));
    let mut beside = vec![
        tokio::spawn(observe(daemon.events())),
        tokio::spawn(recheck(daemon.engine().events(), daemon.rulebook().clone())),
        tokio::spawn(upkeep(metrics)),
        tokio::spawn(feed_watchdog(Arc::clone(&vitals))),
        tokio::spawn(tell_status(daemon.rulebook().standings())),
    ];
    beside.extend(bounced.map(tokio::spawn));
    vitals.set_ready(true);
    systemd::ready(&summary(&daemon.rulebook().standing()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

    let asked = serve_signals(&mut signals, &mut daemon).await;
    vitals.set_ready(false);
    let ended = match asked {
        Asked::Stop => drain(daemon, &mut signals, config.service.drain()).await,
        Asked::Nothing(part) => {
            vitals.note_end(part);
            // The other part may have messages under way.
            drain(daemon, &mut signals, config.service.drain()).await;
            Ended::Broken
        }
    };
    stop_web.send_replace(true);
    // Requests under way get a moment; a client that hangs doesn't keep the process.
    let _ = tokio::time::timeout(GRACE, async { tokio::join!(serving, recording) }).await;
    beside.iter().for_each(tokio::task::JoinHandle::abort);
    tracing::info!(?ended, "stopped");
    Ok(ended)
}

/// Loading the rules plays their tests, and a database may be slow to answer; nothing is sent before it is done.
async fn unless_stopped(
    starting: impl Future<Output = Result<Daemon, StartError>>,
    signals: &mut Signals,
) -> Result<Option<Daemon>, StartError> {
    tokio::select! {
        daemon = starting => daemon.map(Some),
        () = signals.stop() => {
            systemd::stopping(GRACE);
            tracing::info!("told to stop before it was ready; stopped");
            Ok(None)
        }
    }
}

async fn start(
    config: &Config,
    reread: Reread,
    source: Arc<dyn Source>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    beside: Beside,
) -> Result<Daemon, StartError> {
    if !config.email.redirect_all_to.is_empty() {
        tracing::warn!("email.redirect_all_to is set: every mail goes there, and nobody else is written to");
    }
    if !config.sms.redirect_all_to.is_empty() {
        tracing::warn!("sms.redirect_all_to is set: every text message goes there, and nobody else is written to");
    }
    let (secrets, [email, webhook]) = Secrets::new(config.clone(), reread, Arc::clone(&clock))?;
    let outfit = Outfit {
        clock,
        source,
        store,
        email,
        webhook,
        rules: config.rules.clone(),
        outside: outside(config),
        settings: Settings {
            retention: config.retention.settings(),
            links: Links::Served(config.web.pages_url()),
            ..config.settings()
        },
        renew: Some(Arc::new(move || secrets.renew())),
        beside,
    };
    Ok(Daemon::start(outfit).await?)
}

/// What rules may name that the configuration defines.
pub fn outside(config: &Config) -> Outside {
    Outside {
        destinations: config.webhooks.keys().cloned().collect(),
        chats: config.chats.keys().cloned().collect(),
        gateways: Gateways { names: config.sms.gateways.keys().cloned().collect(), segments: config.sms.segments },
        topics: config.marketing.topics.clone(),
        emails: !config.email.from.is_empty(),
        events: config.events.keys().cloned().collect(),
        senders: Some(config.email.senders.keys().cloned().collect()),
        pages: config.web.pages_url().is_some() && !config.web.public_listen.is_empty(),
        postal_address: !config.sender.postal_address.trim().is_empty(),
    }
}

fn admin(
    redirected: Option<String>,
    daemon: &Daemon,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    vitals: Arc<ProcessVitals>,
    metrics: PrometheusHandle,
) -> Admin {
    let engine = Arc::clone(daemon.engine());
    let started_at = clock.now();
    let nudge = Arc::new(move || engine.wake());
    let rulebook = daemon.rulebook().clone();
    Admin { store, rulebook, vitals, metrics, clock, started_at, redirected, nudge }
}

/// What answers the internet: systems that send events, and people who follow the links of mails.
fn public_routes(
    config: &Config,
    daemon: &Daemon,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> Result<(axum::Router, Recorder), BadSecret> {
    let engine = Arc::clone(daemon.engine());
    let inbox: Arc<dyn Inbox> = Arc::clone(store) as Arc<dyn Inbox>;
    let events = Public::new(&config.events, inbox, Arc::clone(clock), Arc::new(move || engine.arrived()))?;
    let (topics, pages, sender) = (config.marketing.topics.clone(), config.pages.clone(), config.sender.name.clone());
    let consent = Consent::new(Arc::clone(store), Arc::clone(clock), topics, pages, sender);
    let writer = Arc::clone(daemon.engine());
    let consent = consent.telling(Arc::new(move || writer.answered()));
    let intake = Intake::new(Arc::clone(store), Arc::clone(clock));
    let bounces = Bounces::new(config.bounces.clone(), intake);
    let texts = SmsAnswers::new(&config.sms, config.web.pages_url(), Arc::clone(store), Arc::clone(clock));
    let after = SignedDuration::from_secs(config.email.track_after.max_seconds());
    let tracks = config.email.track.clone();
    let (tracker, recorder) = Tracker::new(Arc::clone(store), Arc::clone(clock), tracks, after);
    let routes = [events.router(), consent.router(), bounces.router(), texts.router(), tracker.router()];
    Ok((web::public_router(routes), recorder))
}

async fn serve_web(
    listeners: Listeners,
    admin: axum::Router,
    public: Option<PublicListener>,
    routes: axum::Router,
    stop: watch::Receiver<bool>,
) {
    let public = OptionFuture::from(public.map(|listener| listener.serve(routes, stop.clone())));
    tokio::join!(listeners.serve(admin, stop), public);
}

fn install_metrics() -> Result<PrometheusHandle, StartError> {
    let wrong = |error: &dyn std::fmt::Display| StartError::Metrics(error.to_string());
    let recorder = web::recorder().map_err(|error| wrong(&error))?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| wrong(&error))?;
    web::describe();
    metrics::gauge!("nudged_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

enum Asked {
    Stop,
    /// This part ended by itself.
    Nothing(&'static str),
}

/// Reloads on SIGHUP until SIGTERM or SIGINT comes. A reload under way doesn't keep a stop waiting.
async fn serve_signals(signals: &mut Signals, daemon: &mut Daemon) -> Asked {
    let rulebook = daemon.rulebook().clone();
    let mut reloading: OptionFuture<BoxFuture<'static, ()>> = None.into();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => return Asked::Stop,
                Signal::Reload => reloading = Some(reload(rulebook.clone()).boxed()).into(),
            },
            Some(()) = &mut reloading => reloading = None.into(),
            part = daemon.ended() => {
                tracing::error!(part, "a part of the daemon ended by itself; stopping, so that the service is restarted");
                return Asked::Nothing(part);
            }
        }
    }
}

async fn reload(rulebook: Handle) {
    systemd::reloading();
    if let Some(standing) = rulebook.reload(false).await {
        systemd::ready(&summary(&standing));
    }
}

/// Drains within the deadline; a second signal ends it at once.
async fn drain(daemon: Daemon, signals: &mut Signals, deadline: Duration) -> Ended {
    systemd::stopping(deadline + GRACE);
    tracing::info!(deadline_s = deadline.as_secs(), "draining; a second signal stops at once");
    let again = async { while signals.next().await != Signal::Stop {} };
    tokio::select! {
        drained = daemon.stop(deadline + GRACE) => match drained {
            Drained::Yes => Ended::Drained,
            Drained::No => Ended::Forced,
        },
        () = again => {
            tracing::warn!("stopped by a second signal; the next start takes back what was under way");
            Ended::Forced
        }
    }
}

/// Has the rules checked against the database again when it refuses one: then those that its tables no longer fit rest by
/// name, and the others read on without what is gone.
async fn recheck(mut events: Receiver<Event>, rulebook: Handle) {
    loop {
        match events.recv().await {
            Ok(Event::SourceRefused { .. } | Event::ConsentsPostponed { .. }) => {
                rulebook.reload(false).await;
                tokio::time::sleep(RECHECK).await;
                // What was refused meanwhile, was so before the verdict.
                events = events.resubscribe();
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn summary(standing: &Standing) -> String {
    match &standing.trouble {
        None => counted(standing.rules, "rule"),
        Some(trouble) => format!("{}; {trouble}", counted(standing.rules, "rule")),
    }
}

async fn tell_status(mut standings: watch::Receiver<Standing>) {
    while standings.changed().await.is_ok() {
        let text = summary(&standings.borrow_and_update());
        systemd::status(&text);
    }
}

async fn feed_watchdog(vitals: Arc<ProcessVitals>) {
    if let Some(interval) = systemd::watchdog_interval() {
        systemd::watchdog(interval, || vitals.illness().is_none()).await;
    }
}

/// Histograms keep what came in since the last scrape; without one they would grow for ever.
async fn upkeep(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(30));
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}
