//! Pictures that travel with a message, shown by `<img src="cid:NAME">`.
//!
//! A rules directory is text; the files of `templates/images/` are held in it as base64, so that a tree is hashed,
//! kept and taken back up like any other.

use super::files::{Files, IMAGES};
use super::front::{line_of, value_range};
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::Spanned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A picture of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineImage {
    /// What `cid:` names.
    pub name: String,
    pub file_name: String,
    pub media_type: &'static str,
    pub bytes: Arc<[u8]>,
}

/// What every mail program shows: media type, endings, and how such a file begins.
const KINDS: [(&str, &[&str], &[u8]); 4] = [
    ("image/png", &["png"], b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", &["jpg", "jpeg"], b"\xff\xd8\xff"),
    ("image/gif", &["gif"], b"GIF8"),
    ("image/webp", &["webp"], b"RIFF"),
];

/// The pictures that a head lists, and what is wrong with them.
pub(super) fn read(
    file: &Arc<SourceFile>,
    listed: &BTreeMap<String, Spanned<String>>,
    files: &Files,
) -> (Vec<InlineImage>, Vec<Finding>) {
    let mut images = Vec::new();
    let mut findings = Vec::new();
    for (name, path) in listed {
        let range = value_range(file, line_of(path), &path.value);
        let place = Place { file: Arc::clone(file), range };
        match image(name, &path.value, files) {
            Ok(image) => images.push(image),
            Err(finding) => findings.push(finding.at(place)),
        }
    }
    (images, findings)
}

fn image(name: &str, path: &str, files: &Files) -> Result<InlineImage, Finding> {
    if !is_name(name) {
        let finding = Finding::error("template.image", format!("`{name}` can't be a picture's name"));
        return Err(finding.help("use letters, digits, `-` and `_`"));
    }
    let Some(kept) = files.get(path).filter(|_| path.starts_with(IMAGES)) else {
        let finding = Finding::error("template.unknown-image", format!("`{path}` is not in templates/images/"));
        let known = files.iter().map(|(path, ..)| path).filter(|path| path.starts_with(IMAGES));
        let written = if path.starts_with(IMAGES) { path.to_owned() } else { format!("{IMAGES}{path}") };
        let help = suggest::help(&written, known.collect::<Vec<_>>());
        return Err(finding.help(help.unwrap_or_else(|| "write `images/FILE`, the file lying there".to_owned())));
    };
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let kind = KINDS.iter().find(|(_, endings, _)| endings.contains(&ending.as_str()));
    let Some((media_type, _, start)) = kind else {
        let finding = Finding::error("template.image", format!("mail programs don't show `.{ending}`"));
        return Err(finding.help("use png, jpg, gif or webp"));
    };
    let bytes = STANDARD.decode(kept.text.as_bytes()).ok().filter(|bytes| bytes.starts_with(start));
    let Some(bytes) = bytes else {
        return Err(Finding::error(
            "template.image",
            format!("`{path}` does not begin as a file of {media_type} does"),
        ));
    };
    let file_name = path.rsplit('/').next().unwrap_or(path).to_owned();
    Ok(InlineImage { name: name.to_owned(), file_name, media_type, bytes: bytes.into() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The pictures that a text shows: their names with their places.
pub(super) fn shown(text: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let name = |at: usize| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        (!rest[..end].is_empty()).then_some((&rest[..end], at..at + end))
    };
    text.match_indices("cid:").filter_map(|(at, found)| name(at + found.len())).collect()
}
