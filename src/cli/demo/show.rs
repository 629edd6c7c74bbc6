//! The demo itself: the daemon, the customers and the feed side by side, until somebody stops it.

use super::Args;
use super::clock::{ClockFile, Reached};
use super::feed::{Feed, Label, Layout, Line};
use super::home::Home;
use super::life::Life;
use super::month::{Backlog, Month};
use super::narrate::Narrator;
use super::receiver::{Call, Receiver};
use super::reloads::Reloads;
use super::summary;
use super::wire;
use super::world::{Crm, World, office_zone};
use crate::cli::{Exit, Failure, Output};
use crate::engine::port::{Store, StoreError};
use crate::engine::{Drained, Engine, Event};
use crate::model::Clock;
use crate::service::Daemon;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::RecvError;

/// The same customers every time.
const SEED: i64 = 1;
/// How often customers act and the feed is printed, in real time.
const TICK: Duration = Duration::from_millis(40);
const PRINT: Duration = Duration::from_millis(160);
/// The feed has told what there was to tell when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(500);
/// But the summary doesn't wait for ever.
const PATIENCE: Duration = Duration::from_mins(5);
/// For a disk that is busy; whoever doesn't want to wait stops it a second time.
const DRAIN: Duration = Duration::from_mins(1);

/// Runs it.
pub async fn show(args: &Args, rules: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let home = Home::open(&args.directory)?;
    if args.fresh {
        home.clear()?;
    }
    let file = ClockFile::in_directory(home.directory());
    let earlier = file.read()?;
    let reached = earlier.unwrap_or_else(|| Reached::ending_at(Timestamp::now()));
    let world = World::new(SEED, reached.start.to_zoned(office_zone()).date());
    let crm = Crm::open(&home.crm(), &world).await.map_err(failed)?;
    let receiver = Receiver::start(&home.webhooks(), Duration::ZERO).await?;
    let rules = rules.map_or_else(|| home.rules(), |rules| Ok(rules.to_owned()))?;

    let demo_clock = Arc::new(reached.clock(Timestamp::now()));
    let clock: Arc<dyn Clock> = Arc::clone(&demo_clock) as Arc<dyn Clock>;
    let (mut daemon, store) = wire::start(&home, &rules, &clock, &receiver).await?;
    let mut stage = Stage {
        month: Month::new(Arc::clone(&demo_clock), file, reached, args.days_per_second),
        life: Life::new(world.clone(), crm.clone()),
        narrator: Narrator::new(&world, crm.clone(), daemon.rulebook().generations(), home.mailbox()),
        feed: Feed::new(layout(output), reached.start),
        engine: Arc::clone(daemon.engine()),
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        seen: 0,
        last_deed: Instant::now(),
    };
    opening(&home, &rules, &receiver, &world, &pace(args, earlier.is_some(), &reached), output);
    stage.catch_up().await?;
    // Only now, so that no day passes unseen while the daemon starts.
    stage.month.step_to(demo_clock.now())?;
    let exit = stage.play(&mut daemon, &receiver, (&home, &rules), args, output).await;
    output.talk("Stopping: what is under way is finished, the rest waits for the next start.");
    let drained = tokio::select! {
        drained = daemon.stop(DRAIN) => drained,
        () = stopped() => Drained::No,
    };
    stage.month.end()?;
    crm.close().await;
    exit.map(|()| if drained == Drained::Yes { Exit::Success } else { Exit::Forced })
}

/// Everything that acts while the daemon runs.
struct Stage {
    month: Month,
    life: Life,
    narrator: Narrator,
    feed: Feed,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The last line of the attempt log that the customers know of.
    seen: i64,
    /// When the daemon last matched or sent something.
    last_deed: Instant,
}

impl Stage {
    async fn play(
        &mut self,
        daemon: &mut Daemon,
        receiver: &Receiver,
        (home, rules): (&Home, &Path),
        args: &Args,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut events = daemon.engine().events();
        let mut calls = receiver.follow();
        let mut reloads = Reloads::new(daemon.rulebook());
        let (mut tick, mut print) = (tokio::time::interval(TICK), tokio::time::interval(PRINT));
        let mut stop = std::pin::pin!(stopped());
        let mut summed_up = false;
        let mut over_since: Option<Instant> = None;
        while !output.is_closed() {
            tokio::select! {
                event = events.recv() => self.event(event).await?,
                call = calls.recv() => self.call(call),
                verdict = reloads.next() => {
                    self.print(output);
                    verdict.tell(self.clock.now(), &mut self.feed, output);
                }
                _ = tick.tick() => self.live().await?,
                _ = print.tick() => self.print(output),
                () = &mut stop => break,
                part = daemon.ended() => return Err(failed(format!("the {part} ended by itself"))),
            }
            if summed_up || !self.month.is_over() {
                continue;
            }
            let since = *over_since.get_or_insert_with(Instant::now);
            if self.is_quiet().await? || since.elapsed() > PATIENCE {
                summed_up = true;
                self.print(output);
                self.sum_up(home, rules, output).await?;
                if args.exit_after_summary {
                    break;
                }
                output.line("");
                output.line("From now on time is real. Ctrl-C stops it.");
            }
        }
        self.print(output);
        Ok(())
    }

