//! A small CRM in one of three databases, the engine over it, a clock that moves when told, and senders
//! that write down what they were given.

use crate::support::{Database, mariadb, postgres};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::tz::{AmbiguousOffset, AmbiguousZoned, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, civil};
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::diagnostic::{Finding, SourceFile};
use nudged::engine::port::{
    Deed, DeliveryFilter, Done, EnrollmentFilter, EnrollmentView, Message, Owner, Sender, Sent, Source, SourceError,
    Store, live_schema,
};
use nudged::engine::{Engine, Event, Parts, Senders, Settings, TaskWriter};
use nudged::model::{Clock, ManualClock, Outcome, Tenant};
use nudged::rule::generation::{Gateways, Generation, Rest, Surroundings, Tree};
use nudged::rule::statement::{Dialect, Row, Statement};
use nudged::source::{SourceOptions, connect};
use nudged::store::postgres::{PostgresStore, Reached};
use nudged::store::sqlite::SqliteStore;
use sqlx::{AssertSqlSafe, Executor, MySqlPool, PgPool, SqlitePool};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};

pub const CATALOG: &str = r"
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields: {country: country_code}
    relations:
      orders: {entity: order, by: customer}
      responses: {entity: response, by: customer}
      contacts: {entity: contact, by: customer}
    recipients:
      main_contact: {first_of: contacts, order: [id]}
  subscription:
    table: subscriptions
    key: id
    fields: {customer: account_id}
    relations:
      contacts: {entity: contact, to: contact_id}
    recipients:
      signatory: {first_of: contacts}
  contact:
    table: contacts
    key: id
    fields: {customer: account_id}
    person: {email: email, first_name: first_name, zone: tz}
    consent: {email: {offers: news_ok}}
  order: {table: orders, key: id, at: placed_at, only: {status: [paid]}, fields: {customer: account_id}}
  response: {table: surveys, key: id, at: answered_at, score: rating, kind: kind, fields: {customer: account_id}}
suppressions: [{table: blocked, email: address, reason: complaint}]
";

const TABLES: &str = "
CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(60), country_code VARCHAR(2), created_at {instant});
CREATE TABLE contacts (id INTEGER PRIMARY KEY, account_id INTEGER, email VARCHAR(60), first_name VARCHAR(60),
                       tz VARCHAR(60), news_ok BOOLEAN);
CREATE TABLE orders (id INTEGER PRIMARY KEY, account_id INTEGER, placed_at {instant}, status VARCHAR(20));
CREATE INDEX orders_placed ON orders (placed_at);
CREATE TABLE subscriptions (id INTEGER PRIMARY KEY, account_id INTEGER, contact_id INTEGER, status VARCHAR(20),
                            renews_on DATE);
CREATE TABLE surveys (id INTEGER PRIMARY KEY, account_id INTEGER, kind VARCHAR(20), rating INTEGER,
                      answered_at {instant});
CREATE TABLE blocked (address VARCHAR(60), reason VARCHAR(60));
";

/// The CRM's database, written to directly.
pub enum Crm {
    Sqlite(SqlitePool),
    /// The database is dropped with it.
    Postgres(PgPool, #[expect(dead_code, reason = "held so that it lives")] Database),
    MariaDb(MySqlPool, #[expect(dead_code, reason = "held so that it lives")] Database),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Crm {
    async fn create(kind: Kind, tables: &str, dir: &TempDir) -> (Self, String) {
        let (crm, url, instant) = match kind {
            Kind::Sqlite => {
                let url = format!("sqlite:{}", dir.path().join("crm.db").display());
                let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
                let options = options.create_if_missing(true).journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
                let pool = SqlitePool::connect_with(options.synchronous(sqlx::sqlite::SqliteSynchronous::Off));
                (Self::Sqlite(pool.await.unwrap()), url, "DATETIME")
            }
            Kind::Postgres => {
                let database = tokio::task::spawn_blocking(postgres).await.unwrap();
                let (pool, url) = (PgPool::connect(&database.url).await.unwrap(), database.url.clone());
                (Self::Postgres(pool, database), url, "TIMESTAMPTZ")
            }
            Kind::MariaDb => {
                let database = tokio::task::spawn_blocking(mariadb).await.unwrap();
                let (pool, url) = (MySqlPool::connect(&database.url).await.unwrap(), database.url.clone());
                (Self::MariaDb(pool, database), url, "DATETIME(6)")
            }
        };
        crm.run(&tables.replace("{instant}", instant)).await;
        (crm, url)
    }

    pub async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(pool) => drop(pool.execute(sql).await.unwrap()),
            Self::Postgres(pool, _) => drop(pool.execute(sql).await.unwrap()),
            Self::MariaDb(pool, _) => drop(pool.execute(sql).await.unwrap()),
        }
    }

