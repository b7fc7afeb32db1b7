//! What only a file can be: somebody else's, broken, of the future, on a full disk, everybody's to read.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use jobs::{Beat, Error, Place, Queue, State};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::{Bench, claim, each, execute, job, on_sqlite, runtime, submit};

const FULL_DISK: &str = "CLIP_JOBS_TEST_FULL_DISK";

#[test]
fn it_is_private_and_one_processs_alone() {
    on_sqlite(async |bench| {
        let queue = bench.open().await;
        submit(&queue, "a").await;
        let directory = bench.path().parent().unwrap();
        assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        let Err(Error::InUse { path }) = Queue::open(bench.options()).await else { panic!("it is in use") };
        assert_eq!(path, bench.path());
        submit(&queue, "b").await;
        queue.close().await;
        drop(queue);
        assert_eq!(bench.open().await.counts().await.unwrap().pending, 2);
    });
}

#[test]
fn whoever_had_a_job_when_it_is_opened_is_dead() {
    on_sqlite(async |bench| {
        let queue = bench.open().await;
        let id = submit(&queue, "a").await.id;
        let dead = claim(&queue).await;
        queue.close().await;
        assert!(matches!(queue.get(id).await, Err(Error::Unavailable { .. })), "it is closed");
        drop(queue);
        let queue = bench.open().await;
        let job = queue.get(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempts), (State::Pending, 1));
        assert_eq!(queue.heartbeat(&dead).await.unwrap(), Beat::Lost);
        assert_eq!(claim(&queue).await.job().attempts, 2);
    });
}

async fn refusal(bench: &Bench) -> Error {
    Queue::open(bench.options()).await.expect_err("it must be refused")
}

#[test]
fn what_is_no_database_is_refused_with_its_name_and_a_remedy() {
    on_sqlite(async |bench| {
        fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
        fs::write(bench.path(), "no database, but text that somebody wrote: ".repeat(100)).unwrap();
        let error = refusal(bench).await;
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(bench.path().to_str().unwrap()) && text.contains("move the file away"), "{text}");
        fs::remove_file(bench.path()).unwrap();
        fs::create_dir(bench.path()).unwrap();
        assert!(matches!(refusal(bench).await, Error::Io { .. }));
    });
}

#[test]
fn a_torn_database_is_an_error_and_no_more() {
    on_sqlite(async |bench| {
        let queue = bench.open().await;
        for n in 0..50 {
            submit(&queue, &n.to_string()).await;
        }
        queue.close().await;
        drop(queue);
        let whole = fs::read(bench.path()).unwrap();
        // All pages but the first two are noise.
        let torn: Vec<u8> =
            whole.iter().enumerate().map(|(n, byte)| if n < 8192 { *byte } else { byte.wrapping_add(n as u8 | 1) }).collect();
        fs::write(bench.path(), torn).unwrap();
        let error = match Queue::open(bench.options()).await {
            Ok(queue) => queue.claim("worker").await.map(drop).expect_err("it is torn"),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    });
}

#[test]
fn another_programs_database_is_left_alone() {
    on_sqlite(async |bench| {
        fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
        run(bench, "CREATE TABLE notes (text TEXT)").await;
        let before = fs::read(bench.path()).unwrap();
        let error = refusal(bench).await.to_string();
        assert!(error.contains("another program") && error.contains("a file of its own"), "{error}");
        // Its journal is a log now; nothing else is changed.
        assert_eq!(fs::read(bench.path()).unwrap().len(), before.len());
    });
}

async fn run(bench: &Bench, statement: &str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", bench.path().display())).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_schema_of_the_future_is_refused() {
    each(async |bench| {
        let queue = bench.open().await;
        queue.close().await;
        drop(queue);
        let statement = "INSERT INTO clip_schema (version) VALUES (99)";
        if bench.is_postgres() {
            execute(&bench.url(), statement).await;
        } else {
            run(bench, statement).await;
        }
        let error = refusal(bench).await;
        assert!(matches!(error, Error::TooNew { found: 99, known: 1, .. }), "{error}");
    });
}

/// What the child of the next test does: fills the disk, and says what it still got in.
#[test]
fn fill_the_disk() {
    let Some(path) = env::var_os(FULL_DISK) else { return };
    let bench = Bench::at(Place::Sqlite(path.into()));
    runtime().block_on(async {
        let queue = bench.open().await;
        for n in 0..100_000 {
            match queue.submit(&jobs::NewJob { payload: "x".repeat(20_000).into(), ..job(&n.to_string()) }).await {
                Ok(_) => fs::write(bench.path().with_extension("accepted"), n.to_string()).unwrap(),
                Err(Error::Disk { .. }) => {
                    assert_eq!(queue.counts().await.unwrap().pending, n, "what was accepted is still read");
                    return;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("the disk is never full");
    });
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    on_sqlite(async |bench| {
        fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
        // The shell ignores the signal and sets the limit; both are inherited: writes beyond it fail, as they would on a full disk.
        let script = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" --exact sqlite::fill_the_disk --test-threads 1";
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(script).arg(env::current_exe().unwrap()).env(FULL_DISK, bench.path()).stdout(Stdio::null());
        assert!(shell.status().unwrap().success());
        let accepted: u64 = fs::read_to_string(bench.path().with_extension("accepted")).unwrap().parse().unwrap();
        let queue = bench.open().await;
        assert_eq!(queue.counts().await.unwrap().pending, accepted + 1);
        submit(&queue, "there is room again").await;
    });
}

#[test]
fn a_writer_from_outside_is_waited_for_but_not_for_ever() {
    on_sqlite(async |bench| {
        let queue = Queue::open(jobs::Options { patience: Duration::from_millis(500), ..bench.options() }).await.unwrap();
        let mut outside = SqliteConnection::connect(&format!("sqlite://{}", bench.path().display())).await.unwrap();
        outside.execute("BEGIN IMMEDIATE").await.unwrap();
        assert!(matches!(queue.submit(&job("a")).await, Err(Error::Unavailable { .. })));
        assert_eq!(queue.counts().await.unwrap().pending, 0, "readers do not wait");
        outside.execute("ROLLBACK").await.unwrap();
        submit(&queue, "a").await;
    });
}
