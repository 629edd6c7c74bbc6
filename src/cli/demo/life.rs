//! The customers' and colleagues' side: what they do while the daemon watches.
//!
//! Most of it follows habits (see `world`). Some of it answers what the daemon did: a silent customer
//! orders after a mail, a signatory renews after a reminder, a colleague ticks off a task. Answers are
//! planned from the attempt log, so a demo that is stopped and started plans the same ones again, and
//! the CRM takes each only once.

use super::feed::{Label, Line};
use super::world::{Account, Crm, CrmError, Dice, Fact, Happening, Plan, Story, World, office_zone};
use crate::engine::port::AttemptView;
use crate::model::RecordId;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// Everybody who is not the daemon.
#[derive(Debug)]
pub struct Life {
    world: World,
    crm: Crm,
    /// Habits up to here are in the CRM.
    lived_until: DateTime,
    /// Answers to come, by when and which attempt they answer.
    plans: BTreeMap<(Timestamp, i64), Answer>,
    /// Mails each customer has had.
    mails: HashMap<i64, u32>,
}

/// What somebody does about something the daemon did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Order { account: i64 },
    Renew { account: i64, plan: i64 },
    FinishTask { reference: String },
}

impl Life {
    /// A life whose habits begin with the demo's first day.
    pub fn new(world: World, crm: Crm) -> Self {
        let lived_until = world.calendar.first.to_datetime(jiff::civil::Time::midnight());
        Self { world, crm, lived_until, plans: BTreeMap::new(), mails: HashMap::new() }
    }

    /// What the customers' world remembers of something the daemon did.
    pub fn notice(&mut self, attempt: &AttemptView) {
        let Some(record) = attempt.record.as_ref().filter(|_| attempt.outcome == "sent") else { return };
        let Some((answer, delay)) = self.answer(attempt, record) else { return };
        let when = attempt.finished_at.checked_add(delay).unwrap_or(Timestamp::MAX);
        self.plans.insert((when, attempt.id), answer);
    }

    fn answer(&mut self, attempt: &AttemptView, record: &RecordId) -> Option<(Answer, SignedDuration)> {
        let key: i64 = record.key.as_str().parse().ok()?;
        let mut dice = Dice::of(&[self.world.calendar.seed, 7, key]);
        let hours = |dice: &mut Dice, low: i64, high: i64| SignedDuration::from_hours(dice.between(low, high));
        match (attempt.kind.as_str(), record.entity.as_str()) {
            ("email", "customer") => {
                let mails = self.mails.entry(key).or_insert(0);
                *mails += 1;
                let story = self.world.accounts.iter().find(|account| account.id == key)?.story?;
                let comes_back = matches!((story, *mails), (Story::Returns, 1) | (Story::ReturnsLate, 2));
                comes_back.then(|| (Answer::Order { account: key }, hours(&mut dice, 26, 110)))
            }
            ("email", "subscription") => {
                let (account, plan) = self.plan(key)?;
                let answer = Answer::Renew { account: account.id, plan: plan.id };
                plan.will_renew.then(|| (answer, hours(&mut dice, 20, 160)))
            }
            ("task", _) => {
                let reference = attempt.delivery.to_string();
                Some((Answer::FinishTask { reference }, hours(&mut dice, 20, 100)))
            }
            _ => None,
        }
    }

    fn plan(&self, id: i64) -> Option<(&Account, &Plan)> {
        self.world.accounts.iter().find_map(|account| {
            let plan = account.plan.as_ref().filter(|plan| plan.id == id)?;
            Some((account, plan))
        })
    }

    /// Lets everybody live until `now`, and tells what of it is worth telling.
    pub async fn live_until(&mut self, now: Timestamp) -> Result<Vec<Line>, CrmError> {
        let wall = now.to_zoned(office_zone()).datetime();
        let (from, to) = (self.world.calendar.day(self.lived_until.date()), self.world.calendar.day(wall.date()));
        let happened: Vec<Happening> = (from..=to)
            .flat_map(|day| self.world.calendar.happenings(&self.world.accounts, day))
            .filter(|happening| happening.at > self.lived_until && happening.at <= wall)
            .collect();
        self.crm.record(&happened).await?;
        self.lived_until = wall.max(self.lived_until);
        let mut lines: Vec<Line> = happened.iter().filter_map(|happening| self.tell(happening)).collect();
        while let Some((&(when, attempt), _)) = self.plans.first_key_value().filter(|((when, _), _)| *when <= now) {
            if let Some(answer) = self.plans.remove(&(when, attempt)) {
                lines.extend(self.carry_out(&answer, when).await?);
            }
        }
        Ok(lines)
    }

