//! Commands that need the network: a runtime, a client that has joined, and Ctrl-C as a wish to stop.

use std::{path::Path, sync::Arc};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    drivers::{
        client::{Client, ClientConfig},
        ledger_client::LedgerClient,
        visitor::Visitor,
    },
    keys, network_json,
};
use gridhour_protocol::signed::{SecretKey, Verified};
use tokio::{runtime::Runtime, sync::watch};

use crate::{
    context::Context,
    error::{CommandError, Result},
};

/// A runtime for one command.
pub fn runtime() -> Result<Runtime> {
    Runtime::new().map_err(|error| CommandError::internal(format!("cannot start the runtime: {error}")))
}

/// A wish to stop: of the user, who pressed Ctrl-C, or of a command whose answer nobody reads any more.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Wished at the first Ctrl-C; a second one ends the program at once, with the exit code that shells expect.
    pub fn at_ctrl_c() -> Self {
        let stop = Self(watch::Sender::new(false));
        let wish = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                wish.now();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(CommandError::interrupted().kind.exit_code().into());
            }
        });
        stop
    }

    /// Wishes it.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is wished.
    pub fn is_wished(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is wished.
    pub async fn wished(&self) {
        // An error means that nobody is left who could wish it, and this is somebody.
        let _ = self.heard().wait_for(|wished| *wished).await;
    }

    /// Turns true when it is wished, for those who know only this.
    pub fn heard(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// The network of the data directory, or the one in `file`.
pub fn network(context: &Context, file: Option<&Path>) -> Result<Verified<NetworkFile>> {
    let own = context.data_dir.network();
    Ok(network_json::load(file.unwrap_or(&own))?)
}

/// Joins the network with the key of the data directory. A client's key is made on first use.
pub async fn connect(context: &Context) -> Result<Client> {
    let network = network(context, None)?;
    let key = keys::load_or_create(&context.data_dir.key())?;
    let region = context.settings()?.region;
    let config = ClientConfig { data_dir: context.data_dir.clone(), key, network, region };
    Ok(Client::connect(config).await?)
}

/// Runs `work` with a client, then leaves the network.
pub fn with_client<T>(
    context: &Context,
    work: impl AsyncFnOnce(Arc<Client>, Stop) -> Result<T>,
) -> Result<T> {
    runtime()?.block_on(async {
        let stop = Stop::at_ctrl_c();
        let client = Arc::new(connect(context).await?);
        let done = work(client.clone(), stop).await;
        client.net().shutdown().await;
        done
    })
}

/// Runs `work` with the ledger and the key of the data directory. Nothing in the directory is opened but the key, so a
/// node may run over it.
pub fn with_ledger<T>(
    context: &Context,
    work: impl AsyncFnOnce(&LedgerClient, &SecretKey) -> Result<T>,
) -> Result<T> {
    runtime()?.block_on(async {
        let network = network(context, None)?;
        let key = keys::load_or_create(&context.data_dir.key())?;
        let visitor = Visitor::connect(&network).await?;
        let done = work(visitor.ledger(), &key).await;
        visitor.leave().await;
        done
    })
}
