//! What people themselves said about the topics they want to read of. It outranks what the CRM says of them.

use super::{AddressHash, Channel, DeliveryId, Topic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceSource {
    /// A mail program's own button, by RFC 8058.
    OneClick,
    /// The page behind the link of a mail.
    Page,
    /// The link of a mail that asked: double opt-in.
    Confirmed,
    Operator,
    /// A mail to the address that a mail's head names for it.
    Mail,
}

impl PreferenceSource {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneClick => "one_click",
            Self::Page => "page",
            Self::Confirmed => "confirmed",
            Self::Operator => "operator",
            Self::Mail => "mail",
        }
    }
}

/// One address about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    pub hash: AddressHash,
    pub channel: Channel,
    /// `None`: whatever the topic is, now and later, unless something was said about it.
    pub topic: Option<Topic>,
    pub allowed: bool,
    pub since: Timestamp,
    pub source: PreferenceSource,
    /// The mail whose link it was said by. Not kept: it only leads to the CRM's own row, once.
    pub delivery: Option<DeliveryId>,
}

/// What holds for a topic, by address: what was said about it, else what was said about all. A no to all that came after
/// it holds as well.
#[must_use]
pub fn preferences_for(topic: &Topic, said: impl IntoIterator<Item = Preference>) -> HashMap<AddressHash, Preference> {
    let mut holds: HashMap<AddressHash, Preference> = HashMap::new();
    for said in said.into_iter().filter(|said| said.topic.as_ref().is_none_or(|about| about == topic)) {
        let outranks = |known: &Preference| match (&said.topic, &known.topic) {
            (Some(_), None) => known.allowed || known.since <= said.since,
            (None, Some(_)) => !said.allowed && said.since > known.since,
            _ => said.since >= known.since,
        };
        if holds.get(&said.hash).is_none_or(outranks) {
            holds.insert(said.hash, said);
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_the_topic_outranks_what_was_said_of_all() {
        let hash = AddressHash([1; 16]);
        let said = |topic: Option<&str>, allowed| Preference {
            hash,
            channel: Channel::Email,
            topic: topic.map(Topic::from),
            allowed,
            since: Timestamp::UNIX_EPOCH,
            source: PreferenceSource::Page,
            delivery: None,
        };
        let mut all = vec![said(None, false), said(Some("news"), true), said(Some("surveys"), true)];
        for _ in 0..2 {
            let holds = |hash, topic: &str| preferences_for(&topic.into(), all.clone()).get(&hash).map(|p| p.allowed);
            assert_eq!(holds(hash, "news"), Some(true));
            assert_eq!(holds(hash, "offers"), Some(false));
            assert_eq!(holds(AddressHash([2; 16]), "offers"), None);
            let later =
                Preference { since: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1), ..said(None, false) };
            for with in [[all.clone(), vec![later.clone()]].concat(), [vec![later], all.clone()].concat()] {
                let news = preferences_for(&"news".into(), with).get(&hash).map(|p| p.allowed);
                assert_eq!(news, Some(false), "all of it was refused after that");
            }
            all.reverse();
        }
    }
}
