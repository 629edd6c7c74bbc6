//! Group commit: marks of all sessions go into one transaction after another, and so do completions beside
//! them. A delivery's completion follows its mark's commit, so the two never meet.
//!
//! While one commit is under way the next one fills up, so there is no delay to tune: an idle system commits
//! at once, a busy one commits many. The idea is that of every database's own log.

use super::work::Finished;
use crate::engine::context::Context;
use crate::engine::event::Event;
use crate::engine::flight::Ticket;
use crate::engine::port::{Mark, OutboxToken, Refusal, Settled, Settlement, StoreError, Then};
use crate::model::Suppression;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// More than this waits in a channel.
const QUEUE: usize = 8_192;
/// Rows of one transaction, so that a writer is never held long.
const GROUP: usize = 1_000;
/// A settlement that the state refuses this often is dropped; its rows are rescued when their leases end.
const REFUSALS: u32 = 5;

/// Which marks must not be followed by I/O.
#[derive(Debug, Default)]
pub struct Marked {
    /// Their lease was lost.
    pub lost: HashSet<OutboxToken>,
    /// They found no place.
    pub refused: HashMap<OutboxToken, Refusal>,
}

type Answer = Result<Marked, StoreError>;

/// Marks to be committed, and who asks.
type Wish = (Vec<Mark>, oneshot::Sender<Answer>);

#[derive(Clone)]
pub struct Settler {
    marks: mpsc::Sender<Wish>,
    completions: mpsc::Sender<Box<Finished>>,
}

impl Settler {
    /// The settler's task ends when the last clone of its handle is gone.
    pub fn start(context: Arc<Context>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (marks, wishes) = mpsc::channel(QUEUE);
        let (completions, finished) = mpsc::channel(QUEUE);
        let running = async move {
            tokio::join!(run(&context, wishes, Group::mark), run(&context, finished, Group::complete));
        };
        (Self { marks, completions }, running)
    }

    pub async fn finish(&self, finished: Finished) {
        // The settler outlives everybody that holds a handle; if it is gone, so is the process.
        let _ = self.completions.send(Box::new(finished)).await;
    }

    /// Commits the marks; only those not named in the answer may be followed by I/O.
    pub async fn mark(&self, marks: Vec<Mark>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the settler has stopped".to_owned());
        self.marks.send((marks, answer)).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// One commit and everybody who waits for it.
#[derive(Default)]
struct Group {
    settlement: Settlement,
    askers: Vec<(Vec<OutboxToken>, oneshot::Sender<Answer>)>,
    events: Vec<Event>,
    gone: Vec<Suppression>,
    held: Vec<(Ticket, Option<OwnedSemaphorePermit>)>,
}

async fn run<T>(context: &Context, mut queue: mpsc::Receiver<T>, with: fn(Group, T) -> Group) {
    let mut orders = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut orders, GROUP).await > 0 {
        let group = orders.drain(..).fold(Group::default(), with);
        group.commit(context).await;
    }
}

impl Group {
    fn mark(mut self, (marks, answer): Wish) -> Self {
        self.askers.push((marks.iter().map(|mark| mark.token).collect(), answer));
        self.settlement.marks.extend(marks);
        self
    }

    fn complete(mut self, mut finished: Box<Finished>) -> Self {
        for other in std::mem::take(&mut finished.together) {
            self = self.complete(Box::new(other));
        }
        self.settlement.completions.push(finished.completion);
        self.events.extend(finished.events);
        self.gone.extend(finished.gone);
        self.held.push((finished.ticket, finished.permit));
        self
    }

    async fn commit(self, context: &Context) {
        suppress(context, &self.gone).await;
        let settled = settle(context, &self.settlement).await;
        if settled.is_ok() {
            let now = context.clock.now();
            let completions = &self.settlement.completions;
            if completions.iter().any(|done| done.enrolls.is_some() || due_by(&done.then, now)) {
                context.due.notify_one();
            }
            for event in self.events {
                context.announce(|| event);
            }
        }
        match settled {
            Ok(settled) => {
                let lost: HashSet<OutboxToken> = settled.lost.into_iter().collect();
                let mut refused: HashMap<OutboxToken, Refusal> =
                    settled.refused.into_iter().map(|refusal| (refusal.token, refusal)).collect();
                for (tokens, answer) in self.askers {
                    let mut marked = Marked::default();
                    for token in tokens {
                        marked.lost.extend(lost.get(&token));
                        marked.refused.extend(refused.remove_entry(&token));
                    }
                    // An asker that has gone away sends nothing either.
                    let _ = answer.send(Ok(marked));
                }
            }
            Err(reason) => {
                for (_, answer) in self.askers {
                    let _ = answer.send(Err(StoreError::Unavailable(reason.clone())));
                }
            }
        }
    }
}

fn due_by(then: &Then, now: jiff::Timestamp) -> bool {
    match then {
        Then::Advance { due_at, .. } | Then::Wait { due_at, .. } | Then::Again { due_at, .. } => *due_at <= now,
        // A queued match may start where another enrollment ended.
        Then::End { .. } => true,
        Then::Park { .. } | Then::Hold { .. } => false,
    }
}

/// Before the outcomes that tell of them: after a crash in between, the address is known to be gone all the same. Like
/// the outcomes it waits for a state that is away.
async fn suppress(context: &Context, gone: &[Suppression]) {
    let (mut pause, mut refusals) = (Duration::from_millis(50), 0);
    while !gone.is_empty() && refusals < REFUSALS {
        let Err(error) = context.store.suppress(gone).await else { return };
        context.announce(|| Event::StateFailed { reason: error.to_string() });
        refusals += u32::from(!matches!(error, StoreError::Unavailable(_)));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Outcomes must not be lost to a state that is away for a moment, so a commit is tried until it is done.
async fn settle(context: &Context, settlement: &Settlement) -> Result<Settled, String> {
    let mut pause = Duration::from_millis(50);
    let mut refusals = 0;
    loop {
        let error = match context.store.settle(settlement).await {
            Ok(settled) => return Ok(settled),
            Err(error) => error,
        };
        let reason = error.to_string();
        context.announce(|| Event::StateFailed { reason: reason.clone() });
        if !matches!(error, StoreError::Unavailable(_)) {
            refusals += 1;
            if refusals >= REFUSALS {
                return Err(reason);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}
