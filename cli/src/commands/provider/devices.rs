//! `gridhour provider devices`, and how a device is found by how its id begins.

use std::collections::BTreeSet;

use gridhour_contracts_sim::state::{Device, DeviceKey, Stake, StateKey, StateValue};
use gridhour_node::{clock, drivers::ledger_client::LedgerClient, rpc::Purpose};
use gridhour_protocol::{id::DeviceId, market::advert::DeviceClass, signed::PublicKey, units::Credits};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::when,
    joined::with_ledger,
};

/// A device of an account: registered, or with something at stake, or both.
pub struct Listed {
    /// Which.
    pub id: DeviceId,
    /// Its entry.
    pub device: Option<Device>,
    /// What is at stake for it.
    pub stake: Option<Stake>,
    /// Whether entry and stake are proven to be so.
    pub proven: bool,
}

impl Listed {
    /// What a slash would take now.
    pub fn total(&self) -> Credits {
        self.stake.as_ref().and_then(Stake::total).unwrap_or(Credits::ZERO)
    }
}

pub fn run(context: &Context, account: Option<PublicKey>) -> Result {
    with_ledger(context, async |ledger, key| {
        let owner = account.unwrap_or_else(|| key.public());
        let listed = list(ledger, owner).await?;
        let documents: Vec<Value> = listed.iter().map(device_json).collect();
        context.out.document(&json!({ "account": owner.to_string(), "devices": documents }))?;
        if listed.is_empty() {
            return context.out.line(format!("the ledger knows no device of {owner}"));
        }
        listed.iter().flat_map(device_text).try_for_each(|line| context.out.line(line))
    })
}

/// Every device of an account that is registered or has something at stake.
pub async fn list(ledger: &LedgerClient, owner: PublicKey) -> Result<Vec<Listed>> {
    let registered = ledger.devices(owner).await?;
    let mut ids: BTreeSet<DeviceId> =
        registered.iter().map(|device| device.registration.device_of(&owner)).collect();
    ids.extend(ledger.account(owner).await?.holds.iter().filter_map(|hold| match hold.purpose {
        Purpose::Bond { device } | Purpose::Unbonding { device } => Some(device),
        Purpose::Session { .. } | Purpose::Budget { .. } => None,
        Purpose::Prepaid { .. } | Purpose::Promised { .. } => None,
    }));
    let mut listed = Vec::with_capacity(ids.len());
    for id in ids {
        listed.push(look(ledger, owner, id).await?);
    }
    Ok(listed)
}

async fn look(ledger: &LedgerClient, owner: PublicKey, id: DeviceId) -> Result<Listed> {
    let device = ledger.checked_record(StateKey::Device(DeviceKey { owner, device: id })).await?;
    let stake = ledger.checked_record(StateKey::Stake(id)).await?;
    let proven = device.is_proven() && stake.is_proven();
    let device = match device.said {
        Some(StateValue::Device(device)) => Some(*device),
        _ => None,
    };
    let stake = match stake.said {
        Some(StateValue::Stake(stake)) => Some(*stake),
        _ => None,
    };
    Ok(Listed { id, device, stake, proven })
}

/// The own device whose id begins like `named`; without a name, the only one.
pub async fn chosen(ledger: &LedgerClient, owner: PublicKey, named: Option<&str>) -> Result<Listed> {
    let named = named.unwrap_or("").to_lowercase();
    let mut found = list(ledger, owner).await?;
    found.retain(|listed| listed.id.to_string().starts_with(&named));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(CommandError::refused(format!("the ledger knows no such device of {owner}"))
            .hint("a provider registers its device when it starts: `gridhour node provider`")
            .hint("`gridhour provider devices` lists those that are known")),
        _ => Err(CommandError::usage(format!("{} devices could be meant", found.len()))
            .hint("say which with --device; `gridhour provider devices` lists them")),
    }
}

fn device_json(listed: &Listed) -> Value {
    let entry = listed.device.as_ref().map(|device| {
        let registration = &device.registration;
        let measured = device.measured.map(|measured| {
            json!({
                "challenger": measured.challenger.to_string(), "memory_bytes": measured.memory_bytes,
                "prefill_macs_per_s": measured.rates.prefill.0, "decode_macs_per_s": measured.rates.decode.0,
                "ended_at": measured.ended_at.0,
            })
        });
        json!({
            "class": class_name(registration.name.class), "name": registration.name.name,
            "backend": registration.name.backend, "memory_bytes": registration.memory_bytes,
            "numerics": registration.numerics,
            "models": registration.models.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "expires_at": registration.expires_at.0, "measured": measured,
        })
    });
    json!({
        "id": listed.id.to_string(), "entry": entry, "stake": listed.stake.as_ref().map(stake_json),
        "proven": listed.proven,
    })
}

/// A stake as scripts read it.
pub fn stake_json(stake: &Stake) -> Value {
    let unbonding = stake.unbonding.iter();
    json!({
        "bonded": stake.bonded.0, "until": stake.until.0, "barred_until": stake.barred_until.map(|until| until.0),
        "unbonding": unbonding
            .map(|part| json!({ "amount": part.amount.0, "release_at": part.release_at.0 }))
            .collect::<Vec<_>>(),
    })
}

fn device_text(listed: &Listed) -> Vec<String> {
    let now = clock::now();
    let proven = if listed.proven { "proven" } else { "the ledger node's word, not proven yet" };
    let mut lines = vec![format!("device   {} ({proven})", listed.id)];
    match &listed.device {
        None => lines.push("  not registered any more".into()),
        Some(device) => {
            let registration = &device.registration;
            let (class, name) = (class_name(registration.name.class), &registration.name);
            lines.push(format!(
                "  {class} {} ({}), {} bytes, {} models, its provider says",
                name.name,
                name.backend,
                registration.memory_bytes,
                registration.models.len()
            ));
            lines.push(format!("  registered until {}", when(registration.expires_at, now)));
            lines.push(match device.measured {
                None => "  measured by nobody else".into(),
                Some(measured) => format!(
                    "  measured by {}, {}: {} million MACs/s reading, {} writing",
                    measured.challenger.short(),
                    when(measured.ended_at, now),
                    measured.rates.prefill.0 / 1_000_000,
                    measured.rates.decode.0 / 1_000_000
                ),
            });
        }
    }
    lines.extend(stake_text(listed.stake.as_ref()));
    lines
}

/// What is at stake, in lines.
pub fn stake_text(stake: Option<&Stake>) -> Vec<String> {
    let now = clock::now();
    let Some(stake) = stake else { return vec!["  nothing at stake".into()] };
    let mut lines = Vec::new();
    if stake.bonded != Credits::ZERO {
        lines.push(format!("  {} credits at stake; the bond ends {}", stake.bonded, when(stake.until, now)));
    }
    for part in &stake.unbonding {
        let state = if part.release_at <= now { "due since" } else { "on their way back until" };
        lines.push(format!("  {} credits {state} {}", part.amount, when(part.release_at, now)));
    }
    if let Some(until) = stake.barred_until {
        lines.push(format!("  SLASHED; nothing can be staked for it until {}", when(until, now)));
    }
    lines
}

fn class_name(class: DeviceClass) -> &'static str {
    match class {
        DeviceClass::Cpu => "cpu",
        DeviceClass::Gpu => "gpu",
    }
}
