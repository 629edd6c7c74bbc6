//! Changes to the rules directory, as editors, `ConfigMaps` and git make them.
//!
//! Real files, the real watcher, a real SQLite source and state. Every test waits for a verdict, none for
//! a time.

mod defects;
mod source;

use crate::support::PATIENCE;
use nudged::engine::Settings;
use nudged::engine::port::{
    Adoption, Completion, Found, Ledger, NewMatch, Outbox, Owner, Register, Rematch, RuleStatus, Settlement, Source,
    SweepCommit, Then,
};
use nudged::model::{Clock, Lane, MatchIdentity, RecordId, RuleId, SystemClock};
use nudged::rule::generation::Generation;
use nudged::rulebook::{Examiner, Handle, Outside, Rulebook, RulebookError, RulebookOptions, Standing, Trouble};
use nudged::service::RuleExaminer;
use nudged::source::{SourceOptions, connect};
use nudged::store::sqlite::SqliteStore;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A rules directory, a CRM and a state that outlive the rulebooks opened on them.
struct Home {
    folder: TempDir,
    source: Arc<dyn Source>,
    store: Arc<SqliteStore>,
}

/// A rulebook at work.
struct Book {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Book {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn shipped_rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&shipped_rules(), &folder.path().join("rules"));
        // What its tests forbid has a test of its own below.
        let monday = folder.path().join("rules/vip-monday.yaml");
        fs::write(&monday, without_tests(&fs::read_to_string(&monday).unwrap())).unwrap();
        let crm = format!("sqlite:{}", folder.path().join("crm.db").display());
        let pool = sqlx::SqlitePool::connect(&format!("{crm}?mode=rwc")).await.unwrap();
        sqlx::raw_sql(include_str!("../../src/cli/demo/world/schema.sql")).execute(&pool).await.unwrap();
        pool.close().await;
        let source = connect(&SourceOptions::new(crm)).unwrap();
        let store = SqliteStore::open(folder.path().join("state.db"), SystemClock.now()).await.unwrap();
        Self { folder, source, store: Arc::new(store) }
    }

    fn rules(&self) -> PathBuf {
        self.folder.path().join("rules")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.rules().join(file)).unwrap()
    }

    /// As editors do it: a new file, moved over the old one.
    fn save(&self, file: &str, text: &str) {
        let target = self.rules().join(file);
        let beside = target.with_extension("tmp");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, target).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no `{from}`");
        self.save(file, &text.replace(from, to));
    }

    /// Nothing but the file system tells of a change: the next look of its own accord is an hour away.
    fn options(&self) -> RulebookOptions {
        let (settle, rescan) = (Duration::from_millis(30), Duration::from_hours(1));
        RulebookOptions { directory: self.rules(), settle, rescan, ..RulebookOptions::default() }
    }

    async fn try_open(&self, options: RulebookOptions, source: Arc<dyn Source>) -> Result<Book, RulebookError> {
        self.try_open_as(options, source, Arc::new(RuleExaminer::new(Settings::default()))).await
    }

    async fn try_open_as(
        &self,
        options: RulebookOptions,
        source: Arc<dyn Source>,
        examiner: Arc<dyn Examiner>,
    ) -> Result<Book, RulebookError> {
        let register = Arc::clone(&self.store) as Arc<dyn Register>;
        let book = Rulebook::open(options, outside(), source, register, examiner, Arc::new(SystemClock)).await?;
        let handle = book.handle();
        Ok(Book { handle, task: tokio::spawn(book.run()) })
    }

    async fn open_with(&self, options: RulebookOptions) -> Book {
        self.try_open(options, Arc::clone(&self.source)).await.unwrap()
    }

    async fn open(&self) -> Book {
        self.open_with(self.options()).await
    }
}

fn outside() -> Outside {
    Outside {
        destinations: ["team-chat".to_owned()].into(),
        chats: ["sales".to_owned()].into(),
        topics: ["offers".into(), "news".into()].into(),
        emails: true,
        pages: true,
        postal_address: true,
        ..Outside::default()
    }
}

