//! Little-endian numbers in records of known size. An offset outside the record is a bug of ours, not of the bytes.

/// Reads the number at `at`.
pub(crate) fn u16<const N: usize>(record: &[u8; N], at: usize) -> u16 {
    u16::from_le_bytes([record[at], record[at + 1]])
}

/// Reads the number at `at`.
pub(crate) fn u32<const N: usize>(record: &[u8; N], at: usize) -> u32 {
    u32::from(u16(record, at)) | u32::from(u16(record, at + 2)) << 16
}

/// Reads the number at `at`.
pub(crate) fn u64<const N: usize>(record: &[u8; N], at: usize) -> u64 {
    u64::from(u32(record, at)) | u64::from(u32(record, at + 4)) << 32
}

/// Writes bytes at `at`.
pub(crate) fn put<const N: usize, const M: usize>(record: &mut [u8; N], at: usize, bytes: [u8; M]) {
    record[at..at + M].copy_from_slice(&bytes);
}

/// The 32 bytes at `at`.
pub(crate) fn digest<const N: usize>(record: &[u8; N], at: usize) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(&record[at..at + 32]);
    digest
}
