//! Values that are watched: another hash than the one kept is a change. An episode of such a rule is a moment:
//! it opens and closes with the change. What nudged itself wrote is no change.

use super::others::{Others, others};
use super::{Sighting, Watch, crossing};
use crate::engine::error::EngineError;
use crate::engine::port::{Episode, EpisodeChange, OwnWrite};
use crate::model::{InstanceSecret, Key, Value};
use crate::rule::checked::Changed;
use jiff::{SignedDuration, Timestamp};

/// A write that was intended and never settled is in doubt for so long: its step has been repeated, or given up, by then.
const IN_DOUBT: SignedDuration = SignedDuration::from_hours(24);

impl Watch<'_> {
    /// Looks at the values of these records, which are all different.
    pub(super) async fn values(&self, changed: &Changed, values: &[(Key, Value)]) -> Result<Sighting, EngineError> {
        let keys: Vec<Key> = values.iter().map(|(key, _)| key.clone()).collect();
        let kept = self.kept(&keys).await?;
        let records: Vec<[u8; 16]> = kept.iter().map(|(record, _)| *record).collect();
        let doubted = self.now.checked_sub(IN_DOUBT).unwrap_or(Timestamp::MIN);
        let own = self.store.own_writes(&self.rule.rule.id, &records, doubted).await?;
        let mut sighting = Sighting::default();
        for (((key, value), (record, known)), own) in values.iter().zip(kept).zip(own) {
            self.value(changed, (key, value), (record, known), &own, &mut sighting);
        }
        Ok(sighting)
    }

    fn value(
        &self,
        changed: &Changed,
        (key, value): (&Key, &Value),
        (record, known): ([u8; 16], Option<Episode>),
        own: &[OwnWrite],
        sighting: &mut Sighting,
    ) {
        let hash = |value: &Value| value_hash(self.namer.secret, &record, value);
        let among = |values: &Option<Vec<Value>>, one: [u8; 16]| {
            values.as_ref().is_none_or(|values| values.iter().any(|value| hash(value) == one))
        };
        let now = hash(value);
        // What an older definition kept is another field's.
        let old = known.as_ref().filter(|known| known.closed_at != Some(Timestamp::MIN)).and_then(|known| known.value);
        let seen = known.as_ref().map_or(Timestamp::MIN, |known| known.own);
        let unseen: Vec<OwnWrite> = own.iter().filter(|write| write.at > seen).cloned().collect();
        let (ordinal, opened_at) = known.as_ref().map_or((0, self.now), |known| (known.ordinal, known.opened_at));
        let mut episode =
            Episode { ordinal, opened_at, closed_at: Some(self.now), due_at: self.now, value: Some(now), own: seen };
        let Some(old) = old else {
            // A record nobody has looked at before. What we have settled by now is in its value.
            let settled = unseen.iter().filter(|write| write.settled_at.is_some_and(|at| at <= self.now));
            episode.own = settled.map(|write| write.at).max().unwrap_or(seen);
            sighting.changes.push(EpisodeChange { record, key: key.clone(), episode });
            return;
        };
        let Others { changes, own } = others(old, now, &unseen, self.now);
        episode.own = own.unwrap_or(seen);
        if changes.iter().any(|(from, to)| among(&changed.from, *from) && among(&changed.to, *to)) {
            episode.ordinal += 1;
            episode.opened_at = self.now;
            sighting.crossings.push(told(key, &episode, value));
        } else if old == now && changes.is_empty() {
            let last = known.filter(|known| known.closed_at == Some(known.opened_at) && known.ordinal > 0);
            if let Some(last) = last.filter(|last| last.opened_at > self.asked_after) {
                sighting.crossings.push(told(key, &last, value));
                episode.closed_at = last.closed_at;
            }
            if episode.own == seen {
                return;
            }
        }
        sighting.changes.push(EpisodeChange { record, key: key.clone(), episode });
    }
}

/// HMAC of a record's value.
pub(in crate::engine) fn value_hash(secret: &InstanceSecret, record: &[u8; 16], value: &Value) -> [u8; 16] {
    secret.value_hash(record, &canonical(value))
}

fn told(key: &Key, episode: &Episode, value: &Value) -> crate::rule::compiled::Crossing {
    crate::rule::compiled::Crossing { value: value.clone(), ..crossing(key, episode.ordinal, episode.opened_at, None) }
}

/// One text for equal values, whatever type the source hands them over in.
fn canonical(value: &Value) -> String {
    match value {
        value if value.is_missing() => "missing".to_owned(),
        Value::Int(number) => format!("number {number}"),
        Value::Decimal(number) => format!("number {}", number.normalize()),
        Value::Float(number) => format!("number {number}"),
        value => format!("value {}", value.to_json()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_text_and_a_word_is_never_a_number_or_nothing() {
        let decimal = |text: &str| canonical(&Value::Decimal(text.parse().unwrap()));
        assert_eq!(decimal("1.50"), decimal("1.5"));
        assert_eq!(decimal("5.0"), canonical(&Value::Int(5)));
        assert_ne!(canonical(&Value::Text("5".into())), canonical(&Value::Int(5)));
        assert_ne!(canonical(&Value::Text("missing".into())), canonical(&Value::Null));
        assert_eq!(canonical(&Value::Text(String::new())), canonical(&Value::Null));
    }
}
