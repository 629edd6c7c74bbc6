//! A journal that is written anew, beside the old one, while others go on adding to that.
//!
//! Nobody waits while it is written. At its end it takes the old one's lock, carries over what was added meanwhile, and
//! takes its place: whoever adds afterwards waited for that lock, and then opens the new file.

use super::entry::Entry;
use super::file::{Head, JournalFile, line, new_id, sync_directory};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is to take the journal's place.
pub struct Rewriting {
    journal: JournalFile,
    id: String,
    aside: PathBuf,
    writer: BufWriter<File>,
    placed: bool,
}

impl Rewriting {
    pub fn begin(journal: &JournalFile) -> io::Result<Self> {
        sweep(journal);
        let (id, aside, file) = aside(journal)?;
        journal.give_away(&file);
        let mut writer = BufWriter::new(file);
        writeln!(writer, "{}", journal.first_line(&id))?;
        Ok(Self { journal: journal.clone(), id, aside, writer, placed: false })
    }

    pub fn add(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut text = String::new();
        for entry in entries {
            line(&mut text, entry);
        }
        self.writer.write_all(text.as_bytes())
    }

    /// Takes the place of the journal that had this head and was read up to `read`; `None`: another process has
    /// put its own there, and this one is dropped. Returns the new one's id, and where what was carried over begins.
    pub fn place(mut self, old: &Head, read: u64) -> io::Result<Option<(String, u64)>> {
        self.writer.flush()?;
        let ends = self.writer.get_ref().metadata()?.len();
        let held = self.journal.locked()?;
        let found = held.as_ref().map_or(Ok(Head::Absent), |file| self.journal.head_of(file))?;
        if found != *old {
            return Ok(None);
        }
        // That of another state has nothing to carry over.
        if let Some(mut file) = held.as_ref().filter(|_| *old != Head::Foreign) {
            self.writer.write_all(&whole_lines(&mut file, read)?)?;
        }
        self.writer.flush()?;
        self.writer.get_ref().sync_all()?;
        fs::rename(&self.aside, self.journal.path())?;
        self.placed = true;
        sync_directory(self.journal.path())?;
        Ok(Some((self.id.clone(), ends)))
    }
}

impl Drop for Rewriting {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.aside);
        }
    }
}

/// What was added since it was read. A line that a crash has cut is left behind.
fn whole_lines(file: &mut &File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(end);
    Ok(bytes)
}

/// A file of our own, for another process may be writing one at the same time, and locked, which says that we live.
fn aside(journal: &JournalFile) -> io::Result<(String, PathBuf, File)> {
    loop {
        let id = new_id();
        let aside = journal.beside(&format!("new-{id}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.lock()?;
        // Swept away before it was locked?
        if fs::metadata(&aside).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
            return Ok((id, aside, file));
        }
    }
}

/// Drops what killed processes have left: nobody holds its lock any more. Nothing depends on it.
fn sweep(journal: &JournalFile) {
    let ours = journal.beside("new");
    let Some(begins) = ours.file_name().and_then(|name| name.to_str()) else { return };
    let directory = ours.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(begins));
        let is_left = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_ours && is_left() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Appended;
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

    fn begun(entries: &[Entry]) -> (tempfile::TempDir, JournalFile, Head, u64) {
        let dir = tempfile::tempdir().unwrap();
        let journal = JournalFile::new(&dir.path().join("suppressions"), "state");
        journal.begin().unwrap();
        let head = journal.head().unwrap();
        journal.append(entries).unwrap();
        let read = fs::metadata(journal.path()).unwrap().len();
        (dir, journal, head, read)
    }

    fn entries(journal: &JournalFile) -> Vec<Entry> {
        let Head::Ours { begins, .. } = journal.head().unwrap() else { panic!() };
        journal.page(begins, 100).unwrap().entries
    }

    #[test]
    fn what_others_add_meanwhile_is_carried_over() {
        let (dir, journal, head, read) = begun(&[entry(1), entry(1)]);
        let mut rewriting = Rewriting::begin(&journal).unwrap();
        rewriting.add(&[entry(1)]).unwrap();
        // Another process, before the new file is in its place.
        let other = JournalFile::new(journal.path(), "state");
        assert_eq!(other.append(&[entry(2)]).unwrap(), Appended::Added);
        let (id, ends) = rewriting.place(&head, read).unwrap().unwrap();
        assert_eq!(entries(&journal), [entry(1), entry(2)]);
        assert!(matches!(journal.head().unwrap(), Head::Ours { id: found, .. } if found == id));
        assert_eq!(journal.page(ends, 10).unwrap().entries, [entry(2)], "a state learns it from there");
        assert_eq!(other.append(&[entry(3)]).unwrap(), Appended::Added);
        assert_eq!(entries(&journal).len(), 3);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn of_two_that_are_written_at_once_the_second_gives_way() {
        let (dir, journal, head, read) = begun(&[entry(1)]);
        let mut both = [(); 2].map(|()| Rewriting::begin(&journal).unwrap());
        for (rewriting, number) in both.iter_mut().zip([1, 9]) {
            rewriting.add(&[entry(number)]).unwrap();
        }
        let [first, second] = both;
        assert!(first.place(&head, read).unwrap().is_some());
        journal.append(&[entry(2)]).unwrap();
        assert_eq!(second.place(&head, read).unwrap(), None);
        assert_eq!(entries(&journal), [entry(1), entry(2)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_carried_over() {
        let (_dir, journal, head, read) = begun(&[entry(1)]);
        let rewriting = Rewriting::begin(&journal).unwrap();
        journal.append(&[entry(2)]).unwrap();
        OpenOptions::new().append(true).open(journal.path()).unwrap().write_all(b"[\"s\",\"03").unwrap();
        rewriting.place(&head, read).unwrap().unwrap();
        journal.append(&[entry(4)]).unwrap();
        assert_eq!(entries(&journal), [entry(2), entry(4)]);
    }

    #[test]
    fn what_a_killed_one_left_is_swept_away() {
        let (dir, journal, ..) = begun(&[]);
        let left = dir.path().join("suppressions.new-dead");
        let other = dir.path().join("other.new-dead");
        for path in [&left, &other] {
            File::create(path).unwrap();
        }
        let under_way = Rewriting::begin(&journal).unwrap();
        let fresh = Rewriting::begin(&journal).unwrap();
        assert!(!left.exists() && other.exists() && under_way.aside.exists() && fresh.aside.exists());
    }
}
