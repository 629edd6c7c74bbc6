//! Keeps notes of what the routes saw: a moment later, many at once, so that neither readers nor the state wait.
//!
//! The moment also tells people from scanners that follow all links of a mail at once.

use super::Request;
use crate::engine::port::{Reacted, Reaction, Store, StoreError};
use crate::model::{AddressHash, Clock, DeliveryId, TRACKING, Topic, preferences_for};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// Requests that are held at once; further ones wait before the door, and are lost when it is full as well.
const BATCH: usize = 1_000;
/// Nobody follows two links of a mail within it.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);
const LOOK: Duration = Duration::from_millis(500);

/// The one who keeps notes; ends when the routes are gone and everything is kept.
pub struct Recorder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Request>,
    after: SignedDuration,
    held: Vec<Request>,
}

impl Recorder {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        queue: mpsc::Receiver<Request>,
        after: SignedDuration,
    ) -> Self {
        Self { store, clock, queue, after, held: Vec::new() }
    }

    pub async fn run(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = self.queue.recv(), if self.held.len() < BATCH => match request {
                    Some(request) => self.held.push(request),
                    None => break,
                },
                _ = look.tick() => {
                    let ripe = self.clock.now().saturating_sub(AT_ONCE).unwrap_or(Timestamp::MIN);
                    self.keep(ripe).await;
                }
            }
        }
        self.keep(Timestamp::MAX).await;
    }

    /// Keeps what came before then. What the state can't take now is held, and tried again.
    async fn keep(&mut self, ripe: Timestamp) {
        mark_at_once(&mut self.held);
        let due: Vec<Request> = self.held.iter().filter(|request| request.at <= ripe).cloned().collect();
        if due.is_empty() {
            return;
        }
        match self.note(&due).await {
            Ok(()) => self.held.retain(|request| request.at > ripe),
            Err(error) => tracing::warn!(%error, held = due.len(), "how mails are read could not be noted yet"),
        }
    }

    async fn note(&self, due: &[Request]) -> Result<(), StoreError> {
        let mails: Vec<_> = due.iter().map(|request| (request.link.enrollment, request.link.delivery)).collect();
        let sent = self.store.sent_mails(&mails).await?;
        let refused = self.refused(due).await?;
        let agreed = due.iter().filter(|request| !refused.contains(&request.link.reader));
        let reactions: Vec<Reaction> = agreed.filter_map(|request| reaction(request, &sent, self.after)).collect();
        for what in self.store.note_reactions(&reactions).await? {
            metrics::counter!("nudged_reactions_total", "what" => what.as_str()).increment(1);
        }
        Ok(())
    }
}

impl Recorder {
    /// Who has said no to it, or to all, since their mail was sent.
    async fn refused(&self, due: &[Request]) -> Result<HashSet<AddressHash>, StoreError> {
        let readers: HashSet<AddressHash> = due.iter().map(|request| request.link.reader).collect();
        let said = self.store.preferences(&Vec::from_iter(readers)).await?;
        let holds = preferences_for(&Topic::from(TRACKING), said).into_values();
        Ok(holds.filter(|said| !said.allowed).map(|said| said.hash).collect())
    }
}

/// Several links of one mail within a moment: nobody is that quick.
fn mark_at_once(held: &mut [Request]) {
    let mut clicks: HashMap<DeliveryId, Vec<(Timestamp, u16)>> = HashMap::new();
    for request in held.iter().filter(|request| request.link.page.is_some()) {
        clicks.entry(request.link.delivery).or_default().push((request.at, request.link.number));
    }
    for request in held.iter_mut().filter(|request| request.link.page.is_some() && request.machine.is_none()) {
        let near = |(at, number): &(Timestamp, u16)| {
            *number != request.link.number && at.duration_since(request.at).abs() < AT_ONCE
        };
        if clicks[&request.link.delivery].iter().any(near) {
            request.machine = Some("several links at once");
        }
    }
}

/// `None`: of a mail that nobody knows of any more.
fn reaction(request: &Request, sent: &HashMap<DeliveryId, Timestamp>, after: SignedDuration) -> Option<Reaction> {
    let Request { link, at, machine } = request;
    let soon = at.duration_since(*sent.get(&link.delivery)?) < after;
    let machine = machine.or(soon.then_some("just after it was sent"));
    let page = link.page.as_deref();
    let detail = match (page, machine) {
        (Some(page), Some(why)) => format!("{page} ({why})"),
        (page, machine) => page.or(machine).unwrap_or_default().to_owned(),
    };
    Some(Reaction {
        enrollment: link.enrollment,
        delivery: link.delivery,
        number: link.number,
        at: *at,
        what: Reacted::of(page.is_some(), machine.is_some()),
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TrackedLink;

    fn request(mail: u8, number: u16, millis: i64, machine: Option<&'static str>) -> Request {
        let page = (number > 0).then(|| format!("https://a.example/{number}"));
        let link =
            TrackedLink { delivery: DeliveryId([mail; 16]), enrollment: 7, reader: AddressHash([3; 16]), number, page };
        Request { link, at: Timestamp::from_millisecond(millis).unwrap(), machine }
    }

    #[test]
    fn several_links_of_a_mail_within_a_second_are_a_machines() {
        let mut held = vec![
            request(1, 1, 0, None),
            request(1, 2, 999, None),
            // Two clicks on one link, another mail, a second later, and the picture that comes with the first click.
            request(2, 1, 0, None),
            request(2, 1, 10, None),
            request(3, 2, 5, None),
            request(4, 1, 0, None),
            request(4, 2, 1_000, None),
            request(5, 0, 0, None),
            request(5, 1, 1, None),
            // A scanner's click beside somebody's.
            request(6, 1, 0, Some("a scanner or proxy")),
        ];
        mark_at_once(&mut held);
        let told: Vec<Option<&str>> = held.iter().map(|request| request.machine).collect();
        let at_once = Some("several links at once");
        assert_eq!(told[..2], [at_once, at_once]);
        assert!(told[2..9].iter().all(Option::is_none), "{told:?}");
        assert_eq!(told[9], Some("a scanner or proxy"));
    }

    #[test]
    fn what_comes_just_after_a_mail_was_sent_is_a_machines() {
        let sent = HashMap::from([(DeliveryId([1; 16]), Timestamp::from_second(100).unwrap())]);
        let noted = |number, millis| {
            let noted = reaction(&request(1, number, millis, None), &sent, SignedDuration::from_secs(10)).unwrap();
            (noted.what, noted.detail)
        };
        let soon = "just after it was sent";
        assert_eq!(noted(0, 109_999), (Reacted::OpenedByMachine, soon.to_owned()));
        assert_eq!(noted(1, 99_000), (Reacted::ClickedByMachine, format!("https://a.example/1 ({soon})")));
        assert_eq!(noted(0, 110_000), (Reacted::Opened, String::new()));
        assert_eq!(noted(1, 110_000), (Reacted::Clicked, "https://a.example/1".to_owned()));
        assert_eq!(reaction(&request(2, 1, 110_000, None), &sent, SignedDuration::ZERO), None, "of no mail we know");
    }
}
