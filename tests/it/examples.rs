//! The examples, each loaded into a real server, checked by the real program and swept on the day that its
//! data is about.

use crate::support::{Database, instant, mariadb, postgres, test_clock};
use async_trait::async_trait;
use nudged::engine::port::{Email, EnrollmentFilter, Message, Owner, Sender, Sent, Store};
use nudged::engine::{Engine, Links, Parts, Senders, Settings, TaskWriter};
use nudged::model::{Clock, EndReason, ManualClock, Outcome};
use nudged::rule::generation::{Gateways, Generation, Surroundings};
use nudged::rule::statement::Dialect;
use nudged::rulebook::{Limits, Outside, inspect, read_tree};
use nudged::source::{SourceOptions, connect};
use nudged::store::sqlite::SqliteStore;
use nudged::web::{Consent, PageOptions, public_router};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

/// The evening before, when the rules are first loaded.
const LOADED: &str = "2026-11-20T21:00[Europe/Vienna]";
/// The morning the data is about.
const MORNING: &str = "2026-11-21T10:00[Europe/Vienna]";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn load(database: &Database, example: &str) {
    let path = root().join("examples").join(example).join("schema.sql");
    database.execute(&std::fs::read_to_string(path).unwrap());
}

fn outside() -> Outside {
    Outside {
        destinations: ["team-chat".to_owned(), "helpdesk".to_owned()].into(),
        events: ["trial-started".to_owned()].into(),
        chats: ["care".to_owned()].into(),
        gateways: Gateways { names: ["phones".to_owned()].into(), ..Gateways::default() },
        topics: ["offers".into()].into(),
        emails: true,
        pages: true,
        postal_address: true,
        ..Outside::default()
    }
}

/// All findings of a rules directory, offline.
fn findings(rules: &str, dialect: Dialect) -> Vec<String> {
    let tree = Arc::new(read_tree(&root().join(rules), &Limits::default(), None).unwrap());
    let Outside { destinations, chats, gateways, topics, .. } = outside();
    match Generation::build(tree, &Surroundings { dialect, schema: None, destinations, chats, gateways, topics }) {
        Ok(generation) => generation.warnings.iter().map(ToString::to_string).collect(),
        Err(findings) => findings.iter().map(ToString::to_string).collect(),
    }
}

