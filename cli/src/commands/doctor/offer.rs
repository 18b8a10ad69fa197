//! How the node looks to others: its clock against theirs, its offer, and its ports.

use std::time::Instant;

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    clock,
    drivers::ledger_client::{LedgerClient, LedgerError},
    rpc::checkup::{Checkup, CheckupRequest, Outcome, Port, TriedPort},
};
use gridhour_protocol::{
    signed::{PublicKey, Verified},
    units::Millis,
};

use super::{finding::Finding, ledger::Node};

/// Whether the clock agrees with others.
pub const CLOCK: &str = "clock";
/// Whether others see the offer.
pub const SEEN: &str = "offer";
/// Whether others reach the ports that the offer names.
pub const PORTS: &str = "ports";

/// What one node answered, and how far its clock may be from ours.
struct Answer {
    id: PublicKey,
    checkup: Checkup,
    /// Milliseconds between its clock and ours, at least: what the way may have taken is left out.
    skew: Millis,
}

/// Asks every node how `own` looks from there.
pub async fn look(
    own: PublicKey,
    ledger: &LedgerClient,
    nodes: &[Node],
    network: &Verified<NetworkFile>,
) -> Vec<Finding> {
    let mut answers = Vec::new();
    for node in nodes.iter().filter(|node| node.status.is_ok()) {
        answers.extend(ask(own, node, Vec::new()).await.ok());
    }
    let mut findings = vec![judge_clock(&answers, network.genesis.clock_skew)];
    match ledger.devices(own).await {
        Ok(devices) if devices.is_empty() => {
            let why = "this account has no device on the ledger, so it is no provider";
            findings.extend([SEEN, PORTS].map(|name| Finding::skipped(name, why)));
        }
        Ok(_) => {
            findings.push(judge_offer(&answers));
            findings.push(ports(own, nodes, &answers).await);
        }
        Err(error) => findings.extend([SEEN, PORTS].map(|name| Finding::skipped(name, &error))),
    }
    findings
}

async fn ask(own: PublicKey, node: &Node, ports: Vec<Port>) -> Result<Answer, LedgerError> {
    let (begun, sent) = (Instant::now(), clock::now());
    let checkup = node.ledger.checkup(CheckupRequest { node: own, ports }).await?;
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (earliest, latest) = (sent.0, sent.0.saturating_add(took));
    let skew = Millis(earliest.saturating_sub(checkup.now.0).max(checkup.now.0.saturating_sub(latest)));
    Ok(Answer { id: node.id, checkup, skew })
}

/// Clocks must agree within what the network allows; half of it is a warning.
fn judge_clock(answers: &[Answer], allowed: Millis) -> Finding {
    let Some(worst) = answers.iter().max_by_key(|answer| answer.skew) else {
        return Finding::skipped(CLOCK, "nobody told the time");
    };
    let what =
        format!("{} ms from that of {}; the network allows {} ms", worst.skew.0, worst.id.short(), allowed.0);
    let todo = "set this machine's clock (NTP), or tell the other's owner; adverts and blocks of a wrong clock are refused";
    match worst.skew.0 {
        skew if skew > allowed.0 => Finding::failed(CLOCK, what, todo),
        skew if skew > allowed.0 / 2 => Finding::warning(CLOCK, what, todo),
        _ => Finding::ok(CLOCK, what),
    }
}

fn judge_offer(answers: &[Answer]) -> Finding {
    let offers: Vec<_> = answers.iter().filter_map(|answer| answer.checkup.offer.as_ref()).collect();
    let (seen, asked) = (offers.len(), answers.len());
    let what = format!("{seen} of {asked} nodes have a live advert of this provider");
    match seen {
        _ if asked == 0 => Finding::skipped(SEEN, "nobody answers"),
        0 => {
            let todo = "start the provider; if it runs, see that it reaches a bootstrap peer, and its clock";
            Finding::failed(SEEN, what, todo)
        }
        _ if offers.iter().all(|offer| !offer.offers_model) => {
            let what = format!("{what}, and it offers no model");
            Finding::failed(SEEN, what, "see its events: the device failed, or it is being calibrated")
        }
        _ if seen < asked => Finding::warning(SEEN, what, "wait for the next advert, and ask again"),
        _ => Finding::ok(SEEN, what),
    }
}

