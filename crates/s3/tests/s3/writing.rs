//! Small objects: stored, under conditions too, read whole, listed, deleted.

use backend::Error;
use bytes::Bytes;
use s3::{Bucket, Condition, Entry, Put, S3};

use crate::{
    relay::{Fault, Relay},
    server::{BUCKET, Server, bucket, options},
};

async fn put(bucket: &Bucket, key: &str, content: &'static str, condition: Condition) -> Put {
    bucket.put_small(key, Bytes::from(content), condition).await.unwrap()
}

#[tokio::test]
async fn small_objects_come_and_go() {
    let server = Server::start(true).await;
    let bucket = bucket(server.address).await;
    assert_eq!(put(&bucket, "a/b+c d é", "content", Condition::None).await, Put::Stored);
    assert_eq!(put(&bucket, "a/empty", "", Condition::None).await, Put::Stored);
    assert_eq!(bucket.get_small("a/b+c d é", 7).await.unwrap(), "content");
    assert_eq!(bucket.get_small("a/empty", 0).await.unwrap(), "");
    let error = bucket.get_small("a/b+c d é", 6).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit_bytes: 6, .. }), "{error:?}");
    assert!(bucket.exists("a/b+c d é").await.unwrap() && bucket.exists("a/empty").await.unwrap());
    bucket.delete("a/b+c d é").await.unwrap();
    bucket.delete("a/b+c d é").await.unwrap();
    assert!(!bucket.exists("a/b+c d é").await.unwrap());
    assert!(matches!(bucket.get_small("a/b+c d é", 7).await, Err(Error::NotFound { .. })));
    let nowhere = S3::new(options(server.address)).await.unwrap().bucket("nowhere").unwrap();
    assert!(matches!(nowhere.exists("k").await, Err(Error::NotFound { what }) if what.starts_with("bucket 'nowhere'")));
    assert!(matches!(bucket.delete("").await, Err(Error::InvalidOption { .. })));
}

#[tokio::test]
async fn of_two_writers_one_stores() {
    let server = Server::start(true).await;
    let bucket = bucket(server.address).await;
    for round in 0..20 {
        let key = format!("race-{round}");
        let (one, other) = tokio::join!(put(&bucket, &key, "one", Condition::Absent), put(&bucket, &key, "other", Condition::Absent));
        let content = bucket.get_small(&key, 10).await.unwrap();
        match (one, other) {
            (Put::Stored, Put::Exists) => assert_eq!(content, "one"),
            (Put::Exists, Put::Stored) => assert_eq!(content, "other"),
            both => panic!("{both:?}"),
        }
    }
    assert_eq!(put(&bucket, "race-0", "third", Condition::None).await, Put::Stored);
    assert_eq!(bucket.get_small("race-0", 10).await.unwrap(), "third");
}

/// The first try stored it, its answer was lost, and the second finds an object: our own, or somebody else's.
#[tokio::test]
async fn a_lost_answer_is_not_mistaken_for_another_writer() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    relay.next("put /", Fault::LostAnswer);
    assert_eq!(put(&bucket, "k", "ours", Condition::Absent).await, Put::Stored);
    assert_eq!(relay.count("put /"), 2);
    relay.next("put /", Fault::LostAnswer);
    assert_eq!(put(&bucket, "k", "later", Condition::Absent).await, Put::Exists);
    assert_eq!(bucket.get_small("k", 10).await.unwrap(), "ours");
}

#[tokio::test]
async fn a_server_without_conditions_is_told_from_one_with() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let unknown = || Fault::Answer {
        status: "501 Not Implemented",
        headers: "",
        body: "<Error><Code>NotImplemented</Code><Message>If-None-Match</Message></Error>",
    };
    relay.next("if-none-match", unknown());
    assert_eq!(put(&bucket, "k", "first", Condition::Absent).await, Put::StoredUnconditionally);
    relay.next("if-none-match", unknown());
    assert_eq!(put(&bucket, "k", "second", Condition::Absent).await, Put::Exists);
    assert_eq!(bucket.get_small("k", 10).await.unwrap(), "first");
    assert_eq!(relay.left(), 0);
}

/// The SHA-256 in the signature covers the body: a server that checks signatures refuses what was damaged on the way.
#[tokio::test]
async fn what_is_damaged_on_the_way_is_sent_again() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    relay.next("put /", Fault::Damage);
    assert_eq!(put(&bucket, "k", "content", Condition::None).await, Put::Stored);
    assert_eq!(bucket.get_small("k", 10).await.unwrap(), "content");
    assert_eq!(relay.count("put /"), 2);
    assert_eq!((relay.count("x-amz-checksum"), relay.count("aws-chunked")), (0, 0), "not every server knows those");
}

#[tokio::test]
async fn listings_are_bounded() {
    let server = Server::start(true).await;
    let bucket = bucket(server.address).await;
    for number in 0..1003 {
        server.store(&format!("many/{number:04}"), b"xy");
    }
    server.store("other", b"");
    let all = bucket.list("many/", 5000).await.unwrap();
    assert_eq!((all.entries.len(), all.truncated), (1003, false), "over pages");
    assert!(all.entries.is_sorted_by(|a, b| a.key < b.key));
    let Entry { key, size, modified } = &all.entries[1002];
    assert_eq!((key.as_str(), *size, modified.is_some()), ("many/1002", 2, true));
    let some = bucket.list("many/", 1001).await.unwrap();
    assert_eq!((some.entries.len(), some.truncated), (1001, true));
    let exactly = bucket.list("many/", 1003).await.unwrap();
    assert_eq!((exactly.entries.len(), exactly.truncated), (1003, false));
    assert!(bucket.list("nothing/", 10).await.unwrap().entries.is_empty());
    let nowhere = S3::new(options(server.address)).await.unwrap().bucket("nowhere").unwrap();
    assert!(matches!(nowhere.list("", 10).await, Err(Error::NotFound { .. })));
    assert_eq!(bucket.name(), BUCKET);
}
