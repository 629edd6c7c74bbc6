//! How many messages a text is on the phone network: GSM 03.38 where its letters allow, UCS-2 otherwise.

/// The letters that take one place. The escape (0x1B) stands for none.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Those that take two: an escape stands before them.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// A text as the phone network carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Every one is paid for.
    pub count: usize,
    pub unicode: bool,
}

impl Segments {
    #[must_use]
    pub fn of(text: &str) -> Self {
        let places: Option<Vec<usize>> = text.chars().map(gsm_places).collect();
        if let Some(places) = places {
            return Self { count: parts(&places, 160, 153), unicode: false };
        }
        let units: Vec<usize> = text.chars().map(char::len_utf16).collect();
        Self { count: parts(&units, 70, 67), unicode: true }
    }
}

impl std::fmt::Display for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        let unicode = if self.unicode { ", not all of its letters are of the phone alphabet" } else { "" };
        write!(f, "{} segment{plural}{unicode}", self.count)
    }
}

/// The first letter that makes a text Unicode, and with that less than half as long.
#[must_use]
pub fn outside_gsm(text: &str) -> Option<char> {
    text.chars().find(|c| gsm_places(*c).is_none())
}

fn gsm_places(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// A letter is never cut in two, so a part may end a place early.
fn parts(places: &[usize], alone: usize, joined: usize) -> usize {
    if places.iter().sum::<usize>() <= alone {
        return usize::from(!places.is_empty());
    }
    let (mut parts, mut used) = (1, 0);
    for place in places {
        if used + place > joined {
            parts += 1;
            used = 0;
        }
        used += place;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing("", 0, false)]
    #[case::one(&"a".repeat(160), 1, false)]
    #[case::two(&"a".repeat(161), 2, false)]
    #[case::three(&"a".repeat(307), 3, false)]
    #[case::umlauts_are_basic(&"ä".repeat(160), 1, false)]
    #[case::the_euro_takes_two(&"€".repeat(80), 1, false)]
    #[case::and_is_not_cut(&"€".repeat(153), 3, false)]
    #[case::unicode(&"č".repeat(70), 1, true)]
    #[case::longer_unicode(&"č".repeat(71), 2, true)]
    #[case::emoji_take_two(&"🎂".repeat(36), 2, true)]
    #[case::emoji_are_not_cut(&"🎂".repeat(67), 3, true)]
    fn texts_are_counted_as_the_network_does(#[case] text: &str, #[case] count: usize, #[case] unicode: bool) {
        assert_eq!(Segments::of(text), Segments { count, unicode });
    }

    #[test]
    fn the_letter_that_costs_is_named() {
        assert_eq!(outside_gsm("Grüße aus Köln, 5 €"), None);
        assert_eq!(outside_gsm("It’s time"), Some('’'));
    }
}
