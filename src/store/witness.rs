//! The witness: a small file beside the state that remembers how many sends were reserved. A state that was restored from
//! a copy has forgotten some; the file hasn't, or it is another file than the state knows.
//!
//! It is written in place, two lines by turns, each with a checksum: a line that is torn leaves the one before. In
//! place, because the file itself (its number on the disk and when it was made) says where we are, together with the
//! machine: whoever copies a directory makes another file.

use crate::engine::port::{Testimony, Whereabouts, Witness, WitnessError};
use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

/// Room for one line.
const SLOT: usize = 256;

/// The witness as a file.
#[derive(Debug)]
pub struct FileWitness {
    path: PathBuf,
    here: Whereabouts,
    file: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Counts what was written; its parity says where.
    turn: Mutex<u64>,
}

impl FileWitness {
    /// Opens the file, or makes it. `machine` names the machine, where it has a name.
    pub fn open(path: &Path, machine: Option<&str>) -> Result<Self, WitnessError> {
        let wrong = |error: &dyn std::fmt::Display| WitnessError {
            place: path.display().to_string(),
            reason: format!("{error}; state.directory says where it is kept, `state.witness = \"none\"` does without"),
        };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|error| wrong(&error))?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|error| wrong(&error))?;
        let here = whereabouts(&file, machine).map_err(|error| wrong(&error))?;
        let turn = read(&file).map_err(|error| wrong(&error))?.map_or(0, |line| line.turn);
        Ok(Self { path: path.to_owned(), here, file: Arc::new(Open { file, turn: Mutex::new(turn) }) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Open) -> io::Result<T> + Send + 'static,
    ) -> Result<T, WitnessError> {
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || work(&file)).await.map_err(io::Error::other).flatten();
        done.map_err(|error| WitnessError { place: self.path.display().to_string(), reason: error.to_string() })
    }
}

/// Whether the file was last written by the state that has this name.
pub fn is_witness_of(path: &Path, state: &str) -> bool {
    let said = File::open(path).and_then(|file| read(&file));
    said.ok().flatten().is_some_and(|line| line.testimony.state == state)
}

/// A hash, for a machine's id is nobody's business.
fn whereabouts(file: &File, machine: Option<&str>) -> io::Result<Whereabouts> {
    let found = file.metadata()?;
    let mut digest = Sha256::new();
    digest.update(b"nudged place\0");
    digest.update(machine.unwrap_or_default().as_bytes());
    digest.update(b"\0");
    digest.update(found.ino().to_be_bytes());
    // Not every file system keeps it.
    if let Some(made) = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok()) {
        digest.update(made.as_nanos().to_be_bytes());
    }
    Ok(Whereabouts(hex(&digest.finalize()[..12])))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[async_trait]
impl Witness for FileWitness {
    fn here(&self) -> &Whereabouts {
        &self.here
    }

    async fn testimony(&self) -> Result<Option<Testimony>, WitnessError> {
        self.blocking(|open| Ok(read(&open.file)?.map(|line| line.testimony))).await
    }

    async fn testify(&self, testimony: &Testimony) -> Result<(), WitnessError> {
        let testimony = testimony.clone();
        let write = move |open: &Open| {
            let mut turn = open.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let line = Line { turn: *turn + 1, testimony };
            open.file.write_all_at(&line.to_slot(), (line.turn % 2) * SLOT as u64)?;
            open.file.sync_data()?;
            *turn = line.turn;
            Ok(())
        };
        self.blocking(write).await
    }
}

struct Line {
    turn: u64,
    testimony: Testimony,
}

impl Line {
    fn to_slot(&self) -> [u8; SLOT] {
        let Testimony { state, sequence, at } = &self.testimony;
        let said = format!("nudged-witness 1 {} {state} {sequence} {}", self.turn, at.as_microsecond());
        let line = format!("{said} {}\n", checksum(&said));
        let mut slot = [b' '; SLOT];
        // A state's name has 16 characters, so the line always fits.
        let length = line.len().min(SLOT);
        slot[..length].copy_from_slice(&line.as_bytes()[..length]);
        slot
    }

    fn of_slot(slot: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(slot).ok()?.split_once('\n')?.0;
        let (said, sum) = line.rsplit_once(' ')?;
        let mut words = said.strip_prefix("nudged-witness 1 ")?.split(' ');
        let turn = words.next()?.parse().ok()?;
        let state = words.next()?.to_owned();
        let sequence = words.next()?.parse().ok()?;
        let at = Timestamp::from_microsecond(words.next()?.parse().ok()?).ok()?;
        (checksum(said) == sum).then_some(Self { turn, testimony: Testimony { state, sequence, at } })
    }
}

fn checksum(said: &str) -> String {
    hex(&Sha256::digest(said.as_bytes())[..8])
}

/// The newer of the two lines that can be read.
fn read(file: &File) -> io::Result<Option<Line>> {
    let mut bytes = [0; 2 * SLOT];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    let lines = bytes[..length].chunks(SLOT).filter_map(Line::of_slot);
    Ok(lines.max_by_key(|line| line.turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testimony(sequence: u64) -> Testimony {
        Testimony { state: "0123456789abcdef".to_owned(), sequence, at: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn it_says_what_it_was_last_told_and_a_torn_line_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/for/it/witness");
        let witness = FileWitness::open(&path, Some("machine")).unwrap();
        assert_eq!(witness.testimony().await.unwrap(), None);
        for sequence in 1..=3 {
            witness.testify(&testimony(sequence)).await.unwrap();
        }
        drop(witness);
        let again = FileWitness::open(&path, Some("machine")).unwrap();
        assert_eq!(again.testimony().await.unwrap(), Some(testimony(3)));
        again.testify(&testimony(4)).await.unwrap();

        // The fourth stands in the first slot.
        again.file.file.write_all_at(b"torn", 20).unwrap();
        assert_eq!(again.testimony().await.unwrap(), Some(testimony(3)));
        again.file.file.write_all_at(b"torn", 20 + SLOT as u64).unwrap();
        assert_eq!(again.testimony().await.unwrap(), None, "nothing that can be read is nothing");
    }

    #[test]
    fn a_place_is_a_machine_and_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("witness"), dir.path().join("copy"));
        let here = |path: &Path, machine| FileWitness::open(path, machine).unwrap().here;
        let first = here(&path, Some("a"));
        assert_eq!(here(&path, Some("a")), first);
        assert_ne!(here(&path, Some("b")), first, "a clone of the machine");
        std::fs::copy(&path, &copy).unwrap();
        assert_ne!(here(&copy, Some("a")), first, "a copied directory");
        assert_ne!(here(&copy, None), here(&path, None), "also where the machine has no name");
    }
}
