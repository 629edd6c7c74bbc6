//! Whether this is the moment for a message to a person: windows, rates and caps. Pure, like the decision it is
//! part of; what has been sent, and how fast, is told to it.

use crate::engine::port::{ContactStanding, Waiting};
use crate::engine::settings::Sending;
use crate::model::{Channel, DeliveryId, SendWindow, Value, at_local};
use crate::rule::CheckedRule;
use crate::rule::compiled::Facts;
use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// How far ahead a more important message to the same person is waited for.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_hours(1);
/// Long enough for the message that goes first to have left.
const BEHIND: SignedDuration = SignedDuration::from_mins(1);
/// How long a message is put off whose windows never meet.
const NEVER_OPEN: SignedDuration = SignedDuration::from_hours(24);

/// Asks the rate.
pub type Pacing<'p> = dyn Fn(Channel, &str) -> Option<(Timestamp, String)> + Send + Sync + 'p;

/// What decides when a message may leave.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub sending: &'a Sending,
    /// The delivery in question; it is in nobody's way by itself.
    pub delivery: DeliveryId,
    /// What the state knows of the person's mailbox; `None`: no cap counts them.
    pub contact: Option<&'a ContactStanding>,
    /// Asked last but one, with the channel and the domain of a mail's address: until when the rate puts it off, and
    /// why.
    pub pace: &'a Pacing<'a>,
}

/// The part of an address that names the mail server.
pub fn address_domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Those of the configuration and of the rule, which must all be open.
pub fn windows<'w>(sending: &'w Sending, by: Channel, rule: &'w CheckedRule) -> Vec<&'w SendWindow> {
    let own = sending.texts.window.as_ref().filter(|_| by == Channel::Sms);
    sending.window.iter().chain(own).chain(&rule.window).collect()
}

impl Moment<'_> {
    /// Since when nothing was heard of the record, where that is too long.
    pub fn sunset(&self, rule: &CheckedRule, facts: &Facts, now: Timestamp) -> Option<String> {
        let sunset = self.sending.sunset?;
        let latest =
            rule.last_activity.iter().filter_map(|field| instant(facts.record.get(field.as_str())?, facts)).max()?;
        (latest < sunset.before(now, &facts.zone)).then(|| {
            let day = latest.to_zoned(facts.zone.clone()).date();
            format!("last heard of on {day}, more than {sunset} ago")
        })
    }

    /// When the configuration's window and the rule's are both open, if they aren't now.
    pub fn closed(
        &self,
        by: Channel,
        rule: &CheckedRule,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        let windows = windows(self.sending, by, rule);
        let written = || windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        match SendWindow::all_open(&windows, now, zone) {
            Some(open) if open <= now => None,
            Some(open) => {
                let name = zone.iana_name().map_or_else(String::new, |name| format!(" in {name}"));
                Some((open, format!("outside the send window {}{name}", written())))
            }
            None => {
                let later = now.saturating_add(NEVER_OPEN).unwrap_or(Timestamp::MAX);
                Some((later, format!("the send windows {} are never open together", written())))
            }
        }
    }

    /// When a cap leaves a place, if it leaves none now, or none besides those of more important messages to the
    /// same person.
    pub fn capped(
        &self,
        (by, contact): (Channel, Option<&ContactStanding>),
        priority: u8,
        own: i64,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        let limits = if by == Channel::Sms { &self.sending.texts.limits } else { &self.sending.limits };
        let standing = contact?;
        let others = standing.sends.iter().filter(|(delivery, _)| *delivery != self.delivery);
        let sends: Vec<Timestamp> = others.map(|(_, at)| *at).collect();
        if let Some((until, cap)) = limits.capped(&sends, now) {
            return Some((until, format!("the cap of {cap} is reached")));
        }
        let soon = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let before_us = |waiting: &&Waiting| waiting.id != own && waiting.priority > priority && waiting.due_at <= soon;
        let before_us: Vec<_> = standing.waiting.iter().filter(before_us).collect();
        if before_us.len() < limits.places(&sends, now) {
            return None;
        }
        let first = before_us.iter().min_by_key(|waiting| waiting.due_at)?;
        let until = first.due_at.max(now).saturating_add(BEHIND).unwrap_or(Timestamp::MAX);
        Some((until, format!("a message of priority {} to the same person goes first", first.priority)))
    }
}

/// The instant a field holds; the end of its day, where it holds a day.
fn instant(value: &Value, facts: &Facts) -> Option<Timestamp> {
    match value {
        Value::Instant(at) => Some(*at),
        Value::Date(day) => Some(at_local(day.tomorrow().ok()?.to_datetime(Time::midnight()), &facts.zone)),
        Value::Naive(local) => Some(at_local(*local, &facts.zone)),
        _ => None,
    }
}
