//! Errors of the libraries, sorted by whose fault they are. Their texts say what to do where it takes more
//! than reading them.

use std::{io, path::Path};

use gridhour_node::{
    command::NodeError,
    drivers::{
        client::{CalibrateError, ConnectError, FetchError, RunError, SlotError},
        ledger_client::LedgerError,
        memory::MemoryError,
        results::ResultError,
    },
    engine::sequence::SequenceError,
    http::client::LogClientError,
    keys::KeyError,
    model::{catalogue::CatalogueError, pull::PullError},
    network_json::NetworkJsonError,
    own_machines::OwnError,
    settings::SettingsError,
    store::lock::LockError,
};
use gridhour_protocol::calibration::{challenger::ChallengeFailure, message::RefusalCode};

use super::{CommandError, Kind};

/// Whether the user named a wrong path, or the machine failed.
pub fn kind_of_io(error: &io::Error) -> Kind {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | AlreadyExists | PermissionDenied | NotADirectory | IsADirectory => Kind::Usage,
        _ => Kind::Internal,
    }
}

impl CommandError {
    /// The system could not read or write a file that the user named.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(kind_of_io(error), format!("{}: {error}", path.display()))
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        let kind = match &error {
            KeyError::Missing(_)
            | KeyError::Exists(_)
            | KeyError::TooOpen { .. }
            | KeyError::Malformed(_) => Kind::Refused,
            KeyError::Io { source, .. } => kind_of_io(source),
            KeyError::Randomness(_) => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<OwnError> for CommandError {
    fn from(error: OwnError) -> Self {
        let kind = match &error {
            OwnError::Io { source, .. } => kind_of_io(source),
            OwnError::Lock(LockError::Io { source, .. }) => kind_of_io(source),
            OwnError::Lock(LockError::Held { .. }) => Kind::Refused,
            OwnError::NoAccount { .. } | OwnError::TooMany { .. } => Kind::Usage,
        };
        Self::new(kind, error)
    }
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        let kind = match &error {
            SettingsError::Io { source, .. } => kind_of_io(source),
            SettingsError::Malformed { .. } | SettingsError::TooLong(_) => Kind::Usage,
        };
        Self::new(kind, error)
    }
}

impl From<NetworkJsonError> for CommandError {
    fn from(error: NetworkJsonError) -> Self {
        let kind = match &error {
            NetworkJsonError::Missing(_) => Kind::Usage,
            NetworkJsonError::Refused { .. } => Kind::Refused,
            NetworkJsonError::Io { source, .. } => kind_of_io(source),
        };
        Self::new(kind, error)
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Nobody(_) => Self::network(error)
                .hint("is the ledger node running? its addresses are in `gridhour network show`"),
            ConnectError::Net(_) => Self::network(error),
            ConnectError::Address { .. } => Self::refused(error),
            ConnectError::Key(_) => Self::internal(error),
        }
    }
}

