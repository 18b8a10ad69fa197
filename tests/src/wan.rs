//! A wide-area network on one machine: a network namespace for each place, and wires between them that delay, jitter and
//! lose as the regions do in which the places are.
//!
//! Where the kernel has netem, `tc` shapes what each place sends, and a bridge joins them. Where it has none, this process
//! carries every frame itself (`carrier`). Either takes root. What is missing skips the test, and is named; what is there and
//! fails, fails the test.
//!
//! A namespace lives as long as the process that holds it, which ends with its input; so nothing is left behind however a
//! test ends.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use gridhour_node::bench::matrix::Matrix;

use self::carrier::Carrier;
use crate::data::say_skipped;

mod carrier;
mod netem;

/// Of this many packets on their way between two places one is lost.
pub const LOST_OF: u64 = 100;
/// How much longer than usual a packet takes at most, as a share of the way.
const JITTER_OF: u64 = 20;
/// Places of a network: each takes one of the numbers that an interface's name and the first byte behind 11 have.
pub const PLACES_MAX: usize = 100;
/// The interface of each place.
const INTERFACE: &str = "wan";
/// Programs that this takes, and the package that has them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("tc", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")];

/// Why there is no such network.
#[derive(Debug)]
enum Trouble {
    /// This machine has not what it takes.
    Missing(String),
    /// It has, and it failed.
    Broken(String),
}

/// A network, until it is dropped.
pub struct Wan {
    places: Vec<Namespace>,
    wires: Wires,
    run: u32,
}

/// What joins the places.
enum Wires {
    /// A bridge in a namespace of its own; the kernel shapes.
    Netem { hub: Namespace },
    /// This process.
    Carried { _carrier: Carrier },
}

/// How long a packet takes from one place to another: half of what a round trip takes in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    delay_us: u64,
    jitter_us: u64,
}

impl Wan {
    /// A network of places in these regions of the matrix. `None` if this machine has not what it takes, which is told;
    /// the calling test is then to return.
    ///
    /// # Panics
    /// If a region is not in the matrix, there are over [`PLACES_MAX`], or something that is there fails.
    #[must_use]
    pub fn between(matrix: &Matrix, regions: &[&str]) -> Option<Self> {
        assert!(regions.len() <= PLACES_MAX, "there are numbers for {PLACES_MAX} places");
        let number = |region: &&str| matrix.names().iter().position(|name| name == region);
        let numbers: Vec<usize> =
            regions.iter().map(|region| number(region).expect("a region of the matrix")).collect();
        let way = |one: usize, other: usize| {
            let delay_us = matrix.rtt_us(numbers[one], numbers[other]) / 2;
            Way { delay_us, jitter_us: delay_us / JITTER_OF }
        };
        match Self::build(regions.len(), way) {
            Ok(wan) => Some(wan),
            Err(Trouble::Missing(what)) => {
                say_skipped(&what);
                None
            }
            Err(Trouble::Broken(what)) => panic!("network namespaces are there, and do not work: {what}"),
        }
    }

