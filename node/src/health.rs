//! Whether a node serves, and if not, why: for load balancers, supervisors and people.

use std::{
    path::Path,
    sync::{PoisonError, RwLock},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::metrics::process::{DISK_ROOM_MIN, Room, room_at};

/// How bad a reason is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It passes by itself: nothing new should be sent meanwhile, and nobody need come.
    Busy,
    /// It does not serve.
    Broken,
}

/// One reason for which a node does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name.
    pub name: &'static str,
    /// What is wrong and what to do, in a sentence.
    pub why: String,
}

impl Reason {
    /// One for which it does not serve.
    #[must_use]
    pub fn broken(name: &'static str, why: impl Into<String>) -> Self {
        Self { severity: Severity::Broken, name, why: why.into() }
    }

    /// One that passes by itself.
    #[must_use]
    pub fn busy(name: &'static str, why: impl Into<String>) -> Self {
        Self { severity: Severity::Busy, name, why: why.into() }
    }
}

/// Asked whenever somebody wants to know; it must not wait.
type Check = Box<dyn Fn() -> Option<Reason> + Send + Sync>;

/// All that can keep a node from serving. A node that is not ready yet has nothing but a start.
pub struct Health {
    checks: RwLock<Vec<Check>>,
    started: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { checks: RwLock::default(), started: watch::Sender::new(false) }
    }
}

impl Health {
    /// Asks this too from now on.
    pub fn add(&self, check: impl Fn() -> Option<Reason> + Send + Sync + 'static) {
        self.checks.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(check));
    }

    /// The node serves from now on, unless a check says otherwise.
    pub fn started(&self) {
        self.started.send_replace(true);
    }

    /// Every reason there is, in the order in which the checks were added.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let starting = (!*self.started.borrow()).then(|| Reason::busy("starting", "the node starts; wait"));
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        starting.into_iter().chain(checks.iter().filter_map(|check| check())).collect()
    }
}

/// As a document: `ok`, and the reasons.
#[must_use]
pub fn document(reasons: &[Reason]) -> Value {
    let reason = |reason: &Reason| json!({ "reason": reason.name, "why": reason.why });
    json!({ "ok": reasons.is_empty(), "reasons": reasons.iter().map(reason).collect::<Vec<_>>() })
}

/// The node was told to stop: what runs is finished, nothing new is taken.
#[must_use]
pub fn draining(stop: &watch::Receiver<bool>) -> Option<Reason> {
    let why = "the node was told to stop: it finishes what runs and takes nothing new";
    // Nobody left who could tell means the same.
    (*stop.borrow() || stop.has_changed().is_err()).then(|| Reason::broken("draining", why))
}

/// The file system of `root` has next to no room.
#[must_use]
pub fn disk_full(root: &Path) -> Option<Reason> {
    match room_at(root) {
        Ok(room) => no_room(room, root),
        Err(error) => Some(Reason::broken("disk-full", format!("cannot see {}: {error}", root.display()))),
    }
}

fn no_room(room: Room, root: &Path) -> Option<Reason> {
    (room.free < DISK_ROOM_MIN).then(|| {
        let (free, root) = (room.free, root.display());
        let why = format!("{free} bytes are left for {root}: make room, the node then goes on by itself");
        Reason::broken("disk-full", why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(health: &Health) -> Vec<&'static str> {
        health.reasons().iter().map(|reason| reason.name).collect()
    }

    #[test]
    fn a_node_is_well_once_it_has_started_and_nothing_is_wrong() {
        let health = Health::default();
        assert_eq!(names(&health), ["starting"]);
        health.started();
        assert_eq!(names(&health), [""; 0]);
        let (told, stop) = watch::channel(false);
        health.add(move || draining(&stop));
        health.add(|| Some(Reason::busy("calibrating", "")));
        assert_eq!(names(&health), ["calibrating"]);
        told.send_replace(true);
        assert_eq!(names(&health), ["draining", "calibrating"]);
    }

    #[test]
    fn a_disk_is_full_before_nothing_is_left() {
        let room = |free| Room { free, size: u64::MAX };
        let full = no_room(room(DISK_ROOM_MIN - 1), Path::new("/data")).unwrap();
        assert!(full.name == "disk-full" && full.why.contains("/data"), "{full:?}");
        assert_eq!(no_room(room(DISK_ROOM_MIN), Path::new("/data")), None);
        assert!(disk_full(Path::new("/nowhere/at/all")).is_some());
    }
}
