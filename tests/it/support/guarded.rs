//! A server process that can't outlive the test process. A small shell stands between the two and reads
//! from a pipe that only the test process holds: when the pipe closes, however the test process ended,
//! the shell stops the server by its pid and removes its directory.

use super::PATIENCE;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GUARD: &str = r#"
dir=$1 signal=$2; shift 2
"$@" </dev/null >>"$dir/server.log" 2>&1 &
server=$!
echo "$server" >"$dir/server.pid.new" && mv "$dir/server.pid.new" "$dir/server.pid"
read -r _
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
rm -rf "$dir"
"#;

/// A running server and its private directory. Dropping it stops the server.
pub struct Guarded {
    dir: PathBuf,
    shell: Child,
}

impl Guarded {
    /// Runs `command` under guard, in the directory `dir` which is removed with it.
    pub fn start(dir: PathBuf, stop_signal: &str, command: &Command) -> Self {
        Self::start_in(Command::new("sh"), dir, stop_signal, command)
    }

    /// The same, for the one server that only root can run.
    pub fn start_as_root(dir: PathBuf, stop_signal: &str, command: &Command) -> Self {
        Self::start_in(as_root(Path::new("sh")), dir, stop_signal, command)
    }

    fn start_in(mut shell: Command, dir: PathBuf, stop_signal: &str, command: &Command) -> Self {
        shell.args(["-c", GUARD, "guard"]).arg(&dir).arg(stop_signal).arg(command.get_program());
        shell.args(command.get_args()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        // Its own group, so that Ctrl-C reaches the test process only and the shell can clean up after it.
        let shell = shell.process_group(0).spawn().expect("sh is part of every system");
        Self { dir, shell }
    }

    /// Looks until `ready` says so. `false`: the server has ended before that.
    pub fn became_ready(&self, ready: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if ready() {
                return true;
            }
            if self.has_ended() {
                return false;
            }
            assert!(Instant::now() < deadline, "not ready within {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.dir.join("server.pid")).ok()?.trim().parse().ok()
    }

    /// Ended, but not yet collected by the shell (which waits for our pipe to close).
    fn has_ended(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The account a server runs under: servers refuse root, so root hands over to `preferred` or nobody.
pub enum Account {
    Ours,
    Other { uid: u32, gid: u32 },
}

impl Account {
    pub fn for_server(preferred: &str) -> Self {
        if !is_root() {
            return Self::Ours;
        }
        [preferred, "nobody"].into_iter().find_map(Self::named).expect("the account `nobody` exists everywhere")
    }

    fn named(wanted: &str) -> Option<Self> {
        let accounts = fs::read_to_string("/etc/passwd").ok()?;
        accounts.lines().find_map(|line| {
            let mut columns = line.split(':');
            columns.next().filter(|name| *name == wanted)?;
            let mut ids = columns.skip(1).map_while(|id| id.parse().ok());
            Some(Self::Other { uid: ids.next()?, gid: ids.next()? })
        })
    }

    /// A command that runs `program` under this account.
    pub fn command(&self, program: &Path) -> Command {
        match self {
            Self::Ours => Command::new(program),
            Self::Other { uid, gid, .. } => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
                command.arg("--").arg(program);
                command
            }
        }
    }

    /// A directory that this account owns, to be kept.
    pub fn kept_directory(&self, path: &Path) -> PathBuf {
        fs::create_dir_all(path).expect("the directory can be made");
        if let Self::Other { uid, gid } = self {
            chown(path, Some(*uid), Some(*gid)).expect("root may hand over a directory");
        }
        path.to_owned()
    }

    /// A fresh directory that this account owns.
    pub fn directory(&self, prefix: &str) -> PathBuf {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().expect("the temporary directory is writable");
        if let Self::Other { uid, gid, .. } = self {
            chown(dir.path(), Some(*uid), Some(*gid)).expect("root may hand over a directory");
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        dir.keep()
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// A command that runs `program` as root, through sudo (which must not ask) if need be.
pub fn as_root(program: &Path) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(program);
    command
}

/// The path of a server's program; a missing one fails the test with the command that installs it.
pub fn program(name: &str, folders: &[PathBuf], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = folders.iter().chain(&on_path).chain(&usual);
    places.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file())).unwrap_or_else(|| {
        panic!("`{name}` is missing. Install it with: apt-get install {package} (or run scripts/test, which does)")
    })
}

/// A port that was free a moment ago. Whoever binds it must be ready to lose the race and ask again.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Runs a preparing command to its end; a failure shows what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

#[test]
fn a_guarded_process_ends_with_its_guard_and_leaves_nothing() {
    let dir = Account::Ours.directory("nudged-guarded-");
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let guarded = Guarded::start(dir.clone(), "TERM", &sleep);
    assert!(guarded.became_ready(|| guarded.pid().is_some()));
    let pid = guarded.pid().unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(guarded);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
}

#[test]
#[should_panic(expected = "apt-get install nothing-like-this")]
fn a_missing_program_names_the_command_that_installs_it() {
    program("no-such-program", &[], "nothing-like-this");
}
