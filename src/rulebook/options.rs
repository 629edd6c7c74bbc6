use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;
use std::time::Duration;

/// Where the rules are and how changes are taken up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RulebookOptions {
    /// The directory with `catalog.yaml`, the rules, `templates/` and `scripts/`.
    pub directory: PathBuf,
    /// The tree must have the same content twice, this far apart.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// How often the tree is read in full, whatever the file system reported.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "duration")]
    pub rescan: Duration,
    /// Keep only a broken file at its last good version, and take up the rest.
    pub isolate: bool,
    /// Tests of changed rules that take longer than this, and a sixtieth of it more for each rule, reject the change.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "duration")]
    pub tests_within: Duration,
    /// More than this part of the rules gone at once holds the change.
    pub brake_percent: u8,
}

impl Default for RulebookOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("rules"),
            settle: Duration::from_millis(500),
            rescan: Duration::from_mins(1),
            isolate: false,
            tests_within: Duration::from_mins(2),
            brake_percent: 30,
        }
    }
}

/// `500 ms`, or a [`Period`](crate::model::Period) of seconds to weeks.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Some(millis) = text.strip_suffix("ms").and_then(|count| count.trim().parse().ok()) {
        return Ok(Duration::from_millis(millis));
    }
    let period: crate::model::Period = text.parse().map_err(serde::de::Error::custom)?;
    Ok(Duration::from_secs(period.max_seconds().unsigned_abs()))
}
