//! What the declaration of a column says of texts that it holds: how long they may be, and whether they are intervals.

use super::Column;

impl Column {
    /// Why the database refuses a constant in this column, if its declaration says so. Only some databases hold themselves
    /// to it.
    #[must_use]
    pub fn refuses(&self, text: &str) -> Option<String> {
        let declared = self.declared.as_deref()?;
        refusal(text, declared).map(|problem| format!("{problem}, but `{}` is {declared} in the database", self.name))
    }

    /// How many characters it is declared to hold.
    #[must_use]
    pub fn longest(&self) -> Option<usize> {
        longest(self.declared.as_deref()?)
    }
}

pub(super) fn refusal(text: &str, declared: &str) -> Option<String> {
    // Blanks at the end are cut off without a word.
    let length = text.trim_end_matches(' ').chars().count();
    if longest(declared).is_some_and(|longest| length > longest) {
        return Some(format!("`{text}` is {length} characters long"));
    }
    (is_interval(declared) && !reads_as_interval(text)).then(|| format!("`{text}` is no interval such as `3 days`"))
}

/// How many characters a column is declared to hold.
pub(super) fn longest(declared: &str) -> Option<usize> {
    let (name, rest) = declared.split_once('(')?;
    let is_text = matches!(name.trim(), "varchar" | "char" | "character varying" | "character");
    rest.split(')').next()?.trim().parse().ok().filter(|_| is_text)
}

fn is_interval(declared: &str) -> bool {
    declared.split(['(', ' ']).next() == Some("interval")
}

/// Words that PostgreSQL knows in an interval, as far as it reads them.
const UNITS: &str = "ago c cent centuries century d day days dec decade decades decs h hour hours hr hrs m microsecon mil \
                     millennia millennium mils millisecon min mins minute minutes mon mons month months ms msec msecond \
                     mseconds msecs qtr quarter s sec second seconds secs us usec usecond useconds usecs w week weeks y \
                     year years yr yrs";

/// Generous: what has a number and no word that is no unit may be one.
fn reads_as_interval(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    // `P1Y2M`, and PostgreSQL 17's own.
    if text.starts_with('p') || matches!(text.as_str(), "infinity" | "+infinity" | "-infinity") {
        return true;
    }
    let is_unit = |word: &str| {
        let read: String = word.chars().take(10).collect();
        UNITS.split_whitespace().any(|unit| unit == read)
    };
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    text.contains(|c: char| c.is_ascii_digit()) && words.all(is_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_what_postgresql_takes() {
        for text in
            ["3 days", "1 year 2 mons", "@ 5 minutes ago", "1-2", "4:05:06", "P1Y2M", "90", "1d", "10 microseconds"]
        {
            assert_eq!(refusal(text, "interval"), None, "{text}");
        }
        for text in ["soon", "", "three days", "3 dyas", "2026-12-31T10:00"] {
            assert!(refusal(text, "interval").is_some(), "{text}");
            assert_eq!(refusal(text, "text"), None, "{text}");
        }
        assert!(refusal("soon", "interval day to second(3)").is_some());
    }

    #[test]
    fn lengths_are_those_of_letters() {
        assert_eq!(refusal("äöü  ", "varchar(3)"), None);
        assert_eq!(refusal("äöüß", "character varying(3)").as_deref(), Some("`äöüß` is 4 characters long"));
        assert_eq!(refusal("12345", "numeric(3)"), None);
    }
}
