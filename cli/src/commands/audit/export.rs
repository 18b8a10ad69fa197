//! `gridhour audit export`: the whole ledger as a file, a few blocks in memory at a time, on from where it was interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    clock,
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        ledger_export::{FetchLedgerError, fetch_ledger},
    },
};
use gridhour_protocol::{
    signed::Signed,
    units::{Height, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    human_time::when,
    joined::{network, with_ledger},
};

pub(super) fn run(out: Option<PathBuf>, context: &Context) -> Result {
    let out = out.unwrap_or_else(|| context.data_dir.ledger_export());
    let (height, bytes) = export(context, &out)??;
    context.out.document(&json!({ "path": out, "height": height.0, "bytes": bytes }))?;
    context.out.line(format!("{} blocks, {bytes} bytes: {}", height.0, out.display()))
}

/// A ledger as a file, and where that comes from.
pub(super) struct Source {
    pub(super) path: PathBuf,
    from: Origin,
}

enum Origin {
    /// The user.
    Named,
    /// The ledger node, just now.
    Ledger,
    /// The data directory: nobody answers.
    LastExport { written: Option<Timestamp> },
}

impl Source {
    /// `file`; or the ledger as its node has it now; or, if nobody answers, as it was last exported. A node that answers and
    /// whose ledger cannot be had is no reason to look at an old one.
    pub(super) fn find(file: Option<&Path>, context: &Context) -> Result<Self> {
        if let Some(file) = file {
            return Ok(Self { path: file.to_owned(), from: Origin::Named });
        }
        let path = context.data_dir.ledger_export();
        let silence = match export(context, &path) {
            Ok(Ok(_)) => return Ok(Self { path, from: Origin::Ledger }),
            Ok(Err(Failure::Silence(error))) => error.into(),
            Ok(Err(Failure::Other(error))) => return Err(error),
            Err(error) if error.kind == Kind::Network => error,
            Err(error) => return Err(error),
        };
        match fs::metadata(&path) {
            Ok(file) => Ok(Self { from: Origin::LastExport { written: modified(&file) }, path }),
            Err(_) => Err(silence),
        }
    }

    pub(super) fn document(&self) -> Value {
        json!({ "from": self.from.name(), "path": self.path })
    }

    pub(super) fn text(&self) -> String {
        let path = self.path.display();
        match &self.from {
            Origin::Named => format!("{path}"),
            Origin::Ledger => format!("{path}, fetched from the ledger"),
            Origin::LastExport { written: None } => format!("{path}, an earlier export: nobody answers"),
            Origin::LastExport { written: Some(at) } => {
                format!("{path}, exported {}: nobody answers", when(*at, clock::now()))
            }
        }
    }
}

impl Origin {
    const fn name(&self) -> &'static str {
        match self {
            Self::Named => "file",
            Self::Ledger => "ledger",
            Self::LastExport { .. } => "last-export",
        }
    }
}

fn modified(file: &fs::Metadata) -> Option<Timestamp> {
    let since = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(Timestamp)
}

/// Why there is no export.
pub enum Failure {
    /// Nobody answers.
    Silence(LedgerError),
    /// Anything else.
    Other(CommandError),
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        if error.is_silence() { Self::Silence(error) } else { Self::Other(error.into()) }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Silence(error) => error.into(),
            Failure::Other(error) => error,
        }
    }
}

/// Fetches the ledger into `out`. Returns height and size.
///
/// # Errors
/// If the network cannot be joined; within, if the ledger cannot be had.
fn export(context: &Context, out: &Path) -> Result<std::result::Result<(Height, u64), Failure>> {
    let network = network(context, None)?;
    let bar = context.out.item_bar("ledger", 0);
    let seen = |done: Height, tip: Height| {
        bar.set_length(tip.0);
        bar.set_position(done.0);
    };
    let written =
        with_ledger(context, async |ledger, _| Ok(write_export(ledger, network.signed(), out, seen).await));
    bar.finish_and_clear();
    written
}

/// [`fetch_ledger`], with the command's failures.
pub async fn write_export(
    ledger: &LedgerClient,
    network: &Signed<NetworkFile>,
    path: &Path,
    seen: impl FnMut(Height, Height),
) -> std::result::Result<(Height, u64), Failure> {
    fetch_ledger(ledger, network, path, seen).await.map_err(|error| match error {
        FetchLedgerError::Ledger(error) => error.into(),
        FetchLedgerError::File(error) => Failure::Other(CommandError::file(path, &error)),
    })
}

#[cfg(test)]
mod tests {
    use gridhour_node::net::RequestError;
    use gridhour_protocol::signed::PublicKey;

    use super::*;

    #[test]
    fn only_silence_is_a_reason_to_look_at_an_earlier_export() {
        let node = PublicKey([1; 32]);
        let silent = LedgerError::Unreachable { node, source: RequestError::Timeout };
        assert!(matches!(Failure::from(silent), Failure::Silence(_)));
        let nonsense = LedgerError::Nonsense { node, why: "no block".into() };
        for answered in [nonsense, LedgerError::Fault("its disk failed".into())] {
            assert!(matches!(Failure::from(answered), Failure::Other(_)));
        }
    }
}
