//! What a filter was given: the engine points at the filter that failed, and people look for the value.

use std::ops::Range;

/// The value at the head of a chain of filters, as it is written in the template. `None` where that can't be told.
pub(super) fn of<'s>(source: &'s str, failed: &Range<usize>) -> Option<&'s str> {
    let text = source.get(failed.clone())?;
    let inside = bars(text).first().map(|bar| failed.start + bar);
    let mut end = inside.unwrap_or(failed.start);
    loop {
        let before = source.get(..end)?.trim_end();
        let chained = inside.is_some_and(|bar| bar == end);
        let value = if chained { before } else { before.strip_suffix('|')?.trim_end() };
        let start = start_of(value)?;
        let found = value.get(start..)?;
        if !value.get(..start)?.trim_end().ends_with('|') {
            return Some(found).filter(|found| !found.is_empty());
        }
        // A filter again: what it was given stands before it.
        end = start;
    }
}

/// The filter that failed, by its name. `None`: something else did.
pub(super) fn filter<'s>(source: &'s str, failed: &Range<usize>) -> Option<&'s str> {
    let text = source.get(failed.clone())?;
    let name = match bars(text).last() {
        Some(bar) => text.get(bar + 1..)?.trim_start(),
        None => source.get(..failed.start)?.trim_end().ends_with('|').then_some(text)?,
    };
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    name.get(..end).filter(|name| !name.is_empty())
}

/// A path from its first name on: of a long one the engine points at its last names only.
pub(super) fn whole<'s>(source: &'s str, failed: &Range<usize>) -> Option<&'s str> {
    let is_end = source.get(failed.clone())?.starts_with(['.', '[']);
    let start = is_end.then(|| start_of(source.get(..failed.start)?)).flatten();
    source.get(start.unwrap_or(failed.start)..failed.end)
}

/// Where a name, a path, a call or a text at the end of this begins.
fn start_of(text: &str) -> Option<usize> {
    let mut start = text.len();
    loop {
        let before = text.get(..start)?;
        let last = before.chars().next_back();
        match last {
            Some(close @ (')' | ']')) => start = opening(before, close)?,
            Some(quote @ ('"' | '\'')) => start = before.get(..before.len() - 1)?.rfind(quote)?,
            Some(c) if c.is_alphanumeric() || c == '_' || c == '.' => start -= c.len_utf8(),
            _ => return Some(start).filter(|start| *start < text.len()),
        }
    }
}

/// Of the bracket that ends this.
fn opening(text: &str, close: char) -> Option<usize> {
    let open = if close == ')' { '(' } else { '[' };
    let (mut depth, mut quoted) = (0, None);
    for (at, c) in text.char_indices().rev() {
        match (quoted, c) {
            (Some(quote), c) if c == quote => quoted = None,
            (None, '"' | '\'') => quoted = Some(c),
            (None, c) if c == close => depth += 1,
            (None, c) if c == open => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (Some(_) | None, _) => {}
        }
    }
    None
}

/// Where filters are applied, outside of quotes and brackets.
fn bars(text: &str) -> Vec<usize> {
    let (mut depth, mut quoted, mut found) = (0, None, Vec::new());
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            (Some(quote), c) if c == quote => quoted = None,
            (None, '"' | '\'') => quoted = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, '|') if depth == 0 => found.push(at),
            (Some(_) | None, _) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{filter, of, whole};

    /// The value behind the last occurrence of this part.
    fn behind(source: &str, failed: &str) -> Option<String> {
        let start = source.rfind(failed).unwrap();
        of(source, &(start..start + failed.len())).map(str::to_owned)
    }

    #[test]
    fn the_value_stands_at_the_head_of_its_filters() {
        for (source, failed, value) in [
            ("Hi {{ record.umsatz | money }}", "money", Some("record.umsatz")),
            ("{{ record.umsatz|money('EUR') }}", "money('EUR')", Some("record.umsatz")),
            ("{{ record.umsatz | replace('|)', \"(\") | money }}", "money", Some("record.umsatz")),
            ("{{ record['um satz'] | upper }}", "upper", Some("record['um satz']")),
            ("{{ 'a' ~ record.umsatz | money }}", "money", Some("record.umsatz")),
            ("{{ record.umsatz | upper | money }}", "record.umsatz | upper | money", Some("record.umsatz")),
            ("{{ record.umsatz }}", "record.umsatz", None),
            ("{{ (record.a + record.b) | money }}", "money", Some("(record.a + record.b)")),
        ] {
            assert_eq!(behind(source, failed).as_deref(), value, "{source}");
        }
    }

    #[test]
    fn the_filter_that_failed_is_named() {
        for (source, failed, name) in [
            ("{{ record.name | replace('a|b') }}", "replace('a|b')", Some("replace")),
            ("{{ record.name|upper | money }}", "record.name|upper | money", Some("money")),
            ("{{ record.name }}", "record.name", None),
        ] {
            let start = source.rfind(failed).unwrap();
            assert_eq!(filter(source, &(start..start + failed.len())), name, "{source}");
        }
    }

    #[test]
    fn a_path_is_told_from_its_first_name_on() {
        for (source, failed, path) in [
            ("Hi {{ occasion.row.data.plan }}", ".data.plan", "occasion.row.data.plan"),
            ("Hi {{ 1 + occasion.row[\"my data\"].plan }}", "[\"my data\"].plan", "occasion.row[\"my data\"].plan"),
            ("Hi {{ record.nmae }}", "record.nmae", "record.nmae"),
            ("Hi {{ [1] }}", "[1]", "[1]"),
        ] {
            let start = source.rfind(failed).unwrap();
            assert_eq!(whole(source, &(start..start + failed.len())), Some(path), "{source}");
        }
    }
}
