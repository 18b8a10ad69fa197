//! What went wrong, whose fault it is, and what to do next.

mod library;

use std::fmt;

pub use self::library::kind_of_io;

/// The kind of an error decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A rule said no, or a check found something false.
    Refused,
    /// The command line or a file that the user named is wrong.
    Usage,
    /// A peer could not be reached, or did not answer.
    Network,
    /// Our own disk, memory or code.
    Internal,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Whoever reads the answer has seen enough (`| head`): the command ends, and nothing is wrong.
    ReaderLeft,
}

impl Kind {
    /// The exit code that scripts rely on.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::ReaderLeft => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Network => 3,
            Self::Internal => 4,
            // As shells report a program that died of SIGINT: 128 + 2.
            Self::Interrupted => 130,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::Network => "network",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::ReaderLeft => "reader-left",
        }
    }
}

/// An error with its kind, and hints for what to do.
#[derive(Debug)]
pub struct CommandError {
    /// The kind.
    pub kind: Kind,
    /// What happened, a sentence without a full stop.
    pub message: String,
    /// What to do next, a sentence each.
    pub hints: Vec<String>,
    /// Fields that the JSON document has beside the error itself.
    pub details: Option<Box<serde_json::Value>>,
    /// Whether the answer has said it all: then only the exit code is left.
    pub told: bool,
}

impl CommandError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), hints: Vec::new(), details: None, told: false }
    }

    /// An error that the answer itself has told already.
    pub fn silent(kind: Kind, message: impl fmt::Display) -> Self {
        Self { told: true, ..Self::new(kind, message) }
    }

    /// A rule said no.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The user's input is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A peer did not answer.
    pub fn network(message: impl fmt::Display) -> Self {
        Self::new(Kind::Network, message)
    }

    /// Ours.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Ctrl-C.
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Nobody reads the answer any more, or would read this.
    pub fn reader_left() -> Self {
        Self::silent(Kind::ReaderLeft, "nobody reads the answer any more")
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// The error as a JSON document, for `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "error": { "kind": self.kind.name(), "message": self.message, "hints": self.hints }
        });
        if let (Some(fields), Some(serde_json::Value::Object(details))) =
            (document.as_object_mut(), self.details.as_deref().cloned())
        {
            fields.extend(details);
        }
        document
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        for hint in &self.hints {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// What a command returns.
pub type Result<T = ()> = std::result::Result<T, CommandError>;
