//! One entry: an address that was suppressed, or what somebody said about a topic. Addresses are hashes, as in the state.

use crate::model::{AddressHash, Channel, Preference, PreferenceSource, Suppression, SuppressionReason, Topic};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Suppressed(Suppression),
    Said(Preference),
    /// An operator took the address off the list again.
    Removed {
        hash: AddressHash,
        channel: Channel,
        at: Timestamp,
    },
}

/// As it is written: without a field's name, since there are many lines.
#[derive(Serialize, Deserialize)]
struct SuppressedLine(String, String, Channel, SuppressionReason, i64);

#[derive(Serialize, Deserialize)]
struct RemovedLine(String, String, Channel, i64);

#[derive(Serialize, Deserialize)]
struct SaidLine(String, String, Channel, Option<String>, bool, PreferenceSource, i64);

const SUPPRESSED: &str = "s";
const SAID: &str = "p";
const REMOVED: &str = "r";

impl Entry {
    pub fn to_json(&self) -> String {
        let written = match self {
            Self::Suppressed(entry) => serde_json::to_string(&SuppressedLine(
                SUPPRESSED.to_owned(),
                hex(entry.hash),
                entry.channel,
                entry.reason,
                entry.since.as_microsecond(),
            )),
            Self::Said(said) => serde_json::to_string(&SaidLine(
                SAID.to_owned(),
                hex(said.hash),
                said.channel,
                said.topic.as_ref().map(ToString::to_string),
                said.allowed,
                said.source,
                said.since.as_microsecond(),
            )),
            Self::Removed { hash, channel, at } => {
                serde_json::to_string(&RemovedLine(REMOVED.to_owned(), hex(*hash), *channel, at.as_microsecond()))
            }
        };
        // Texts, numbers and names of variants can't fail to be written.
        written.unwrap_or_default()
    }

    pub fn of_json(text: &str) -> Option<Self> {
        if let Ok(SuppressedLine(kind, hash, channel, reason, since)) = serde_json::from_str(text) {
            let (hash, since) = (unhex(&hash)?, Timestamp::from_microsecond(since).ok()?);
            return (kind == SUPPRESSED).then_some(Self::Suppressed(Suppression {
                hash,
                channel,
                address: None,
                reason,
                since,
            }));
        }
        if let Ok(RemovedLine(kind, hash, channel, at)) = serde_json::from_str(text) {
            let (hash, at) = (unhex(&hash)?, Timestamp::from_microsecond(at).ok()?);
            return (kind == REMOVED).then_some(Self::Removed { hash, channel, at });
        }
        let SaidLine(kind, hash, channel, topic, allowed, source, since) = serde_json::from_str(text).ok()?;
        let (hash, since) = (unhex(&hash)?, Timestamp::from_microsecond(since).ok()?);
        let topic = topic.map(|topic| Topic::from(topic.as_str()));
        (kind == SAID).then_some(Self::Said(Preference {
            hash,
            channel,
            topic,
            allowed,
            since,
            source,
            delivery: None,
        }))
    }
}

fn hex(hash: AddressHash) -> String {
    hash.0.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<AddressHash> {
    let id: crate::model::DeliveryId = text.parse().ok()?;
    Some(AddressHash(id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_names_nobody() {
        let (hash, channel, since) = (AddressHash([0xab; 16]), Channel::Email, Timestamp::from_second(7).unwrap());
        let address = Some("anna@example.org".to_owned());
        let reason = SuppressionReason::Complained;
        let suppressed = Entry::Suppressed(Suppression { channel, hash, address, reason, since });
        assert!(!suppressed.to_json().contains("anna"));
        let Some(Entry::Suppressed(read)) = Entry::of_json(&suppressed.to_json()) else { panic!() };
        assert_eq!((read.hash, read.reason, read.since, read.address), (hash, reason, since, None));
        for topic in [None, Some(Topic::from("offers \"and\"\ttabs"))] {
            let source = PreferenceSource::OneClick;
            let said = Entry::Said(Preference { hash, channel, topic, allowed: false, since, source, delivery: None });
            assert_eq!(Entry::of_json(&said.to_json()), Some(said));
        }
        let removed = Entry::Removed { hash, channel, at: since };
        assert_eq!(Entry::of_json(&removed.to_json()), Some(removed));
        assert_eq!(Entry::of_json("[\"x\",\"\"]"), None);
    }
}
