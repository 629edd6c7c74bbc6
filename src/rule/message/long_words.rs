//! Words that are too long for a line of plain text. The wrapping of html2text breaks them in two, and an address that
//! is broken leads nowhere; so they are set aside before it and put back after.

use super::markup::outside_tags;
use html2text::config::Config;
use html2text::render::PlainDecorator;
use std::collections::BTreeSet;

/// How wide the text part is: what RFC 5322 recommends, less room for a quoting mark or two.
const TEXT_WIDTH: usize = 72;
/// A word of more characters is set aside. Shorter ones break only in columns that are narrower than they are.
const LONG: usize = 40;
/// How much room a word that is set aside takes. What is narrower still breaks it, which is undone.
const STAND_IN: usize = 24;
/// Each word has a character of its own to stand for it, from a plane that nobody writes in.
const FIRST: u32 = 0x10_0000;
const MOST: u32 = 0xFFFD;

/// A page as plain text, wrapped between words.
pub(super) fn wrapped(html: &str, config: Config<PlainDecorator>) -> Result<String, html2text::Error> {
    let (html, long) = LongWords::set_aside(html);
    let config = config.no_link_wrapping().allow_width_overflow();
    long.put_back(&config.string_from_read(html.as_bytes(), TEXT_WIDTH)?)
}

/// The words as HTML has them.
struct LongWords(Vec<String>);

impl LongWords {
    fn set_aside(html: &str) -> (String, Self) {
        let (mut out, mut words) = (String::with_capacity(html.len()), Vec::new());
        let mut written = 0;
        for text in outside_tags(html) {
            for word in html[text.clone()].split_ascii_whitespace() {
                let start = word.as_ptr() as usize - html.as_ptr() as usize;
                let stand_in = u32::try_from(words.len()).ok().filter(|number| *number < MOST);
                let stand_in = stand_in.and_then(|number| char::from_u32(FIRST + number));
                if let Some(stand_in) = stand_in.filter(|_| word.chars().count() > LONG) {
                    out.push_str(&html[written..start]);
                    out.extend(std::iter::repeat_n(stand_in, STAND_IN));
                    written = start + word.len();
                    words.push(word.to_owned());
                }
            }
        }
        out.push_str(&html[written..]);
        (out, Self(words))
    }

    fn put_back(&self, text: &str) -> Result<String, html2text::Error> {
        let mut out = String::with_capacity(text.len());
        let mut back = BTreeSet::new();
        for c in text.chars() {
            let number = u32::from(c).checked_sub(FIRST).and_then(|number| usize::try_from(number).ok());
            let Some(word) = number.and_then(|number| self.0.get(number)) else {
                out.push(c);
                continue;
            };
            // A narrow column breaks it, perhaps beside others that are broken too.
            if back.insert(c) {
                out.push_str(&plain(word)?);
            }
        }
        Ok(out)
    }
}

/// The word without what is HTML about it.
fn plain(word: &str) -> Result<String, html2text::Error> {
    let text = html2text::config::plain().string_from_read(word.as_bytes(), word.len().max(1))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::markdown::{html, text};

    const ADDRESS: &str =
        "https://mail.acme.example/c/AQM4abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_cyrM?a=1&b=2";

    #[test]
    fn an_address_is_never_broken() {
        let places = [
            "Please V",
            "V",
            "- one\n    - two V",
            "> > quoted V",
            "| a | b |\n|---|---|\n| some words | V |",
            "| a | b | c | d |\n|---|---|---|---|\n| some words | V | more of them | § |",
            "`V`",
            "[V](https://a.example)",
            "**V**",
        ];
        for place in places {
            let markdown = place.replace('V', ADDRESS).replace('§', &ADDRESS.replace("AQM4", "OTHER"));
            let plain = text(&html(&markdown)).unwrap();
            assert!(plain.contains(ADDRESS), "{markdown}\n{plain}");
            assert_eq!(plain.matches("AQM4").count(), 1, "{markdown}\n{plain}");
            assert_eq!(plain.matches("OTHER").count(), place.matches('§').count(), "{markdown}\n{plain}");
        }
    }

    #[test]
    fn other_words_are_wrapped_as_ever() {
        let words = "word ".repeat(40);
        let plain = text(&html(&format!("{words}{ADDRESS} {words}"))).unwrap();
        assert!(plain.lines().filter(|line| !line.contains(ADDRESS)).all(|line| line.len() <= 72), "{plain}");
        assert_eq!(plain.split_whitespace().count(), 81);
    }
}
