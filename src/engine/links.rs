//! Where the links of a mail lead: to the pages of the public listener, signed for the one who gets the mail.

use crate::model::{AddressHash, AskedAbout, DeliveryId, InstanceSecret, Link, LinkPurpose, Topic};
use crate::rule::message::MessageLinks;
use jiff::{SignedDuration, Timestamp};

/// Below which address the pages are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Links {
    /// Nobody is meant to follow them: in rehearsals and tests of rules they lead nowhere, so that looking at
    /// somebody's mail can't unsubscribe them.
    #[default]
    Rehearsed,
    /// `web.public_url`; without it no marketing leaves the house.
    Served(Option<String>),
}

/// A reserved name, which resolves nowhere.
const NOWHERE: &str = "https://rehearsal.invalid";

/// How long somebody who was asked for a yes has for it.
const CONFIRM_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long somebody who was asked a survey has for an answer.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_hours(60 * 24);

/// One mail to one address.
#[derive(Debug, Clone, Copy)]
pub struct LinkedMail<'a> {
    pub address: AddressHash,
    pub delivery: DeliveryId,
    /// What a no would be about. `None`: nothing that one can say no to.
    pub topic: Option<&'a Topic>,
    /// What a yes would be about.
    pub confirms: Option<&'a Topic>,
    /// What it asks.
    pub asks: Option<&'a AskedAbout>,
    pub now: Timestamp,
}

impl Links {
    /// Whether a mail that needs links can have them.
    pub fn work(&self) -> bool {
        !matches!(self, Self::Served(None))
    }

    /// Where real links begin.
    pub(super) fn base(&self) -> Option<&str> {
        match self {
            Self::Served(base) => base.as_deref(),
            Self::Rehearsed => None,
        }
    }

    /// What is signed in them, which whoever sees a copy must not have.
    pub fn signed_in(&self, links: &MessageLinks) -> Vec<String> {
        if matches!(self, Self::Rehearsed) {
            return Vec::new();
        }
        let links = [&links.unsubscribe, &links.preferences, &links.confirm, &links.answer];
        links.into_iter().flatten().filter_map(|link| link.rsplit('/').next()).map(str::to_owned).collect()
    }

    /// The links that templates see.
    pub fn of(&self, secret: &InstanceSecret, mail: LinkedMail<'_>) -> MessageLinks {
        let url = |path: &str, link: Link| {
            let (base, token) = match self {
                Self::Served(base) => (base.as_deref()?, secret.sign_link(&link)),
                Self::Rehearsed => (NOWHERE, "rehearsal".to_owned()),
            };
            Some(format!("{base}/{path}/{token}"))
        };
        let link = |purpose, topic: Option<&Topic>| Link {
            purpose,
            address: mail.address,
            delivery: Some(mail.delivery),
            topic: topic.cloned(),
            issued: None,
            expires: None,
        };
        let asked = |topic| Link {
            issued: Some(mail.now),
            expires: mail.now.checked_add(CONFIRM_WITHIN).ok(),
            ..link(LinkPurpose::Confirm, Some(topic))
        };
        MessageLinks {
            unsubscribe: mail.topic.and_then(|topic| url("u", link(LinkPurpose::Unsubscribe, Some(topic)))),
            preferences: mail.topic.and_then(|topic| url("p", link(LinkPurpose::Preferences, Some(topic)))),
            confirm: mail.confirms.and_then(|topic| url("c", asked(topic))),
            answer: mail.asks.and_then(|about| {
                let expires = mail.now.checked_add(ANSWER_WITHIN).ok();
                url("a", Link { expires, ..link(LinkPurpose::Answer, Some(&about.to_topic())) })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);

    fn mail<'a>(topic: Option<&'a Topic>, confirms: Option<&'a Topic>) -> LinkedMail<'a> {
        let now = "2026-11-20T10:00:00.5Z".parse().unwrap();
        LinkedMail { address: AddressHash([1; 16]), delivery: DeliveryId([2; 16]), topic, confirms, asks: None, now }
    }

    #[test]
    fn each_link_leads_to_its_own_page_and_reads_back_there() {
        let (offers, news) = (Topic::from("offers"), Topic::from("news"));
        let links = Links::Served(Some("https://mail.acme.example".into()));
        let made = links.of(&SECRET, mail(Some(&offers), Some(&news)));
        let read = |url: Option<String>, path: &str, purpose| {
            let url = url.unwrap();
            let token = url.strip_prefix(&format!("https://mail.acme.example/{path}/")).unwrap().to_owned();
            SECRET.read_link(purpose, &token, mail(None, None).now).unwrap()
        };
        assert_eq!(read(made.unsubscribe, "u", LinkPurpose::Unsubscribe).topic, Some(offers.clone()));
        assert_eq!(read(made.preferences, "p", LinkPurpose::Preferences).delivery, Some(DeliveryId([2; 16])));
        let confirm = read(made.confirm, "c", LinkPurpose::Confirm);
        assert_eq!((confirm.topic, confirm.expires.is_some()), (Some(news), true));
        assert!(links.of(&SECRET, mail(None, None)).unsubscribe.is_none());
    }

    #[test]
    fn a_rehearsal_shows_where_links_stand_and_none_that_works() {
        let offers = Topic::from("offers");
        let url = Links::Rehearsed.of(&SECRET, mail(Some(&offers), None)).unsubscribe.unwrap();
        assert_eq!(url, "https://rehearsal.invalid/u/rehearsal");
        assert!(!Links::Served(None).work());
        assert!(Links::Served(None).of(&SECRET, mail(Some(&offers), None)).unsubscribe.is_none());
    }
}