    /// An instant as this database keeps it: with an offset in PostgreSQL, as Viennese wall time elsewhere.
    pub fn time(&self, at: Timestamp) -> String {
        match self {
            Self::Postgres(..) => format!("'{at}'"),
            Self::Sqlite(_) | Self::MariaDb(..) => format!("'{}'", at.to_zoned(vienna()).strftime("%F %T%.6f")),
        }
    }

    /// The instant that is read back: wall time in the repeated hour of autumn means its first pass.
    pub fn kept(&self, at: Timestamp) -> Timestamp {
        match self {
            Self::Postgres(..) => at,
            Self::Sqlite(_) | Self::MariaDb(..) => wall(at.to_zoned(vienna()).datetime(), &vienna()),
        }
    }
}

/// The instant of a wall time: what comes twice counts the first time, what is left out is the next minute there is.
/// By no code of the engine's, so that oracles can ask it.
pub fn wall(wall: civil::DateTime, zone: &TimeZone) -> Timestamp {
    let read = there_is(wall, zone);
    read.earlier().unwrap().timestamp()
}

/// Its other instant, where it comes twice.
pub fn wall_again(wall: civil::DateTime, zone: &TimeZone) -> Timestamp {
    there_is(wall, zone).later().unwrap().timestamp()
}

fn there_is(mut wall: civil::DateTime, zone: &TimeZone) -> AmbiguousZoned {
    loop {
        let read = zone.to_ambiguous_zoned(wall);
        if !matches!(read.offset(), AmbiguousOffset::Gap { .. }) {
            return read;
        }
        wall = wall.checked_add(Span::new().minutes(1)).unwrap();
    }
}

pub fn vienna() -> TimeZone {
    TimeZone::get("Europe/Vienna").unwrap()
}

/// Writes down what it is given, and answers what it is told to.
#[derive(Default)]
pub struct Recorder {
    pub messages: Mutex<Vec<Message>>,
    answers: Mutex<VecDeque<Outcome>>,
    panics: AtomicBool,
    /// The key of a webhook's body whose value is answered.
    echoes: Mutex<Option<&'static str>>,
}

impl Recorder {
    /// Answers webhooks with what stands under this key of theirs.
    pub fn echo(&self, key: &'static str) {
        *self.echoes.lock().unwrap() = Some(key);
    }

    /// The next answers, before it goes back to success.
    pub fn answer(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.answers.lock().unwrap().extend(outcomes);
    }

    /// The next message meets a bug.
    pub fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }

    /// Address and subject of every mail since the last call.
    pub fn mails(&self) -> Vec<(String, String)> {
        let mails = self.take().into_iter().map(|message| match message {
            Message::Email(email) => (email.to_address, email.subject),
            other => panic!("not a mail: {other:?}"),
        });
        mails.collect()
    }
}

#[async_trait]
impl Sender for Recorder {
    fn sessions(&self) -> usize {
        2
    }

    async fn send(&self, message: Message) -> Sent {
        let echoed = self.echoes.lock().unwrap().and_then(|key| match &message {
            Message::Webhook(call) => Some(serde_json::json!({"text": call.body["data"][key]})),
            Message::Email(_) | Message::Chat(_) | Message::Task(_) | Message::Sms(_) | Message::Write(_) => None,
        });
        self.messages.lock().unwrap().push(message);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a bug in a sender, as the test asked for");
        let told = self.answers.lock().unwrap().pop_front();
        Sent { outcome: told.unwrap_or_else(|| Outcome::Sent { reply: "ok".into() }), answer: echoed }
    }
}

/// The way to the source: it can be cut, has bugs when told to, and counts what goes over it.
pub struct Wire {
    source: Arc<dyn Source>,
    cut: AtomicBool,
    bug: Mutex<Option<&'static str>>,
    questions: AtomicUsize,
}