impl Book {
    /// The first verdict, from now on or the standing one, of which this is true.
    async fn until(&self, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let mut standings = self.handle.standings();
        let waited = tokio::time::timeout(PATIENCE, standings.wait_for(|standing| wanted(standing))).await;
        match waited {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("no such verdict; the last was {:?}", self.handle.standing()),
        }
    }

    /// Once other files than these run.
    async fn other_than(&self, hash: &str) -> Standing {
        self.until(|standing| standing.hash != hash && standing.is_good()).await
    }

    async fn rejected(&self) -> Standing {
        self.until(|standing| matches!(standing.trouble.as_deref(), Some(Trouble::Rejected(_)))).await
    }

    fn generation(&self) -> Arc<Generation> {
        self.handle.generations().borrow().clone().unwrap()
    }

    fn rule_names(&self) -> Vec<String> {
        self.generation().rules.keys().map(ToString::to_string).collect()
    }
}

fn findings(standing: &Standing) -> String {
    let trouble = standing.trouble.as_ref().expect("there is trouble");
    trouble.findings().iter().map(|finding| format!("{finding}\n")).collect()
}

const ALL: [&str; 4] = ["low-nps-follow-up", "renewal", "vip-monday", "win-back-90"];

/// A rule of the shipped ones without its examples, free to be changed.
fn without_tests(rule: &str) -> String {
    rule.split("\ntests:").next().unwrap().to_owned()
}

fn spare_rule(number: usize) -> String {
    let text = fs::read_to_string(shipped_rules().join("vip-monday.yaml")).unwrap();
    without_tests(&text).replace("id: vip-monday", &format!("id: spare-{number}"))
}

#[tokio::test]
async fn an_editors_atomic_save_is_taken_up() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    assert!(before.is_good() && book.rule_names() == ALL, "{before:?}");
    home.edit("vip-monday.yaml", "at_least: 2", "at_least: 3");
    let after = book.other_than(&before.hash).await;
    assert_eq!(after.hash, book.generation().hash);
    let rules = book.generation();
    assert!(rules.rules[&RuleId::from("vip-monday")].text.contains("at_least: 3"));
}

#[tokio::test]
async fn what_editors_leave_beside_a_file_is_no_change() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    fs::write(home.rules().join(".vip-monday.yaml.swp"), "swap").unwrap();
    fs::write(home.rules().join("vip-monday.yaml~"), "not: [yaml").unwrap();
    // The explicit reload reads everything after the writes above.
    let after = book.handle.reload(false).await.unwrap();
    assert_eq!((after.hash, after.trouble), (before.hash, None));
}

#[tokio::test]
async fn who_asks_while_the_tree_settles_shares_the_verdict_on_it() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    home.edit("vip-monday.yaml", "at_least: 2", "at_least: 3");
    let ask = || book.handle.reload(false);
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    for told in [first, second, third] {
        let told = told.unwrap();
        assert!(told.is_good() && told.hash != before.hash, "{told:?}");
        assert_eq!(told.verdicts, before.verdicts + 1);
    }
}

/// A match of `vip-monday` whose first step is held.
async fn hold_one(store: &SqliteStore) {
    let (rule, lane, now, owner) = (RuleId::from("vip-monday"), Lane::Live, SystemClock.now(), Owner("test".into()));
    let version = || nudged::model::VersionHash::from("v1");
    let adoption = Adoption {
        rule: rule.clone(),
        was: Vec::new(),
        lane,
        tenant: "".into(),
        version: version(),
        definition: version(),
        text: String::new(),
        baseline: now,
    };
    store.adopt(&[adoption], now).await.unwrap();
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let identity = MatchIdentity { rule: rule.clone(), lane, record: record.clone(), occasion: "x".into() };
    let lease = store.begin_sweep(&rule, lane, &"".into(), &owner).await.unwrap().unwrap();
    let entered = NewMatch {
        id: store.secret().match_id(&identity),
        former: Vec::new(),
        track: store.secret().track(&rule, lane, &record),
        former_tracks: Vec::new(),
        tolerance: None,
        rule,
        lane,
        record,
        version: version(),
        occasion: "x".into(),
        occasion_at: None,
        occasion_data: serde_json::json!({}),
        crossed_at: now,
        matched_at: now,
        planned_at: now,
        entry: 0,
        first: Some((0, now)),
        skip: None,
        restart: Rematch::Parallel,
    };
    let progress = lease.progress.clone();
    let commit = SweepCommit {
        found: Found { matches: vec![entered], ..Found::default() },
        progress,
        crossed: 1,
        held: None,
        counted: None,
    };
    store.commit_sweep(&lease, &commit).await.unwrap();
    let claimed = store.claim(&owner, now, 10).await.unwrap().remove(0);
    let then = Then::Hold { reason: "a column is missing".into() };
    let completions = vec![Completion::of(claimed.token, then)];
    store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
}

