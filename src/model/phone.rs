//! Phone numbers in their one international form (E.164): `+436641234567`.
//!
//! What people type in is read by the rules of their country, as Google's libphonenumber has them, and is only taken
//! where such a number can exist: a message to a wrong one costs money and reaches a stranger.

use phonenumber::Mode;
use std::fmt;
use std::str::FromStr;

/// Whose numbers are meant that are written without a country: `AT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country(phonenumber::country::Id);

/// Why a text is no country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a country: write its two letters, such as `AT`")]
pub struct CountryError(String);

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(Self).map_err(|_| CountryError(text.to_owned()))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref())
    }
}

/// The number in E.164; `None`: there is no such number, or its country can't be told.
#[must_use]
pub fn e164(text: &str, country: Option<Country>) -> Option<String> {
    let text = text.trim();
    // `00` is what many countries dial for `+`.
    let international = text.strip_prefix("00").map(|rest| format!("+{rest}"));
    let text = international.as_deref().unwrap_or(text);
    let number = phonenumber::parse(country.map(|country| country.0), text).ok()?;
    phonenumber::is_valid(&number).then(|| number.format().mode(Mode::E164).to_string())
}

/// What is left of a number without what people write between its digits.
#[must_use]
pub fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Whether two texts are one number. Where nobody says whose numbers are meant that name no country, one of those is
/// taken for the same in any: to keep silent once too often does less harm than to write to somebody who forbade it.
#[must_use]
pub fn is_same_number(one: &str, other: &str, country: Option<Country>) -> bool {
    let (ours, theirs) = (digits_of(one), digits_of(other));
    if ours == theirs && !ours.is_empty() {
        return true;
    }
    match (e164(one, country), e164(other, country)) {
        (Some(one), Some(other)) => one == other,
        (Some(full), None) => country.is_none() && ends_in(&full, &theirs),
        (None, Some(full)) => country.is_none() && ends_in(&full, &ours),
        (None, None) => false,
    }
}

/// Whether a number of some country is this international one.
fn ends_in(international: &str, digits: &str) -> bool {
    let local = digits.trim_start_matches('0');
    local.len() > 5 && international.ends_with(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let austria = "AT".parse().ok();
        for other in ["+43 660 1234567", "0043 660 1234567", "0660/123 45 67", "06601234567", "+43 (0)660 1234567"] {
            assert!(is_same_number("0660 1234567", other, austria), "{other}");
            assert!(is_same_number("+436601234567", other, None), "{other} in nobody knows which country");
        }
        for other in ["+49 660 1234567", "0660 1234568", "", "n/a", "234567"] {
            assert!(!is_same_number("0660 1234567", other, austria), "{other}");
        }
        assert!(is_same_number("12 34", "1234", None) && !is_same_number("", "", austria));
    }

    #[rstest]
    #[case::local("0664 1234567", "AT", "+436641234567")]
    #[case::written_for_people("+43 (0)664 / 123 45 67", "DE", "+436641234567")]
    #[case::dialled("0043 664 1234567", "DE", "+436641234567")]
    #[case::another_country("+49 151 23456789", "AT", "+4915123456789")]
    #[case::america("(415) 555-2671", "US", "+14155552671")]
    #[case::italy_keeps_its_zero("06 698 12345", "IT", "+390669812345")]
    fn numbers_are_read_as_people_write_them(#[case] text: &str, #[case] country: &str, #[case] number: &str) {
        assert_eq!(e164(text, Some(country.parse().unwrap())).as_deref(), Some(number));
    }

    #[test]
    fn what_can_be_no_number_is_none() {
        let austria = Some("AT".parse().unwrap());
        for text in ["", "n/a", "12", "0664", "+1 555 0100", "ask reception", "+43 664 12345678901234"] {
            assert_eq!(e164(text, austria), None, "{text}");
        }
        assert_eq!(e164("0664 1234567", None), None, "whose number this is can't be told");
        assert_eq!(e164("+43 664 1234567", None).as_deref(), Some("+436641234567"));
    }

    #[test]
    fn countries_have_two_letters() {
        assert_eq!("AT".parse::<Country>().map(|country| country.to_string()), Ok("AT".to_owned()));
        assert!("Austria".parse::<Country>().is_err() && "".parse::<Country>().is_err());
    }
}
