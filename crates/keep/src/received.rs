//! What an earlier process of this service had stored: sd_listen_fds_with_names(3).

use std::os::fd::{OwnedFd, RawFd};

use crate::error::Error;
use crate::numbers;

/// Descriptors that are taken at most: more than any store holds.
const DESCRIPTORS_MAX: RawFd = 4096;

/// The name of a descriptor that came without one.
const NAMELESS: &str = "unknown";

/// A descriptor that was passed to this process.
#[derive(Debug)]
pub struct Received {
    /// The name under which it was stored. Names need not be unique.
    pub name: String,
    /// It is not inherited by programs that this process starts.
    pub descriptor: OwnedFd,
}

/// The descriptors that the service manager passed to this process at its start ($LISTEN_FDS, $LISTEN_PID, $LISTEN_FDNAMES), in the order in which they were stored.
///
/// They can be taken once; afterwards, and where none were passed, the list is empty. To be called before this process starts others: those would inherit them.
/// The environment stays as it is (changing it is not safe among threads): it names the pid of this process, so children do not feel addressed.
///
/// The manager has its own duplicates and keeps them: do not store them again, and [`crate::Keeper::remove`] what is no longer needed.
pub fn received() -> Result<Vec<Received>, Error> {
    let variable = |name| std::env::var(name).ok();
    let Some(announced) = announced(variable("LISTEN_PID"), variable("LISTEN_FDS"), std::process::id())? else { return Ok(Vec::new()) };
    let Some(descriptors) = numbers::take_inherited(announced) else { return Ok(Vec::new()) };
    let names = names(variable("LISTEN_FDNAMES"));
    let descriptors = descriptors.into_iter().zip(names).map(|(descriptor, name)| {
        let descriptor = descriptor.map_err(|(number, source)| Error::Descriptor { number, source })?;
        Ok(Received { name, descriptor })
    });
    descriptors.collect()
}

/// How many descriptors were passed to the process `me`; none if nothing is said, or to another process.
fn announced(pid: Option<String>, count: Option<String>, me: u32) -> Result<Option<RawFd>, Error> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(None) };
    match pid.parse::<u32>() {
        Err(_) => return Err(Error::Environment { variable: "LISTEN_PID", value: pid }),
        Ok(pid) if pid != me => return Ok(None),
        Ok(_) => {}
    }
    match count.parse::<RawFd>() {
        Ok(number) if (0..=DESCRIPTORS_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(Error::Environment { variable: "LISTEN_FDS", value: count }),
    }
}

/// The names in turn, and without end: what has none is nameless.
fn names(list: Option<String>) -> impl Iterator<Item = String> {
    let known: Vec<String> = list.map(|list| list.split(':').map(str::to_owned).collect()).unwrap_or_default();
    known.into_iter().chain(std::iter::repeat_with(|| NAMELESS.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pid: &str, count: &str) -> Result<Option<RawFd>, Error> {
        announced(Some(pid.into()), Some(count.into()), 42)
    }

    #[test]
    fn only_what_is_for_this_process_is_taken() {
        assert_eq!(given("42", "3").unwrap(), Some(3));
        assert_eq!(given("43", "3").unwrap(), None);
        assert_eq!(announced(None, Some("3".into()), 42).unwrap(), None);
        assert_eq!(announced(Some("42".into()), None, 42).unwrap(), None);
        for (pid, count) in [("x", "3"), ("42", "-1"), ("42", "4097"), ("42", "99999999999"), ("42", "")] {
            assert!(given(pid, count).is_err(), "{pid} {count}");
        }
    }

    #[test]
    fn names_never_run_out() {
        let of = |list: Option<&str>| names(list.map(str::to_owned)).take(3).collect::<Vec<_>>();
        assert_eq!(of(Some("a::c:d")), ["a", "", "c"]);
        assert_eq!(of(Some("a")), ["a", "unknown", "unknown"]);
        assert_eq!(of(None), ["unknown"; 3]);
    }
}
