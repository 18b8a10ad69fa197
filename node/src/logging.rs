//! Logs, to standard error: lines for people with short ids, or a JSON object a line for programs with whole ones.
//!
//! Every line of a job's life stands within a span that names it: `job` (the digest of its request), `session`, `order` and
//! `peer`, the one on the other side. Keys, prompts, outputs and tokens are never logged, at no level.

use std::{
    fmt::{self, Debug, Write},
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use gridhour_protocol::{id::RequestDigest, session::terms::Terms, signed::PublicKey};
use tracing::{
    Span,
    field::{Empty, Field, display},
};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        MakeWriter,
        format::{Writer, debug_fn},
    },
};

/// Digits of an id that is whole.
const ID_DIGITS: usize = 64;
/// Digits of an id for people, as elsewhere.
const SHORT_DIGITS: usize = 8;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Logs what `filter` lets through from now on. Done once in a process; a second time changes nothing.
pub fn start(filter: EnvFilter, format: LogFormat) {
    let dispatch = dispatch(filter, format, io::stderr().is_terminal(), io::stderr);
    // Fails only where somebody logs already.
    let _ = tracing::dispatcher::set_global_default(dispatch);
}

fn dispatch(
    filter: EnvFilter,
    format: LogFormat,
    colours: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> tracing::Dispatch {
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    match format {
        LogFormat::Text => logs.fmt_fields(debug_fn(write_field).delimited(" ")).finish().into(),
        LogFormat::Json => logs.json().with_current_span(false).finish().into(),
    }
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let mut text = String::new();
    write!(text, "{value:?}")?;
    match field.name() {
        "message" => writer.write_str(&text),
        name => write!(writer, "{name}={}", shortened(&text)),
    }
}

/// Ids and keys by their first digits; anything else as it is.
fn shortened(text: &str) -> &str {
    let is_id = text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { &text[..SHORT_DIGITS] } else { text }
}

/// The span of a job with `peer`, whatever is logged: it is as good as free while nothing is. What is not known yet is
/// entered by [`name_job`].
#[must_use]
pub fn job_span(peer: &PublicKey) -> Span {
    tracing::error_span!("job", %peer, job = Empty, session = Empty, order = Empty)
}

/// Enters into the span around what the job's terms say.
pub fn name_session(terms: &Terms) {
    let span = Span::current();
    span.record("session", display(terms.id()));
    span.record("order", display(terms.order));
}

/// Enters into the span around which job it is.
pub fn name_job(request: &RequestDigest) {
    Span::current().record("job", display(request));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of a line within a job, and the job's terms.
    fn logged(format: LogFormat) -> (String, Terms) {
        let lines = Lines::default();
        let written = lines.clone();
        let dispatch = dispatch(EnvFilter::new("info"), format, false, move || lines.clone());
        let terms = Deal::new(&Chain::new(), &key(1), &key(2)).sign().terms;
        tracing::dispatcher::with_default(&dispatch, || {
            let _job = job_span(&terms.client).entered();
            name_session(&terms);
            name_job(&RequestDigest([7; 32]));
            tracing::info!(tokens = 3, "it goes on");
            tracing::debug!("nobody asked for this");
        });
        (String::from_utf8(written.0.lock().unwrap().clone()).unwrap(), terms)
    }

    #[test]
    fn people_read_short_ids_in_every_line_of_a_job() {
        let (text, terms) = logged(LogFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            format!("session={} ", terms.id().short()),
            format!("order={} ", terms.order.short()),
            format!("{{peer={} ", terms.client.short()),
            "job=07070707}".into(),
            "it goes on".into(),
            "tokens=3".into(),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
    }

    #[test]
    fn programs_read_whole_ids_in_every_line_of_a_job() {
        let (text, terms) = logged(LogFormat::Json);
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        let job = &line["spans"][0];
        assert_eq!(job["session"], terms.id().to_string());
        assert_eq!(job["order"], terms.order.to_string());
        assert_eq!((&job["peer"], &job["name"]), (&terms.client.to_string().into(), &"job".into()));
        assert_eq!(job["job"], "07".repeat(32));
        assert_eq!(
            (&line["fields"]["message"], &line["fields"]["tokens"]),
            (&"it goes on".into(), &3.into())
        );
    }

    #[test]
    fn only_whole_ids_are_shortened() {
        assert_eq!(shortened(&"ab".repeat(32)), "abababab");
        assert_eq!(shortened(&"zz".repeat(32)), "zz".repeat(32));
        assert_eq!(shortened("abcdef0123"), "abcdef0123");
    }
}
