//! What an ELF file says about the files that it is started with. Pure: bytes in, names out.
//!
//! Sources: elf(5), and what glibc's and musl's loaders do with it. 64-bit little-endian files only, as on all machines that we run on.

use std::ops::Range;

use elf::abi::{DT_NEEDED, DT_NULL, DT_STRSZ, DT_STRTAB, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::{ProgramHeader, SegmentTable};

/// Bytes of a file's head in which its program headers must lie; they follow the file header everywhere.
pub(crate) const HEAD_BYTES: u64 = 4096;
/// Longest dynamic section: 16 bytes for each of its entries, of which programs have some dozens.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;
/// Longest path of an interpreter.
const INTERPRETER_BYTES_MAX: u64 = 4096;
/// Most of a string table that is looked at. The names of libraries come among symbols, anywhere in it.
const STRINGS_BYTES_MAX: u64 = 1 << 20;
/// Most libraries that one file may need.
const NEEDED_MAX: usize = 256;
const FILE_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;
const IDENT_BYTES: usize = 16;

/// Where in the file its interesting parts lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The path of the interpreter, ended by NUL.
    pub interpreter: Option<Range<u64>>,
    /// The dynamic section.
    pub dynamic: Option<Range<u64>>,
    loads: Vec<Load>,
}

/// A part of the file and the addresses it is loaded to.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    address: u64,
    file: Range<u64>,
}

/// What the dynamic section says about libraries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Where the string table lies in the file.
    pub strings: Range<u64>,
    /// Where names of libraries begin in the string table.
    offsets: Vec<u64>,
}

impl Binary {
    /// From the first [`HEAD_BYTES`] of a file, or all of it. None if it is no ELF file that could be started here.
    pub(crate) fn parse(head: &[u8]) -> Option<Binary> {
        let ident = parse_ident::<LittleEndian>(head.get(..IDENT_BYTES)?).ok()?;
        let rest = head.get(IDENT_BYTES..FILE_HEADER_BYTES).filter(|_| matches!(ident.1, Class::ELF64))?;
        let header = FileHeader::parse_tail(ident, rest).ok().filter(|header| header.e_phentsize == PROGRAM_HEADER_BYTES)?;
        let start = usize::try_from(header.e_phoff).ok()?;
        let table = head.get(start..start.checked_add(usize::from(header.e_phnum) * usize::from(PROGRAM_HEADER_BYTES))?)?;
        let segments: SegmentTable<'_, LittleEndian> = ParsingTable::new(header.endianness, header.class, table);
        let part = |kind, bytes_max| {
            let segment = segments.iter().find(|segment| segment.p_type == kind)?;
            file_range(&segment).filter(|range| range.end - range.start <= bytes_max)
        };
        let loads = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
        let loads = loads.filter_map(|segment| Some(Load { address: segment.p_vaddr, file: file_range(&segment)? })).collect();
        let (interpreter, dynamic) = (part(PT_INTERP, INTERPRETER_BYTES_MAX), part(PT_DYNAMIC, DYNAMIC_BYTES_MAX));
        Some(Binary { interpreter, dynamic, loads })
    }

    /// From the bytes of the dynamic section. None if it needs nothing, or what it says makes no sense.
    pub(crate) fn needs(&self, dynamic: &[u8]) -> Option<Needs> {
        let (mut offsets, mut address, mut size) = (Vec::new(), None, None);
        for entry in dynamic.chunks_exact(16) {
            let value = u64::from_le_bytes(entry[8..].try_into().ok()?);
            match i64::from_le_bytes(entry[..8].try_into().ok()?) {
                DT_NULL => break,
                DT_NEEDED if offsets.len() < NEEDED_MAX => offsets.push(value),
                DT_STRTAB => address = Some(value),
                DT_STRSZ => size = Some(value.min(STRINGS_BYTES_MAX)),
                _ => {}
            }
        }
        let (start, size) = (self.in_file(address?)?, size?);
        (!offsets.is_empty()).then_some(Needs { strings: start..start.checked_add(size)?, offsets })
    }

    /// Where in the file an address lies.
    fn in_file(&self, address: u64) -> Option<u64> {
        self.loads.iter().find_map(|load| {
            let within = address.checked_sub(load.address)?;
            (within < load.file.end - load.file.start).then_some(load.file.start + within)
        })
    }
}

impl Needs {
    /// The names of the libraries, from the bytes of the string table.
    pub(crate) fn names<'a>(&'a self, strings: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.offsets.iter().filter_map(|&offset| until_nul(strings.get(usize::try_from(offset).ok()?..)?)).filter(|name| !name.is_empty())
    }
}

/// What comes before the NUL. None without one.
pub(crate) fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[..end])
}

fn file_range(segment: &ProgramHeader) -> Option<Range<u64>> {
    Some(segment.p_offset..segment.p_offset.checked_add(segment.p_filesz)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test's own program: dynamically linked, as Rust's are on the systems that we run on.
    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    fn at(file: &[u8], range: Range<u64>) -> &[u8] {
        &file[range.start as usize..range.end as usize]
    }

    #[test]
    fn a_real_program_names_its_interpreter_and_libraries() {
        let file = own();
        let binary = Binary::parse(&file[..HEAD_BYTES as usize]).unwrap();
        let interpreter = until_nul(at(&file, binary.interpreter.clone().unwrap())).unwrap();
        assert!(String::from_utf8_lossy(interpreter).contains("/ld-"), "{interpreter:?}");
        let needs = binary.needs(at(&file, binary.dynamic.clone().unwrap())).unwrap();
        let names: Vec<_> = needs.names(at(&file, needs.strings.clone())).collect();
        assert!(names.iter().any(|name| name.starts_with(b"libc.")), "{names:?}");
    }

    #[test]
    fn what_is_no_program_is_none() {
        assert_eq!(Binary::parse(b""), None);
        assert_eq!(Binary::parse(b"#!/bin/sh\n"), None);
        let file = own();
        assert_eq!(Binary::parse(&file[..100]), None, "headers that are cut off");
        let mut other = file[..HEAD_BYTES as usize].to_vec();
        other[5] = 2; // big-endian
        assert_eq!(Binary::parse(&other), None);
    }

    #[test]
    fn no_byte_of_the_head_makes_it_panic() {
        let file = own();
        for position in 0..1024 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut head = file[..HEAD_BYTES as usize].to_vec();
                head[position] = value;
                let Some(binary) = Binary::parse(&head) else { continue };
                let dynamic = binary.dynamic.clone().filter(|range| range.end <= file.len() as u64);
                let Some(needs) = dynamic.and_then(|range| binary.needs(at(&file, range))) else { continue };
                let _ = needs.names(&file).count();
            }
        }
    }
}
