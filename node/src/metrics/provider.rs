//! A provider: slots, jobs, money to collect, and its engine.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    Source, engine,
    sheet::{
        Sheet,
        Unit::{Microcredits, Things},
    },
};
use crate::drivers::provider::{Look, Monitor};

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

impl Source for Monitor {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        self.look().map_or(Ok(()), |provider| write(&provider, sheet))
    }
}

fn write(provider: &Look, sheet: &mut Sheet<'_>) -> fmt::Result {
    let scheduler = provider.scheduler();
    let help = "Whether the model is loaded and offered";
    sheet.flag("provider_serving", help, scheduler.is_some())?;
    let (slots, free) = provider.slots();
    sheet.gauge("provider_slots", Things, "Jobs served at once", slots.into())?;
    sheet.gauge("provider_slots_free", Things, "Slots that no job takes", free as u64)?;
    jobs(provider, sheet)?;
    money(provider, sheet)?;
    doings(provider, sheet)?;
    engine::write(sheet, &provider.engine_counts(), scheduler.as_deref())
}

fn jobs(provider: &Look, sheet: &mut Sheet<'_>) -> fmt::Result {
    let counts = provider.counts();
    let ends = [
        ("settled", value(&counts.settled)),
        ("unsettled", value(&counts.unsettled)),
        ("cheated", value(&counts.cheated)),
        ("refused", value(&counts.refused)),
    ];
    sheet.counters("provider_jobs", "Jobs by their end", "end", &ends)?;
    let help = "Output tokens sent in jobs that have ended";
    sheet.counter("provider_output_tokens", Things, help, value(&counts.tokens))?;
    let help = "How long job streams were open, refused ones too";
    sheet.times("provider_job_stream", help, &counts.streams)?;
    let help = "What clients did against the rules";
    sheet.counter("provider_misdeeds", Things, help, provider.misdeeds())
}

fn money(provider: &Look, sheet: &mut Sheet<'_>) -> fmt::Result {
    let (counts, standing) = (provider.counts(), provider.counts().standing());
    sheet.gauge("provider_sessions", Things, "Sessions not closed yet", standing.sessions)?;
    let closed = [("closed", value(&counts.closed)), ("forgotten", value(&counts.forgotten))];
    let help = "Sessions that ended: closed by this provider, or on the ledger by another's doing";
    sheet.counters("provider_sessions_ended", help, "end", &closed)?;
    let help = "Collected from sessions that were closed";
    sheet.counter("provider_collected", Microcredits, help, value(&counts.collected))?;
    let help = "Sessions with earned money that is not collected and whose deadline is near";
    sheet.gauge("provider_unclaimed_sessions", Things, help, standing.unclaimed)?;
    let help = "Earned money that is lost if it is not collected soon";
    sheet.credits("provider_unclaimed", help, standing.unclaimed_amount)?;
    sheet.credits("provider_stake", "At stake for the device", standing.bonded)?;
    let help = "What the account has too little for the stake that it should keep";
    sheet.credits("provider_stake_missing", help, standing.stake_missing)
}

fn doings(provider: &Look, sheet: &mut Sheet<'_>) -> fmt::Result {
    let counts = provider.counts();
    sheet.counter("provider_adverts", Things, "Adverts that went out", value(&counts.adverts))?;
    let help = "Quotes for posted orders that went out";
    sheet.counter("provider_quotes", Things, help, value(&counts.quoted))?;
    let help = "Quotes for which nobody came while they were firm";
    sheet.counter("provider_quotes_lapsed", Things, help, value(&counts.lapsed))?;
    let help = "Times that the device failed and the offer was withdrawn";
    sheet.counter("provider_withdrawals", Things, help, value(&counts.withdrawn))?;
    let calibrations = [("signed", value(&counts.calibrated)), ("nothing", value(&counts.not_calibrated))];
    let help = "Calibrations by challengers, by what came of them";
    sheet.counters("provider_calibrations", help, "end", &calibrations)?;
    let help = "Things that failed and are tried again";
    sheet.counter("provider_troubles", Things, help, value(&counts.troubles))
}
