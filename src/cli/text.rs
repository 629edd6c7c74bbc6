//! Cells of tables from JSON values.

use jiff::Timestamp;
use serde_json::Value as Json;

/// Text as it is, numbers as digits, null as a dash.
pub fn of(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An instant in UTC, to the second. The beginning of time means never.
pub fn instant(value: &Json) -> String {
    value.as_str().and_then(|text| text.parse().ok()).map_or_else(|| "-".to_owned(), at)
}

pub fn at(instant: Timestamp) -> String {
    if instant.as_second() <= 0 { "never".to_owned() } else { instant.strftime("%F %TZ").to_string() }
}

/// That steps went by answers that a rehearsal made up; `None`: none did.
pub fn guessed(steps: &[String]) -> Option<String> {
    let named: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    let told =
        || format!("a guess from {} on: nobody was asked, so the answer in `saved` is made up", named.join(", "));
    (!named.is_empty()).then(told)
}

/// How a mail was read; `None`: it tells of something else.
pub fn reaction(what: &str) -> Option<&'static str> {
    match what {
        "opened" => Some("opened"),
        "clicked" => Some("clicked"),
        "opened_by_machine" => Some("opened by a machine"),
        "clicked_by_machine" => Some("clicked by a machine"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instants_are_short_and_never_is_a_word() {
        assert_eq!(instant(&json!("2026-11-21T10:00:00.123456Z")), "2026-11-21 10:00:00Z");
        assert_eq!(at(Timestamp::UNIX_EPOCH), "never");
        assert_eq!(instant(&Json::Null), "-");
        assert_eq!(of(&json!(3)), "3");
    }
}
