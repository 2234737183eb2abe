//! The test's own program, to be started once more.

use std::process::Command;

/// How this program was started, without its arguments: by itself, or by a dynamic loader with options of its own.
pub(crate) fn this_program() -> Command {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let line: Vec<&str> = line.split(|&b| b == 0).filter_map(|arg| std::str::from_utf8(arg).ok()).collect();
    let own = std::env::args().count(); // the program and its arguments
    match line.len().checked_sub(own + 1) {
        Some(before) if before > 0 => {
            let mut command = Command::new(line[0]);
            command.args(&line[1..=before]);
            command
        }
        _ => Command::new(std::env::current_exe().unwrap()),
    }
}
