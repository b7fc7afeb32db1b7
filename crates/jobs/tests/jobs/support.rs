//! A database for each test, of either kind, and words that tests are written in.

#![allow(clippy::needless_pass_by_value, reason = "a test is a closure in its place")]

use std::env;
use std::time::Duration;

use jobs::{Backoff, Claim, Job, Narrator, NewEvent, NewJob, Options, Place, Queue, Transition};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// No test may take as long, on the slowest machine.
pub const TEST_MAX: Duration = Duration::from_secs(120);

/// A database of a test's own.
pub struct Bench {
    pub directory: TempDir,
    pub place: Place,
    /// The schema, and the URL of the server that has it.
    postgres: Option<(String, String)>,
}

/// Runs a test on each kind of database.
pub fn each(test: impl AsyncFn(&Bench)) {
    run(&test, &Bench::sqlite());
    if let Some(bench) = Bench::postgres() {
        run(&test, &bench);
    }
}

/// Runs a test on PostgreSQL, which alone can do what is tested.
pub fn on_postgres(test: impl AsyncFn(&Bench)) {
    if let Some(bench) = Bench::postgres() {
        run(&test, &bench);
    }
}

/// Runs a test on SQLite, which alone can do what is tested.
pub fn on_sqlite(test: impl AsyncFn(&Bench)) {
    run(&test, &Bench::sqlite());
}

fn run(test: &impl AsyncFn(&Bench), bench: &Bench) {
    let kind = if bench.is_postgres() { "PostgreSQL" } else { "SQLite" };
    println!("on {kind}");
    let outcome = runtime().block_on(async { tokio::time::timeout(TEST_MAX, test(bench)).await });
    assert!(outcome.is_ok(), "it hangs on {kind}");
    if let Some((schema, server)) = &bench.postgres {
        runtime().block_on(execute(server, &format!("DROP SCHEMA {schema} CASCADE")));
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a statement with a connection of its own.
pub async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// The URL of the server, if there is one.
pub fn server() -> Option<String> {
    let url = env::var("CLIP_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        println!("PostgreSQL is left out: CLIP_TEST_POSTGRES is not set (scripts/postgres start)");
    }
    url
}

/// The same database, with a schema in front of all others.
pub fn with_schema(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={schema}")
}

impl Bench {
    fn sqlite() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(directory.path().join("queue").join("jobs.db"));
        Bench { directory, place, postgres: None }
    }

    fn postgres() -> Option<Bench> {
        let server = server()?;
        let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
        runtime().block_on(execute(&server, &format!("CREATE SCHEMA {schema}")));
        let place = Place::Postgres(with_schema(&server, &schema).parse().unwrap());
        Some(Bench { directory: tempfile::tempdir().unwrap(), place, postgres: Some((schema, server)) })
    }

    /// A database that somebody else made.
    pub fn at(place: Place) -> Bench {
        Bench { directory: tempfile::tempdir().unwrap(), place, postgres: None }
    }

    pub fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// The URL of the schema; for PostgreSQL only.
    pub fn url(&self) -> String {
        let (schema, server) = self.postgres.as_ref().unwrap();
        with_schema(server, schema)
    }

    /// The file; for SQLite only.
    pub fn path(&self) -> &std::path::Path {
        match &self.place {
            Place::Sqlite(path) => path,
            Place::Postgres(_) => panic!("it is no file"),
        }
    }

    /// Options with events for every transition, and no wait after a failure.
    pub fn options(&self) -> Options {
        let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
        Options { backoff, narrator: Narrator::new(tell), connections_max: 6, ..Options::new(self.place.clone()) }
    }

    pub async fn open(&self) -> Queue {
        Queue::open(self.options()).await.unwrap()
    }

    /// Another worker's queue on the same database: with SQLite there is only one, which workers of one process share.
    pub async fn join(&self, queue: &Queue, options: Options) -> Queue {
        if self.is_postgres() { Queue::open(options).await.unwrap() } else { queue.clone() }
    }
}

/// The event of a transition: its name, with the state that came of it.
pub fn tell(transition: Transition, job: &Job) -> Vec<NewEvent> {
    let name = format!("{}.{transition:?}", job.kind).to_lowercase();
    vec![NewEvent::new(name, json!({ "state": job.state.as_str(), "attempts": job.attempts }))]
}

/// A job whose payload nobody looks at.
pub fn job(key: &str) -> NewJob {
    NewJob::new("build", key, json!({ "image": key }))
}

pub async fn submit(queue: &Queue, key: &str) -> Job {
    queue.submit(&job(key)).await.unwrap().job
}

/// The next claim, which must be there.
pub async fn claim(queue: &Queue) -> Claim {
    queue.claim("worker").await.unwrap().expect("a job waits")
}

/// What happened, as `tell` tells it: name and key of all events.
pub async fn told(queue: &Queue) -> Vec<(String, String)> {
    let events = queue.events_after(0, 1000).await.unwrap();
    events.into_iter().map(|event| (event.name, event.key.unwrap_or_default())).collect()
}

/// Numbers that look random and are the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
