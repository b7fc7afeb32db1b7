//! `clipctl ls`.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use anyhow::Result;
use archive::{Archive, Index, Node, NodeKind};
use serde_json::{Value, json};

use crate::cli::LsArgs;
use crate::invocation::{Invocation, runtime};
use crate::tree_walk::{Step, Walk, resolve};
use crate::{output, time};

pub(super) fn run(args: &LsArgs, call: &Invocation) -> Result<ExitCode> {
    let archive = call.located(&args.archive, None, &runtime()?)?.archive;
    let index = archive.index();
    let path = args.path.as_os_str().as_bytes();
    let node = resolve(index, path)?;
    let mut rows = Vec::new();
    if node.kind == NodeKind::Directory {
        collect(&archive, node, args.recursive, &mut rows)?;
    } else {
        rows.push((path.to_vec(), node));
    }
    if call.global.json {
        let rows = rows.iter().map(|(path, node)| document(index, path, node)).collect::<Result<Vec<Value>>>()?;
        output::json(&rows)?;
    } else {
        for (path, node) in &rows {
            let line = if args.long { long(index, path, node)? } else { output::name(path) };
            output::print(&format!("{line}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The entries of a directory, with `deep` all below it by their paths from there.
fn collect(archive: &Archive, dir: Node, deep: bool, rows: &mut Vec<(Vec<u8>, Node)>) -> Result<()> {
    if !deep {
        let index = archive.index();
        for entry in index.read_dir(&dir, 0)? {
            let entry = entry?;
            if entry.name != b"." && entry.name != b".." {
                rows.push((entry.name.to_vec(), index.node(entry.nid)?));
            }
        }
        return Ok(());
    }
    let mut above: Vec<u8> = Vec::new();
    let mut lengths = Vec::new();
    for step in Walk::new(archive, dir) {
        match step? {
            Step::Entry(name, node) => {
                let path = [&above[..], &name].concat();
                if node.kind == NodeKind::Directory {
                    lengths.push(above.len());
                    above = [&path[..], b"/"].concat();
                }
                rows.push((path, node));
            }
            Step::Leave => above.truncate(lengths.pop().unwrap_or_default()),
        }
    }
    Ok(())
}

/// The letter of a kind, as `ls -l` has it, and its name.
pub(super) fn kind(kind: NodeKind) -> (char, &'static str) {
    match kind {
        NodeKind::File => ('-', "file"),
        NodeKind::Directory => ('d', "directory"),
        NodeKind::Symlink => ('l', "symlink"),
        NodeKind::CharDevice => ('c', "char-device"),
        NodeKind::BlockDevice => ('b', "block-device"),
        NodeKind::Fifo => ('p', "fifo"),
        NodeKind::Socket => ('s', "socket"),
    }
}

/// `rwsr-xr-t`.
fn permissions(mode: u16) -> String {
    let mut out = String::new();
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

fn long(index: &Index, path: &[u8], node: &Node) -> Result<String> {
    let size = match node.kind {
        NodeKind::CharDevice | NodeKind::BlockDevice => format!("{}, {}", node.rdev.major, node.rdev.minor),
        _ => node.size.to_string(),
    };
    let target = match node.kind {
        NodeKind::Symlink => format!(" -> {}", output::name(&index.read_link(node)?)),
        _ => String::new(),
    };
    Ok(format!(
        "{}{} {:>3} {:>5} {:>5} {:>10} {} {}{target}",
        kind(node.kind).0,
        permissions(node.mode),
        node.nlink,
        node.uid,
        node.gid,
        size,
        time::utc(node.mtime),
        output::name(path),
    ))
}

fn document(index: &Index, path: &[u8], node: &Node) -> Result<Value> {
    let mut out = json!({
        "path": output::name(path),
        "type": kind(node.kind).1,
        "mode": format!("{:04o}", node.mode),
        "nlink": node.nlink,
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": node.mtime,
        "mtime_nsec": node.mtime_nsec,
        "nid": node.nid.0,
    });
    if node.kind == NodeKind::Symlink {
        out["target"] = output::name(&index.read_link(node)?).into();
    }
    if matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
        out["rdev"] = json!([node.rdev.major, node.rdev.minor]);
    }
    let xattrs = index.xattrs(node)?;
    if !xattrs.is_empty() {
        let named = xattrs.iter().map(|(name, value)| (output::name(name), Value::from(output::name(value))));
        out["xattrs"] = Value::Object(named.collect());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(
            (permissions(0o4755), permissions(0o1666), permissions(0o2070)),
            ("rwsr-xr-x".into(), "rw-rw-rwT".into(), "---rws---".into())
        );
    }
}
