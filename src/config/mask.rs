//! Hides what might be a secret in the text that errors quote, keeping every byte's place.

use super::secret;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Replaces by stars: the values of secret keys, wherever and over however many lines they stand; those of keys that
/// sound secret (`pasword = "…"` is just when the line gets quoted); and URLs with a login. In a text that can't be
/// parsed nobody knows which value belongs to which key, so there every text in quotes is hidden.
pub fn mask(text: &str) -> String {
    let hidden = match DeTable::parse(text) {
        Ok(table) => {
            let mut found = Vec::new();
            of_table(table.get_ref(), &mut Vec::new(), &mut found);
            found
        }
        Err(_) => quoted(text),
    };
    let stars = |range: &Range<usize>| (range.clone(), starred(&text[range.clone()]));
    let mut masked = text.to_owned();
    for (range, stars) in hidden.iter().map(stars) {
        masked.replace_range(range, &stars);
    }
    masked.split_inclusive('\n').map(mask_line).collect()
}

fn of_table(table: &DeTable<'_>, path: &mut Vec<String>, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        of_value(value.get_ref(), value.span(), path, found);
        path.pop();
    }
}

fn of_value(value: &DeValue<'_>, span: Range<usize>, path: &mut Vec<String>, found: &mut Vec<Range<usize>>) {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let is_text = matches!(value, DeValue::String(_));
    // Whatever stands in a secret's place, and whatever is sent as a header.
    if !is_text && secret::is_secret(&names) {
        return found.push(span);
    }
    match value {
        DeValue::Table(table) => of_table(table, path, found),
        DeValue::Array(items) => {
            for item in items {
                of_value(item.get_ref(), item.span(), path, found);
            }
        }
        DeValue::String(text) if is_hidden(text, path) => found.push(span),
        DeValue::Integer(_) | DeValue::Float(_) if path.last().is_some_and(|key| is_word_of_secrets(key)) => {
            found.push(span);
        }
        _ => {}
    }
}

fn is_hidden(text: &str, path: &[String]) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let in_headers = names.contains(&"headers");
    let secret = secret::is_secret(&names) || in_headers || path.last().is_some_and(|key| sounds_secret(key));
    (secret || has_login(text)) && !secret::is_reference(text)
}

/// What stands in quotes, over several lines too; one that is never closed goes to the end of its line, or of the text.
fn quoted(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find(['"', '\'', '#']) {
        let start = at + offset;
        let rest = &text[start..];
        if rest.starts_with('#') {
            at = start + rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let mark = &rest[..1];
        let triple = mark.repeat(3);
        let close = if rest.starts_with(&triple) { triple.as_str() } else { mark };
        let inner = start + close.len();
        let end = inner + end_of(&text[inner..], close);
        if !secret::is_reference(&text[inner..end]) {
            found.push(inner..end);
        }
        at = (end + close.len()).min(text.len());
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    found
}

fn end_of(inner: &str, close: &str) -> usize {
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && close.starts_with('"') {
            escaped = true;
        } else if inner[at..].starts_with(close) || (close.len() == 1 && c == '\n') {
            return at;
        }
    }
    inner.len()
}

fn mask_line(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    // An inline table's own values are looked at one by one.
    if value.trim_start().starts_with('{') || !(sounds_secret(key) || has_login(value)) {
        return line.to_owned();
    }
    let reference = value.trim_start().trim_start_matches(['"', '\'']);
    if secret::is_reference(reference) {
        return line.to_owned();
    }
    format!("{key}={}", starred(value))
}

fn sounds_secret(key: &str) -> bool {
    let name = key.to_lowercase();
    is_word_of_secrets(key) || ["pas", "pw", "sercet", "key", "url", "cred"].iter().any(|part| name.contains(part))
}

/// Of what even a number is one.
fn is_word_of_secrets(key: &str) -> bool {
    let name = key.to_lowercase();
    ["password", "secret", "token", "authorization"].iter().any(|part| name.contains(part))
}

fn has_login(value: &str) -> bool {
    value.contains("://") && value.contains('@')
}

fn starred(text: &str) -> String {
    let star =
        |c: char| if c.is_whitespace() || c == '"' || c == '\'' { c.to_string() } else { "*".repeat(c.len_utf8()) };
    text.chars().map(star).collect()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn nothing_secret_is_left_and_nothing_moves() {
        let text = "[email]\npasword = \"hüter2\"\nport = 25\npassword = \"env:PW\"\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("ter2"));
        assert!(masked.contains("port = 25") && masked.contains("env:PW"));
    }

    #[test]
    fn inline_tables_and_several_lines_hide_nothing_less() {
        let inline = "[webhooks]\ncrm = {url = \"https://crm.example\", secret = \"hunter2\", tmeout = \"5 s\"}\n";
        let masked = mask(inline);
        assert!(!masked.contains("hunter2") && masked.contains("tmeout = \"5 s\""), "{masked}");
        let lines = "[email]\npassword = \"\"\"\nhunter2\nhünter3\"\"\"\nhots = \"mail.example\"\n";
        let masked = mask(lines);
        assert!(!masked.contains("nter") && masked.contains("hots = \"mail.example\""), "{masked}");
        assert_eq!((masked.len(), mask(inline).len()), (lines.len(), inline.len()));
    }

    #[test]
    fn numbers_tables_and_headers_are_hidden_where_secrets_stand() {
        for text in [
            "[email]\npassword = 48151623\n",
            "[webhooks]\ncrm = {secret = 48151623, tmeout = \"5 s\"}\n",
            "[source]\nurl = {a = \"48151623\"}\n",
            "[sms.gateway]\nheaders = {Authorization = \"Bearer 48151623\"}\n",
        ] {
            let masked = mask(text);
            assert!(!masked.contains("48151623"), "{masked}");
            assert_eq!(masked.len(), text.len());
        }
    }

    #[test]
    fn where_nothing_can_be_parsed_every_text_is_hidden() {
        for broken in [
            "[webhooks]\ncrm = {url = \"https://x\", secret = \"hunter2\" oops = 1}\n",
            "[email.dkim.a]\nkey = '''\n-----BEGIN-----\nhunter2\n",
            "[email]\npassword = hunter2\n",
            "[email]\npassword = \"a\\\"hunter2\n# it's fine\nhost = \n",
        ] {
            let masked = mask(broken);
            assert!(!masked.contains("hunter2"), "{masked}");
            assert_eq!(masked.len(), broken.len());
        }
        assert!(mask("[log]\nlevel = info\n# don't\nformat = \"env:X\"\nx=\n").contains("level = info"));
    }
}
