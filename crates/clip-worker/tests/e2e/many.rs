//! Many mounts in one worker, and mounts that nobody uses.

use serde_json::json;

use crate::support::{Bench, Worker, eventually, mounts_below, sh};

/// How many mounts.
const MANY: usize = 100;

/// Bytes of memory that a process holds of its own.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_hundred_mounts_are_cheap_and_all_come_back() {
    let mut worker = Bench::new().supervised();
    let image = worker.pull("multi", "v2").id;
    worker.mount(&image, "first");
    let (pid, before) = (worker.pid(), memory(worker.pid()));
    for n in 1..MANY {
        worker.mount(&image, &format!("m{n:03}"));
    }
    let per_mount = (memory(pid).saturating_sub(before)) / (MANY as u64 - 1);
    assert!(per_mount < 1 << 20, "{per_mount} bytes each");
    let files = |worker: &Worker| {
        sh(&format!(
            "cd '{}' && for m in *; do find \"$m\" -xdev -type f -exec sha256sum {{}} + | cut -c-64 | sort | sha256sum; done | sort | uniq -c",
            worker.path("mnt").display()
        ))
    };
    let all = files(&worker);
    assert!(all.lines().count() == 1 && all.trim().starts_with("100 "), "{all}");
    let ids = |worker: &Worker| worker.mounts().into_iter().map(|mount| mount.id).collect::<Vec<_>>();
    let known = ids(&worker);
    let former = worker.kill();
    worker.wait_next(former);
    assert_eq!((ids(&worker), files(&worker)), (known, all));
    assert!(worker.mounts().iter().all(|mount| mount.resumed == 1));
    // SIGTERM to the supervisor takes all of them away, in time.
}

#[test]
fn what_nobody_uses_is_unmounted_and_what_somebody_uses_stays() {
    let worker = Bench::new().with("worker", json!({ "idleUnmountAfter": 1 })).start();
    let image = worker.pull("multi", "v2").id;
    let (idle, used) = (worker.mount(&image, "idle"), worker.mount(&image, "used"));
    let mut user = std::process::Command::new("sleep").arg("50").current_dir(&used.mountpoint).spawn().unwrap();
    eventually("the end of the idle one", || worker.mounts().iter().all(|mount| mount.id != idle.id));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(mounts_below(&worker.path("mnt")), [std::path::PathBuf::from(&used.mountpoint)]);
    user.kill().unwrap();
    user.wait().unwrap();
    eventually("the end of the other", || worker.mounts().is_empty());
    assert_eq!(worker.count("mount.gone", None), 2);
}
