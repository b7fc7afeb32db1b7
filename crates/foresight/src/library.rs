//! Where the loader looks for libraries, as far as an archive's tree tells: the directories that loaders are built to search (ld.so(8)), and those of
//! Debian's multiarch. What only a file says (ld.so.conf, RUNPATH) is left out: reading it would be a wait of its own.

use archive::{Index, Node, NodeKind};

/// The directories by their usual names.
const DIRECTORIES: [&str; 6] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", "/usr/local/lib64"];
/// Parents of directories that are named by the machine, such as `x86_64-linux-gnu`.
const PARENTS: [&str; 2] = ["/usr/lib", "/lib"];
const MACHINES: [&str; 3] = ["-linux-gnu", "-linux-musl", "-linux-gnueabihf"];
/// Most entries of a parent that are looked at.
const ENTRIES_MAX: usize = 4096;

/// The directories that have libraries.
#[derive(Debug)]
pub(crate) struct Libraries(Vec<Node>);

impl Libraries {
    /// Finds them; a damaged index has none.
    pub(crate) fn find(index: &Index) -> Libraries {
        let mut found: Vec<Node> = Vec::new();
        let machines =
            PARENTS.iter().filter_map(|parent| resolve(index, parent.as_bytes())).flat_map(|parent| machine_directories(index, &parent));
        let usual = DIRECTORIES.iter().filter_map(|path| resolve(index, path.as_bytes()));
        for dir in machines.chain(usual).filter(|dir| dir.kind == NodeKind::Directory) {
            // /lib is mostly a link to /usr/lib.
            if found.iter().all(|known| known.nid != dir.nid) {
                found.push(dir);
            }
        }
        Libraries(found)
    }

    /// The file that a loader would take for the name.
    pub(crate) fn get(&self, index: &Index, name: &[u8]) -> Option<Node> {
        if name.contains(&b'/') {
            return resolve(index, name);
        }
        self.0.iter().find_map(|dir| index.resolve(dir, name).ok()?.ok()).filter(|node| node.kind == NodeKind::File)
    }
}

/// The node at a path from the root.
pub(crate) fn resolve(index: &Index, path: &[u8]) -> Option<Node> {
    index.resolve(&index.node(index.root()).ok()?, path).ok()?.ok()
}

fn machine_directories(index: &Index, parent: &Node) -> Vec<Node> {
    let Ok(entries) = index.read_dir(parent, 0) else { return Vec::new() };
    let entries = entries.take(ENTRIES_MAX).filter_map(Result::ok).filter(|entry| entry.kind == NodeKind::Directory);
    let of_machines = entries.filter(|entry| MACHINES.iter().any(|end| entry.name.ends_with(end.as_bytes())));
    of_machines.filter_map(|entry| index.node(entry.nid).ok()).collect()
}
