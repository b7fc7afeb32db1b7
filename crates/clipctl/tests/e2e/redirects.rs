//! Registries that keep their blobs elsewhere, and say so with a redirect to a signed URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::listing::assert_contents;
use crate::proxy::{Fault, Proxy};
use crate::support::{Bench, Mount};

/// Two directories of one layer of the Python image, and one of another; each is far more than what is fetched along with its neighbour.
const NEAR: &str = "usr/lib/python3.11/asyncio";
const FAR: &str = "usr/lib/python3/dist-packages/numpy/core";
const OTHER_LAYER: &str = "usr/lib/apt";

/// A registry that sends everybody who asks for a blob to `storage`, with what `query` says then.
fn sends_to(storage: &Proxy, query: impl Fn() -> String + Send + 'static) -> Proxy {
    let address = storage.address.clone();
    Proxy::start(Some(3600), move |_, _| Fault::Elsewhere(address.clone(), query()))
}

/// GETs of blobs so far: at the registry, at the storage.
fn asked(registry: &Proxy, storage: &Proxy) -> (usize, usize) {
    (registry.blobs.load(Ordering::SeqCst), storage.blobs.load(Ordering::SeqCst))
}

fn mounted(bench: &Bench, registry: &Proxy) -> Mount {
    bench.mount(&bench.index(&format!("{}/python", registry.address), "python"), "mnt")
}

#[test]
fn the_storage_is_remembered_and_never_sees_the_credentials() {
    let storage = Proxy::start(None, |_, _| Fault::None);
    let registry = sends_to(&storage, || "signature=x".into());
    let bench = Bench::new();
    let mount = mounted(&bench, &registry);
    let indexed = asked(&registry, &storage);
    assert_eq!(indexed, (7, 7), "the config and six layers, whole");
    assert_contents("python", mount.path(), NEAR);
    assert_contents("python", mount.path(), OTHER_LAYER);
    let begun = asked(&registry, &storage);
    // Who asks before the first answer is there is sent, too.
    assert!((2..=20).contains(&(begun.0 - indexed.0)), "{begun:?}");
    assert_contents("python", mount.path(), FAR);
    assert_contents("python", mount.path(), "usr/bin");
    let done = asked(&registry, &storage);
    assert!(done.0 == begun.0 && done.1 > begun.1, "{begun:?} {done:?}");
    // The storage was asked for the same blobs, by who had shown a token to the registry.
    let tokens = |proxy: &Proxy| proxy.heads().iter().filter(|h| h.is_blob() && h.header("authorization").is_some()).count();
    assert_eq!((tokens(&registry), tokens(&storage)), (done.0, 0));
    assert!(storage.heads().iter().all(|head| head.target().ends_with("?signature=x")));
}

#[test]
fn an_expired_url_is_not_used() {
    // A quarter of its life is left to the request.
    const LIFE: Duration = Duration::from_secs(4);
    let storage = Proxy::start(None, |_, _| Fault::None);
    let registry = sends_to(&storage, || {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + LIFE;
        format!("Expires={}", end.as_secs())
    });
    let bench = Bench::new();
    let mount = mounted(&bench, &registry);
    assert_contents("python", mount.path(), NEAR);
    thread::sleep(LIFE);
    let before = asked(&registry, &storage);
    assert_contents("python", mount.path(), FAR);
    let after = asked(&registry, &storage);
    assert!(after.0 > before.0, "{before:?} {after:?}");
    let seconds = |head: &crate::proxy::Head| head.target().split_once("?Expires=").unwrap().1.parse::<u64>().unwrap();
    let late = storage.heads()[before.1..].iter().map(seconds).min();
    let early = storage.heads()[..before.1].iter().map(seconds).max();
    assert!(late > early, "an expired URL was asked: {early:?} {late:?}");
}

#[test]
fn a_url_that_the_storage_refuses_is_asked_for_again() {
    let generation = Arc::new(AtomicUsize::new(1));
    let good = Arc::clone(&generation);
    let query = move || format!("generation={}", good.load(Ordering::SeqCst));
    let only = query.clone();
    let storage = Proxy::start(None, move |_, head| match head.target().ends_with(&format!("?{}", only())) {
        true => Fault::None,
        false => Fault::Forbidden,
    });
    let registry = sends_to(&storage, query);
    let bench = Bench::new();
    let mount = mounted(&bench, &registry);
    assert_contents("python", mount.path(), NEAR);
    let before = asked(&registry, &storage);
    generation.store(2, Ordering::SeqCst);
    // Far from each other: what is read first must not have brought all of them along as neighbours.
    for dir in [FAR, "usr/bin", "usr/share/perl"] {
        assert_contents("python", mount.path(), dir);
    }
    let after = asked(&registry, &storage);
    let refused = storage.heads()[before.1..].iter().filter(|head| head.target().ends_with("generation=1")).count();
    // Each refusal costs a question, and whoever comes before the first answer asks, too; then the answer is remembered.
    assert!(refused > 0 && (1..=20).contains(&(after.0 - before.0)), "{refused} refused, {before:?} {after:?}");
    assert!(after.1 - before.1 > refused, "nothing came from the new URL");
    let log = std::fs::read_to_string(bench.path("cache/mount.log")).unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}
