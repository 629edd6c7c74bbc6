//! The journal as a file: a head that says which state and which writing of it, then a line an entry, each with a
//! checksum. It is only appended to, under a lock, and synced before anybody is told that they will hear no more.
//!
//! A line without its end is one that a crash has cut: nobody was told, so it is dropped. A line in the middle that
//! can't be read is damage, and is counted.

use super::entry::Entry;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const HEAD: &str = "nudged-suppressions 1";

/// Where a journal is, and whose it is.
#[derive(Debug, Clone)]
pub struct JournalFile {
    path: PathBuf,
    /// The state's name.
    state: String,
}

/// What stands at the top of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// There is no journal yet.
    Absent,
    /// Ours; which writing of it, and where its entries begin.
    Ours { id: String, begins: u64 },
    /// That of another state: its hashes mean nothing here.
    Foreign,
    /// Nothing that can be read.
    Damaged,
}

/// What became of entries that were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Added,
    /// No journal is kept on this machine.
    Nowhere,
    /// The file is another state's, and was left as it is.
    Foreign,
}

/// A stretch of the journal.
#[derive(Debug, Default)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Lines that can't be read.
    pub damaged: u64,
    /// Where the next page begins.
    pub next: u64,
    /// A crash cut the last line off.
    pub torn: bool,
    pub is_last: bool,
}