    /// All work is done, and all of it was told.
    async fn is_quiet(&self) -> Result<bool, Failure> {
        Ok(self.last_deed.elapsed() >= QUIET && self.backlog().await?.is_empty(self.clock.now()))
    }

    async fn backlog(&self) -> Result<Backlog, Failure> {
        let next_due = self.engine.next_due().await.map_err(failed)?;
        let overview = self.store.overview(self.clock.now()).await?;
        Ok(Backlog { next_due, sending: overview.outbox_due + overview.outbox_sending > 0 })
    }

    async fn event(&mut self, event: Result<Event, RecvError>) -> Result<(), Failure> {
        // A feed that lags skips lines; the summary counts from the state.
        let Ok(event) = event else { return Ok(()) };
        if matches!(event, Event::Matched { .. } | Event::AttemptFinished { .. }) {
            self.last_deed = Instant::now();
        }
        for line in self.narrator.tell(&event, self.clock.now()).await.map_err(failed)? {
            self.feed.add(line);
        }
        Ok(())
    }

    fn call(&mut self, call: Result<Call, RecvError>) {
        let Ok(call) = call else { return };
        let what = format!("\u{201c}{}\u{201d}", call.text);
        let who = "team-chat".to_owned();
        self.feed.add(Line { at: self.clock.now(), label: Label::Webhook, who, what, topic: String::new() });
    }

    /// Customers act before the clock shows when, so that the daemon never meets a past that changes.
    async fn live(&mut self) -> Result<(), Failure> {
        self.notice().await?;
        let step = if self.month.is_over() { None } else { self.month.next_step(self.backlog().await?) };
        for line in self.life.live_until(step.unwrap_or_else(|| self.clock.now())).await.map_err(failed)? {
            self.feed.add(line);
        }
        step.map_or(Ok(()), |step| self.month.step_to(step))?;
        Ok(())
    }

    /// What happened in earlier runs is not told again.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        self.notice().await?;
        self.life.live_until(self.clock.now()).await.map_err(failed)?;
        Ok(())
    }

    async fn notice(&mut self) -> Result<(), StoreError> {
        loop {
            let attempts = self.store.attempts(self.seen, 500).await?;
            let Some(last) = attempts.last() else { return Ok(()) };
            self.seen = last.id;
            for attempt in &attempts {
                self.life.notice(attempt);
            }
        }
    }

    fn print(&mut self, output: &mut Output) {
        for line in self.feed.take() {
            output.painted(&line);
        }
    }

    async fn sum_up(&self, home: &Home, rules: &Path, output: &mut Output) -> Result<(), Failure> {
        let tallies = summary::tallies(&*self.store).await?;
        output.painted(&self.feed.layout().heading("The month in numbers"));
        let (header, rows) = summary::rows(&tallies);
        output.table(&header, rows, "Nothing happened.");
        for line in summary::hints(home, rules) {
            output.painted(&line);
        }
        Ok(())
    }
}

fn layout(output: &Output) -> Layout {
    Layout { width: output.width(), color: output.colored() && output.is_terminal(), zone: office_zone() }
}

fn pace(args: &Args, goes_on: bool, reached: &Reached) -> String {
    let begin = if goes_on { "It goes on where it ended" } else { "It begins 30 days ago" };
    if reached.month_is_over() {
        return "Its first month is over: time is real.".to_owned();
    }
    let speed = args.days_per_second;
    format!("{begin}, at {speed} day{} per second.", if (speed - 1.0).abs() < f64::EPSILON { "" } else { "s" })
}

fn opening(home: &Home, rules: &Path, receiver: &Receiver, world: &World, pace: &str, output: &mut Output) {
    let customers = world.accounts.iter().filter(|account| account.active && !account.sample).count();
    output.line(&format!("Linden & Finch, a coffee roastery that does not exist, has {customers} customers."));
    output.line(pace);
    output.line("");
    for (what, place) in [
        ("rules", format!("{} (edit one: it counts at once)", rules.join("*.yaml").display())),
        ("CRM", home.crm().display().to_string()),
        ("mailbox", home.mailbox().join("*.eml").display().to_string()),
        ("webhooks", receiver.url()),
    ] {
        output.line(&format!("  {what:<9} {place}"));
    }
    output.line("");
    output.line("Ctrl-C stops it; the next start goes on where this one ended.");
}

/// Ctrl-C or a polite kill.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::other(Exit::Failure, error.to_string())
}
