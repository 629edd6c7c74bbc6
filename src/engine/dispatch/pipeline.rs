//! The running parts of the dispatcher: three channels and one settler.

use super::channel::Channel;
use super::settler::Settler;
use super::work::{Finished, Parcel};
use crate::engine::Drained;
use crate::engine::context::Context;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub struct Pipeline {
    settler: Settler,
    settling: JoinHandle<()>,
    email: Channel,
    webhook: Channel,
    task: Channel,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Pipeline {
    pub fn start(context: &Arc<Context>) -> Self {
        let (settler, settling) = Settler::start(Arc::clone(context));
        let settling = tokio::spawn(settling);
        let closing = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let mut open = |sender| Channel::start(context, &settler, sender, closing.subscribe(), &mut tasks);
        let senders = &context.senders;
        let (email, webhook, task) = (open(&senders.email), open(&senders.webhook), open(&senders.task));
        Self { settler, settling, email, webhook, task, tasks, closing }
    }

    pub async fn finish(&self, finished: Finished) {
        self.settler.finish(finished).await;
    }

    /// Queues a message for its channel, waiting for room for at most `patience`. Gives it back when there is
    /// none, so that a slow channel doesn't stand in the way of the others.
    pub async fn send(&self, parcel: Parcel, patience: Option<Duration>) -> Result<(), Box<Parcel>> {
        let queue = match parcel.kind {
            "email" => &self.email.queue,
            // What goes out over HTTP shares the sender's sessions.
            "webhook" | "chat" | "sms" => &self.webhook.queue,
            _ => &self.task.queue,
        };
        let room = match patience {
            None => queue.reserve().await.ok(),
            Some(patience) => tokio::time::timeout(patience, queue.reserve()).await.ok().and_then(Result::ok),
        };
        match room {
            Some(room) => {
                room.send(parcel);
                Ok(())
            }
            None => Err(Box::new(parcel)),
        }
    }

    /// Gives back what isn't being sent, waits for what is, at most `deadline`, and stops.
    pub async fn stop(self, deadline: Duration) -> Drained {
        let Self { settler, settling, email, webhook, task, mut tasks, closing, .. } = self;
        closing.send_replace(true);
        drop((email, webhook, task, settler));
        let drained = async {
            while tasks.join_next().await.is_some() {}
            // Ends when the last session has handed in its outcome.
            let _ = settling.await;
        };
        // Past the deadline the sessions are dropped with their set; what they were sending is in doubt, and
        // the next start treats it so.
        match tokio::time::timeout(deadline, drained).await {
            Ok(()) => Drained::Yes,
            Err(_) => Drained::No,
        }
    }
}
