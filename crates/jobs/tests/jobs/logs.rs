//! The log of a job.

use jobs::{Error, LOG_LINE_BYTES_MAX, Level, Options, Queue};

use crate::support::{claim, each, submit};

#[test]
fn lines_come_in_order_and_in_pieces() {
    each(async |bench| {
        let queue = bench.open().await;
        let id = submit(&queue, "a").await.id;
        let claim = claim(&queue).await;
        queue.log(&claim, &[(Level::Info, "one"), (Level::Warn, "two é")]).await.unwrap();
        queue.log(&claim, &[]).await.unwrap();
        queue.log(&claim, &[(Level::Error, "three\n\ttab"), (Level::Debug, "nul \0")]).await.unwrap();
        let log = queue.logs_after(id, 0, 100).await.unwrap();
        let lines: Vec<_> = log.lines.iter().map(|line| (line.seq, line.level, line.line.as_str())).collect();
        let expected =
            [(1, Level::Info, "one"), (2, Level::Warn, "two é"), (3, Level::Error, "three\n\ttab"), (4, Level::Debug, "nul \u{fffd}")];
        assert_eq!((lines.as_slice(), log.dropped), (expected.as_slice(), 0));
        assert_eq!(queue.logs_after(id, 1, 2).await.unwrap().lines, log.lines[1..3]);
        assert!(queue.logs_after(id, 4, 100).await.unwrap().lines.is_empty());
        assert!(queue.logs_after("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(), 0, 9).await.unwrap().lines.is_empty());
    });
}

#[test]
fn the_latest_lines_are_kept_and_the_reader_hears_of_the_others() {
    each(async |bench| {
        let queue = Queue::open(Options { log_lines_max: 10, ..bench.options() }).await.unwrap();
        let id = submit(&queue, "a").await.id;
        let claim = claim(&queue).await;
        for n in 0..7 {
            let lines: Vec<String> = (0..5).map(|m| format!("{}", n * 5 + m + 1)).collect();
            let lines: Vec<(Level, &str)> = lines.iter().map(|line| (Level::Info, line.as_str())).collect();
            queue.log(&claim, &lines).await.unwrap();
        }
        let log = queue.logs_after(id, 0, 100).await.unwrap();
        assert_eq!(log.dropped, 25);
        assert!(log.lines.iter().map(|line| line.line.clone()).eq((26..=35).map(|n| n.to_string())));
        assert_eq!(queue.logs_after(id, 20, 3).await.unwrap().dropped, 5);
        assert_eq!(queue.logs_after(id, 25, 3).await.unwrap().dropped, 0);
    });
}

#[test]
fn lines_have_their_bounds() {
    each(async |bench| {
        let queue = bench.open().await;
        let id = submit(&queue, "a").await.id;
        let claim = claim(&queue).await;
        queue.log(&claim, &[(Level::Info, &"é".repeat(5000))]).await.unwrap();
        assert_eq!(queue.logs_after(id, 0, 1).await.unwrap().lines[0].line.len(), LOG_LINE_BYTES_MAX);
        queue.log(&claim, &[(Level::Info, "x"); 200]).await.unwrap();
        assert!(matches!(queue.log(&claim, &[(Level::Info, "x"); 201]).await, Err(Error::Invalid { .. })));
        assert_eq!(queue.logs_after(id, 0, 1000).await.unwrap().lines.len(), 201);
    });
}
