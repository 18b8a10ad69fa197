//! Which of the network's witnesses have cosigned a checkpoint, as it is said.

use std::path::Path;

use gridhour_contracts_sim::{
    finding::{Finding, Rule},
    witnesses::{LogKeys, Quorum},
};
use gridhour_protocol::units::Height;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::network,
};

/// The keys under the checkpoints of the network in `file`, or of the data directory's.
pub(super) fn log_keys(context: &Context, file: Option<&Path>) -> Result<LogKeys> {
    let network = network(context, file)?;
    LogKeys::of(&network).map_err(CommandError::internal)
}

/// As scripts read it.
pub(super) fn document(quorum: &Quorum) -> Value {
    let by = quorum.cosigned.iter().map(|line| json!({ "name": line.name, "seconds": line.seconds }));
    json!({
        "cosigned": quorum.cosigned.len(), "required": quorum.required, "named": quorum.named,
        "enough": quorum.is_enough(), "by": by.collect::<Vec<_>>(),
    })
}

/// As people read it.
pub(super) fn text(quorum: &Quorum) -> String {
    let Quorum { cosigned, required, named } = quorum;
    if *named == 0 {
        return "none: the network names none".to_owned();
    }
    let names: Vec<&str> = cosigned.iter().map(|line| line.name.as_str()).collect();
    let by = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    format!("{} of {named} cosigned, {required} required{by}", cosigned.len())
}

/// What is wrong if too few have cosigned the checkpoint of the block at `height`.
pub(super) fn finding(quorum: &Quorum, height: Height) -> Option<Finding> {
    let Quorum { cosigned, required, named } = quorum;
    let expected = format!("cosignatures of {required} of the network's {named} witnesses");
    (!quorum.is_enough()).then(|| Finding::new(height, Rule::Witnesses, expected, cosigned.len()))
}
