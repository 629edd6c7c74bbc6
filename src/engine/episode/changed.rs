//! Values that are watched: another hash than the one kept is a change. An episode of such a rule is a moment:
//! it opens and closes with the change.

use super::{Sighting, Watch, crossing};
use crate::engine::error::EngineError;
use crate::engine::port::{Episode, EpisodeChange};
use crate::model::{Key, Value};
use crate::rule::checked::Changed;
use jiff::Timestamp;

impl Watch<'_> {
    /// Looks at the values of these records, which are all different.
    pub(super) async fn values(&self, changed: &Changed, values: &[(Key, Value)]) -> Result<Sighting, EngineError> {
        let keys: Vec<Key> = values.iter().map(|(key, _)| key.clone()).collect();
        let kept = self.kept(&keys).await?;
        let mut sighting = Sighting::default();
        for ((key, value), (record, known)) in values.iter().zip(kept) {
            let hash = |value: &Value| self.namer.secret.value_hash(&record, &canonical(value));
            let among = |values: &Option<Vec<Value>>, one: [u8; 16]| {
                values.as_ref().is_none_or(|values| values.iter().any(|value| hash(value) == one))
            };
            let now = hash(value);
            // What an older definition kept is another field's.
            let old =
                known.as_ref().filter(|known| known.closed_at != Some(Timestamp::MIN)).and_then(|known| known.value);
            let (ordinal, opened_at) = known.as_ref().map_or((0, self.now), |known| (known.ordinal, known.opened_at));
            let mut episode =
                Episode { ordinal, opened_at, closed_at: Some(self.now), due_at: self.now, value: Some(now) };
            match old {
                Some(old) if old == now => {
                    let last = known.filter(|known| known.closed_at == Some(known.opened_at) && known.ordinal > 0);
                    if let Some(last) = last.filter(|last| last.opened_at > self.asked_after) {
                        sighting.crossings.push(told(key, &last, value));
                    }
                    continue;
                }
                Some(old) if among(&changed.from, old) && among(&changed.to, now) => {
                    episode.ordinal += 1;
                    episode.opened_at = self.now;
                    sighting.crossings.push(told(key, &episode, value));
                }
                // Another change, or a record nobody has looked at before.
                _ => {}
            }
            sighting.changes.push(EpisodeChange { record, key: key.clone(), episode });
        }
        Ok(sighting)
    }
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
