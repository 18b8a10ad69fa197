//! A user of one test: a home, a data directory and a model cache of their own, and no environment but that.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::gguf::SmallModel;

use crate::watched;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gridhour");

/// Where one test's files lie; gone with it.
pub struct Sandbox(TempDir);

/// What a command said.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("the system has a place for temporary files"))
    }

    /// A sandbox that holds `small.gguf`.
    pub fn with_model() -> Self {
        let sandbox = Self::new();
        sandbox.write("small.gguf", SmallModel::new(1).bytes());
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a temporary file can be written");
    }

    /// Names of the files that are there.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the folder is there");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry can be read").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The program, run in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), arguments)
    }

    /// Another build of the program, run in this folder.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .env("GRIDHOUR_DATA_DIR", self.path("data"))
            .env("GRIDHOUR_MODEL_CACHE", self.path("models"))
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::new(&watched::output(&mut self.command(arguments)), self.0.path())
    }

    /// The JSON document of a command that ends well.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.run(&[&["--json"], arguments].concat());
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer}");
        answer.document()
    }
}

impl Answer {
    /// What a process said, with the sandbox's folder as `[DIR]`.
    pub fn new(output: &Output, folder: &Path) -> Self {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).expect("the program writes UTF-8");
            text.replace(&folder.display().to_string(), "[DIR]")
        };
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Standard output as one JSON document.
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "exit {code}")?,
            None => writeln!(f, "killed")?,
        }
        for (name, text) in [("out", &self.stdout), ("err", &self.stderr)] {
            text.lines().try_for_each(|line| writeln!(f, "{}", format!("{name}: {line}").trim_end()))?;
        }
        Ok(())
    }
}