#[tokio::test]
async fn a_reload_of_unchanged_files_frees_what_is_held() {
    let home = Home::new().await;
    let book = home.open().await;
    hold_one(&home.store).await;
    let claim = async || home.store.claim(&Owner("test".into()), SystemClock.now(), 10).await.unwrap().len();
    assert_eq!(claim().await, 0);
    assert!(book.handle.reload(false).await.unwrap().is_good());
    assert_eq!(claim().await, 1);
}

#[tokio::test]
async fn a_configmaps_data_link_is_swapped_as_one() {
    let home = Home::new().await;
    // What kubelet makes: `..data` leads to a dated directory, everything else leads through `..data`.
    let root = home.rules();
    fs::rename(&root, home.folder.path().join("plain")).unwrap();
    fs::create_dir(&root).unwrap();
    fs::rename(home.folder.path().join("plain"), root.join("..2026_1")).unwrap();
    symlink("..2026_1", root.join("..data")).unwrap();
    for entry in fs::read_dir(root.join("..2026_1")).unwrap() {
        let name = entry.unwrap().file_name();
        symlink(Path::new("..data").join(&name), root.join(&name)).unwrap();
    }
    let book = home.open().await;
    let before = book.handle.standing();
    assert_eq!(book.rule_names(), ALL);

    copy_tree(&root.join("..2026_1"), &root.join("..2026_2"));
    let rule = root.join("..2026_2/vip-monday.yaml");
    fs::write(&rule, fs::read_to_string(&rule).unwrap().replace("at_least: 2", "at_least: 4")).unwrap();
    symlink("..2026_2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..2026_1")).unwrap();

    book.other_than(&before.hash).await;
    assert!(book.generation().rules[&RuleId::from("vip-monday")].text.contains("at_least: 4"));
    // And once more: the watch has followed.
    let second = book.handle.standing();
    fs::write(&rule, fs::read_to_string(&rule).unwrap().replace("at_least: 4", "at_least: 5")).unwrap();
    book.other_than(&second.hash).await;
}

#[tokio::test]
async fn the_directory_itself_may_be_a_link_that_is_swapped() {
    let home = Home::new().await;
    let (first, second) = (home.folder.path().join("one"), home.folder.path().join("two"));
    fs::rename(home.rules(), &first).unwrap();
    symlink(&first, home.rules()).unwrap();
    let book = home.open().await;
    let before = book.handle.standing();
    copy_tree(&first, &second);
    fs::write(second.join("spare.yaml"), spare_rule(1)).unwrap();
    let link = home.folder.path().join("link");
    symlink(&second, &link).unwrap();
    fs::rename(&link, home.rules()).unwrap();
    let after = book.other_than(&before.hash).await;
    assert_eq!(after.rules, 5);
}

