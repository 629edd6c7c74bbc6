//! The words of others in a text of ours. They may name people, so they are kept for who looks into the attempt log and
//! left out of the lines of a log.

use std::borrow::Cow;

const OPENS: char = '“';
const CLOSES: char = '”';

/// What another machine or somebody else wrote, in the quotes by which [`unsaid`] finds it again.
#[must_use]
pub fn said(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!("{OPENS}{}{CLOSES}", text.replace([OPENS, CLOSES], "\"")) }
}

/// The same text without the words of others: codes, statuses and our own words remain.
#[must_use]
pub fn unsaid(text: &str) -> Cow<'_, str> {
    if !text.contains(OPENS) {
        return Cow::Borrowed(text);
    }
    let (mut own, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, from)) = rest.split_once(OPENS) {
        own.push_str(before);
        // A text that was cut off ends within the quotes.
        rest = from.split_once(CLOSES).map_or("", |(_, after)| after);
    }
    own.push_str(rest);
    Cow::Owned(own.trim().trim_end_matches(':').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_are_found_again_whatever_they_hold() {
        let reply = |words: &str| format!("550 5.1.1 {}", said(words));
        assert_eq!(reply("Bob Gruber is gone"), "550 5.1.1 “Bob Gruber is gone”");
        for words in ["Bob Gruber is gone", "” Bob “ Gruber ”", "„Bob“ isn't here", ""] {
            assert_eq!(unsaid(&reply(words)), if words.is_empty() { "550 5.1.1 " } else { "550 5.1.1" }, "{words}");
        }
        assert_eq!(unsaid("refused: 550 “Bob” and 551 “Ann"), "refused: 550  and 551");
        assert_eq!(unsaid(&format!("400 21999: {}", said("Bob"))), "400 21999");
        assert_eq!(unsaid(&format!("{} (in the source)", said("Bob is gone"))), "(in the source)");
        assert_eq!(unsaid("the connection broke"), "the connection broke");
    }
}
