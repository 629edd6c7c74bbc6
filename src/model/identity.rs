//! Names and ids, each a type of its own, so that a rule id can't be passed where a key is meant.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt::{self, Write};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a name that has already been checked.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.to_owned())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(/// A rule's identity; not its file name.
    RuleId);
name_type!(/// An entity of the catalog: `customer`, `order`.
    EntityName);
name_type!(/// A field of an entity, by its catalog name.
    FieldName);
name_type!(/// A relation of an entity: `orders`.
    RelationName);
name_type!(/// A recipient role: `main_contact`, `owner`.
    RoleName);
name_type!(/// A step within its rule: given by the author, or kind and template.
    StepId);
name_type!(/// A template by its file stem: `win-back-1`.
    TemplateName);
name_type!(/// A subject people consent to: `offers`.
    Topic);
name_type!(/// A tenant of the source; empty where the source has only one.
    Tenant);
name_type!(/// A record's key in canonical text: integers in decimal, UUIDs hyphenated in lower case, bytes as `0x…`.
    Key);
name_type!(/// The canonical text of the fact that makes a match unique.
    Occasion);
name_type!(/// SHA-256 (hexadecimal) of what an enrollment pins: a rule's steps and waits.
    VersionHash);

/// Whether a match acts, or is only recorded. What matched in shadow can still match live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Shadow,
    Live,
}

impl Lane {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Live => "live",
        }
    }
}

/// One row of an entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub tenant: Tenant,
    pub entity: EntityName,
    pub key: Key,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tenant.as_str().is_empty() {
            write!(f, "{}/", self.tenant)?;
        }
        write!(f, "{}:{}", self.entity, self.key)
    }
}

/// Everything that makes a match what it is. It happens once, ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchIdentity {
    pub rule: RuleId,
    pub lane: Lane,
    pub record: RecordId,
    pub occasion: Occasion,
}

/// The first 16 bytes of HMAC-SHA256 over a [`MatchIdentity`]: unique without naming the person, so that
/// an erased person still never matches again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchId(pub [u8; 16]);

/// One action for one enrollment, kept across retries; Message-ID and Idempotency-Key derive from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub [u8; 16]);

impl DeliveryId {
    /// Stands where no delivery is known.
    pub const UNNAMED: Self = Self([0; 16]);
}

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let wrong = || format!("`{text}` is not an id: expected 32 hexadecimal digits");
                if text.len() != 32 || !text.is_ascii() {
                    return Err(wrong());
                }
                let mut bytes = [0; 16];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| wrong())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}
hex_id!(MatchId);
hex_id!(DeliveryId);

/// How many tries a delivery has had; the first is 1.
pub type AttemptNumber = u32;

/// The random secret of one state database. It keys every id, so ids of two instances never meet.
#[derive(Clone)]
pub struct InstanceSecret(pub [u8; 32]);

impl fmt::Debug for InstanceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceSecret(…)")
    }
}

impl InstanceSecret {
    /// The id of a match.
    #[must_use]
    pub fn match_id(&self, identity: &MatchIdentity) -> MatchId {
        let record = &identity.record;
        MatchId(self.keyed(&[
            b"match",
            identity.rule.as_str().as_bytes(),
            identity.lane.as_str().as_bytes(),
            record.tenant.as_str().as_bytes(),
            record.entity.as_str().as_bytes(),
            record.key.as_str().as_bytes(),
            identity.occasion.as_str().as_bytes(),
        ]))
    }

    /// HMAC of (rule, lane, record): finds a record's earlier matches of one rule, whatever their occasions.
    #[must_use]
    pub fn track(&self, rule: &RuleId, lane: Lane, record: &RecordId) -> [u8; 16] {
        self.keyed(&[
            b"track",
            rule.as_str().as_bytes(),
            lane.as_str().as_bytes(),
            record.tenant.as_str().as_bytes(),
            record.entity.as_str().as_bytes(),
            record.key.as_str().as_bytes(),
        ])
    }

    /// HMAC of a record alone: names it within one rule's rows, also when the rule is renamed.
    #[must_use]
    pub fn record_hash(&self, record: &RecordId) -> [u8; 16] {
        self.keyed(&[
            b"record",
            record.tenant.as_str().as_bytes(),
            record.entity.as_str().as_bytes(),
            record.key.as_str().as_bytes(),
        ])
    }

    /// HMAC of a record's value: tells whether it is another one, and never which. The same value of two records
    /// has two hashes.
    #[must_use]
    pub fn value_hash(&self, record: &[u8; 16], value: &str) -> [u8; 16] {
        self.keyed(&[b"value", record, value.as_bytes()])
    }

    /// The id of a delivery: `iteration` counts how often the enrollment has reached the step.
    #[must_use]
    pub fn delivery_id(&self, of: MatchId, step: &StepId, iteration: u32) -> DeliveryId {
        DeliveryId(self.keyed(&[b"delivery", &of.0, step.as_str().as_bytes(), &iteration.to_be_bytes()]))
    }

    /// Names the state, for files beside it, and tells nothing of the secret.
    #[must_use]
    pub fn name(&self) -> String {
        self.keyed(&[b"name"])[..8].iter().fold(String::with_capacity(16), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
    }

    /// HMAC-SHA256 over length-prefixed parts, cut to 16 bytes. The prefix keeps `("ab","c")` and
    /// `("a","bc")` apart.
    pub(super) fn keyed(&self, parts: &[&[u8]]) -> [u8; 16] {
        let full = self.mac(parts).finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        short
    }

    /// Whether these are the first bytes of the parts' HMAC. Takes the same time wherever the two differ.
    pub(super) fn is_keyed(&self, parts: &[&[u8]], given: &[u8]) -> bool {
        !given.is_empty() && self.mac(parts).verify_truncated_left(given).is_ok()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this constructor can't fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC accepts any key length") };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(rule: &str, key: &str) -> MatchIdentity {
        MatchIdentity {
            rule: rule.into(),
            lane: Lane::Live,
            record: RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() },
            occasion: "x".into(),
        }
    }

    #[test]
    fn ids_differ_where_any_part_differs_and_never_by_shifting_text_between_parts() {
        let secret = InstanceSecret([7; 32]);
        let id = secret.match_id(&identity("ab", "c"));
        assert_eq!(id, secret.match_id(&identity("ab", "c")));
        assert_ne!(id, secret.match_id(&identity("a", "bc")));
        assert_ne!(id, InstanceSecret([8; 32]).match_id(&identity("ab", "c")));
    }

    #[test]
    fn ids_read_back_from_their_text() {
        let id = InstanceSecret([7; 32]).match_id(&identity("a", "1"));
        assert_eq!(id.to_string().parse::<MatchId>(), Ok(id));
        assert!("xyz".parse::<MatchId>().is_err());
    }
}
