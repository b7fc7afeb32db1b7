//! How this process takes memory from the system.

/// Blocks of at least so many bytes are mapped each for itself: above all others that the worker takes, below the 16 MiB buffers of FUSE threads.
const MAPPED_BYTES_MIN: i32 = 4 << 20;

/// Keeps the buffers of FUSE threads out of the heap.
///
/// fuser has a buffer of 16 MiB for each of its threads, of which requests of a read-only filesystem use the first kilobytes. Mapped anew, the rest is never touched.
/// But glibc raises its threshold with each such block that is freed (mallopt(3), M_MMAP_THRESHOLD), takes the next ones from the heap, and zeroes them: 15 MB
/// of memory for each mount, measured. A threshold that was set stays.
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
pub(crate) fn map_large_blocks() {
    // SAFETY: mallopt takes two integers and changes nothing but a parameter of the allocator. It is called before there are other threads.
    // Its only failure is to leave all as it was, which costs memory.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) };
}
