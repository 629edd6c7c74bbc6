//! What lies beside the state: the witness, the suppression journal, the locks of nodes; and the disk it is all on.

use crate::config::StateOptions;
use crate::engine::port::{Owner, Room, Witness, WitnessError};
use crate::store::witness::{FileWitness, is_witness_of};
use crate::store::{JournalPlace, is_journal_of};
use secrecy::ExposeSecret;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// In place of a path: there is none.
const NONE: &str = "none";
/// Where a PostgreSQL state has its files, unless the configuration or systemd says otherwise.
const USUAL: &str = "/var/lib/nudged";
/// What its files were called before they bore the state's name.
const SHARED: &str = "nudged";
/// Nodes of one machine that share a directory.
const NODES: u32 = 64;

/// What a daemon has of it.
#[derive(Default)]
pub struct Beside {
    pub witness: Option<Arc<dyn Witness>>,
    pub room: Option<Arc<dyn Room>>,
    /// `None`: one is drawn.
    pub owner: Option<Owner>,
    /// Nodes that are known to be dead.
    pub dead: Vec<Owner>,
    /// Says for as long as it is open that this node is alive.
    lock: Option<File>,
}

impl Beside {
    /// Looks at what there is, and claims what is ours. `state` is the state's name.
    pub fn open(options: &StateOptions, state: &str) -> Result<Self, WitnessError> {
        let places = Places::of(options, state);
        let owner = Owner(format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()));
        let mut beside = Self { room: places.room(options), ..Self::default() };
        let mut slot = 1;
        // A state with one node knows by itself that all others are gone.
        if !places.single {
            beside.dead = places.take_over(state);
            match places.enter(&owner) {
                Ok(entered) => {
                    slot = entered.slot;
                    beside.dead.extend(entered.dead);
                    beside.lock = Some(entered.lock);
                }
                Err(error) => tracing::warn!(
                    %error,
                    directory = %places.directory.display(),
                    "no lock of this node can be held; after a crash its leases run out by themselves"
                ),
            }
        }
        beside.owner = Some(owner);
        if options.witness != NONE {
            let witness = FileWitness::open(&places.witness(options, slot), machine_id(options).as_deref())?;
            beside.witness = Some(Arc::new(witness));
        }
        Ok(beside)
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("owner", &self.owner).field("dead", &self.dead).finish_non_exhaustive()
    }
}

/// Where the suppression journal of the state with this name is; `None`: there is none by choice.
pub(super) fn journal(options: &StateOptions, state: &str) -> Option<JournalPlace> {
    match options.journal.as_str() {
        NONE => None,
        "" => {
            let places = Places::of(options, state);
            // Nodes of an earlier version may be adding to it.
            let earlier = places.earlier().file("suppressions");
            let is_earlier = !places.single && is_journal_of(&earlier, state);
            Some(JournalPlace { path: if is_earlier { earlier } else { places.file("suppressions") }, own: true })
        }
        path => Some(JournalPlace { path: PathBuf::from(path), own: false }),
    }
}

/// Where files beside the state lie.
struct Places {
    directory: PathBuf,
    /// What their names begin with.
    stem: String,
    /// The state is a file.
    single: bool,
}

/// A node that has its lock.
struct Entered {
    slot: u32,
    lock: File,
    dead: Vec<Owner>,
}

impl Places {
    fn of(options: &StateOptions, state: &str) -> Self {
        let file = super::connect::sqlite_path(options.url.expose_secret()).map(Path::new);
        let usual = || {
            // systemd names several with colons between them.
            let given = std::env::var("STATE_DIRECTORY").ok();
            given.as_deref().and_then(|given| given.split(':').next()).unwrap_or(USUAL).into()
        };
        let own = file.map_or_else(usual, |file| file.parent().unwrap_or(Path::new("")).to_owned());
        let directory = if options.directory.as_os_str().is_empty() { own } else { options.directory.clone() };
        // Several states in servers may have their files in one directory, and what is one's says nothing of another.
        let named = || format!("{SHARED}-{state}");
        let stem = file.and_then(Path::file_name).map_or_else(named, |name| name.to_string_lossy().into_owned());
        Self { directory, stem, single: file.is_some() }
    }

    /// As it was before the state's name was in those of its files.
    fn earlier(&self) -> Self {
        Self { directory: self.directory.clone(), stem: SHARED.to_owned(), single: self.single }
    }

