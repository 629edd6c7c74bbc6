//! The demo, run as people run it: the real program, from a directory of its own.

use crate::site::{copy_tree, send_signal, waited};
use crate::support::PATIENCE;
use sqlx::{Connection, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Runs `nudged demo` to its summary, with embedded rules since the directory is no checkout.
fn demo(directory: &Path, arguments: &[&str]) -> String {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_nudged"))
        .args(["demo", "--directory", "demo", "--color", "never"])
        .args(arguments)
        .current_dir(directory)
        .env("COLUMNS", "120")
        .output()
        .unwrap();
    let (feed, talk) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{talk}\n{feed}", output.status);
    feed
}

/// A mail file's headers and its parts by content type.
struct Mail {
    headers: BTreeMap<String, String>,
    parts: BTreeMap<String, String>,
}

impl Mail {
    /// Who got it, and what it was about.
    fn letter(&self) -> (&str, &str) {
        (&self.headers["to"], &self.headers["subject"])
    }
}

fn mails(directory: &Path) -> BTreeMap<String, Mail> {
    let files = std::fs::read_dir(directory.join("demo/mailbox")).unwrap().map(|entry| entry.unwrap().path());
    let mails = files.filter(|file| file.extension().is_some_and(|extension| extension == "eml"));
    mails.map(|file| (file.display().to_string(), parse(&std::fs::read_to_string(file).unwrap()))).collect()
}

/// As strict as RFC 5322 and 2046 are about what we use: CRLF, header lines, a boundary that closes.
fn parse(text: &str) -> Mail {
    assert!(!text.replace("\r\n", "").contains('\n'), "every line ends with CRLF");
    let (head, body) = text.split_once("\r\n\r\n").expect("an empty line ends the headers");
    let headers = headers(head);
    let content_type = &headers["content-type"];
    assert!(content_type.starts_with("multipart/alternative"), "{content_type}");
    let boundary = content_type.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut pieces: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(pieces.pop().map(str::trim), Some("--"), "the last boundary closes the mail");
    let parts = pieces.iter().skip(1).map(|piece| {
        let (head, content) = piece.trim_start().split_once("\r\n\r\n").unwrap();
        let kind = self::headers(head)["content-type"].split(';').next().unwrap().to_owned();
        (kind, content.to_owned())
    });
    Mail { headers, parts: parts.collect() }
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    unfolded.split("\r\n").map(header).collect()
}

async fn crm(directory: &Path) -> SqliteConnection {
    let path = directory.join("demo/crm.db");
    SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap()
}

async fn task_references(directory: &Path) -> Vec<String> {
    let sql = "SELECT ref FROM tasks WHERE created_by = 'nudged' ORDER BY ref";
    sqlx::query_scalar(sql).fetch_all(&mut crm(directory).await).await.unwrap()
}

fn webhook_keys(directory: &Path) -> Vec<String> {
    let book = std::fs::read_to_string(directory.join("demo/webhooks.jsonl")).unwrap();
    let key = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned();
    book.lines().map(key).collect()
}

#[tokio::test]
async fn a_month_shows_what_the_daemon_does_and_a_second_start_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let feed = demo(directory.path(), &["--days-per-second", "4", "--exit-after-summary"]);

    for told in ["win-back-90: silent since", "low-nps-follow-up: nps score", "renewal: in 7 days, renews_on"] {
        assert!(feed.contains(told), "who matched and why: {told}\n{feed}");
    }
    assert!(feed.contains("orders again"), "{feed}");
    assert!(feed.contains("win-back-2 not sent: ordered again"), "mail 2 is prevented by an order\n{feed}");
    assert!(feed.contains("no consent to offers"), "{feed}");
    assert!(feed.contains("gave us"), "what the receiver got\n{feed}");
    assert!(feed.lines().all(|line| line.chars().count() <= 120), "{feed}");
    assert!(!feed.contains('\u{1b}'), "no colour where it wasn't asked for");
    let baselines: Vec<&str> = feed.lines().filter(|line| line.contains("are left alone (backfill)")).collect();
    let rule = |line: &&str| {
        line.split_once(" rules ").and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned))
    };
    let rules: BTreeSet<String> = baselines.iter().filter_map(rule).collect();
    assert!(!baselines.is_empty(), "{feed}");
    assert_eq!(rules.len(), baselines.len(), "each rule's past is told once: {baselines:#?}");

    let written = mails(directory.path());
    assert!(written.len() > 20, "{} mails", written.len());
    for (file, mail) in &written {
        for header in ["from", "to", "subject", "date", "message-id", "mime-version"] {
            assert!(mail.headers.contains_key(header), "{header} of {file}");
        }
        let kinds: Vec<&str> = mail.parts.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["text/html", "text/plain"], "{file}");
    }
    nobody_gets_offers_at_night(&written);
    second_mails_went_only_to_those_who_stayed_away(directory.path(), &written).await;

    let (tasks, keys) = (task_references(directory.path()).await, webhook_keys(directory.path()));
    assert!(tasks.len() > 5, "{} tasks", tasks.len());
    assert!(keys.len() > 5, "{} webhooks", keys.len());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "every webhook came once");

    // Time goes on between the two, so something new may come; nothing comes again.
    demo(directory.path(), &["--exit-after-summary"]);
    let later = mails(directory.path());
    assert!(written.keys().all(|file| later.contains_key(file)), "mails stay where they are");
    let ids: BTreeSet<&str> = later.values().map(|mail| mail.headers["message-id"].as_str()).collect();
    assert_eq!(ids.len(), later.len(), "no mail twice");
    let had: BTreeSet<_> = written.values().map(Mail::letter).collect();
    let again = later.iter().find(|(file, mail)| !written.contains_key(*file) && had.contains(&mail.letter()));
    assert!(again.is_none(), "no mail twice, also under another name: {:?}", again.map(|(_, mail)| mail.letter()));
    for (what, before, after) in
        [("task", tasks, task_references(directory.path()).await), ("webhook", keys, webhook_keys(directory.path()))]
    {
        let all: BTreeSet<_> = after.iter().collect();
        assert_eq!(all.len(), after.len(), "no {what} twice");
        assert!(before.iter().all(|reference| all.contains(reference)), "{what}s stay where they are");
    }
}