    /// `None` when it had been done in an earlier run.
    async fn carry_out(&self, answer: &Answer, when: Timestamp) -> Result<Option<Line>, CrmError> {
        let wall = when.to_zoned(office_zone()).datetime();
        match answer {
            Answer::Order { account } => {
                let cents = Dice::of(&[self.world.calendar.seed, 8, *account]).between(8_000, 40_000);
                let new = self.crm.order_once(90_000_000 + account, *account, wall, cents).await?;
                let what = format!("orders again, for {}", euros(cents));
                Ok(new.then(|| self.line(when, Label::Order, *account, what)))
            }
            Answer::Renew { account, plan } => {
                let Some((_, details)) = self.plan(*plan) else { return Ok(None) };
                let until = self.world.calendar.date(details.renews + 365);
                let new = self.crm.renew(*plan, until).await?;
                let what = format!("renews {} until {}", details.name, until.strftime("%-d %b %Y"));
                Ok(new.then(|| self.line(when, Label::Life, *account, what)))
            }
            Answer::FinishTask { reference } => {
                self.crm.finish_task(reference).await?;
                Ok(None)
            }
        }
    }

    /// Everyday orders would flood the feed; what rules may answer is told.
    fn tell(&self, happening: &Happening) -> Option<Line> {
        let at = happening.at.to_zoned(office_zone()).ok()?.timestamp();
        match &happening.what {
            Fact::Answer { account, kind: "nps", rating, comment, .. } if *rating <= 6 => {
                let words = comment.map(|comment| format!(": \u{201c}{comment}\u{201d}")).unwrap_or_default();
                Some(self.line(at, Label::Answer, *account, format!("scores us {rating}/10{words}")))
            }
            Fact::TicketClosed { id } => {
                // The ticket's number ends with its account's.
                let account = id % 1_000;
                let waited = self.world.accounts.iter().any(|a| a.id == account && a.story.is_some());
                waited.then(|| self.line(at, Label::Life, account, "their open ticket is solved".to_owned()))
            }
            _ => None,
        }
    }

    fn line(&self, at: Timestamp, label: Label, account: i64, what: String) -> Line {
        let who = self.world.accounts.iter().find(|known| known.id == account).map(|known| known.name.clone());
        Line { at, label, who: who.unwrap_or_default(), what, topic: String::new() }
    }
}

fn euros(cents: i64) -> String {
    format!("€{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, Lane};

    const START: &str = "2026-10-23T00:00:00Z";

    async fn life(directory: &std::path::Path) -> Life {
        let world = World::new(1, "2026-10-23".parse().unwrap());
        let crm = Crm::open(&directory.join("crm.db"), &world).await.unwrap();
        Life::new(world, crm)
    }

    fn after(hours: i64) -> Timestamp {
        START.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
    }

    fn sent(id: i64, kind: &str, entity: &str, key: i64, at: Timestamp) -> AttemptView {
        AttemptView {
            id,
            delivery: DeliveryId([id as u8; 16]),
            rule: "win-back-90".into(),
            lane: Lane::Live,
            record: Some(RecordId { tenant: "".into(), entity: entity.into(), key: key.to_string().as_str().into() }),
            step: "step".to_owned(),
            kind: kind.to_owned(),
            number: 1,
            finished_at: at,
            outcome: "sent".to_owned(),
            detail: String::new(),
        }
    }

    async fn orders(life: &mut Life, until: Timestamp) -> usize {
        life.live_until(until).await.unwrap().iter().filter(|line| line.label == Label::Order).count()
    }

    #[tokio::test]
    async fn a_silent_customer_orders_some_days_after_the_first_mail_and_only_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = life(directory.path()).await;
        let mail = sent(1, "email", "customer", 1, after(10));
        first.notice(&mail);
        assert_eq!(orders(&mut first, after(30)).await, 0);
        assert_eq!(orders(&mut first, after(200)).await, 1);

        let mut second = life(directory.path()).await;
        second.notice(&mail);
        assert_eq!(orders(&mut second, after(300)).await, 0, "a second start doesn't repeat the order");
    }

    #[tokio::test]
    async fn those_who_are_lost_stay_away_and_failed_mails_move_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let mut life = life(directory.path()).await;
        let lost = life.world.accounts.iter().find(|account| account.story == Some(Story::Lost)).unwrap().id;
        life.notice(&sent(1, "email", "customer", lost, after(10)));
        life.notice(&sent(2, "email", "customer", lost, after(180)));
        life.notice(&AttemptView { outcome: "skipped".to_owned(), ..sent(3, "email", "customer", 1, after(10)) });
        assert_eq!(orders(&mut life, after(600)).await, 0);
    }

    #[tokio::test]
    async fn a_signatory_renews_after_the_reminder() {
        let directory = tempfile::tempdir().unwrap();
        let mut life = life(directory.path()).await;
        let willing = life.world.accounts.iter().filter_map(|account| account.plan.as_ref());
        let plan = willing.clone().find(|plan| plan.will_renew).unwrap().id;
        life.notice(&sent(1, "email", "subscription", plan, after(10)));
        let lines = life.live_until(after(200)).await.unwrap();
        assert!(lines.iter().any(|line| line.what.starts_with("renews ")), "{lines:?}");
    }
}
