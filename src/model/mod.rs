//! Nouns, states, legal transitions and pure arithmetic.
//!
//! Nothing here does I/O, reads an ambient clock, or knows SQL, HTTP or a file. Every other module may
//! import this one; it imports none of them.

mod address;
pub mod blank;
mod bounce;
mod clock;
mod delivery;
mod enrollment;
mod frequency;
mod holidays;
mod identity;
mod link;
mod locale;
mod period;
mod phone;
mod preference;
mod said;
mod segments;
mod suppression;
mod text_refusal;
mod tracked;
mod value;
mod window;
mod zone;

pub use address::{is_address, mailbox_of};
pub use bounce::{is_gone, reply_says_gone};
pub use clock::{Clock, ManualClock, SystemClock};
pub use delivery::{DeliveryState, Outcome, SkipReason, backoff};
pub use enrollment::{EndReason, EnrollmentState};
pub use frequency::{Budget, Cap, FrequencyError, Limits, Rate, WarmUp};
pub use holidays::{BusinessCalendar, YEARS as HOLIDAY_YEARS};
pub use identity::{
    AttemptNumber, DeliveryId, EntityName, FieldName, InstanceSecret, Key, Lane, MatchId, MatchIdentity, Occasion,
    RecordId, RelationName, RoleName, RuleId, StepId, TemplateName, Tenant, Topic, VersionHash,
};
pub use link::{AskedAbout, BadLink, COPIED_LINK, Link, LinkPurpose};
pub use locale::{Locale, locale_or_default};
pub use period::{Period, PeriodError, Unit};
pub use phone::{Country, CountryError, digits_of, e164, is_same_number};
pub use preference::{Preference, PreferenceSource, preferences_for};
pub use said::{said, unsaid};
pub use segments::{Segments, outside_gsm};
pub use suppression::{AddressHash, Channel, ContactId, Suppression, SuppressionReason};
pub use text_refusal::refusal_says;
pub use tracked::{LONGEST_PAGE, TRACKING, TrackedLink, Tracking};
pub use value::{Value, without_noise};
pub use window::{SendWindow, WindowError};
pub use zone::{at_local, earlier, later, zone_or_default};
