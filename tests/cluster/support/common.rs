//! Constants and paths that every subject uses.

use std::{path::PathBuf, time::Duration};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const TWO_MINUTES: Duration = Duration::from_secs(120);

/// The label of a namespace in which Pod Security enforces `restricted`.
pub(crate) const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Shows a line although the test succeeds.
#[allow(clippy::print_stderr, reason = "the seed and the figures of a run")]
pub(crate) fn report(line: &str) {
    eprintln!("{line}");
}
