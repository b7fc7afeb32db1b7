//! The webhook: each event, in order, until the server has taken it, also over the worker's death.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use control::Event;
use serde_json::json;

use crate::support::{Bench, eventually};

#[test]
fn each_event_arrives_in_order_whatever_the_server_says_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<(String, Event)>>> = Arc::default();
    let heard = Arc::clone(&requests);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(client);
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                head.push_str(&line.to_lowercase());
                line.clear();
            }
            let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()) else { continue };
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let mut requests = heard.lock().unwrap();
            requests.push((head, serde_json::from_slice(&body).unwrap()));
            let status = if requests.len() <= 2 { "500 Oops" } else { "204 Fine" };
            let _ = write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let mut worker = Bench::new().with("worker", json!({ "webhook": url, "webhookToken": "secret-of-the-hook" })).supervised();
    let image = worker.pull("multi", "v2");
    let seqs = || requests.lock().unwrap().iter().map(|(_, event)| event.seq).collect::<Vec<_>>();
    eventually("two events, the first of them after two refusals", || seqs() == [1, 1, 1, 2]);
    assert!(
        requests
            .lock()
            .unwrap()
            .iter()
            .all(|(head, _)| head.contains("authorization: bearer secret-of-the-hook") && head.starts_with("post /hook "))
    );
    let former = worker.kill();
    worker.wait_next(former);
    worker.mount(&image.id, "a");
    eventually("the next event", || seqs().last() == Some(&3));
    // At least once, in order: the last one before the death may come again.
    let (mut unique, all) = (seqs(), worker.events());
    assert!(unique.is_sorted(), "{unique:?}");
    unique.dedup();
    assert_eq!(unique, [1, 2, 3]);
    assert_eq!(requests.lock().unwrap().last().unwrap().1, all[2]);
}
