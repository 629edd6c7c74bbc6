//! Reads a rules directory as it is at one moment.
//!
//! Symbolic links are followed, since `ConfigMap`s and git-sync are made of them; a link that leads back up
//! is followed once. A directory that can't be read is an error and never looks like deleted files.

use crate::diagnostic::SourceFile;
use crate::rule::generation::Tree;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Bounds that a directory of rules has no reason to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub file_bytes: u64,
    /// Of one picture in `templates/images/`.
    pub image_bytes: u64,
    pub tree_bytes: u64,
    pub files: usize,
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 1 << 20, image_bytes: 512 << 10, tree_bytes: 64 << 20, files: 20_000, depth: 16 }
    }
}

/// Why a directory could not be read as a whole. A part of it is never used.
#[derive(Debug, thiserror::Error)]
pub enum ReadTreeError {
    #[error("can't read {path}: {error}; nudged needs to read all of the rules directory")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{0} is not UTF-8; save it as UTF-8")]
    NotUtf8(PathBuf),
    #[error("{path} has more than {most} bytes; a rule, template, script or picture is never that large")]
    FileTooLarge { path: PathBuf, most: u64 },
    #[error("{root} holds more than {most} bytes of rules; is it the right directory?")]
    TreeTooLarge { root: PathBuf, most: u64 },
    #[error("{root} holds more than {most} files; is it the right directory?")]
    TooManyFiles { root: PathBuf, most: usize },
    #[error("{path} is more than {most} directories deep; is it the right directory?")]
    TooDeep { path: PathBuf, most: usize },
}

impl ReadTreeError {
    /// A stable code for findings, logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "rules.unreadable",
            Self::NotUtf8(_) => "rules.not-utf8",
            Self::FileTooLarge { .. } | Self::TreeTooLarge { .. } => "rules.too-large",
            Self::TooManyFiles { .. } | Self::TooDeep { .. } => "rules.too-many",
        }
    }
}

/// Reads every file that belongs to a generation, sorted by path. Files whose text is the same as in
/// `known` share its memory, so that later stages can tell at a glance what did not change.
pub fn read_tree(root: &Path, limits: &Limits, known: Option<&Tree>) -> Result<Tree, ReadTreeError> {
    let known =
        known.map(|tree| tree.files.iter().map(|file| (file.path.as_str(), file)).collect()).unwrap_or_default();
    let mut reader = Reader { root, limits, known, found: BTreeMap::new(), bytes: 0, open: Vec::new() };
    reader.directory(root, "", 0)?;
    Ok(Tree { files: reader.found.into_values().collect() })
}