/// The table of examples/README.md: every need that an example can serve, and rules that are there.
#[test]
fn every_need_has_an_example_that_is_there() {
    let page = std::fs::read_to_string(root().join("examples/README.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| N"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let needs: BTreeSet<&str> = rows.iter().flat_map(|row| row[1].split(", ")).collect();
    for number in (1..=14).chain(20..=22) {
        assert!(needs.contains(&*format!("N{number}")), "no example serves N{number}");
    }
    for row in &rows {
        let named = row[3].split('`').skip(1).step_by(2).filter(|name| !name.starts_with("purpose:"));
        for name in named {
            let places: Vec<&str> = match name.split_once('/') {
                Some((place, _)) => vec![place],
                None => vec!["postgres", "mariadb"],
            };
            for place in places {
                let rule = name.rsplit('/').next().unwrap();
                let file = root().join(format!("examples/{place}/rules/{rule}.yaml"));
                assert!(file.exists(), "{} is named for {} and isn't there", file.display(), row[1]);
            }
        }
    }
}

#[test]
fn the_rules_of_the_demo_and_of_every_example_are_without_a_finding() {
    assert_eq!(findings("rules", Dialect::Sqlite), [""; 0]);
    assert_eq!(findings("examples/postgres/rules", Dialect::Postgres), [""; 0]);
    assert_eq!(findings("examples/mariadb/rules", Dialect::MySql), [""; 0]);
}

/// `nudged check --db` and `nudged preview`, as a newcomer runs them: before anything else has run.
fn check(example: &str, database: &Database) {
    let state = std::env::temp_dir().join("nudged-no-state-here.db");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nudged"))
            .args(["--config", &format!("examples/{example}/config.toml")])
            .args(arguments)
            .current_dir(root())
            .env("CRM_URL", &database.url)
            .env("SHOP_SECRET", "known to both")
            .env("NUDGED_STATE__URL", format!("sqlite:{}", state.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["check", "--db", "--deny-warnings"]);
    run(&["preview", "win-back-90", "--last", "120 days"]);
    assert!(!state.exists(), "a preview leaves no state behind");
}

/// State, mail and socket of an example lie beside its configuration, where git ignores them.
#[test]
fn the_examples_keep_their_things_beside_them() {
    for example in ["postgres", "mariadb"] {
        let folder = tempfile::tempdir().unwrap();
        let config = std::fs::read_to_string(root().join("examples").join(example).join("config.toml")).unwrap();
        for line in ["url = \"sqlite:state.db\"", "folder = \"mailbox\"", "socket = \"admin.sock\""] {
            assert!(config.contains(line), "{example}: {line}");
        }
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_nudged"))
            .arg("--config")
            .arg(&path)
            .arg("status")
            .current_dir(root())
            .env("CRM_URL", "postgres://nobody@127.0.0.1:1/nowhere")
            .env("SHOP_SECRET", "known to both")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let state = folder.path().join("state.db");
        assert!(told.contains(&format!("there is no state at {}", state.display())), "{told}");
    }
}

/// Without an index the check names the statement that makes it, and that statement is enough.
fn check_indexes(example: &str, database: &Database, drop: &str, create: &str) {
    let check = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_nudged"))
            .args(["--config", &format!("examples/{example}/config.toml"), "check", "--db", "--no-tests"])
            .args(arguments)
            .current_dir(root())
            .env("CRM_URL", &database.url)
            .env("SHOP_SECRET", "known to both")
            .output()
            .unwrap()
    };
    database.execute(drop);
    let found: serde_json::Value = serde_json::from_slice(&check(&["--format", "json"]).stdout).unwrap();
    let finding = &found["findings"][0];
    assert_eq!((&finding["code"], &finding["help"]), (&"rule.no-index".into(), &create.into()), "{found}");
    assert!(!check(&["--deny-warnings"]).status.success());
    database.execute(create);
    let output = check(&["--deny-warnings"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Takes everything and writes down who got what.
#[derive(Default)]
struct Sink {
    lines: Mutex<BTreeSet<String>>,
    mails: Mutex<Vec<Email>>,
}

impl Sink {
    /// The mail with this subject.
    fn mail(&self, subject: &str) -> Email {
        let mails = self.mails.lock().unwrap();
        mails.iter().find(|mail| mail.subject == subject).unwrap_or_else(|| panic!("no mail {subject}")).clone()
    }
}

#[async_trait]
impl Sender for Sink {
    fn sessions(&self) -> usize {
        4
    }

    async fn send(&self, message: Message) -> Sent {
        let line = match message {
            Message::Email(email) => {
                let line = format!("mail to {}: {}", email.to_address, email.subject);
                self.mails.lock().unwrap().push(email);
                line
            }
            Message::Webhook(call) => format!("webhook to {}: {}", call.destination, call.body),
            Message::Chat(chat) => format!("chat to {}: {}", chat.to, chat.text),
            Message::Sms(sms) => format!("sms to {}: {}", sms.to, sms.text),
            Message::Task(task) => panic!("tasks go into the CRM: {task:?}"),
            Message::Write(draft) => panic!("writes go into the CRM: {draft:?}"),
        };
        self.lines.lock().unwrap().insert(line);
        Sent { outcome: Outcome::Sent { reply: "taken".to_owned() }, answer: None }
    }
}

/// An example whose rules were first loaded the evening before.
struct Running {
    engine: Engine,
    hands: Arc<ManualClock>,
    store: Arc<dyn Store>,
    sink: Arc<Sink>,
    _state: TempDir,
    _generations: watch::Sender<Option<Arc<Generation>>>,
}

impl Running {
    async fn start(example: &str, database: &Database, links: Links) -> Self {
        let state = tempfile::tempdir().unwrap();
        let hands = test_clock(LOADED);
        let clock: Arc<dyn Clock> = Arc::clone(&hands) as Arc<dyn Clock>;
        let source = connect(&SourceOptions::new(&database.url).clock(Arc::clone(&clock))).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(state.path().join("state.db"), clock.now()).await.unwrap());
        let tree = read_tree(&root().join("examples").join(example).join("rules"), &Limits::default(), None).unwrap();
        let inspected = inspect(Arc::new(tree), &*source, &outside(), None).await.unwrap();
        let (generations, generation) = watch::channel(Some(Arc::new(inspected.generation)));
        let sink = Arc::new(Sink::default());
        let task = TaskWriter::new(Arc::clone(&clock), Arc::clone(&source), Arc::clone(&store), generation.clone());
        let senders = Senders { email: sink.clone(), webhook: sink.clone(), task: Arc::new(task) };
        let engine = Engine::new(Parts {
            clock,
            source,
            store: Arc::clone(&store),
            senders,
            generation,
            owner: Owner("examples".to_owned()),
            settings: Settings { max_skew: None, links, ..Settings::default() },
        });
        engine.sweep_due().await.unwrap();
        Self { engine, hands, store, sink, _state: state, _generations: generations }
    }

    async fn at(&self, moment: &str) {
        self.hands.set(instant(moment));
        self.engine.sweep_due().await.unwrap();
        self.engine.dispatch_due().await.unwrap();
    }

    /// Rule and key of the record.
    async fn matches(&self) -> BTreeSet<String> {
        let filter = EnrollmentFilter { limit: 100, ..EnrollmentFilter::default() };
        let matches = self.store.enrollments(&filter).await.unwrap().into_iter();
        // What a query returned at the first look is in the ledger as well.
        let matches = matches.filter(|found| found.ended != Some(EndReason::LeftOut));
        matches.map(|found| format!("{} {}", found.rule, found.record.unwrap().key)).collect()
    }

    fn sent(&self) -> BTreeSet<String> {
        self.sink.lines.lock().unwrap().clone()
    }
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test]
async fn the_postgres_example_finds_the_right_people() {
    let database = tokio::task::spawn_blocking(postgres).await.unwrap();
    load(&database, "postgres");
    check("postgres", &database);
    let create = "CREATE INDEX CONCURRENTLY \"orders_placed_at_idx\" ON \"crm\".\"orders\" (\"placed_at\");";
    check_indexes("postgres", &database, "DROP INDEX crm.orders_placed_at_idx", create);
    let create = "CREATE INDEX CONCURRENTLY \"tickets_opened_at_idx\" ON \"crm\".\"tickets\" (\"opened_at\");";
    check_indexes("postgres", &database, "DROP INDEX crm.tickets_opened_at_idx", create);
    let running = Running::start("postgres", &database, Links::Rehearsed).await;
    running.at(MORNING).await;
    let key = |end: &str| format!("00000000-0000-4000-8000-0000000000{end}");
    // Not Moser (an open ticket), not Rossi (another country), not the closed and the sample account.
    let expected = [
        format!("win-back-90 {}", key("01")),
        format!("win-back-90 {}", key("02")),
        format!("win-back-90 {}", key("06")),
        format!("very-low-nps {}", key("05")),
        format!("promoters {}", key("01")),
        format!("repeated-tickets {}", key("05")),
        format!("renewal {}", key("c1")),
        format!("renewal {}", key("c2")),
        format!("new-lead {}", key("09")),
        format!("not-logged-in {}", key("03")),
        format!("passives {}", key("06")),
        format!("passives {}", key("04")),
        format!("low-csat {}", key("01")),
        "csat-ask 5".to_owned(),
        "privacy-request 1".to_owned(),
        "unhappy-comment 2".to_owned(),
    ];
    assert_eq!(running.matches().await, expected.into());
    // Vogel never agreed to offers, and Frei is called in place of being won back by mail.
    let expected = [
        "mail to maria@lindner.example: Lindner Papier, is everything all right?",
        "mail to maria@lindner.example: Your Basic plan ends on 21 December 2026",
        "mail to reto@alpina.example: Your Complete plan ends on 28 November 2026",
        "mail to eva@moser.example: Eva, your account misses you",
        "mail to marco@rossi.example: What would make it a ten?",
        "mail to maria@lindner.example: That wasn't good enough",
        "mail to reto@alpina.example: Is it solved? Address on the invoice",
        "mail to eva@moser.example: We have your request",
    ];
    let (webhooks, mails): (BTreeSet<_>, BTreeSet<_>) =
        running.sent().into_iter().partition(|line| line.starts_with("webhook"));
    assert_eq!(mails, set(&expected));
    // Envelopes were ordered once, and binders called off three times.
    let text = running.sink.mail("Lindner Papier, is everything all right?").text;
    assert!(text.contains("Of your recycled paper") && text.contains("since 23 August 2026"), "{text}");
    assert_eq!(webhooks.len(), 2, "{webhooks:?}");
    for words in ["Studio Keller gave us 2/10", "8/10, and yet: Good, but slow."] {
        assert!(webhooks.iter().any(|call| call.contains(words)), "{webhooks:?}");
    }
    let tasks = "SELECT t.title, u.first_name, t.due_date FROM crm.tasks t JOIN crm.task_people p ON p.task_id = t.id \
                 JOIN crm.users u ON u.id = p.user_id ORDER BY 1";
    // Two business days after a Saturday is Tuesday.
    let expected = [
        "Call Alpina Hotels\tJana\t2026-11-24",
        "Call Lindner Papier: 1 of 5 for their ticket\tJana\t2026-11-23",
        "Call Nordlicht Druck, a new lead\tJana\t2026-11-23",
        "Call Studio Keller today: 2/10\tJana\t2026-11-23",
        "Find out what goes wrong at Studio Keller\tJana\t2026-11-23",
        "Tell Eva Moser what we know of them\tPavel\t2026-12-04",
    ];
    assert_eq!(database.rows(tasks), expected);
    // The lead is somebody's, and its stage and tags have moved on.
    let lead = "SELECT u.first_name, a.stage, a.contacted_at IS NOT NULL, string_agg(t.tag, ' ' ORDER BY t.tag) \
                FROM crm.accounts a JOIN crm.users u ON u.id = a.owner_id JOIN crm.account_tags t ON t.account_id = a.id \
                GROUP BY 1, 2, 3";
    assert_eq!(database.rows(lead), ["Jana\tcontacted\tt\tnurture web form"]);
}

#[tokio::test]
async fn the_mariadb_example_finds_the_right_people() {
    let database = tokio::task::spawn_blocking(mariadb).await.unwrap();
    load(&database, "mariadb");
    check("mariadb", &database);
    let create = "CREATE INDEX `order_placed_at_idx` ON `order` (`placed_at`);";
    check_indexes("mariadb", &database, "DROP INDEX placed_at ON `order`", create);
    let running = Running::start("mariadb", &database, Links::Rehearsed).await;
    running.at(MORNING).await;
    let expected = [
        "win-back-90 1",
        "win-back-90 2",
        "win-back-90 6",
        "very-low-nps 5",
        "renewal 101",
        "renewal 102",
        "open-quote 3",
        "abandoned-cart 5",
        "abandoned-cart 6",
    ];
    assert_eq!(running.matches().await, set(&expected));
    let expected = [
        "mail to maria@lindner.example: Lindner Papier, is everything all right?",
        "mail to maria@lindner.example: Your Basic plan ends on 21 December 2026",
        "mail to reto@alpina.example: Your Complete plan ends on 28 November 2026",
        "mail to nora@keller.example: Your cart is still here, Nora",
    ];
    let sent = running.sent();
    assert!(sent.iter().any(|line| line.contains("Quote Q-2201 for Moser Backwaren")), "{sent:?}");
    let mails = sent.into_iter().filter(|line| line.starts_with("mail"));
    assert_eq!(mails.collect::<BTreeSet<_>>(), set(&expected));
    // Keller has no manager, so that task waits for whoever reads the team's inbox.
    let tasks = "SELECT title, staff_id, due_date FROM tasks ORDER BY 1";
    let expected = ["Call Alpina Hotels\t1\t2026-11-24", "Call Studio Keller today: 2/10\tNULL\t2026-11-23"];
    assert_eq!(database.rows(tasks), expected);
}

/// As a person does it: a click on a score in the mail, and then on the button of the page.
async fn answer(mail: &Email, base: &str, score: &str, comment: &str) {
    let start = mail.html.find(&format!("{base}/a/")).expect("the mail has links to answer");
    let (link, _) = mail.html[start..].split('"').next().unwrap().rsplit_once('/').unwrap();
    let link = format!("{link}/{score}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let page = client.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("value=\"{score}\" required checked")), "{page}");
    let said = client.post(&link).form(&[("score", score), ("comment", comment)]).send().await.unwrap();
    let page = said.text().await.unwrap();
    assert!(page.contains("Your answer has reached Acme"), "{page}");
}

/// From the mail that asks to the row of the CRM and to the rule that follows it up.
#[tokio::test]
async fn answers_to_the_mails_that_ask_are_kept_in_the_crm_and_followed_up() {
    let database = tokio::task::spawn_blocking(postgres).await.unwrap();
    load(&database, "postgres");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let running = Running::start("postgres", &database, Links::Served(Some(base.clone()))).await;
    let clock: Arc<dyn Clock> = Arc::clone(&running.hands) as Arc<dyn Clock>;
    let (store, topics) = (Arc::clone(&running.store), ["offers".into()].into());
    let pages = Consent::new(store, clock, topics, PageOptions::default(), "Acme".to_owned());
    let serving = tokio::spawn(async move {
        axum::serve(listener, public_router([pages.router()])).await.unwrap();
    });
    let answers = "SELECT a.name, s.kind, s.rating, s.comment FROM crm.surveys s \
                   JOIN crm.accounts a ON a.id = s.account_id WHERE s.ref IS NOT NULL ORDER BY s.answered_at";
    let alpina = "00000000-0000-4000-8000-000000000002";

    running.at(MORNING).await;
    let asked = running.sink.mail("Is it solved? Address on the invoice");
    answer(&asked, &base, "2", "It went to the old address again.").await;
    assert_eq!(running.engine.tell_answers().await.unwrap(), 1);
    let csat = "Alpina Hotels\tcsat\t2\tIt went to the old address again.";
    assert_eq!(database.rows(answers), [csat]);
    running.at("2026-11-21T11:30[Europe/Vienna]").await;
    let matches = running.matches().await;
    assert!(matches.contains(&format!("low-csat {alpina}")), "{matches:?}");
    assert!(running.sent().contains("mail to reto@alpina.example: That wasn't good enough"), "{:?}", running.sent());

    // Two days after the visit.
    running.at("2026-12-05T10:00[Europe/Vienna]").await;
    let asked = running.sink.mail("How was it? What next year brings");
    answer(&asked, &base, "9", "Better now.").await;
    assert_eq!(running.engine.tell_answers().await.unwrap(), 1);
    assert_eq!(database.rows(answers), [csat, "Alpina Hotels\tnps\t9\tBetter now."]);
    running.at("2026-12-05T11:30[Europe/Vienna]").await;
    let matches = running.matches().await;
    assert!(matches.contains(&format!("promoters {alpina}")), "{matches:?}");
    serving.abort();
}
