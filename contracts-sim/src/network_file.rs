//! The trust root of a network, small enough to hand over: genesis, bootstrap peers and witnesses, signed by
//! the operator.

use gridhour_protocol::{
    id::NetworkId,
    layout::Layout,
    limits::ADDRESS_BYTES_MAX,
    note::KEY_NAME_BYTES_MAX,
    signed::{PublicKey, Signable},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use crate::{
    genesis::Genesis,
    limits::{BOOTSTRAP_MAX, WITNESSES_MAX},
    witnesses::Witnesses,
};

/// Version of a network file's form. 2: it names witnesses.
pub const NETWORK_FILE_VERSION: u16 = 2;

/// What someone needs to join or audit a network. The network's id pins the genesis; the signature, which
/// [`gridhour_protocol::signed::Signed::verify`] checks, says that the operator named there vouches for the rest. That
/// may change while the network lives: the id stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFile {
    /// The beginning.
    pub genesis: Genesis,
    /// Multiaddresses of peers that are usually up.
    pub bootstrap: Vec<String>,
    /// Who cosigns the public log, and how many of them must.
    pub witnesses: Witnesses,
}

impl NetworkFile {
    /// The network's id.
    #[must_use]
    pub fn id(&self) -> NetworkId {
        self.genesis.id()
    }
}

impl Signable for NetworkFile {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/network-file/v2");
        out.bytes(self.genesis.layout().as_bytes()).count(self.bootstrap.len());
        for address in &self.bootstrap {
            out.bytes(address.as_bytes());
        }
        self.witnesses.lay_out(&mut out);
        out
    }

    fn signer(&self) -> PublicKey {
        self.genesis.operator
    }
}

impl Wire for NetworkFile {
    const BYTES_MAX: usize = Genesis::BYTES_MAX
        + BOOTSTRAP_MAX * (ADDRESS_BYTES_MAX + 8)
        + WITNESSES_MAX * (KEY_NAME_BYTES_MAX + 8 + 32)
        + 64;

    fn check_bounds(&self) -> Result<(), String> {
        self.genesis.check_bounds()?;
        at_most("bootstrap addresses", self.bootstrap.len(), BOOTSTRAP_MAX)?;
        self.bootstrap
            .iter()
            .try_for_each(|address| at_most("bootstrap address", address.len(), ADDRESS_BYTES_MAX))?;
        self.witnesses.check(&self.genesis.operator)
    }
}
