//! The journal's fields, read where journald reads them. That path is fixed, so the daemon gets a `/run` of its own,
//! in a mount namespace, with a socket of the test at that place. Root may do so everywhere; others where the kernel
//! lets them have user namespaces, and fail with its words where not.

use super::operator::{SILENCE, with_silent};
use super::site::Site;
use super::support::guarded::{is_root, run};
use super::support::{PATIENCE, poll_until};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

/// Mounts `$1` where journald has its socket, then becomes the rest.
const PRIVATE_RUN: &str = r#"
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind "$1" /run/systemd/journal || exit 1
shift
exec "$@"
"#;

/// What is written through the native protocol.
type Entry = HashMap<String, String>;

struct Journal(UnixDatagram);

impl Journal {
    fn within(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("socket")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next entry like this; those before it are skipped.
    fn entry(&self, is_it: impl Fn(&Entry) -> bool) -> Entry {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match self.0.recv(&mut buffer) {
                Ok(length) => length,
                // A child of another test has ended: a read with a deadline is not resumed by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("the journal never heard of it: {error}"),
            };
            let entry = entry(&buffer[..length]);
            if is_it(&entry) {
                return entry;
            }
        }
    }
}

/// `NAME=value` lines, or `NAME`, a length in eight bytes and the value where that has lines of its own.
fn entry(mut rest: &[u8]) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut entry = Entry::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            entry.insert(text(&line[..equals]), text(&line[equals + 1..]));
            rest = after;
        } else {
            let (length, after) = after.split_first_chunk().unwrap();
            let (value, after) = after.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            entry.insert(text(line), text(value));
            rest = after.strip_prefix(b"\n").unwrap();
        }
    }
    entry
}

/// The command, with what lies in `folder` in the place of journald.
fn with_journal(folder: &Path, command: &Command) -> Command {
    let mut inside = in_private_run(folder, command.get_program(), command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

fn in_private_run<'a>(folder: &Path, program: &OsStr, arguments: impl Iterator<Item = &'a OsStr>) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(if is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    unshare.args(["--", "sh", "-c", PRIVATE_RUN, "sh"]).arg(folder).arg(program).args(arguments);
    unshare
}

/// As systemd starts it: with the journal's stream on stderr, and nothing said of the log's format.
fn site_under_systemd(journal: &Path) -> (Site, Command) {
    run(&mut in_private_run(journal, OsStr::new("true"), std::iter::empty()));
    let site = with_silent(2, SILENCE);
    site.configure("format = \"json\"", "format = \"auto\"");
    let mut command = with_journal(journal, &site.command(&["run"]));
    command.env("JOURNAL_STREAM", "8:15");
    (site, command)
}

#[test]
fn under_systemd_the_journal_has_rule_record_and_delivery_as_fields() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::within(folder.path());
    let (site, command) = site_under_systemd(folder.path());
    let _daemon = site.start_command(command, &[]);

    let says = |entry: &Entry, name: &str, value: &str| entry.get(name).is_some_and(|said| said == value);
    let matched = journal.entry(|entry| says(entry, "MESSAGE", "matched"));
    assert_eq!((matched["RULE"].as_str(), matched["SYSLOG_IDENTIFIER"].as_str()), ("silence", "nudged"), "{matched:?}");
    assert!(matched["RECORD"].starts_with("customer:"), "{matched:?}");
    let sent = journal.entry(|entry| says(entry, "OUTCOME", "sent"));
    assert_eq!(
        (sent["RULE"].as_str(), sent["DELIVERY"].len(), sent["KIND"].as_str()),
        ("silence", 32, "email"),
        "{sent:?}"
    );
    assert!(sent["RECORD"].starts_with("customer:"), "{sent:?}");
    let said: String = sent.values().chain(matched.values()).map(String::as_str).collect();
    assert!(!said.contains('@'), "an address: {said}");
    assert_eq!(site.log(), "", "nothing is said twice");
}

#[test]
fn a_journal_that_cannot_be_reached_leaves_json_on_stderr_or_stops_whoever_asked_for_it() {
    let nothing = tempfile::tempdir().unwrap();
    let (site, command) = site_under_systemd(nothing.path());
    let daemon = site.start_command(command, &[]);
    poll_until(PATIENCE, || site.log().contains("\"outcome\":\"sent\""));
    assert!(site.log().lines().all(|line| line.starts_with('{')), "{}", site.log());
    drop(daemon);

    site.configure("format = \"auto\"", "format = \"journald\"");
    let mut command = with_journal(nothing.path(), &site.command(&["run"]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("log.format = \"journald\", but the journal can't be reached"), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}
