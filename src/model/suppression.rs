//! Who must not be written to, whatever a rule says.

use super::{InstanceSecret, Tenant, mailbox_of};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A way to reach a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Sms,
}

impl Channel {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

/// HMAC of a normalised address: enough to recognise it, not enough to read it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressHash(pub [u8; 16]);

impl fmt::Debug for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// HMAC of tenant, channel and address: one person on one channel, across all rules, for caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(pub [u8; 16]);

impl InstanceSecret {
    /// Who is meant by an address, for caps: two tenants that write to the same person count apart.
    #[must_use]
    pub fn contact(&self, tenant: &Tenant, address: AddressHash) -> ContactId {
        ContactId(self.keyed(&[b"contact", tenant.as_str().as_bytes(), &address.0]))
    }

    /// Addresses are compared trimmed and in lower case.
    #[must_use]
    pub fn address_hash(&self, channel: Channel, address: &str) -> AddressHash {
        let address = mailbox_of(address);
        AddressHash(self.keyed(&[b"address", channel.as_str().as_bytes(), address.as_bytes()]))
    }
}

/// Why an address is suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    Manual,
    Unsubscribed,
    Bounced,
    Complained,
    Erased,
}

impl SuppressionReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Unsubscribed => "unsubscribed",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Erased => "erased",
        }
    }

    /// Of two reasons for one address the heavier is kept: a person's own no outweighs an address that doesn't work, and
    /// that an operator's word.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Self::Manual => 0,
            Self::Bounced => 1,
            Self::Unsubscribed | Self::Complained | Self::Erased => 2,
        }
    }

    /// Whether it keeps a message from its reader. Our own people are only spared what doesn't reach them.
    #[must_use]
    pub fn stops(self, staff: bool) -> bool {
        !staff || self == Self::Bounced
    }
}

/// One entry of the suppression list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    pub channel: Channel,
    pub hash: AddressHash,
    /// Kept for people to read; removed when the person is erased.
    pub address: Option<String>,
    pub reason: SuppressionReason,
    pub since: Timestamp,
}