#[tokio::test]
async fn a_rule_in_a_new_subdirectory_is_found() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    fs::create_dir_all(home.rules().join("team/eu")).unwrap();
    home.save("team/eu/spare.yaml", &spare_rule(1));
    let after = book.other_than(&before.hash).await;
    assert_eq!(after.rules, 5);
    // The new directory is watched as well.
    home.edit("team/eu/spare.yaml", "at_least: 2", "at_least: 9");
    book.other_than(&after.hash).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_going_back_to_good_clears_it() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    let good = home.read("win-back.yaml");
    home.edit("win-back.yaml", "trigger:", "triger:");
    home.edit("vip-monday.yaml", "at_least: 2", "at_least: 7");
    let rejected = book.rejected().await;
    let said = findings(&rejected);
    assert!(said.contains("win-back.yaml:") && said.contains("did you mean `trigger`"), "{said}");
    assert_eq!(rejected.hash, before.hash);
    assert!(!book.generation().rules[&RuleId::from("vip-monday")].text.contains("at_least: 7"), "all or nothing");

    home.save("win-back.yaml", &good);
    let cleared = book.until(Standing::is_good).await;
    assert_ne!(cleared.hash, before.hash, "the other edit came along");

    // Back to exactly what runs: the failure goes, and nothing is swapped.
    home.edit("win-back.yaml", "trigger:", "triger:");
    book.rejected().await;
    let running = book.generation();
    home.save("win-back.yaml", &good);
    book.until(Standing::is_good).await;
    assert!(Arc::ptr_eq(&running, &book.generation()));
}

#[tokio::test]
async fn a_change_that_a_test_of_its_rule_forbids_is_rejected() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    home.edit("win-back.yaml", "wait: {for: 7 days", "wait: {for: 70 days");
    let rejected = book.rejected().await;
    let said = findings(&rejected);
    assert!(said.contains("error[test.failed]: `email win-back-2` was not sent"), "{said}");
    assert!(said.starts_with("win-back.yaml:") && said.contains("is due 2027-01-30 10:00"), "{said}");
    assert!(said.contains("2 of its 6 tests fail") && said.contains("nudged test win-back-90"), "{said}");
    assert_eq!(rejected.hash, before.hash);
    // Its examples say so too: the change and they are taken up together.
    home.edit("win-back.yaml", "after: 60 days", "after: 80 days");
    book.until(Standing::is_good).await;
    // A template belongs to the rules that send it.
    home.edit("templates/win-back-2.md", "{{ record.name }}", "{{ record.name + 1 }}");
    assert!(findings(&book.rejected().await).contains("win-back.yaml"));
}

#[tokio::test]
async fn a_start_plays_the_tests_of_what_changed_meanwhile() {
    let home = Home::new().await;
    let before = home.open().await.handle.standing();
    home.edit("win-back.yaml", "wait: {for: 7 days", "wait: {for: 70 days");
    let standing = home.open().await.handle.standing();
    assert!(standing.restored && standing.hash == before.hash);
    assert!(findings(&standing).contains("test.failed"));
}

/// Neither a start nor a reload waits for ever.
#[tokio::test]
async fn tests_that_are_not_done_in_time_reject_the_change() {
    let home = Home::new().await;
    let before = home.open().await.handle.standing();
    home.edit("win-back.yaml", "wait: {for: 7 days", "wait: {for: 8 days");
    let hasty = Arc::new(RuleExaminer::new(Settings::default()).within(Duration::ZERO));
    let book = home.try_open_as(home.options(), Arc::clone(&home.source), hasty).await.unwrap();
    let standing = book.handle.standing();
    assert!(standing.restored && standing.hash == before.hash);
    let said = findings(&standing);
    assert!(
        said.starts_with("win-back.yaml:") && said.contains("error[test.too-long]: the tests of 1 of 1 rule"),
        "{said}"
    );
    assert!(said.contains("raise `rules.tests_within`"), "{said}");
    home.edit("win-back.yaml", "wait: {for: 8 days", "wait: {for: 9 days");
    let standing = book.handle.reload(false).await.unwrap();
    assert!(findings(&standing).contains("test.too-long"));
}