    fn build(count: usize, way: impl Fn(usize, usize) -> Way) -> Result<Self, Trouble> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        check_programs()?;
        let places = (0..count).map(|_| Namespace::new()).collect::<Result<Vec<_>, _>>()?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let wires = if netem::is_there(&Namespace::new()?) {
            Wires::Netem { hub: netem::join(&places, run, &way)? }
        } else {
            Wires::Carried { _carrier: carrier::join(&places, run, &way)? }
        };
        let wan = Self { places, wires, run };
        (0..count).try_for_each(|at| wan.switch_on(at))?;
        Ok(wan)
    }

    /// How packets are delayed and lost, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.wires {
            Wires::Netem { .. } => "netem",
            Wires::Carried { .. } => "no netem in this kernel: carried by the test",
        }
    }

    fn switch_on(&self, at: usize) -> Result<(), Trouble> {
        let (place, address) = (&self.places[at], format!("{}/8", self.address(at)));
        place.ip(&["link", "set", "lo", "up"])?;
        place.ip(&["address", "add", &address, "dev", INTERFACE])?;
        place.ip(&["link", "set", INTERFACE, "up"])
    }

    /// The address of a place. It is a public one, so that nodes treat each other as strangers do, and each place is of a
    /// network of its own.
    #[must_use]
    pub fn address(&self, at: usize) -> Ipv4Addr {
        address(at)
    }

    /// The program and its arguments that run what follows them at a place.
    #[must_use]
    pub fn at(&self, at: usize) -> [String; 3] {
        ["nsenter".into(), self.places[at].net(), "--".into()]
    }

    /// Pulls the cable of a place.
    ///
    /// # Panics
    /// If that fails.
    pub fn cut(&self, at: usize) {
        self.set_link(at, "down");
    }

    /// Puts it in again.
    ///
    /// # Panics
    /// If that fails.
    pub fn mend(&self, at: usize) {
        self.set_link(at, "up");
    }

    fn set_link(&self, at: usize, state: &str) {
        let (port, words) = (port(self.run, at), ["link", "set"]);
        let words = [&words[..], &[&port, state]].concat();
        let done = match &self.wires {
            Wires::Netem { hub } => hub.ip(&words),
            Wires::Carried { .. } => run(Command::new("ip").args(words)),
        };
        done.unwrap_or_else(|trouble| panic!("a cable cannot be moved: {trouble:?}"));
    }
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(11, number(at), 0, 1)
}

fn number(at: usize) -> u8 {
    u8::try_from(at + 1).expect("there are few places")
}

/// The far end of a place's cable. Names of interfaces have 15 bytes at most.
fn port(run: u32, at: usize) -> String {
    format!("gh{}r{run}p{at}", std::process::id())
}

/// A network namespace, held by a process that does nothing but wait for the end of its input.
struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new() -> Result<Self, Trouble> {
        let (mut command, piped) = (Command::new("unshare"), Stdio::piped);
        let spawned = command.args(["--net", "cat"]).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
        let mut holder = spawned.map_err(|error| Trouble::Broken(format!("{command:?}: {error}")))?;
        // Once it repeats what it is told, it is in the namespace.
        let told = holder.stdin.as_mut().map(|stdin| stdin.write_all(b"here\n"));
        let mut line = String::new();
        let heard = holder.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if matches!((told, heard), (Some(Ok(())), Some(Ok(1..)))) {
            return Ok(Self { holder });
        }
        let mut why = String::new();
        holder.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
        Self { holder }.refused(&why)
    }

    fn refused(self, why: &str) -> Result<Self, Trouble> {
        let why = why.trim();
        let is_denied = why.contains("not permitted") || why.contains("denied");
        Err(if is_denied {
            Trouble::Missing(format!("this process may not make network namespaces: {why}"))
        } else {
            Trouble::Broken(format!("unshare --net: {why}"))
        })
    }

    fn process(&self) -> String {
        self.holder.id().to_string()
    }

    /// The option that names it.
    fn net(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.process())
    }

    /// A program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&self.net(), "--", program]);
        command
    }

    fn ip(&self, words: &[&str]) -> Result<(), Trouble> {
        run(self.command("ip").args(words))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Errors only if it has ended before.
        let _ = self.holder.kill().and_then(|()| self.holder.wait());
    }
}

/// Runs a command that is to succeed.
fn run(command: &mut Command) -> Result<(), Trouble> {
    let output = command.output().map_err(|error| Trouble::Broken(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Trouble::Broken(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn check_programs() -> Result<(), Trouble> {
    if !rustix::process::geteuid().is_root() {
        return Err(Trouble::Missing("network namespaces take root".into()));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| env::split_paths(&path).any(|folder| folder.join(program).exists());
    match PROGRAMS.iter().find(|(program, _)| !is_there(program)) {
        Some((program, package)) => {
            Err(Trouble::Missing(format!("{program} is not installed (package {package})")))
        }
        None => Ok(()),
    }
}
