//! Where an order's data may go, and which machines are the user's own.

use std::collections::BTreeSet;

use clap::ValueEnum;
use gridhour_node::own_machines::{self, OWN_MAX};
use gridhour_protocol::{market::data_class::DataClass, signed::PublicKey};

use crate::{
    context::Context,
    error::{CommandError, Result},
};

/// Options on where the prompt may go.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DataOptions {
    /// Let the prompt go to any provider (any); only into the regions and jurisdictions that are named, of which there must
    /// be one (resident); or to your own machines and nobody else (local-only)
    #[arg(long, value_enum, value_name = "CLASS", default_value_t = ClassName::Any)]
    data_class: ClassName,

    /// Let the prompt go to your own machines and nobody else: --data-class local-only
    #[arg(long, conflicts_with = "data_class")]
    local_only: bool,

    /// Count this provider as your own for this order, beside those of `gridhour local`; may be repeated
    #[arg(long, value_name = "ACCOUNT")]
    local: Vec<PublicKey>,
}

/// A class of data by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ClassName {
    /// To any provider that meets the order
    #[default]
    Any,
    /// Only into the regions and jurisdictions that the order names
    Resident,
    /// To your own machines alone
    LocalOnly,
}

impl DataOptions {
    /// The class.
    pub fn class(&self) -> DataClass {
        match (self.local_only, self.data_class) {
            (true, _) | (_, ClassName::LocalOnly) => DataClass::LocalOnly,
            (_, ClassName::Resident) => DataClass::Resident,
            (_, ClassName::Any) => DataClass::Any,
        }
    }

    /// The accounts of the user's own machines.
    ///
    /// # Errors
    /// If the list cannot be read, or is empty though the data may go to nobody else.
    pub fn own(&self, context: &Context) -> Result<BTreeSet<PublicKey>> {
        let mut own = own_machines::load(&context.data_dir.own_machines())?;
        own.extend(&self.local);
        if own.len() > OWN_MAX {
            return Err(CommandError::usage(format!(
                "{} machines of your own are over {OWN_MAX}",
                own.len()
            )));
        }
        if own.is_empty() && self.class() == DataClass::LocalOnly {
            return Err(CommandError::usage(
                "the prompt may go to your own machines alone, and no provider is named as one",
            )
            .hint("name it with --local ACCOUNT, or for good with `gridhour local add ACCOUNT`"));
        }
        Ok(own)
    }
}

/// What to do about an order that met nobody because its data may not leave.
pub fn hint(class: DataClass) -> Option<&'static str> {
    (class == DataClass::LocalOnly).then_some(
        "none of your own machines takes the order, and its data may go nowhere else; nothing was sent. Wait for one, or \
         order without --local-only",
    )
}