/// From nine in Vienna in summer to eight in Lisbon in winter, and a little for the minutes that pass while a mail is put
/// together: a second of this month is four days.
fn nobody_gets_offers_at_night(mails: &BTreeMap<String, Mail>) {
    let offers = mails.values().filter(|mail| mail.headers.contains_key("list-unsubscribe"));
    let dates: Vec<&str> = offers.map(|mail| mail.headers["date"].as_str()).collect();
    assert!(!dates.is_empty());
    for date in dates {
        let at = jiff::fmt::rfc2822::parse(date).unwrap().with_time_zone(jiff::tz::TimeZone::UTC).time();
        assert!(at >= jiff::civil::time(6, 45, 0, 0) && at <= jiff::civil::time(20, 30, 0, 0), "{date}");
    }
}

/// Whoever ordered within a week of the first mail has no second one.
async fn second_mails_went_only_to_those_who_stayed_away(directory: &Path, mails: &BTreeMap<String, Mail>) {
    let to = |subject: &str| -> BTreeSet<&str> {
        let chosen = mails.values().filter(|mail| mail.headers["subject"].contains(subject));
        chosen.map(|mail| mail.headers["to"].as_str()).collect()
    };
    let second = to("Shall we keep your place");
    assert!(!second.is_empty(), "some stay away");
    let returned: Vec<String> = sqlx::query_scalar(
        "SELECT c.email FROM contacts c JOIN orders o ON o.account_id = c.account_id \
         WHERE o.id > 90000000 AND c.is_primary AND c.account_id % 17 <> 13",
    )
    .fetch_all(&mut crm(directory).await)
    .await
    .unwrap();
    assert!(!returned.is_empty(), "some come back");
    for address in &returned {
        assert!(!second.iter().any(|to| to.contains(address.as_str())), "{address} came back and got mail 2");
    }
}

#[test]
fn a_crash_loses_nothing_and_repeats_no_match() {
    let directory = tempfile::tempdir().unwrap();
    let report = demo(directory.path(), &["--crash"]);
    let numbers = |what: &str| -> Vec<usize> {
        let row = report.lines().find(|line| line.split_whitespace().next() == Some(what));
        let row = row.unwrap_or_else(|| panic!("no line for {what}\n{report}"));
        row.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
    };
    for what in ["matches", "webhooks", "tasks", "mails"] {
        let row = numbers(what);
        let [expected, found, held, lost, repeated] = row[..] else { panic!("{what}: {row:?}\n{report}") };
        assert!(expected > 100 && (held == 0 || what == "mails"), "{report}");
        assert_eq!((found + held, lost, repeated), (expected, 0, 0), "{what}\n{report}");
    }
    assert_eq!(report.matches("  kill ").count(), 5, "{report}");
}

/// A demo that goes on, killed when the test fails.
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it says beside the feed.
    talk: Receiver<String>,
}

fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    let pipe = BufReader::new(pipe);
    // Read on when nobody listens any more: a full pipe would stop the program.
    std::thread::spawn(move || pipe.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line)));
    lines
}