impl JournalFile {
    pub fn new(path: &Path, state: &str) -> Self {
        Self { path: path.to_owned(), state: state.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn head(&self) -> io::Result<Head> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Absent),
            Err(error) => return Err(error),
        };
        head(&file, &self.state)
    }

    /// Adds entries for good: they are on the disk when this returns. Where there is no journal yet, it begins one.
    pub fn append(&self, entries: &[Entry]) -> io::Result<Appended> {
        let mut text = String::new();
        for entry in entries {
            line(&mut text, entry);
        }
        let Some(mut file) = self.held()? else { return Ok(Appended::Nowhere) };
        if head(&file, &self.state)? == Head::Foreign {
            return Ok(Appended::Foreign);
        }
        drop_torn_line(&mut file)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        Ok(Appended::Added)
    }

    /// Begins a journal where there is none.
    pub fn begin(&self) -> io::Result<()> {
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let made = self.held()?;
        made.map(drop).ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))
    }

    /// The file at the path, locked, with a head. `None`: there is none, and nobody may make one here: a machine that
    /// runs no daemon of this state.
    fn held(&self) -> io::Result<Option<File>> {
        loop {
            if let Some(file) = self.locked()? {
                if file.metadata()?.len() > 0 && head(&file, &self.state)? != Head::Absent {
                    return Ok(Some(file));
                }
                // Empty, or its first line was cut off by a crash: nobody has written to it.
                let mut file = file;
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", self.first_line(&new_id()))?;
                file.sync_all()?;
                sync_directory(&self.path)?;
                return Ok(Some(file));
            }
            let mut options = OpenOptions::new();
            match options.write(true).create_new(true).mode(0o600).open(&self.path) {
                Ok(file) => self.give_away(&file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if is_no_place(error.kind()) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The file at the path, locked. Whoever waited for a rewriting has the old one in hand, and asks again.
    pub(super) fn locked(&self) -> io::Result<Option<File>> {
        loop {
            let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            file.lock()?;
            let (held, there) = (file.metadata()?.ino(), fs::metadata(&self.path).ok().map(|found| found.ino()));
            if there == Some(held) {
                return Ok(Some(file));
            }
        }
    }

    /// What a command of root makes must stay open to the daemon: it belongs to whom the directory belongs to.
    pub(super) fn give_away(&self, file: &File) {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(of) = fs::metadata(parent.unwrap_or(Path::new("."))) else { return };
        // Nobody but root may, and nobody else has to.
        let _ = std::os::unix::fs::fchown(file, Some(of.uid()), Some(of.gid()));
    }

    pub(super) fn first_line(&self, id: &str) -> String {
        format!("{HEAD} {} {id}", self.state)
    }

    pub(super) fn head_of(&self, file: &File) -> io::Result<Head> {
        head(file, &self.state)
    }

    /// Reads some lines from a position on.
    pub fn page(&self, from: u64, limit: usize) -> io::Result<Page> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::new(file);
        let (mut page, mut bytes) = (Page { next: from, ..Page::default() }, Vec::new());
        while page.entries.len() + (page.damaged as usize) < limit {
            bytes.clear();
            let length = reader.read_until(b'\n', &mut bytes)?;
            if length == 0 || bytes.last() != Some(&b'\n') {
                page.torn = length > 0;
                page.is_last = true;
                break;
            }
            page.next += length as u64;
            match read(&bytes) {
                Some(entry) => page.entries.push(entry),
                None => page.damaged += 1,
            }
        }
        Ok(page)
    }

    /// Keeps the file as it is under another name, for people to look at; what was kept before stays.
    pub fn keep_as(&self, why: &str) -> io::Result<PathBuf> {
        let mut kept = self.beside(why);
        let mut count = 1;
        while kept.exists() {
            count += 1;
            kept = self.beside(&format!("{why}-{count}"));
        }
        fs::copy(&self.path, &kept)?;
        Ok(kept)
    }

    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.path.with_file_name(name)
    }
}

/// The longest first line that is looked for.
const HEAD_ROOM: usize = 256;

fn head(file: &File, state: &str) -> io::Result<Head> {
    let mut line = [0; HEAD_ROOM];
    let length = file.read_at(&mut line, 0)?;
    let line = match line[..length].iter().position(|byte| *byte == b'\n') {
        Some(end) => &line[..=end],
        // Empty, or cut off by a crash while it was begun.
        None if length < HEAD_ROOM => return Ok(Head::Absent),
        None => return Ok(Head::Damaged),
    };
    let begins = line.len() as u64;
    let words = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
    let words = words.and_then(|line| line.strip_prefix(HEAD)?.trim().split_once(' '));
    Ok(match words {
        Some((of, id)) if of == state => Head::Ours { id: id.to_owned(), begins },
        Some(_) => Head::Foreign,
        None => Head::Damaged,
    })
}

/// What follows the last line's end was never finished.
fn drop_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut window = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(window.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        let part = &mut window[..(end - start) as usize];
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

/// Of a machine where nobody keeps a journal, or where we may not.
const fn is_no_place(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Each writing of the journal has its own, so that a state knows how much of which it has read.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn line(text: &mut String, entry: &Entry) {
    let said = entry.to_json();
    let _ = writeln!(text, "{said}\t{}", checksum(&said));
}

fn read(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (said, sum) = line.rsplit_once('\t')?;
    if checksum(said) == sum { Entry::of_json(said) } else { None }
}

fn checksum(said: &str) -> String {
    Sha256::digest(said.as_bytes())[..4].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AddressHash, Channel, Suppression, SuppressionReason};
    use jiff::Timestamp;

    fn entry(number: u8) -> Entry {
        Entry::Suppressed(Suppression {
            hash: AddressHash([number; 16]),
            channel: Channel::Email,
            address: None,
            reason: SuppressionReason::Bounced,
            since: Timestamp::UNIX_EPOCH,
        })
    }

    fn written(entries: &[Entry]) -> (tempfile::TempDir, JournalFile, u64) {
        let dir = tempfile::tempdir().unwrap();
        let journal = JournalFile::new(&dir.path().join("suppressions"), "state");
        assert_eq!(journal.head().unwrap(), Head::Absent);
        assert_eq!(journal.append(entries).unwrap(), Appended::Added, "it begins one");
        let Head::Ours { begins, .. } = journal.head().unwrap() else { panic!() };
        (dir, journal, begins)
    }

    #[test]
    fn where_none_can_be_kept_nothing_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let journal = JournalFile::new(&dir.path().join("absent/suppressions"), "state");
        assert_eq!(journal.append(&[entry(1)]).unwrap(), Appended::Nowhere);
        journal.begin().unwrap();
        assert_eq!(journal.append(&[entry(1)]).unwrap(), Appended::Added);
    }

    #[test]
    fn one_whose_first_line_was_cut_off_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let journal = JournalFile::new(&dir.path().join("suppressions"), "state");
        for torn in ["", "nudged-supp", "nudged-suppressions 1 state 0123"] {
            fs::write(journal.path(), torn).unwrap();
            assert_eq!(journal.head().unwrap(), Head::Absent);
            assert_eq!(journal.append(&[entry(1)]).unwrap(), Appended::Added);
            let Head::Ours { begins, .. } = journal.head().unwrap() else { panic!() };
            assert_eq!(journal.page(begins, 10).unwrap().entries, [entry(1)]);
        }
    }

    #[test]
    fn that_of_another_state_is_not_added_to() {
        let (_dir, journal, begins) = written(&[entry(1)]);
        let other = JournalFile::new(journal.path(), "other");
        assert_eq!(other.append(&[entry(2)]).unwrap(), Appended::Foreign);
        assert_eq!(journal.page(begins, 10).unwrap().entries, [entry(1)]);
    }

    #[test]
    fn what_was_kept_before_stays() {
        let (_dir, journal, _) = written(&[entry(1)]);
        let first = journal.keep_as("foreign").unwrap();
        journal.append(&[entry(2)]).unwrap();
        let second = journal.keep_as("foreign").unwrap();
        assert_ne!(first, second);
        assert_ne!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    #[test]
    fn it_says_what_was_written_and_goes_on_where_it_was_left() {
        let (_dir, journal, begins) = written(&[entry(1), entry(2)]);
        let page = journal.page(begins, 10).unwrap();
        assert_eq!(page.entries, [entry(1), entry(2)]);
        assert!(page.is_last && !page.torn && page.damaged == 0);
        assert_eq!(journal.append(&[entry(3)]).unwrap(), Appended::Added);
        assert_eq!(journal.page(page.next, 10).unwrap().entries, [entry(3)]);
        assert_eq!(journal.page(begins, 2).unwrap().entries.len(), 2);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_next_one_stands_whole() {
        let (_dir, journal, begins) = written(&[entry(1)]);
        let mut file = OpenOptions::new().append(true).open(journal.path()).unwrap();
        file.write_all(b"[\"s\",\"02020202").unwrap();
        let page = journal.page(begins, 10).unwrap();
        assert!(page.torn && page.damaged == 0 && page.entries == [entry(1)]);
        assert_eq!(journal.append(&[entry(3)]).unwrap(), Appended::Added);
        let page = journal.page(begins, 10).unwrap();
        assert!(!page.torn && page.damaged == 0);
        assert_eq!(page.entries, [entry(1), entry(3)]);
    }

    #[test]
    fn damage_in_the_middle_is_counted_and_the_rest_is_read() {
        let (_dir, journal, begins) = written(&[entry(1), entry(2), entry(3)]);
        let text = fs::read_to_string(journal.path()).unwrap().replace("02020202", "0202020f");
        fs::write(journal.path(), text).unwrap();
        let page = journal.page(begins, 10).unwrap();
        assert_eq!((page.entries, page.damaged), (vec![entry(1), entry(3)], 1));
    }

    #[test]
    fn the_head_tells_whose_it_is() {
        let (_dir, journal, _) = written(&[entry(1)]);
        assert!(matches!(journal.head().unwrap(), Head::Ours { .. }));
        assert_eq!(JournalFile::new(journal.path(), "other").head().unwrap(), Head::Foreign);
        fs::write(journal.path(), "something else\n").unwrap();
        assert_eq!(journal.head().unwrap(), Head::Damaged);
    }
}
