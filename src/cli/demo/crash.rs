//! `nudged demo --crash`: a daemon is killed with -9 in the middle of its work, several times, and then
//! everything is counted from the outside.
//!
//! The daemon is `nudged run`, a process of its own with a real clock. What it should have done is known
//! before it starts (every customer has given one answer, each wants a webhook, a task and a mail), and what
//! it did is counted where it arrived: at the receiver, in the CRM's table, in the mail folder. Its own state
//! is only asked for matches, for what is left to do, and for what it admits not to know.

mod count;
mod daemon;

use super::home::Home;
use super::receiver::Receiver;
use super::world::{Crm, World, office_zone};
use crate::cli::{Exit, Failure, Output};
use crate::engine::port::View;
use crate::store::sqlite::SqliteStore;
use count::{Arrived, Rewritten};
use daemon::Child;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::time::{Duration, Instant};

/// The daemon is killed when this many of a hundred effects have arrived.
const KILLS: [usize; 5] = [8, 25, 45, 65, 85];
/// How long the receiver takes to answer: time enough for calls to be under way at a kill.
const PACE: Duration = Duration::from_millis(15);
const LOOK: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_mins(5);

/// Runs it, and prints what was lost and repeated.
pub async fn crash(directory: &Path, output: &mut Output) -> Result<Exit, Failure> {
    let home = Home::open(&directory.join("crash"))?;
    home.clear()?;
    let scene = Scene::set(&home).await?;
    output.line(&format!(
        "{} customers have each given an answer; every answer wants a webhook, a task and a mail.",
        scene.expected
    ));
    output.line("A daemon of its own works on it and is killed with -9 while it sends:");
    output.line("");
    let mut again = Rewritten::default();
    for (number, percent) in KILLS.iter().enumerate() {
        let child = Child::start(&home)?;
        let reached = scene.wait_for(scene.expected * 3 * percent / 100, &child).await?;
        child.kill().await?;
        again.look(&scene.mailbox)?;
        output.line(&format!(
            "  kill {} after {} webhooks, {} tasks and {} mails",
            number + 1,
            reached.webhooks,
            reached.tasks,
            reached.mails
        ));
    }
    let child = Child::start(&home)?;
    scene.wait_until_done(&home, &child).await?;
    child.stop().await?;
    again.look(&scene.mailbox)?;
    output.line("  and then left alone until everything was done");
    let count = count::count(&home, &scene.crm, &scene.receiver, &again, scene.expected).await?;
    scene.crm.close().await;
    count.print(output);
    if count.is_clean() {
        Ok(Exit::Success)
    } else {
        Err(Failure::other(Exit::Failure, "something was lost or repeated"))
    }
}

/// What stands ready before the daemon starts.
struct Scene {
    crm: Crm,
    receiver: Receiver,
    expected: usize,
    mailbox: std::path::PathBuf,
}

impl Scene {
    async fn set(home: &Home) -> Result<Self, Failure> {
        let now = Timestamp::now();
        let today = now.to_zoned(office_zone());
        let world = World::new(1, today.date());
        let crm = Crm::open(&home.crm(), &world).await.map_err(failed)?;
        let earlier = now.saturating_sub(SignedDuration::from_mins(30)).unwrap_or(now).to_zoned(office_zone());
        let expected = crm.everybody_answers(earlier.datetime()).await.map_err(failed)?;
        let receiver = Receiver::start(&home.webhooks(), PACE).await?;
        daemon::write_files(home, &receiver.url())?;
        Ok(Self { crm, receiver, expected, mailbox: home.mailbox() })
    }

    async fn arrived(&self) -> Result<Arrived, Failure> {
        Arrived::now(&self.crm, &self.receiver, &self.mailbox).await
    }

    /// Waits until so many effects have arrived.
    async fn wait_for(&self, effects: usize, child: &Child) -> Result<Arrived, Failure> {
        let since = Instant::now();
        loop {
            let arrived = self.arrived().await?;
            if arrived.sum() >= effects {
                return Ok(arrived);
            }
            child.must_not_take_longer_than(PATIENCE, since)?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until everybody has matched, and no step is left but those that are held for a person.
    async fn wait_until_done(&self, home: &Home, child: &Child) -> Result<(), Failure> {
        let since = Instant::now();
        let store = SqliteStore::open(&home.state(), Timestamp::now()).await?;
        loop {
            let state = store.overview(Timestamp::now()).await?;
            let left = state.active_enrollments - state.outbox_unknown - state.outbox_dead;
            if left == 0 && state.matches >= self.expected as u64 {
                store.close().await;
                return Ok(());
            }
            child.must_not_take_longer_than(PATIENCE, since)?;
            tokio::time::sleep(LOOK * 10).await;
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::other(Exit::Failure, error.to_string())
}