impl Running {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nudged"))
            .args(["demo", "--directory", "demo", "--color", "never", "--days-per-second", "8"])
            .current_dir(directory)
            .env("COLUMNS", "80")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let talk = lines_of(child.stderr.take().unwrap());
        Self { child, lines, talk }
    }

    /// The next line beside the feed with this in it.
    fn says(&self, wanted: &str) {
        loop {
            let line = self.talk.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never said {wanted:?}"));
            if line.contains(wanted) {
                return;
            }
        }
    }

    /// The next line with all of this in it.
    fn until(&self, wanted: &[&str]) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never told {wanted:?}"));
            assert!(line.chars().count() <= 80, "{line}");
            if wanted.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }
}

#[test]
fn a_demo_that_is_interrupted_drains_and_a_second_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Running::start(directory.path());
    demo.until(&["match", "win-back-90"]);
    demo.until(&["mail"]);
    send_signal(demo.child.id(), "INT");
    let status = demo.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "everything under way was done");
    let sent = |mails: &BTreeMap<String, Mail>| -> Vec<(String, String)> {
        mails.values().map(|mail| (mail.letter().0.to_owned(), mail.letter().1.to_owned())).collect()
    };
    let before = sent(&mails(directory.path()));
    assert!(!before.is_empty());
    let again = Running::start(directory.path());
    again.until(&["From now on time is real"]);
    let after = sent(&mails(directory.path()));
    let times = |letters: &[(String, String)]| {
        let mut times = BTreeMap::new();
        for letter in letters {
            *times.entry(letter.clone()).or_insert(0) += 1;
        }
        times
    };
    let (before, after) = (times(&before), times(&after));
    assert!(before.iter().all(|(letter, count)| after[letter] >= *count), "no mail is gone");
    assert!(after.values().sum::<i32>() > before.values().sum::<i32>(), "it goes on where it stopped");
    let twice: Vec<_> = after.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "nobody gets a mail twice: {twice:?}");
    let unique = |what: &str, all: Vec<String>| {
        assert!(!all.is_empty(), "no {what}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no {what} twice: {all:?}");
    };
    unique("webhook", webhook_keys(directory.path()));
    unique("task", waited(task_references(directory.path())));
}

/// As the README says it: in a checkout, where the rules that are edited are those of `rules/`.
#[test]
fn plain_edits_of_the_rules_of_a_checkout_are_taken_up_and_what_a_test_forbids_is_told_in_a_few_lines() {
    let directory = tempfile::tempdir().unwrap();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(checkout.join("Cargo.toml"), directory.path().join("Cargo.toml")).unwrap();
    copy_tree(&checkout.join("rules"), &directory.path().join("rules"));
    let demo = Running::start(directory.path());
    demo.until(&["From now on time is real"]);
    assert!(!directory.path().join("demo/rules").exists(), "the checkout's own rules run");
    let edit = |file: &str, from: &str, to: &str| {
        let file = directory.path().join("rules").join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
    };
    for length in ["60 days", "95 days", "90 days"] {
        let now = std::fs::read_to_string(directory.path().join("rules/win-back.yaml")).unwrap();
        let before = now.lines().find(|line| line.contains("inactivity:")).unwrap().to_owned();
        edit("win-back.yaml", &before, &format!("  inactivity: {{of: orders, for: {length}}}"));
        demo.until(&["win-back-90 looks for other people from now on"]);
    }
    edit("win-back.yaml", "wait: {for: 7 days", "wait: {for: 3 days");
    demo.until(&["win-back-90 changed and runs from now on"]);
    edit("low-nps.yaml", "score: {at_most: 6}", "score: {at_most: 5}");
    demo.until(&["low-nps-follow-up looks for other people from now on"]);

    edit("win-back.yaml", "\ngoal:", "\n#goal:");
    demo.until(&["failed", "the change was rejected"]);
    let mut told = Vec::new();
    while !told.last().is_some_and(|line: &String| line.contains("nudged test win-back-90")) {
        told.push(demo.talk.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {told:#?}")));
    }
    assert!(told.iter().any(|line| line.contains("of its 6 tests fail")), "{told:#?}");
    assert!(told.len() < 25, "{} lines: {told:#?}", told.len());
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_edit_that_it_proposes_counts_at_once_and_a_typo_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Running::start(directory.path());
    let hint = demo.until(&["Try  "]);
    let quoted: Vec<&str> = hint.split('`').collect();
    let [_, first, _, second, ..] = quoted[..] else { panic!("two edits: {hint}") };
    demo.until(&["From now on time is real"]);
    let file = directory.path().join("demo/rules/win-back.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let edited = text.replacen("for: 90 days", first, 1).replacen("backfill: none", second, 1);
    std::fs::write(&file, &edited).unwrap();
    demo.until(&["rules", "win-back-90"]);
    // One by one, or many at once: that depends on the hour.
    demo.until(&["match", "win-back-90: "]);
    std::fs::write(&file, edited.replace("inactivity:", "inactivty:")).unwrap();
    demo.until(&["failed", "the change was rejected"]);
    demo.says("inactivty:");
    demo.says("did you mean `inactivity`?");
}
