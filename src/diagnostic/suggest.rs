//! "Did you mean": the known name that is nearest to what somebody wrote.

/// The nearest of `known`, if it is near enough to be a slip of the keys. Never the same word: that is no slip.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    known
        .into_iter()
        .filter(|name| *name != written)
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(written.chars().count()) / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The help under an unknown name: the nearest known one, or all of them when they are few.
pub fn help<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(written, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty() && names.len() <= 24).then(|| format!("known here: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_slips_and_not_strangers() {
        assert_eq!(nearest("contry", ["country", "county_code"]), Some("country"));
        assert_eq!(nearest("Country", ["country"]), Some("country"));
        assert_eq!(nearest("id", ["at"]), None);
        assert_eq!(nearest("orders", ["orders"]), None);
        assert_eq!(nearest("banana", ["country"]), None);
        assert_eq!(help("banana", ["a", "b"]), Some("known here: `a`, `b`".to_owned()));
    }
}