#[tokio::test]
async fn with_isolate_only_the_bad_file_stays_behind() {
    let home = Home::new().await;
    let book = home.open_with(RulebookOptions { isolate: true, ..home.options() }).await;
    home.edit("win-back.yaml", "trigger:", "triger:");
    home.edit("vip-monday.yaml", "at_least: 2", "at_least: 7");
    let standing = book
        .until(|standing| {
            matches!(standing.trouble.as_deref(), Some(Trouble::Isolated(_)))
                && book.generation().rules[&RuleId::from("vip-monday")].text.contains("at_least: 7")
        })
        .await;
    assert!(findings(&standing).contains("win-back.yaml"));
    assert_eq!(book.rule_names(), ALL, "the last good win-back runs on");
}

#[tokio::test]
async fn a_deleted_file_ends_its_rule() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    fs::remove_file(home.rules().join("vip-monday.yaml")).unwrap();
    let after = book.other_than(&before.hash).await;
    assert_eq!(after.rules, 3);
    assert!(!book.rule_names().contains(&"vip-monday".to_owned()));
}

#[tokio::test]
async fn a_directory_that_cant_be_read_is_an_error_and_no_deletion() {
    let home = Home::new().await;
    // A link to a mount that goes away: works for root too, whom no file mode stops.
    let mounted = home.folder.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    fs::write(mounted.join("spare.yaml"), spare_rule(1)).unwrap();
    symlink(&mounted, home.rules().join("shared")).unwrap();
    let book = home.open().await;
    assert_eq!(book.handle.standing().rules, 5);

    fs::rename(&mounted, home.folder.path().join("away")).unwrap();
    let standing = book.handle.reload(false).await.unwrap();
    assert!(matches!(standing.trouble.as_deref(), Some(Trouble::Unreadable { .. })), "{standing:?}");
    assert_eq!((standing.rules, book.generation().resting.len()), (5, 0), "all rules go on");

    fs::rename(home.folder.path().join("away"), &mounted).unwrap();
    let back = book.handle.reload(false).await.unwrap();
    assert!(back.is_good());
}

#[tokio::test]
async fn a_renamed_file_with_the_same_id_is_the_same_rule() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = (book.handle.standing(), book.generation());
    fs::rename(home.rules().join("vip-monday.yaml"), home.rules().join("mondays.yaml")).unwrap();
    book.other_than(&before.0.hash).await;
    let id = RuleId::from("vip-monday");
    let (old, new) = (&before.1.rules[&id], &book.generation().rules[&id]);
    assert_eq!(book.rule_names(), ALL);
    assert_eq!((&old.version, &old.definition), (&new.version, &new.definition), "no new baseline, no new version");
    assert_eq!(new.rule.file, "mondays.yaml");
}

#[tokio::test]
async fn edits_of_templates_and_scripts_count_and_are_checked() {
    let home = Home::new().await;
    let book = home.open().await;
    let before = book.handle.standing();
    // Of a rule without a script: an `enrich` may add any field.
    let template = "templates/renewal-30.md";
    let text = home.read(template);
    home.save(template, &format!("{text}\nA new last line.\n"));
    let with_line = book.other_than(&before.hash).await;

    home.save(template, &format!("{text}\nDear {{{{ record.nmae }}}}\n"));
    let rejected = book.rejected().await;
    assert!(findings(&rejected).contains(template), "{}", findings(&rejected));
    home.save(template, &text);
    let plain = book.until(|standing| standing.is_good() && standing.hash != with_line.hash).await;

    let script = home.read("scripts/win-back.rhai");
    home.save("scripts/win-back.rhai", &format!("{script}\n// a comment\n"));
    let commented = book.other_than(&plain.hash).await;
    home.save("scripts/win-back.rhai", &format!("{script}\nfn eligible(record, now) {{ let = }}\n"));
    let rejected = book.rejected().await;
    assert!(findings(&rejected).contains("scripts/win-back.rhai"), "{}", findings(&rejected));
    assert_eq!(rejected.hash, commented.hash);
}