impl From<LedgerError> for CommandError {
    fn from(error: LedgerError) -> Self {
        if let LedgerError::Unknown { .. } = &error {
            return Self::network(error).hint(
                "look before you repeat it, or it may be done twice: `gridhour account show` lists what is paid and held",
            );
        }
        let kind = match &error {
            LedgerError::Unreachable { .. }
            | LedgerError::Unknown { .. }
            | LedgerError::Nonsense { .. }
            | LedgerError::Fault(_) => Kind::Network,
            LedgerError::Rejected { .. } | LedgerError::Lie { .. } => Kind::Refused,
            LedgerError::Key(_) => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<FetchError> for CommandError {
    fn from(error: FetchError) -> Self {
        let kind = match &error {
            FetchError::NotOffered(_) => Kind::Refused,
            FetchError::Nobody { .. } => Kind::Network,
            FetchError::Cache(_) => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<ResultError> for CommandError {
    fn from(error: ResultError) -> Self {
        let kind = match &error {
            ResultError::Unknown(_) | ResultError::Unreadable { .. } => Kind::Refused,
            ResultError::Io { source, .. } => kind_of_io(source),
        };
        Self::new(kind, error)
    }
}

impl From<CalibrateError> for CommandError {
    fn from(error: CalibrateError) -> Self {
        match &error {
            CalibrateError::NoStandardJob(_) => Self::usage(error),
            CalibrateError::Provider(_) => Self::network(error),
            CalibrateError::Failure(failure) => match failure {
                ChallengeFailure::Refused { code: RefusalCode::TooSoon | RefusalCode::Busy, .. } => {
                    Self::refused(error).hint("try again later")
                }
                ChallengeFailure::Refused { code: RefusalCode::OutOfMemory, .. } => Self::refused(error)
                    .hint("it cannot hold the memory that was asked for: do not believe a claim of as much"),
                ChallengeFailure::Refused { .. } => Self::refused(error),
                ChallengeFailure::Silent { .. } | ChallengeFailure::Gone { .. } => Self::network(error),
                ChallengeFailure::NoRates { .. } => Self::internal(error),
                _ => Self::refused(error).hint("do not buy from this provider"),
            },
            CalibrateError::Engine(_) | CalibrateError::NoRoom { .. } => Self::internal(error).hint(
                "nothing is said about the provider; free some memory here, or fill less of its memory",
            ),
            CalibrateError::Panic(_) | CalibrateError::Key(_) => Self::internal(error),
        }
    }
}

impl From<MemoryError> for CommandError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::InUse(_) => Self::refused(error),
            _ => Self::internal(error),
        }
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        let kind = match error {
            RunError::Fetch(error) => return error.into(),
            RunError::Ledger(error) => return error.into(),
            RunError::Result(error) => return error.into(),
            RunError::Memory(error) => return error.into(),
            RunError::Prompt(_) | RunError::Order(_) => Kind::Usage,
            RunError::NoOffer(_) | RunError::TooFew { .. } | RunError::Undecided(_) => Kind::Refused,
            RunError::NotStarted(_) | RunError::Overtaken => Kind::Refused,
            RunError::Slot(SlotError::Missed(_) | SlotError::NotServed { .. }) => Kind::Network,
            RunError::Slot(_) => Kind::Refused,
            RunError::Failed(_) | RunError::Provider(_) => Kind::Network,
            RunError::Key(_) | RunError::MayNotLeave { .. } => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<NodeError> for CommandError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Settings(error) => error.into(),
            NodeError::Key(error) => error.into(),
            NodeError::Network(error) => error.into(),
            NodeError::Catalogue(error) => error.into(),
            NodeError::Pull(error) => error.into(),
            NodeError::Memory(error) => error.into(),
            NodeError::Argument { .. } => Self::usage(error),
            NodeError::Net(_) => Self::network(error),
            NodeError::Thread(_) | NodeError::Stopped(_) | NodeError::Sequencer(_) => Self::internal(error),
            other => Self::refused(other),
        }
    }
}

impl From<LogClientError> for CommandError {
    fn from(error: LogClientError) -> Self {
        match error {
            LogClientError::Answer { .. } => Self::network(error),
            LogClientError::Checkpoint { .. } => Self::refused(error),
        }
    }
}

impl From<SequenceError> for CommandError {
    fn from(error: SequenceError) -> Self {
        match error {
            SequenceError::Context { .. } => Self::usage(error),
            SequenceError::Token { .. } => Self::refused(error),
            SequenceError::KvMemory { .. } | SequenceError::Empty | SequenceError::Device(_) => {
                Self::internal(error)
            }
        }
    }
}

impl From<CatalogueError> for CommandError {
    fn from(error: CatalogueError) -> Self {
        let kind = match &error {
            CatalogueError::NoCacheFolder | CatalogueError::Unknown(_) => Kind::Usage,
            CatalogueError::UnknownId(_) => Kind::Refused,
            CatalogueError::Cache { source, .. } => kind_of_io(source),
        };
        Self::new(kind, error)
    }
}

impl From<PullError> for CommandError {
    fn from(error: PullError) -> Self {
        let kind = match &error {
            PullError::Cache { source, .. } => kind_of_io(source),
            PullError::Unavailable { .. } => Kind::Network,
        };
        Self::new(kind, error)
    }
}
