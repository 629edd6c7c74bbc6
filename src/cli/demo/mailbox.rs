//! The local mailbox folder: every mail the daemon writes is a real MIME file in it.

use crate::model::DeliveryId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands at the head of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub file: PathBuf,
    pub message_id: String,
    pub to: String,
    pub subject: String,
}

/// All mails of a folder, by file name.
pub fn mails(folder: &Path) -> io::Result<Vec<Mail>> {
    let mut files = files(folder)?;
    files.sort();
    files.into_iter().map(|file| Ok(read(&std::fs::read_to_string(&file)?, file))).collect()
}

/// How many there are.
pub fn count(folder: &Path) -> io::Result<usize> {
    Ok(files(folder)?.len())
}

/// Each file with the number that the file system gave it: a mail that is written again has another one.
pub fn written(folder: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    files(folder)?.into_iter().map(|file| Ok((file.clone(), std::fs::metadata(&file)?.ino()))).collect()
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // An unfinished file begins with a dot and ends otherwise.
        if path.extension().is_some_and(|extension| extension == "eml") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The mail of a delivery: its file is named after it.
pub fn find(folder: &Path, delivery: DeliveryId) -> io::Result<Option<Mail>> {
    let file = folder.join(format!("{delivery}.eml"));
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(read(&text, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(text: &str, file: PathBuf) -> Mail {
    let header = |name: &str| decoded(&unfolded(text, name));
    Mail { message_id: header("Message-ID"), to: header("To"), subject: header("Subject"), file }
}

/// A header's value with its continuation lines joined; empty when it isn't there.
fn unfolded(text: &str, name: &str) -> String {
    let mut lines = text.lines().take_while(|line| !line.is_empty());
    let first = lines.find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    let continued = lines.take_while(|line| line.starts_with([' ', '\t'])).map(|line| format!(" {}", line.trim()));
    first.into_iter().chain(continued).collect()
}

/// RFC 2047: `=?utf-8?b?…?=` back to text. Between two encoded words a blank doesn't count.
fn decoded(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, word, after)) = next_word(rest) {
        if text.is_empty() || !before.trim().is_empty() {
            text.push_str(before);
        }
        text.push_str(&word);
        rest = after;
    }
    text + rest
}

fn next_word(text: &str) -> Option<(&str, String, &str)> {
    let (before, encoded) = text.split_once("=?")?;
    let (_charset, encoded) = encoded.split_once('?')?;
    let (kind, encoded) = encoded.split_once('?')?;
    let (content, after) = encoded.split_once("?=")?;
    let bytes = if kind.eq_ignore_ascii_case("b") { STANDARD.decode(content).ok()? } else { quoted(content) };
    Some((before, String::from_utf8_lossy(&bytes).into_owned(), after))
}

/// The `Q` encoding: `_` is a blank, `=C3` a byte.
fn quoted(content: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = content.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, code) {
            (b'=', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'_', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_unfolded_and_decoded() {
        let text = "From: a@b.example\r\nSubject: =?utf-8?b?QsOkY2tlcmVp?=\r\n =?utf-8?b?IEhvZmVy?=, hello\r\n\
                    To: =?utf-8?q?J=C3=BCrgen_Moser?= <j@c1.example>\r\nMessage-ID: <x@y>\r\n\r\nTo: not a header";
        let mail = read(text, PathBuf::from("1.eml"));
        assert_eq!(mail.subject, "Bäckerei Hofer, hello");
        assert_eq!(mail.to, "Jürgen Moser <j@c1.example>");
        assert_eq!(mail.message_id, "<x@y>");
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_mail() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(mails(&directory.path().join("none")).unwrap(), Vec::new());
        std::fs::write(directory.path().join("2.eml"), "Subject: two\r\n\r\n").unwrap();
        std::fs::write(directory.path().join("1.eml"), "Subject: one\r\n\r\n").unwrap();
        std::fs::write(directory.path().join("half.tmp"), "").unwrap();
        let subjects: Vec<String> = mails(directory.path()).unwrap().into_iter().map(|mail| mail.subject).collect();
        assert_eq!(subjects, ["one", "two"]);
    }
}
