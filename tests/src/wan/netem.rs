//! Wires of the kernel: a bridge, and at each place a queue with a delay for every other place.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Output, Stdio},
};

use super::{INTERFACE, LOST_OF, Namespace, Trouble, Way, address, number, port};

/// Whether the kernel has all that [`join`] takes, tried in a namespace that is not used for anything else.
pub(super) fn is_there(space: &Namespace) -> bool {
    let pair = ["link", "add", "far", "type", "veth", "peer", "name", INTERFACE];
    let bridge = ["link", "add", "bridge", "type", "bridge"];
    let way = |_, _| Way { delay_us: 1_000, jitter_us: 50 };
    let tried =
        space.ip(&pair).and_then(|()| space.ip(&bridge)).and_then(|()| tc(space, &queues(0, 2, &way)));
    tried.is_ok()
}

/// Joins the places by a bridge in a namespace of its own, which is returned.
pub(super) fn join(
    places: &[Namespace],
    run: u32,
    way: &impl Fn(usize, usize) -> Way,
) -> Result<Namespace, Trouble> {
    let hub = Namespace::new()?;
    hub.ip(&["link", "add", "bridge", "type", "bridge"])?;
    hub.ip(&["link", "set", "bridge", "up"])?;
    for (at, place) in places.iter().enumerate() {
        let port = port(run, at);
        let (pair, peer) = (["link", "add", &port, "type", "veth"], ["peer", "name", INTERFACE, "netns"]);
        hub.ip(&[&pair[..], &peer, &[&place.process()]].concat())?;
        hub.ip(&["link", "set", &port, "master", "bridge"])?;
        hub.ip(&["link", "set", &port, "up"])?;
        tc(place, &queues(at, places.len(), way))?;
    }
    Ok(hub)
}

/// The queues of a place: what it sends goes into one of them by where it goes.
fn queues(from: usize, places: usize, way: &impl Fn(usize, usize) -> Way) -> String {
    let mut lines = format!("qdisc add dev {INTERFACE} root handle 1: htb\n");
    for to in (0..places).filter(|to| *to != from) {
        let (Way { delay_us, jitter_us }, class, lost) = (way(from, to), number(to), 100 / LOST_OF);
        let dev = format!("dev {INTERFACE} parent 1:");
        let told = writeln!(lines, "class add {dev} classid 1:{class:x} htb rate 1gbit").and_then(|()| {
            writeln!(
                lines,
                "qdisc add {dev}{class:x} netem delay {delay_us}us {jitter_us}us loss {lost}% limit 10000"
            )?;
            let to = address(to);
            writeln!(lines, "filter add {dev} protocol ip u32 match ip dst {to}/32 flowid 1:{class:x}")
        });
        told.expect("a text takes any line");
    }
    lines
}

/// Has `tc` do what the lines say.
fn tc(space: &Namespace, lines: &str) -> Result<(), Trouble> {
    let mut command = space.command("tc");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let done = command.spawn().and_then(|mut child| {
        child.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes())).transpose()?;
        child.wait_with_output()
    });
    match done {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            let why = String::from_utf8_lossy(&stderr);
            Err(Trouble::Broken(format!("{command:?}: {} in\n{lines}", why.trim())))
        }
        Err(error) => Err(Trouble::Broken(format!("{command:?}: {error}"))),
    }
}
