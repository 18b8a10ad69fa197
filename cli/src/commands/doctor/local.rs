//! What can be seen without asking anyone: key, network file, disk, models, and proofs against the operator.

use std::{fs, path::Path};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    keys::{self, KeyError},
    metrics::process::{DISK_ROOM_MIN, Room, room_at},
    model::{
        catalogue::{CATALOGUE, CatalogueEntry, ModelCache},
        pull::sha256_of,
    },
    network_json,
};
use gridhour_protocol::signed::{SecretKey, Verified};

use super::finding::Finding;
use crate::context::Context;

/// Less room than this deserves a look, in bytes.
const DISK_ROOM_GOOD: u64 = 1024 * 1024 * 1024;
const GIB: f64 = (1024 * 1024 * 1024) as f64;

/// The key, if it can be used, and what was found.
pub fn look(context: &Context) -> (Option<SecretKey>, Vec<Finding>) {
    let (key, about_key) = key(&context.data_dir.key());
    let mut findings = vec![about_key, disk(context.data_dir.root()), fraud(&context.data_dir.fraud_proof())];
    findings.push(match context.model_cache() {
        Ok(cache) => models(&cache),
        Err(error) => Finding::skipped("models", error.message),
    });
    (key, findings)
}

fn key(path: &Path) -> (Option<SecretKey>, Finding) {
    match keys::load(path) {
        Ok(key) => {
            let found = Finding::ok("key", format!("{} is readable by you alone", path.display()));
            (Some(key), found)
        }
        Err(error) => {
            let todo = match &error {
                KeyError::Missing(_) => "make one with `gridhour key new`, or name the right --data-dir",
                KeyError::TooOpen { .. } => "run `chmod 600` on it; if others could read it, use a new key",
                _ => "restore it from your backup, or begin with a new key",
            };
            (None, Finding::failed("key", error, todo))
        }
    }
}

/// The network file, if it is one, and what was found.
pub fn network(context: &Context) -> (Option<Verified<NetworkFile>>, Finding) {
    match network_json::load(&context.data_dir.network()) {
        Ok(network) => {
            let what = format!("network {} ({})", network.id().short(), network.genesis.name);
            (Some(network), Finding::ok("network", what))
        }
        Err(error) => {
            let todo = "take the file from someone you trust and run `gridhour network join FILE`";
            (None, Finding::failed("network", error, todo))
        }
    }
}

fn disk(root: &Path) -> Finding {
    match room_at(root) {
        Ok(room) => judge_room(room),
        Err(error) => {
            let what = format!("{}: {error}", root.display());
            Finding::failed("disk", what, "name a data directory that exists, with --data-dir")
        }
    }
}

fn judge_room(Room { free, size }: Room) -> Finding {
    let what = format!("{:.1} GiB free of {:.1}", free as f64 / GIB, size as f64 / GIB);
    match free {
        _ if free < DISK_ROOM_MIN => Finding::failed(
            "disk",
            what,
            "make room: the node refuses what it cannot write, and goes on then",
        ),
        _ if free < DISK_ROOM_GOOD => Finding::warning("disk", what, "make room soon: journals only grow"),
        _ => Finding::ok("disk", what),
    }
}

fn fraud(proof: &Path) -> Finding {
    if !proof.exists() {
        return Finding::ok("operator", "no proof against the ledger's operator is kept here");
    }
    let what = format!("THE LEDGER'S OPERATOR SIGNED TWO HISTORIES: {}", proof.display());
    let todo =
        "trade no more, show everyone the file, and convince yourself with `gridhour audit verify-fraud`";
    Finding::failed("operator", what, todo)
}

/// Hashes every pulled file again.
fn models(cache: &ModelCache) -> Finding {
    let pulled: Vec<&CatalogueEntry> =
        CATALOGUE.iter().filter(|entry| cache.path_of(entry).exists()).collect();
    let damaged: Vec<String> = pulled.iter().filter_map(|entry| damage(cache, entry)).collect();
    match (pulled.len(), damaged.is_empty()) {
        (0, _) => Finding::skipped("models", "no model of the catalogue was pulled"),
        (count, true) => {
            Finding::ok("models", format!("{count} pulled, each with the digest of the catalogue"))
        }
        (_, false) => {
            let todo = "remove the file, and run `gridhour model pull`; look after the disk";
            Finding::failed("models", damaged.join("; "), todo)
        }
    }
}

/// What is wrong with a pulled file, if anything.
fn damage(cache: &ModelCache, entry: &CatalogueEntry) -> Option<String> {
    let path = cache.path_of(entry);
    let found = fs::metadata(&path).and_then(|metadata| match metadata.len() == entry.bytes {
        true => sha256_of(&path),
        false => Ok(format!("{} bytes instead of {}", metadata.len(), entry.bytes)),
    });
    match found {
        Ok(found) if found == entry.sha256 => None,
        Ok(found) => Some(format!("{} is not {}: {found}", path.display(), entry.name)),
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn room_is_judged_by_what_is_left() {
        let state = |free| judge_room(Room { free, size: u64::MAX }).state;
        assert_eq!(state(DISK_ROOM_MIN - 1), State::Failed);
        assert_eq!(state(DISK_ROOM_MIN), State::Warning);
        assert_eq!(state(DISK_ROOM_GOOD), State::Ok);
    }
}