/// Has the ports dialled that the advert names, by one node after the other until one could try.
async fn ports(own: PublicKey, nodes: &[Node], answers: &[Answer]) -> Finding {
    let offers = answers.iter().filter_map(|answer| answer.checkup.offer.as_ref());
    let ports = offers.max_by_key(|offer| offer.sequence).map_or_else(Vec::new, |offer| offer.ports.clone());
    if ports.is_empty() {
        return Finding::skipped(PORTS, "nobody sees an advert that names a port");
    }
    let mut why = "nobody answers".to_owned();
    for node in nodes.iter().filter(|node| node.status.is_ok()) {
        match ask(own, node, ports.clone()).await {
            Ok(answer) if was_tried(&answer.checkup.tried) => return judge_ports(&answer.checkup.tried),
            Ok(answer) => why = troubles(&answer.checkup.tried),
            Err(error) => why = error.to_string(),
        }
    }
    Finding::warning(PORTS, why, "run `gridhour doctor` again in ten seconds")
}

fn was_tried(tried: &[TriedPort]) -> bool {
    !tried.is_empty() && !tried.iter().any(|tried| matches!(tried.outcome, Outcome::NotTried(_)))
}

fn troubles(tried: &[TriedPort]) -> String {
    let why = |tried: &TriedPort| Some(format!("{}: {}", tried.port, tried.outcome.trouble()?));
    tried.iter().filter_map(why).collect::<Vec<_>>().join("; ")
}

fn judge_ports(tried: &[TriedPort]) -> Finding {
    let reached = tried.iter().filter(|tried| tried.outcome == Outcome::Reached);
    let reached: Vec<String> = reached.map(|tried| tried.port.to_string()).collect();
    let todo = "open or forward the port in router and firewall, to the address that --listen names";
    match (reached.len(), tried.len()) {
        (0, _) => Finding::failed(PORTS, troubles(tried), todo),
        (some, all) if some < all => {
            Finding::warning(PORTS, format!("{} reached; {}", reached.join(", "), troubles(tried)), todo)
        }
        _ => Finding::ok(PORTS, format!("{} reached from outside", reached.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use gridhour_node::rpc::checkup::{SeenOffer, Transport};
    use gridhour_protocol::units::Timestamp;

    use super::{super::finding::State, *};

    fn answer(skew: u64, offers: Option<bool>) -> Answer {
        let offer = offers.map(|offers_model| SeenOffer {
            sequence: 1,
            expires_at: Timestamp(1),
            offers_model,
            ports: Vec::new(),
        });
        let checkup = Checkup { now: Timestamp(1), offer, tried: Vec::new() };
        Answer { id: PublicKey([1; 32]), checkup, skew: Millis(skew) }
    }

    #[test]
    fn a_clock_is_judged_by_what_the_network_allows() {
        let state = |skew| judge_clock(&[answer(0, None), answer(skew, None)], Millis(100)).state;
        assert_eq!([50, 51, 101].map(state), [State::Ok, State::Warning, State::Failed]);
        assert_eq!(judge_clock(&[], Millis(100)).state, State::Skipped);
    }

    #[test]
    fn an_offer_that_nobody_sees_or_that_offers_nothing_failed() {
        let state = |offers: &[Option<bool>]| {
            judge_offer(&offers.iter().map(|offers| answer(0, *offers)).collect::<Vec<_>>()).state
        };
        assert_eq!(state(&[Some(true), Some(true)]), State::Ok);
        assert_eq!(state(&[Some(true), None]), State::Warning);
        assert_eq!(state(&[None, None]), State::Failed);
        assert_eq!(state(&[Some(false), None]), State::Failed);
        assert_eq!(state(&[]), State::Skipped);
    }

    #[test]
    fn a_port_must_be_reached_and_one_that_was_not_tried_says_nothing() {
        let port = |outcome| TriedPort { port: Port { transport: Transport::Tcp, number: 1 }, outcome };
        let (reached, refused) = (|| port(Outcome::Reached), || port(Outcome::Unreached("refused".into())));
        let untried = port(Outcome::NotTried("busy".into()));
        assert!(!was_tried(&[reached(), untried]) && was_tried(&[reached()]) && !was_tried(&[]));
        assert_eq!(judge_ports(&[reached()]).state, State::Ok);
        assert_eq!(judge_ports(&[reached(), refused()]).state, State::Warning);
        assert_eq!(judge_ports(&[refused()]).state, State::Failed);
    }
}
