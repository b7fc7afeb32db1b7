//! Errors on one line.

/// The whole chain on one line: what was tried, and why it failed. Some errors say their cause themselves: it is not said twice.
pub fn explain(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn no_cause_is_said_twice() {
        let error = anyhow!("no such file").context("open x: no such file").context("mount x");
        assert_eq!(super::explain(&error), "mount x: open x: no such file");
    }
}