impl Wire {
    pub fn to(source: Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self { source, cut: AtomicBool::new(false), bug: Mutex::default(), questions: AtomicUsize::new(0) })
    }

    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// Questions since the last call, answered or not.
    pub fn questions(&self) -> usize {
        self.questions.swap(0, Ordering::SeqCst)
    }

    /// The next question of this kind meets a bug.
    pub fn panic_at(&self, question: &'static str) {
        *self.bug.lock().unwrap() = Some(question);
    }

    fn ask(&self, question: &'static str) -> Result<(), SourceError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let met = self.bug.lock().unwrap().take_if(|bug| *bug == question);
        assert!(met.is_none(), "a bug at `{question}`, as the test asked for");
        if self.cut.load(Ordering::SeqCst) {
            return Err(SourceError::Unavailable("the wire is cut".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Wire {
    fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.ask("now")?;
        self.source.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        match self.ask("rows") {
            Ok(()) => self.source.rows(tenant, statement),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        self.ask("transact")?;
        self.source.transact(tenant, steps).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.ask("schema")?;
        self.source.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.ask("describe")?;
        self.source.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.ask("prepare")?;
        self.source.prepare(statement).await
    }
}

/// What a world is made of.
pub struct Setup {
    pub kind: Kind,
    pub at: Timestamp,
    pub settings: Settings,
    pub catalog: String,
    /// More tables and columns.
    pub tables: &'static str,
    /// These tables in place of the usual ones.
    pub own_tables: Option<String>,
    /// The engine's own login at the database, in place of the owner's.
    pub login: Option<String>,
    pub per_transaction: Option<String>,
    /// The state is in PostgreSQL, for several nodes.
    pub shared: bool,
}

impl Setup {
    pub fn of(kind: Kind, at: Timestamp) -> Self {
        let (settings, catalog) = (Settings::default(), CATALOG.to_owned());
        Self {
            kind,
            at,
            settings,
            catalog,
            tables: "",
            own_tables: None,
            login: None,
            per_transaction: None,
            shared: false,
        }
    }
}

pub struct World {
    pub clock: Arc<ManualClock>,
    pub crm: Crm,
    pub source: Arc<dyn Source>,
    /// The same database for its owner, whatever the engine's login is.
    pub owner: Arc<dyn Source>,
    pub wire: Arc<Wire>,
    pub store: Arc<dyn Store>,
    pub engine: Engine,
    pub mail: Arc<Recorder>,
    pub webhooks: Arc<Recorder>,
    generations: watch::Sender<Option<Arc<Generation>>>,
    events: Mutex<broadcast::Receiver<Event>>,
    surroundings: Mutex<Surroundings>,
    catalog: String,
    settings: Settings,
    /// Where a shared state is.
    state: Option<Database>,
    dir: TempDir,
}

impl World {
    /// A world with no rules yet.
    pub async fn new(kind: Kind, at: Timestamp, settings: Settings) -> Self {
        Self::set_up(Setup { settings, ..Setup::of(kind, at) }).await
    }

    pub async fn set_up(setup: Setup) -> Self {
        let world = Self::set_up_as(setup, async |_| {}).await;
        world.learn().await;
        world
    }

    /// `before` runs once the tables are there and before the engine's own login is used. What the live tables are
    /// is not known yet: see [`World::learn`].
    pub async fn set_up_as(setup: Setup, before: impl AsyncFnOnce(&Crm)) -> Self {
        let Setup { kind, at, settings, catalog, tables, own_tables, login, per_transaction, shared } = setup;
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at));
        let (crm, url) = Crm::create(kind, &own_tables.unwrap_or_else(|| format!("{TABLES}{tables}")), &dir).await;
        before(&crm).await;
        let owner = connect(&SourceOptions::new(url.clone()).clock(clock.clone())).unwrap();
        let url = login.map_or(url.clone(), |login| url.replacen("nudged@", &format!("{login}@"), 1));
        let options = SourceOptions { per_transaction, ..SourceOptions::new(url) };
        let source = connect(&options.clock(clock.clone())).unwrap();
        let wire = Wire::to(source);
        let source: Arc<dyn Source> = wire.clone();
        let state = if shared { Some(tokio::task::spawn_blocking(postgres).await.unwrap()) } else { None };
        let store: Arc<dyn Store> = match &state {
            // No test pulls the plug, so nothing need be synced.
            None => Arc::new(SqliteStore::scratch(dir.path().join("state.db"), at).await.unwrap()),
            Some(database) => Arc::new(PostgresStore::open_as(&database.url, Reached::Directly, at).await.unwrap()),
        };
        let (mail, webhooks) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
        let generations = watch::Sender::new(None);
        let task = TaskWriter::new(clock.clone(), source.clone(), store.clone(), generations.subscribe());
        let engine = Engine::new(Parts {
            clock: clock.clone(),
            source: source.clone(),
            store: store.clone(),
            senders: Senders { email: mail.clone(), webhook: webhooks.clone(), task: Arc::new(task) },
            generation: generations.subscribe(),
            owner: Owner("test".into()),
            settings: settings.clone(),
        });
        let surroundings = Surroundings {
            dialect: source.dialect(),
            schema: None,
            destinations: ["sink".to_owned()].into(),
            chats: ["sales".to_owned()].into(),
            gateways: Gateways::default(),
            topics: ["offers".into()].into(),
        };
        let events = Mutex::new(engine.events());
        Self {
            clock,
            crm,
            source,
            owner,
            wire,
            store,
            engine,
            mail,
            webhooks,
            generations,
            events,
            surroundings: Mutex::new(surroundings),
            catalog,
            settings,
            state,
            dir,
        }
    }

    /// Reads what the live tables are, as the engine's login sees them.
    pub async fn learn(&self) {
        let catalog = self.build(&[]).catalog;
        let schema = live_schema(&*self.source, &catalog).await.unwrap();
        self.surroundings.lock().unwrap().schema = Some(schema);
    }

    /// Another node on the same shared state and source, with a sender of its own.
    pub async fn node(&self, owner: &str, sender: Arc<dyn Sender>) -> Engine {
        let url = &self.state.as_ref().expect("a shared state").url;
        Engine::new(Parts {
            clock: self.clock.clone(),
            source: self.source.clone(),
            store: Arc::new(PostgresStore::open_as(url, Reached::Directly, self.now()).await.unwrap()),
            senders: Senders { email: sender.clone(), webhook: sender.clone(), task: sender },
            generation: self.generations.subscribe(),
            owner: Owner(owner.into()),
            settings: self.settings.clone(),
        })
    }

    /// These files, checked against the source; nothing runs them.
    pub fn build(&self, files: &[(&str, &str)]) -> Generation {
        self.try_build(files).unwrap_or_else(|findings| {
            panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })
    }

    /// What is wrong with these files.
    pub fn findings(&self, files: &[(&str, &str)]) -> Vec<Finding> {
        self.try_build(files).map_or_else(|findings| findings, |generation| generation.warnings)
    }

    fn try_build(&self, files: &[(&str, &str)]) -> Result<Generation, Vec<Finding>> {
        let file = |path: &str, text: &str| Arc::new(SourceFile { path: path.into(), text: text.into() });
        let mut files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        files.push(file("catalog.yaml", &self.catalog));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Generation::build(Arc::new(Tree { files }), &self.surroundings.lock().unwrap())
    }

    /// Another engine with the same rules and senders, as a restart or another node has it.
    pub fn engine_over(&self, source: Arc<dyn Source>, store: Arc<dyn Store>, settings: Settings) -> Engine {
        self.node_over("another", source, store, settings)
    }

    /// The same under a name of its own.
    pub fn node_over(&self, owner: &str, source: Arc<dyn Source>, store: Arc<dyn Store>, settings: Settings) -> Engine {
        let generation = self.generations.subscribe();
        let task = TaskWriter::new(self.clock.clone(), source.clone(), store.clone(), generation.clone());
        Engine::new(Parts {
            clock: self.clock.clone(),
            source,
            store,
            senders: Senders { email: self.mail.clone(), webhook: self.webhooks.clone(), task: Arc::new(task) },
            generation,
            owner: Owner(owner.into()),
            settings,
        })
    }

    /// Another engine with the same rules, whose mails go this way.
    pub fn sending(&self, email: Arc<dyn Sender>, settings: Settings) -> Engine {
        let (webhook, task) = (self.webhooks.clone(), self.webhooks.clone());
        Engine::new(Parts {
            clock: self.clock.clone(),
            source: self.source.clone(),
            store: self.store.clone(),
            senders: Senders { email, webhook, task },
            generation: self.generations.subscribe(),
            owner: Owner("sending".into()),
            settings,
        })
    }

    /// Another life of the daemon, on this state: an owner of its own, and what it can remember is in `store`.
    pub fn life(&self, owner: &str, store: Arc<dyn Store>) -> Engine {
        let generation = self.generations.subscribe();
        let (clock, source) = (self.clock.clone(), self.source.clone());
        let task = TaskWriter::new(clock.clone(), source.clone(), store.clone(), generation.clone());
        Engine::new(Parts {
            clock,
            source,
            store,
            senders: Senders { email: self.mail.clone(), webhook: self.webhooks.clone(), task: Arc::new(task) },
            generation,
            owner: Owner(owner.into()),
            settings: self.settings.clone(),
        })
    }

    /// Where a shared state is.
    pub const fn state(&self) -> Option<&Database> {
        self.state.as_ref()
    }

    /// Where the state is that isn't shared.
    pub fn state_file(&self) -> std::path::PathBuf {
        self.dir.path().join("state.db")
    }

    /// As if nobody had renewed them for long: what the dead held of a shared state is free.
    pub async fn leases_run_out(&self) {
        let Some(state) = &self.state else { return };
        let sql = "UPDATE outbox SET lease_until = 0 WHERE lease_until > 0; UPDATE rule_state SET lease_until = 0";
        // A transaction that was under way goes on meanwhile.
        let mut client = tokio::process::Command::from(state.command(sql));
        let done = client.output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A shared state, opened again, whose leases end at once when nobody renews them.
    pub async fn short_leased(&self) -> Arc<dyn Store> {
        let url = &self.state.as_ref().expect("a shared state").url;
        let lease = std::time::Duration::from_millis(200);
        Arc::new(PostgresStore::open_as(url, Reached::Directly, self.now()).await.unwrap().with_lease(lease))
    }

    /// Runs these rule files, templates and scripts from now on.
    pub async fn load(&self, files: &[(&str, &str)]) {
        self.generations.send_replace(Some(Arc::new(self.build(files))));
        self.engine.adopt().await.unwrap();
    }

    /// How many the first rule's fresh baseline leaves out, once that is counted.
    pub async fn left_out(&self) -> Option<u64> {
        self.engine.count_left_out().await.unwrap();
        self.store.rule_states().await.unwrap()[0].left_out
    }

    /// The running rules go on, without these.
    pub fn rest(&self, rules: &[(&str, Rest)]) {
        let resting = rules.iter().map(|(rule, rest)| ((*rule).into(), *rest)).collect();
        self.generations.send_replace(Some(Arc::new(self.generation().with_resting(resting))));
    }

    pub fn generation(&self) -> Arc<Generation> {
        self.generations.borrow().clone().unwrap()
    }

    /// The text of the catalog.
    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn ago(&self, by: SignedDuration) -> Timestamp {
        self.now() - by
    }

    /// Moves the clock, sweeps what is due and sends what is due.
    pub async fn pass(&self, by: SignedDuration) {
        self.clock.advance(by);
        self.turn().await;
    }

    pub async fn turn(&self) {
        self.engine.sweep_due().await.unwrap();
        self.engine.dispatch_due().await.unwrap();
    }

    pub async fn enrollments(&self) -> Vec<EnrollmentView> {
        let filter = EnrollmentFilter { limit: 100_000, ..EnrollmentFilter::default() };
        self.store.enrollments(&filter).await.unwrap()
    }

    /// State and detail of every delivery, newest first.
    pub async fn deliveries(&self) -> Vec<(String, String)> {
        let filter = DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() };
        let deliveries = self.store.deliveries(&filter).await.unwrap();
        deliveries.into_iter().map(|delivery| (delivery.state, delivery.detail)).collect()
    }

    /// What was announced since the last call.
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap();
        let mut seen = Vec::new();
        loop {
            match events.try_recv() {
                Ok(event) => seen.push(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return seen,
            }
        }
    }
}

pub fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

pub fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

pub fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}
