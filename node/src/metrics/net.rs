//! The network room's counters, which it keeps itself.

use std::fmt;

use super::{
    Source,
    sheet::{Sheet, Unit::Things},
};
use crate::net::{AdvertCounts, NetHandle, NetMetrics};

impl Source for NetHandle {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let peers = self.peers().len() as u64;
        sheet.gauge("net_peers", Things, "Peers that are connected and named this network", peers)?;
        let counts = self.metrics();
        adverts(sheet, &counts.adverts)?;
        let checkpoints =
            [("accepted", counts.checkpoints_accepted_total), ("refused", counts.checkpoints_refused_total)];
        let help = "Checkpoints of the ledger that said something new, or that were not believed";
        sheet.counters("net_checkpoints", help, "verdict", &checkpoints)?;
        let auctions =
            [("accepted", counts.auctions_accepted_total), ("refused", counts.auctions_refused_total)];
        let help = "Postings and quotes that peers brought, by whether they were new and good";
        sheet.counters("net_auctions", help, "verdict", &auctions)?;
        refusals(sheet, &counts)
    }
}

fn adverts(sheet: &mut Sheet<'_>, counts: &AdvertCounts) -> fmt::Result {
    let verdicts = [
        ("accepted", counts.accepted_total),
        ("oversized", counts.oversized_total),
        ("malformed", counts.malformed_total),
        ("wrong-network", counts.wrong_network_total),
        ("stale", counts.stale_total),
        ("from-future", counts.from_future_total),
        ("duplicate", counts.duplicate_total),
        ("bad-signature", counts.bad_signature_total),
        ("false-calibration", counts.false_calibration_total),
        ("table-full", counts.table_full_total),
    ];
    sheet.counters(
        "net_adverts",
        "Adverts that peers brought, by what became of them",
        "verdict",
        &verdicts,
    )?;
    let help = "Adverts over their peer's rate, counted beside their verdict";
    sheet.counter("net_adverts_over_rate", Things, help, counts.over_rate_total)
}

fn refusals(sheet: &mut Sheet<'_>, counts: &NetMetrics) -> fmt::Result {
    let refused = [
        ("connection", counts.connections_denied_total),
        ("request", counts.requests_refused_total),
        ("job", counts.jobs_refused_total),
        ("echo", counts.echoes_refused_total),
        ("push", counts.pushes_refused_total),
    ];
    sheet.counters(
        "net_refused",
        "What was asked by peers and refused by a limit, or a ban",
        "what",
        &refused,
    )?;
    sheet.counter("net_bans", Things, "Peers shut out for what they cost", counts.bans_total)?;
    let help = "Peers disconnected because they named another network or version";
    sheet.counter("net_other_network", Things, help, counts.other_network_total)?;
    let help = "Connections closed because a ping was not answered";
    sheet.counter("net_ping_timeouts", Things, help, counts.ping_timeouts_total)
}
