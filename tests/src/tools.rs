//! Programs that tests use and that are not part of the workspace.

use std::path::PathBuf;

/// Returns the path of a program on the `PATH`.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Returns the path of a program on the `PATH`. Without it this says on standard error what is not
/// tested and returns `None`, except where `CI` is set: there a program that is missing is a
/// failure.
///
/// # Panics
///
/// If `CI` is set and the program is not there.
#[must_use]
pub fn find(program: &str, what: &str) -> Option<PathBuf> {
    let found = on_path(program);
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{what}: {program} is not on the PATH"
        );
        crate::announce(&format!("NOT TESTED: {what}; {program} is not on the PATH"));
    }
    found
}
