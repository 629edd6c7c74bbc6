//! Mutation over a corpus: less clever than coverage, and it runs wherever the program does.

use std::path::Path;

/// SplitMix64: the same seed, the same inputs.
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Words and signs that mean something to somebody.
pub const TOKENS: [&str; 88] = [
    "'", "\"", "`", "\\", "--", "/*", "*/", ";", "$1", "?", ":x", "%", "_", "\0", "\u{feff}", "\u{202e}", "é", "😀", "\r\n",
    "\t", "  ", "\n", "{", "}", "[", "]", "{{ ", " }}", "{% ", " %}", "{# ", "| safe", "&a ", "*a", "<<: ", "!!str ", "~",
    "null", "NaN", ".inf", "-0", "1e999", "99999999999999999999", "0x10", "1_000", "2026-02-30", "0 days", "90 days",
    "in ", "ago", "any: ", "all: ", "not: ", "some: ", "none: ", "count: ", "sum: ", "missing", "present", "at_least: ",
    "between: ", "contains: ", "score: ", "within_last: ", "since: entry", "only: ", "country: ", "orders: ", "branch: ",
    "for x in ", "record.name", "import ", "{% elif 0 %}", "{% raw %}", "{% endraw %}", "{% set a = a ~ a %}", "{{ a * a }}",
    "{% macro f(a) %}", "{{ f(f(a)) }}", "{% set a %}{{ a }}{{ a }}{% endset %}", "{% autoescape false %}", "range(9999)",
    "| join(a)", "| replace(\"a\", a)", "style=\"color: {{ record.name }}\"", "<mj-carousel-image src=\"x\" />", "[a, a, a]",
    "{% with a = [a] %}",
];

/// A text made of others.
pub fn mutated(dice: &mut Dice, corpus: &[String]) -> String {
    let mut text = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        text = once(dice, &text, corpus);
    }
    text.truncate(text.floor_char_boundary(20_000));
    text
}

fn once(dice: &mut Dice, text: &str, corpus: &[String]) -> String {
    let place = |dice: &mut Dice, text: &str| text.floor_char_boundary(dice.below(text.len() + 1));
    let (a, b) = (place(dice, text), place(dice, text));
    let (a, b) = (a.min(b), a.max(b));
    let (before, within, after) = (&text[..a], &text[a..b], &text[b..]);
    let short = &within[..within.floor_char_boundary(40.min(within.len()))];
    match dice.below(9) {
        0 | 1 => format!("{before}{}{within}{after}", dice.pick(&TOKENS)),
        2 => format!("{before}{}{}", dice.pick(&TOKENS), &text[a + short.len()..]),
        3 => format!("{before}{}", &text[a + short.len()..]),
        4 => format!("{before}{short}{within}{after}"),
        5 => {
            let other = &corpus[dice.below(corpus.len())];
            let start = place(dice, other);
            format!("{before}{}{after}", &other[start..])
        }
        6 => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (from, to) = (dice.below(lines.len()), dice.below(lines.len()));
            if !lines.is_empty() {
                lines.swap(from, to);
            }
            lines.join("\n")
        }
        7 => {
            let repeated = short.repeat(dice.below(200));
            format!("{before}{repeated}{after}")
        }
        _ => {
            let mut bytes = text.as_bytes().to_vec();
            if let Some(byte) = bytes.get_mut(a) {
                *byte ^= 1 << dice.below(8);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

/// Every file below these folders with one of these endings, and every fenced block of the pages among them.
#[must_use]
pub fn corpus(folders: &[&str], endings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        walk(Path::new(folder), endings, &mut found);
    }
    assert!(!found.is_empty(), "no files in {folders:?}: run this in the folder of the repository");
    found
}

fn walk(path: &Path, endings: &[&str], found: &mut Vec<String>) {
    if let Ok(entries) = std::fs::read_dir(path) {
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        return paths.iter().for_each(|path| walk(path, endings, found));
    }
    let name = path.to_string_lossy();
    if !endings.iter().any(|ending| name.ends_with(ending)) {
        return;
    }
    let Ok(text) = std::fs::read_to_string(path) else { return };
    if name.contains("docs/") {
        found.extend(text.split("```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1.to_owned())));
    } else {
        found.push(text);
    }
}