    /// Takes over the witnesses that nodes of this state have left under their earlier names, and says which nodes these
    /// were. A file that is renamed is the same file, so nobody takes it for another place.
    fn take_over(&self, state: &str) -> Vec<Owner> {
        let (earlier, kernel) = (self.earlier(), Kernel::running());
        let mut dead = Vec::new();
        for slot in 1..=NODES {
            let from = earlier.slot("witness", slot);
            let free_name = (1..=NODES).map(|slot| self.slot("witness", slot)).find(|path| !path.exists());
            let lock = File::open(earlier.file(&format!("node-{slot}")));
            // Whoever holds its lock is still at work with it.
            let free = lock.as_ref().map_or(true, |lock| lock.try_lock().is_ok());
            let Some(to) = free_name.filter(|_| free && is_witness_of(&from, state)) else { continue };
            if let Err(error) = std::fs::rename(&from, &to) {
                tracing::warn!(%error, witness = %from.display(), "it keeps its earlier name, and is not looked at");
                continue;
            }
            let text = lock.ok().and_then(|mut lock| {
                let mut text = String::new();
                lock.read_to_string(&mut text).ok().map(|_| text)
            });
            dead.extend(text.and_then(|text| kernel.late_owner(&text)));
        }
        dead
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.stem))
    }

    /// Each node of a machine has its own.
    fn witness(&self, options: &StateOptions, slot: u32) -> PathBuf {
        if options.witness.is_empty() {
            self.slot("witness", slot)
        } else {
            numbered(Path::new(&options.witness), slot)
        }
    }

    fn slot(&self, ending: &str, slot: u32) -> PathBuf {
        numbered(&self.file(ending), slot)
    }

    /// Only a state that is a file is on a disk of ours.
    fn room(&self, options: &StateOptions) -> Option<Arc<dyn Room>> {
        let least = options.min_free_mib * 1024 * 1024;
        let directory = if self.directory.as_os_str().is_empty() { PathBuf::from(".") } else { self.directory.clone() };
        (self.single && least > 0).then(|| Arc::new(Disk { directory, least }) as Arc<dyn Room>)
    }

    /// Takes the first lock that nobody holds. Whoever held one that can be had is dead: the system lets go of a lock
    /// when its process ends, however it ends.
    fn enter(&self, owner: &Owner) -> io::Result<Entered> {
        std::fs::create_dir_all(&self.directory)?;
        let kernel = Kernel::running();
        let (mut ours, mut dead) = (None, Vec::new());
        for slot in 1..=NODES {
            let path = self.file(&format!("node-{slot}"));
            if ours.is_some() && !path.exists() {
                break;
            }
            let mut options = OpenOptions::new();
            let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => continue,
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            dead.extend(kernel.late_owner(&text));
            let left = if ours.is_none() { kernel.line(owner) } else { String::new() };
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(left.as_bytes())?;
            file.sync_data()?;
            ours.get_or_insert((slot, file));
        }
        let (slot, lock) = ours.ok_or_else(|| io::Error::other(format!("{NODES} nodes run here already")))?;
        Ok(Entered { slot, lock, dead })
    }
}

fn numbered(path: &Path, slot: u32) -> PathBuf {
    if slot == 1 { path.to_owned() } else { PathBuf::from(format!("{}-{slot}", path.display())) }
}

/// Which system's locks these are. Over a network file system another machine's lock may look free.
struct Kernel {
    boot: Option<String>,
    machine: Option<String>,
}

impl Kernel {
    fn running() -> Self {
        Self { boot: word_in("/proc/sys/kernel/random/boot_id"), machine: word_in("/etc/machine-id") }
    }

    fn line(&self, owner: &Owner) -> String {
        let or_none = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".to_owned());
        format!("{} {} {}\n", owner.0, or_none(&self.boot), or_none(&self.machine))
    }

    /// The owner that a lock's file names, if its being free proves that it is dead: it ran on this very system, or on
    /// this machine before it was started anew.
    fn late_owner(&self, text: &str) -> Option<Owner> {
        let mut words = text.split_whitespace();
        let (owner, boot, machine) = (words.next()?, words.next()?, words.next()?);
        let same = |ours: &Option<String>, theirs: &str| ours.as_deref() == Some(theirs);
        (same(&self.boot, boot) || same(&self.machine, machine)).then(|| Owner(owner.to_owned()))
    }
}

fn word_in(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim()).filter(|word| !word.is_empty() && *word != "uninitialized").map(str::to_owned)
}

/// What names the machine; `None` in a container without one, where the file beside the state has to do.
fn machine_id(options: &StateOptions) -> Option<String> {
    if options.machine_id.is_empty() { word_in("/etc/machine-id") } else { Some(options.machine_id.clone()) }
}

/// The disk that a directory is on.
#[derive(Debug)]
struct Disk {
    directory: PathBuf,
    least: u64,
}

