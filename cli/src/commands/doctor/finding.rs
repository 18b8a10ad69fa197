//! What one check found, and what to do about it.

use std::fmt::Display;

use serde_json::{Value, json};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// The node cannot do its work like this.
    Failed,
    /// Not checked.
    Skipped,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check, by a stable name.
    pub name: &'static str,
    /// How it went.
    pub state: State,
    /// What was found, in a sentence.
    pub what: String,
    /// What to do; nothing where all is well.
    pub todo: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(name: &'static str, what: impl Display) -> Self {
        Self { name, state: State::Ok, what: what.to_string(), todo: None }
    }

    /// Worth a look.
    pub fn warning(name: &'static str, what: impl Display, todo: impl Display) -> Self {
        Self { name, state: State::Warning, what: what.to_string(), todo: Some(todo.to_string()) }
    }

    /// Not as it must be.
    pub fn failed(name: &'static str, what: impl Display, todo: impl Display) -> Self {
        Self { state: State::Failed, ..Self::warning(name, what, todo) }
    }

    /// Not checked, and why.
    pub fn skipped(name: &'static str, why: impl Display) -> Self {
        Self { state: State::Skipped, ..Self::ok(name, why) }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "check": self.name, "state": self.state.name(), "what": self.what, "do": self.todo })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let first = format!("{:<8} {:<12} {}", self.state.name(), self.name, self.what);
        let then = self.todo.iter().map(|todo| format!("{:<21} do: {todo}", ""));
        std::iter::once(first).chain(then).collect()
    }
}
