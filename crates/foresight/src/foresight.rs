//! Walking ahead of a program.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use archive::{Archive, Nid, Node, NodeKind};
use read::Reader;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::binary::{self, Binary};
use crate::command;
use crate::library::{self, Libraries};
use crate::script;

/// Files that are followed for one mount: a start of many programs with many libraries, and no more.
const FILES_MAX: usize = 512;
/// Files that are looked into at the same time.
const FOLLOWED_AT_ONCE: usize = 16;
/// A file up to this size is brought whole: its code follows its head. Of a longer one only what the loader looks at.
const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// Foretells the reads of one mount.
#[derive(Debug)]
pub struct Foresight {
    archive: Arc<Archive>,
    reader: Arc<Reader>,
    runtime: Handle,
    seen: Mutex<HashSet<Nid>>,
    libraries: OnceLock<Libraries>,
    turns: Semaphore,
}

impl Foresight {
    /// Foresight for the files of `archive`, which `reader` reads. It works in tasks on `runtime`, and ends when the reader is closed.
    pub fn new(archive: Arc<Archive>, reader: Arc<Reader>, runtime: Handle) -> Arc<Foresight> {
        let turns = Semaphore::new(FOLLOWED_AT_ONCE);
        Arc::new(Foresight { archive, reader, runtime, seen: Mutex::default(), libraries: OnceLock::new(), turns })
    }

    /// A program has read the beginning of a file: asks for what follows from that. Returns at once. Where all data is local nothing is done.
    pub fn touched(self: &Arc<Self>, file: &Node, head: &[u8]) {
        if head.starts_with(b"\x7fELF") || head.starts_with(b"#!") {
            self.follow(file.clone());
        }
    }

    /// Looks into a file, once.
    fn follow(self: &Arc<Self>, file: Node) {
        if file.kind != NodeKind::File || file.size == 0 || !self.reader.is_far() {
            return;
        }
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() >= FILES_MAX || !seen.insert(file.nid) {
                return;
            }
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let Ok(_turn) = this.turns.acquire().await else { return };
            // None: it is no program, or cannot be read; whoever reads it will be told.
            let _ = this.look_into(&file).await;
        });
    }

    async fn look_into(self: &Arc<Self>, file: &Node) -> Option<()> {
        let head = self.bytes(file, 0..binary::HEAD_BYTES).await?;
        tracing::debug!(nid = file.nid.0, bytes = file.size, "a program is started: bring what it needs");
        if let Some((interpreter, argument)) = script::interpreter(&head) {
            self.follow_script(interpreter, argument);
            return Some(());
        }
        let binary = Binary::parse(&head)?;
        if file.size <= WHOLE_BYTES_MAX {
            self.reader.bring(file, 0..file.size);
        }
        if let Some(range) = binary.interpreter.clone() {
            let path = self.bytes(file, range).await?;
            self.follow_path(binary::until_nul(&path)?);
        }
        let dynamic = self.bytes(file, binary.dynamic.clone()?).await?;
        let needs = binary.needs(&dynamic)?;
        let strings = self.bytes(file, needs.strings.clone()).await?;
        let index = self.archive.index();
        let libraries = self.libraries.get_or_init(|| Libraries::find(index));
        needs.names(&strings).filter_map(|name| libraries.get(index, name)).for_each(|library| self.follow(library));
        Some(())
    }

    fn follow_script(self: &Arc<Self>, interpreter: &[u8], argument: Option<&[u8]>) {
        self.follow_path(interpreter);
        let program = argument.filter(|_| interpreter.ends_with(b"/env")).and_then(|program| str::from_utf8(program).ok());
        let mut paths = program.into_iter().flat_map(|program| command::candidates(self.archive.config(), program));
        if let Some(node) = paths.find_map(|path| library::resolve(self.archive.index(), path.as_bytes())) {
            self.follow(node);
        }
    }

    fn follow_path(self: &Arc<Self>, path: &[u8]) {
        if let Some(node) = library::resolve(self.archive.index(), path) {
            self.follow(node);
        }
    }

    async fn bytes(&self, file: &Node, range: Range<u64>) -> Option<Vec<u8>> {
        self.reader.foresee(file, range).await.ok()
    }
}
