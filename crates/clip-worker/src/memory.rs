//! How the allocator of glibc treats large blocks.
//!
//! Each thread of a mount has a buffer of 16 MiB, of which next to nothing is ever touched. As long as such a block is a mapping of its own, only what is touched
//! takes memory. But glibc learns: after the first one was freed it takes the next ones from its heaps, and fills them with zeroes, which touches them all.

#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt(3) has no other interface"))]

/// From this size on a block is a mapping of its own, in bytes.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: i32 = 1 << 20;

/// Keeps large blocks mappings of their own. To be called before there are threads.
pub(crate) fn keep_large_blocks_apart() {
    // SAFETY: mallopt takes two numbers, and no other thread is there whose allocations it could meet.
    #[cfg(target_env = "gnu")]
    unsafe {
        // A refusal leaves it as it was.
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}
