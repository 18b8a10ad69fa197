//! A node as a child process: started from this same program, heard through its JSON events, and never left behind.
//!
//! A child ends when its standard input closes, so it ends with us however we end; and it is killed when dropped.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::error::{CommandError, Result};

/// How long a child may take to end by itself before it is killed.
const STOP_TIME: Duration = Duration::from_secs(10);

/// A running node.
pub struct Process {
    /// Its name, for messages.
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    events: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `gridhour ARGS`, its log going to `log`.
    pub fn start(name: &str, args: &[OsString], log: &Path) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| CommandError::internal(format!("cannot find this program: {error}")))?;
        let fail = |error: std::io::Error| CommandError::internal(format!("cannot start {name}: {error}"));
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log).map_err(fail)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let stdout = child.stdout.take().ok_or_else(|| CommandError::internal("a child has no output"))?;
        let stdin = child.stdin.take();
        let events = BufReader::new(stdout).lines();
        Ok(Self { name: name.to_owned(), child, stdin, events, log: log.to_owned() })
    }

    /// Waits for the event called `event` and returns it; earlier events are skipped.
    pub async fn wait_for(&mut self, event: &str, patience: Duration) -> Result<Value> {
        let found = timeout(patience, self.next_called(event)).await;
        match found {
            Ok(found) => found,
            Err(_) => Err(self.error(format!("{} did not say {event:?} within {patience:?}", self.name))),
        }
    }

    async fn next_called(&mut self, event: &str) -> Result<Value> {
        loop {
            let line = self.events.next_line().await;
            let Ok(Some(line)) = line else {
                return Err(self.error(format!("{} ended before it said {event:?}", self.name)));
            };
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value["event"] == event => return Ok(value),
                Ok(value) if value.get("error").is_some() => {
                    return Err(self.error(format!("{}: {}", self.name, value["error"]["message"])));
                }
                _ => {}
            }
        }
    }

    fn error(&self, message: String) -> CommandError {
        CommandError::internal(message).hint(format!("its log is {}", self.log.display()))
    }

    /// Asks the child to end, and kills it if it does not.
    pub async fn stop(mut self) -> Result {
        drop(self.stdin.take());
        if timeout(STOP_TIME, self.child.wait()).await.is_err() {
            let killed = self.child.kill().await;
            killed.map_err(|error| CommandError::internal(format!("cannot stop {}: {error}", self.name)))?;
        }
        Ok(())
    }
}