/// SHA-256 (hexadecimal) over paths and contents, each with its length before it.
pub fn digest(tree: &Tree) -> String {
    let mut hash = Sha256::new();
    for file in &tree.files {
        for part in [&file.path, &file.text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

struct Reader<'a> {
    root: &'a Path,
    limits: &'a Limits,
    known: HashMap<&'a str, &'a Arc<SourceFile>>,
    found: BTreeMap<String, Arc<SourceFile>>,
    bytes: u64,
    /// Canonical paths of the directories we are inside of.
    open: Vec<PathBuf>,
}

impl Reader<'_> {
    fn directory(&mut self, path: &Path, relative: &str, depth: usize) -> Result<(), ReadTreeError> {
        if depth > self.limits.depth {
            return Err(ReadTreeError::TooDeep { path: path.to_owned(), most: self.limits.depth });
        }
        let unreadable = |error| ReadTreeError::Unreadable { path: path.to_owned(), error };
        let canonical = path.canonicalize().map_err(unreadable)?;
        if self.open.contains(&canonical) {
            return Ok(());
        }
        self.open.push(canonical);
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_ignored(&name) {
                continue;
            }
            let below = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            self.entry(&entry.path(), below, depth)?;
        }
        self.open.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, relative: String, depth: usize) -> Result<(), ReadTreeError> {
        let unreadable = |error| ReadTreeError::Unreadable { path: path.to_owned(), error };
        let kind = std::fs::metadata(path).map_err(unreadable)?;
        if kind.is_dir() {
            return self.directory(path, &relative, depth + 1);
        }
        if kind.is_file() && belongs(&relative) {
            let text = if is_image(&relative) { self.image(path)? } else { self.text(path)? };
            let file = match self.known.get(relative.as_str()) {
                Some(known) if known.text == text => Arc::clone(known),
                _ => Arc::new(SourceFile { path: relative.clone(), text }),
            };
            self.found.insert(relative, file);
        }
        if self.found.len() > self.limits.files {
            return Err(ReadTreeError::TooManyFiles { root: self.root.to_owned(), most: self.limits.files });
        }
        Ok(())
    }

    fn text(&mut self, path: &Path) -> Result<String, ReadTreeError> {
        let mut bytes = self.bytes(path, self.limits.file_bytes)?;
        // Some editors begin their files with a mark that means nothing in UTF-8, and is no part of the text.
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        String::from_utf8(bytes).map_err(|_| ReadTreeError::NotUtf8(path.to_owned()))
    }

    /// A tree holds text alone, so that it can be hashed, kept and compared as one: pictures as base64.
    fn image(&mut self, path: &Path) -> Result<String, ReadTreeError> {
        Ok(STANDARD.encode(self.bytes(path, self.limits.image_bytes)?))
    }

    fn bytes(&mut self, path: &Path, most: u64) -> Result<Vec<u8>, ReadTreeError> {
        let unreadable = |error| ReadTreeError::Unreadable { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        // One byte more than allowed tells "too large" from "just fits", however the file grows meanwhile.
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > most {
            return Err(ReadTreeError::FileTooLarge { path: path.to_owned(), most });
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limits.tree_bytes {
            return Err(ReadTreeError::TreeTooLarge { root: self.root.to_owned(), most: self.limits.tree_bytes });
        }
        Ok(bytes)
    }
}

/// What templates show by `cid:`.
fn is_image(path: &str) -> bool {
    path.starts_with("templates/images/")
}

/// Hidden files (`.git`, `..data`, `.#lock`) and what editors leave beside the file they save.
fn is_ignored(name: &str) -> bool {
    const LEFT_BY_EDITORS: [&str; 7] = ["~", ".swp", ".swx", ".tmp", ".bak", ".orig", ".rej"];
    name.starts_with('.')
        || name.starts_with('#')
        || name == "4913"
        || LEFT_BY_EDITORS.iter().any(|ending| name.ends_with(ending))
}

/// YAML anywhere, everything below `templates/`, Rhai below `scripts/`, lists of days below `calendars/`.
fn belongs(path: &str) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    if path.starts_with("templates/") {
        return true;
    }
    if path.starts_with("scripts/") {
        return ending == "rhai";
    }
    if path.starts_with("calendars/") {
        return ending == "txt";
    }
    matches!(ending, "yaml" | "yml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn takes_what_belongs_and_leaves_what_editors_leave() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for directory in ["templates/layouts", "scripts", "calendars", "team/eu", ".git"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in [
            "catalog.yaml",
            "team/eu/a.yml",
            "a.yaml~",
            ".a.yaml.swp",
            "#a.yaml#",
            "README.md",
            ".git/config.yaml",
            "templates/win-back-1.md",
            "templates/layouts/default.html",
            "scripts/x.rhai",
            "scripts/x.yaml",
            "calendars/company.txt",
            "calendars/company.ods",
            "4913",
        ] {
            fs::write(root.join(file), file).unwrap();
        }
        let tree = read_tree(root, &Limits::default(), None).unwrap();
        assert_eq!(
            paths(&tree),
            [
                "calendars/company.txt",
                "catalog.yaml",
                "scripts/x.rhai",
                "team/eu/a.yml",
                "templates/layouts/default.html",
                "templates/win-back-1.md"
            ]
        );
    }

    #[test]
    fn unchanged_files_share_their_memory_and_the_digest_follows_the_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        fs::write(folder.path().join("b.yaml"), "b").unwrap();
        let before = read_tree(folder.path(), &Limits::default(), None).unwrap();
        fs::write(folder.path().join("b.yaml"), "c").unwrap();
        let after = read_tree(folder.path(), &Limits::default(), Some(&before)).unwrap();
        assert!(Arc::ptr_eq(&before.files[0], &after.files[0]));
        assert!(!Arc::ptr_eq(&before.files[1], &after.files[1]));
        assert_ne!(digest(&before), digest(&after));
        fs::write(folder.path().join("b.yaml"), "b").unwrap();
        assert_eq!(digest(&before), digest(&read_tree(folder.path(), &Limits::default(), None).unwrap()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_any_text() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("templates/images")).unwrap();
        fs::create_dir_all(folder.path().join("scripts")).unwrap();
        for file in ["a.yaml", "templates/b.md", "scripts/c.rhai", "templates/images/d.png"] {
            fs::write(folder.path().join(file), "\u{feff}text").unwrap();
        }
        let tree = read_tree(folder.path(), &Limits::default(), None).unwrap();
        let texts: Vec<_> = tree.files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
        let kept = ("templates/images/d.png", &*STANDARD.encode("\u{feff}text"));
        assert_eq!(texts, [("a.yaml", "text"), ("scripts/c.rhai", "text"), ("templates/b.md", "text"), kept]);
    }

    #[test]
    fn pictures_are_held_as_text_up_to_their_own_limit() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("templates/images")).unwrap();
        fs::write(folder.path().join("templates/images/logo.png"), [0x89, b'P', 0xff]).unwrap();
        let tree = read_tree(folder.path(), &Limits::default(), None).unwrap();
        assert_eq!(tree.files[0].text, "iVD/");
        let tight = Limits { image_bytes: 2, ..Limits::default() };
        assert!(matches!(read_tree(folder.path(), &tight, None), Err(ReadTreeError::FileTooLarge { .. })));
    }

    #[test]
    fn a_link_that_leads_back_up_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("self")).unwrap();
        assert_eq!(paths(&read_tree(folder.path(), &Limits::default(), None).unwrap()), ["a.yaml"]);
    }

    #[test]
    fn too_large_not_utf8_and_gone_are_errors_that_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let tight = Limits { file_bytes: 4, ..Limits::default() };
        fs::write(folder.path().join("a.yaml"), "12345").unwrap();
        assert!(matches!(read_tree(folder.path(), &tight, None), Err(ReadTreeError::FileTooLarge { .. })));
        fs::write(folder.path().join("a.yaml"), [0xff, 0xfe]).unwrap();
        assert!(matches!(read_tree(folder.path(), &tight, None), Err(ReadTreeError::NotUtf8(_))));
        let gone = folder.path().join("gone");
        assert!(matches!(read_tree(&gone, &tight, None), Err(ReadTreeError::Unreadable { .. })));
    }
}