impl Room for Disk {
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.directory).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn least(&self) -> u64 {
        self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(directory: &Path) -> Places {
        Places { directory: directory.to_owned(), stem: "nudged".to_owned(), single: false }
    }

    fn owner(name: &str) -> Owner {
        Owner(name.to_owned())
    }

    #[test]
    fn a_free_lock_proves_that_its_owner_is_dead_and_a_held_one_that_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let first = places.enter(&owner("first")).unwrap();
        let second = places.enter(&owner("second")).unwrap();
        assert_eq!((first.slot, second.slot), (1, 2));
        assert!(first.dead.is_empty() && second.dead.is_empty(), "both live");

        drop(first);
        let third = places.enter(&owner("third")).unwrap();
        assert_eq!((third.slot, third.dead.as_slice()), (1, [owner("first")].as_slice()));
        drop((second, third));
        let fourth = places.enter(&owner("fourth")).unwrap();
        assert_eq!(fourth.dead, [owner("third"), owner("second")]);
        drop(fourth);
        assert_eq!(places.enter(&owner("fifth")).unwrap().dead, [owner("fourth")], "the dead are buried once");
    }

    fn options(directory: &Path, url: &str) -> StateOptions {
        StateOptions { url: url.into(), directory: directory.to_owned(), ..StateOptions::default() }
    }

    const SERVER: &str = "postgres://db.example/nudged";

    async fn testify(path: &Path, state: &str) -> crate::engine::port::Whereabouts {
        let witness = FileWitness::open(path, machine_id(&StateOptions::default()).as_deref()).unwrap();
        let (state, at) = (state.to_owned(), jiff::Timestamp::UNIX_EPOCH);
        witness.testify(&crate::engine::port::Testimony { state, sequence: 7, at }).await.unwrap();
        witness.here().clone()
    }

    #[test]
    fn two_states_of_one_host_have_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), SERVER);
        let [one, two] = ["one", "two"].map(|state| journal(&options, state).unwrap().path);
        assert_ne!(one, two);
        let open = ["one", "two", "one"].map(|state| Beside::open(&options, state).unwrap());
        let mut places: Vec<String> =
            open.iter().map(|beside| format!("{:?}", beside.witness.as_ref().unwrap().here())).collect();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), 3, "also each node of one");
        assert!(dir.path().join("nudged-one.node-2").exists() && !dir.path().join("nudged-two.node-2").exists());
    }

    #[test]
    fn an_earlier_journal_is_read_where_it_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), SERVER);
        let earlier = dir.path().join("nudged.suppressions");
        std::fs::write(&earlier, "nudged-suppressions 1 one 0123\n").unwrap();
        assert_eq!(journal(&options, "one").unwrap().path, earlier);
        assert_eq!(journal(&options, "two").unwrap().path, dir.path().join("nudged-two.suppressions"));
    }

    #[tokio::test]
    async fn an_earlier_witness_is_taken_over_as_the_same_place_once_its_node_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), SERVER);
        let late = places(dir.path()).enter(&owner("late")).unwrap();
        let ours = testify(&dir.path().join("nudged.witness"), "one").await;
        let theirs = testify(&dir.path().join("nudged.witness-2"), "two").await;
        let early = Beside::open(&options, "one").unwrap();
        assert_ne!(*early.witness.as_ref().unwrap().here(), ours, "its node is at work");
        drop((late, early));
        std::fs::remove_file(dir.path().join("nudged-one.witness")).unwrap();
        let open = Beside::open(&options, "one").unwrap();
        assert_eq!(*open.witness.as_ref().unwrap().here(), ours);
        assert!(open.dead.contains(&owner("late")));
        drop(open);
        let open = Beside::open(&options, "two").unwrap();
        assert_eq!(*open.witness.as_ref().unwrap().here(), theirs, "its node was the second of the directory");
        assert!(!dir.path().join("nudged.witness-2").exists());
    }

    #[test]
    fn a_lock_of_another_machine_proves_nothing() {
        let kernel = |boot: &str, machine: &str| Kernel {
            boot: Some(boot.to_owned()).filter(|word| !word.is_empty()),
            machine: Some(machine.to_owned()).filter(|word| !word.is_empty()),
        };
        let line = kernel("boot-1", "machine-1").line(&owner("node"));
        assert!(kernel("boot-1", "machine-1").late_owner(&line).is_some());
        assert!(kernel("boot-2", "machine-1").late_owner(&line).is_some(), "the machine was started anew");
        assert!(kernel("boot-2", "machine-2").late_owner(&line).is_none());
        assert!(kernel("boot-1", "").late_owner(&line).is_some(), "a container on the same system");
        let nameless = kernel("", "").line(&owner("node"));
        assert!(kernel("", "").late_owner(&nameless).is_none());
        assert!(kernel("boot-1", "machine-1").late_owner("").is_none());
    }
}
