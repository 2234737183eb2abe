//! The documented variables of the environment. One that is empty counts as not set.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::device::lock;

fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A text. What is no Unicode in it is shown by a mark, which no name has: it is not passed over.
pub(crate) fn text(name: &str) -> Option<String> {
    value(name).map(|value| value.to_string_lossy().into_owned())
}

/// A file or a folder.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}

/// Whether a switch is on: `1` or `0` in the environment, else `default`. Any other value is passed over, and the log says
/// so once.
pub fn switch(name: &'static str, default: bool) -> bool {
    static TOLD: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    match text(name).as_deref() {
        None => default,
        Some("0") => false,
        Some("1") => true,
        Some(other) => {
            if lock(&TOLD).insert(name) {
                log::warn!("{name}={other} is passed over: the switch is 0 or 1");
            }
            default
        }
    }
}