#[tokio::test]
async fn many_rules_gone_at_once_rest_until_that_is_confirmed() {
    let home = Home::new().await;
    (0..8).for_each(|number| fs::write(home.rules().join(format!("spare-{number}.yaml")), spare_rule(number)).unwrap());
    let book = home.open().await;
    let before = book.handle.standing();
    assert_eq!(before.rules, 12);
    (0..5).for_each(|number| fs::remove_file(home.rules().join(format!("spare-{number}.yaml"))).unwrap());
    let held = book.handle.reload(false).await.unwrap();
    let Some(Trouble::Braked { missing, of }) = held.trouble.as_deref() else { panic!("{held:?}") };
    assert_eq!((missing.len(), *of, held.rules), (5, 12, 12));
    let resting: Vec<String> = book.generation().resting.keys().map(ToString::to_string).collect();
    assert_eq!(resting, (0..5).map(|number| format!("spare-{number}")).collect::<Vec<_>>());

    // The files come back: everybody runs again.
    (0..5).for_each(|number| fs::write(home.rules().join(format!("spare-{number}.yaml")), spare_rule(number)).unwrap());
    let back = book.handle.reload(false).await.unwrap();
    assert!(back.is_good() && book.generation().resting.is_empty());

    // They go again, and this time it is meant.
    (0..5).for_each(|number| fs::remove_file(home.rules().join(format!("spare-{number}.yaml"))).unwrap());
    let confirmed = book.handle.reload(true).await.unwrap();
    assert!(confirmed.is_good(), "{confirmed:?}");
    assert_eq!(book.rule_names().len(), 7);
}

#[tokio::test]
async fn an_emptied_directory_is_held_also_across_a_restart() {
    let home = Home::new().await;
    let book = home.open().await;
    adopt(&home, &book).await;
    for file in ["low-nps.yaml", "renewal.yaml", "vip-monday.yaml", "win-back.yaml"] {
        fs::remove_file(home.rules().join(file)).unwrap();
    }
    let held = book.handle.reload(false).await.unwrap();
    assert!(matches!(held.trouble.as_deref(), Some(Trouble::Braked { .. })), "{held:?}");
    assert_eq!(book.generation().resting.len(), 4);
    drop(book);

    let again = home.open().await;
    let standing = again.handle.standing();
    assert!(standing.restored && matches!(standing.trouble.as_deref(), Some(Trouble::Braked { .. })), "{standing:?}");
    assert_eq!(again.generation().resting.len(), 4, "they are known, and rest");
}

/// What the engine does with every generation.
async fn adopt(home: &Home, book: &Book) {
    let now = SystemClock.now();
    let adoptions: Vec<_> = book
        .generation()
        .rules
        .values()
        .map(|rule| Adoption {
            rule: rule.rule.id.clone(),
            was: Vec::new(),
            lane: Lane::Live,
            tenant: "".into(),
            version: rule.version.clone(),
            definition: rule.definition.clone(),
            text: rule.text.to_string(),
            baseline: now,
        })
        .collect();
    home.store.adopt(&adoptions, now).await.unwrap();
    let states = home.store.rule_states().await.unwrap();
    assert!(states.iter().all(|state| state.status == RuleStatus::Running));
}

#[tokio::test]
async fn a_start_with_broken_files_runs_the_last_good_generation() {
    let home = Home::new().await;
    let good = home.open().await.handle.standing();
    let file = home.read("renewal.yaml");
    home.edit("renewal.yaml", "for_each:", "foreach:");
    let book = home.open().await;
    let standing = book.handle.standing();
    assert!(standing.restored && !standing.is_good());
    assert_eq!(standing.hash, good.hash);
    assert!(findings(&standing).contains("renewal.yaml"));

    home.save("renewal.yaml", &file);
    let back = book.until(Standing::is_good).await;
    assert!(!back.restored);
}

#[tokio::test]
async fn a_first_start_with_broken_files_says_why_and_runs_nothing() {
    let home = Home::new().await;
    home.edit("renewal.yaml", "for_each:", "foreach:");
    let Err(RulebookError::NothingToRun(findings)) = home.try_open(home.options(), Arc::clone(&home.source)).await
    else {
        panic!("there is nothing to run");
    };
    assert!(findings.iter().any(|finding| finding.to_string().contains("renewal.yaml")), "{findings:?}");
}
