//! `gridhour audit verify`: every block of a ledger, checked from nothing but its bytes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust},
    checkpoint::Checkpoint,
    state::State,
    witnesses::{LogKeys, Quorum},
};
use gridhour_node::clock;
use serde_json::{Value, json};

use super::{document, export::Source, kept::Kept, pin::Pin, quorum, reading::Reading, tell, trust};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    memory,
};

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// The export [default: fetched from the ledger node; if nobody answers, the one in the data directory]
    file: Option<PathBuf>,

    /// Pin the network in this file [default: the data directory's, if it has one]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,

    /// Pin a checkpoint that was seen before: a file of `--save-checkpoint`, or a note that the operator signed, as a
    /// file or as the URL of a public log. Of a note, the network's witnesses must have cosigned as many as it requires
    #[arg(long, value_name = "FILE|URL")]
    checkpoint: Option<String>,

    /// Take a checkpoint that too few witnesses have cosigned
    #[arg(long, requires = "checkpoint")]
    allow_unwitnessed: bool,

    /// When all is well, write the last block as a checkpoint for later audits
    #[arg(long, value_name = "FILE")]
    save_checkpoint: Option<PathBuf>,

    /// Begin anew, even if an audit of this ledger was interrupted
    #[arg(long)]
    fresh: bool,

    /// Keep how far the audit got every S seconds, in audit.resume in the data directory
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    save_every: u64,
}

/// What an audit came to.
struct Audited {
    report: Report,
    state: Option<State>,
    /// Why an audit that was interrupted was not gone on with.
    begun_anew: Option<String>,
    took: Duration,
}

/// What was seen before, and who of the network's witnesses cosigned it.
#[derive(Default)]
struct Before {
    pin: Option<Pin>,
    quorum: Option<Quorum>,
}

impl Before {
    fn load(args: &VerifyArgs, context: &Context) -> Result<Self> {
        let Some(place) = &args.checkpoint else { return Ok(Self::default()) };
        let keys = known_keys(args, context)?;
        let pin = Pin::load(place, keys.as_ref())?;
        let quorum = match &keys {
            Some(keys) if pin.is_of(keys) => pin.quorum(keys),
            Some(_) if args.network.is_some() => {
                return Err(CommandError::usage(
                    "the checkpoint is of another network than the network file",
                ));
            }
            _ => None,
        };
        Ok(Self { pin: Some(pin), quorum })
    }

    /// Adds what is wrong if too few have cosigned.
    fn judge(&self, report: &mut Report) {
        if let (Some(pin), Some(quorum)) = (&self.pin, &self.quorum) {
            let finding = quorum::finding(quorum, pin.checkpoint.height);
            report.ok &= finding.is_none();
            report.findings.extend(finding);
        }
    }
}

/// The keys of the network that is known from elsewhere, if one is.
fn known_keys(args: &VerifyArgs, context: &Context) -> Result<Option<LogKeys>> {
    if args.network.is_none() && !context.data_dir.network().exists() {
        return Ok(None);
    }
    quorum::log_keys(context, args.network.as_deref()).map(Some)
}

pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result {
    // What pins an audit is older than what is audited.
    let before = Before::load(args, context)?;
    let source = Source::find(args.file.as_deref(), context)?;
    let trust = match &before.pin {
        Some(pin) => Trust::Checkpoint(pin.checkpoint),
        None => trust(args.network.as_deref(), context)?,
    };
    // An export that cannot be read is an audit that failed, not a wrong command.
    let audited = audit(args, &source.path, trust, context);
    let mut audited = audited.map_err(|error| CommandError { kind: Kind::Refused, ..error })?;
    if !args.allow_unwitnessed {
        before.judge(&mut audited.report);
    }
    say(context, &source, &audited, before.quorum.as_ref())?;
    let Audited { report, state, .. } = audited;
    if !report.ok {
        return Err(CommandError::silent(Kind::Refused, format!("{} findings", report.findings.len())));
    }
    let Some(state) = state else { return Ok(()) };
    before.pin.map_or(Ok(()), |pin| pin.check_signature(&state))?;
    save_checkpoint(args.save_checkpoint.as_deref(), &state)
}

/// Writes the last block of `state` to a file, if one is named.
pub(super) fn save_checkpoint(path: Option<&Path>, state: &State) -> Result {
    path.map_or(Ok(()), |path| {
        fs::write(path, Checkpoint::of(state).to_string()).map_err(|error| CommandError::file(path, &error))
    })
}

fn audit(args: &VerifyArgs, file: &Path, trust: Trust, context: &Context) -> Result<Audited> {
    let start = Instant::now();
    let mut reading = Reading::open(file)?.with_bar(context)?;
    let mut kept = Kept::new(context, Duration::from_secs(args.save_every));
    let (resumed, begun_anew) = if args.fresh { (None, None) } else { kept.resume(&mut reading, trust)? };
    let mut auditor = resumed.unwrap_or_else(|| Auditor::new(trust).with_clock(clock::now()));
    while !auditor.is_over() {
        let piece = reading.next(u64::MAX)?;
        if piece.is_empty() {
            break;
        }
        auditor.push(piece);
        reading.show(format!("audit: block {}", auditor.height().0));
        kept.keep(&mut auditor);
    }
    let (report, state) = auditor.finish();
    kept.done()?;
    Ok(Audited { report, state, begun_anew, took: start.elapsed() })
}

fn say(context: &Context, source: &Source, audited: &Audited, quorum: Option<&Quorum>) -> Result {
    let Audited { report, begun_anew, took, .. } = audited;
    let (millis, peak) = (u64::try_from(took.as_millis()).unwrap_or(u64::MAX), memory::peak_bytes());
    let mut answer = document(report);
    answer["source"] = source.document();
    answer["witnesses"] = quorum.map_or(Value::Null, quorum::document);
    answer["begun_anew"] = json!(begun_anew);
    answer["took_ms"] = json!(millis);
    answer["peak_memory_bytes"] = json!(peak);
    context.out.document(&answer)?;
    let out = context.out;
    out.line(format!("ledger        {}", source.text()))?;
    tell(context, report)?;
    if let Some(quorum) = quorum {
        out.line(format!("witnesses     {}", quorum::text(quorum)))?;
    }
    if let Some(resumed) = report.resumed {
        let height = resumed.height.0;
        out.line(format!(
            "resumed       behind block {height}, from {}: up to there the file has the bytes that an earlier run checked",
            context.data_dir.audit_resume().display()
        ))?;
    }
    if let Some(why) = begun_anew {
        out.line(format!("begun anew    {why}"))?;
    }
    let rate = u128::from(report.checked()) * 1000 / took.as_millis().max(1);
    let memory = peak.map_or_else(String::new, |peak| format!(", {} MiB of memory at most", peak >> 20));
    out.line(format!("took          {} ms, {rate} transactions a second{memory}", took.as_millis()))?;
    out.line(if report.ok { "all in order" } else { "NOT in order" })
}
