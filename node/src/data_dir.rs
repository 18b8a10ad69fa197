//! Where things lie in a data directory. All state of a client or a node is under one, models apart: those are cached
//! once per user.
//!
//! ```text
//! DIR/config.toml     settings (optional)
//! DIR/key             the secret key, mode 0600
//! DIR/issuer.key      the issuer's key, only where `network init` ran
//! DIR/network.json    the network: genesis, keys, bootstrap peers, signed
//! DIR/own-machines    accounts of the user's own machines, one a line
//! DIR/peers           peers that were found, to be found again after a restart
//! DIR/ledger/         a validator's or an observer's journal and derived state
//! DIR/shown.checkpoint  the checkpoint that an observer showed last
//! DIR/ledger.export   the last ledger that was exported
//! DIR/audit.resume    how far an audit got that was interrupted
//! DIR/fraud.proof     the last proof that an operator signed two histories
//! DIR/witness/KEY/    what a witness cosigned last, for each operator
//! DIR/records/        vouchers, receipts and sessions that must survive a kill
//! DIR/results/        results of jobs, a JSON file each
//! DIR/mismatches/     answers of several providers to one order that were not all the same
//! DIR/budgets/ID.json names of the caps of a budget that was set from here
//! DIR/assets/         tokenizers fetched by hash
//! DIR/nodes/NAME/     data directories of the processes that `demo` started
//! ```

use std::path::{Path, PathBuf};

use gridhour_protocol::{id::BudgetId, signed::PublicKey};

/// A data directory. Nothing is created until it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where this user's data goes if nothing else is said.
    #[must_use]
    pub fn default_for_user() -> Self {
        let folder = directories::ProjectDirs::from("", "", "gridhour")
            .map_or_else(|| PathBuf::from(".gridhour"), |dirs| dirs.data_dir().to_owned());
        Self(folder)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The secret key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// The issuer's secret key.
    #[must_use]
    pub fn issuer_key(&self) -> PathBuf {
        self.0.join("issuer.key")
    }

    /// The network file.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        self.0.join("network.json")
    }

    /// Accounts of the user's own machines.
    #[must_use]
    pub fn own_machines(&self) -> PathBuf {
        self.0.join("own-machines")
    }

    /// Peers that were found.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.0.join("peers")
    }

    /// A validator's ledger, or an observer's copy.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// What an observer found against the operator.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.ledger().join("evidence")
    }

    /// The checkpoint that an observer showed last.
    #[must_use]
    pub fn shown_checkpoint(&self) -> PathBuf {
        self.0.join("shown.checkpoint")
    }

    /// The last exported ledger.
    #[must_use]
    pub fn ledger_export(&self) -> PathBuf {
        self.0.join("ledger.export")
    }

    /// Where an audit that was interrupted goes on.
    #[must_use]
    pub fn audit_resume(&self) -> PathBuf {
        self.0.join("audit.resume")
    }

    /// Proof that an operator signed two histories.
    #[must_use]
    pub fn fraud_proof(&self) -> PathBuf {
        self.0.join("fraud.proof")
    }

    /// What a witness cosigned last of this operator's ledger.
    #[must_use]
    pub fn witness(&self, operator: PublicKey) -> PathBuf {
        self.0.join("witness").join(operator.to_string())
    }

    /// Vouchers, receipts and sessions.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.0.join("records")
    }

    /// Results of jobs.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.0.join("results")
    }

    /// Answers of several providers that were not all the same.
    #[must_use]
    pub fn mismatches(&self) -> PathBuf {
        self.0.join("mismatches")
    }

    /// Names of a budget's caps, which the ledger does not know.
    #[must_use]
    pub fn budget_names(&self, budget: BudgetId) -> PathBuf {
        self.0.join("budgets").join(format!("{budget}.json"))
    }

    /// Tokenizers and templates fetched by hash.
    #[must_use]
    pub fn assets(&self) -> PathBuf {
        self.0.join("assets")
    }

    /// The data directory of a process that `demo` started.
    #[must_use]
    pub fn node(&self, name: &str) -> Self {
        Self(self.0.join("nodes").join(name))
    }
}
