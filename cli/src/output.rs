//! Where text goes: answers to standard output, progress and errors to standard error.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::{CommandError, Result};

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON document, or one line a record, instead of text.
    pub json: bool,
}

impl Output {
    /// Prints a line of text; nothing with `--json`.
    pub fn line(&self, text: impl AsRef<str>) -> Result {
        if self.json { Ok(()) } else { write_out(&format!("{}\n", text.as_ref())) }
    }

    /// Prints part of a line at once, for streamed text; nothing with `--json`.
    pub fn part(&self, text: &str) -> Result {
        if self.json { Ok(()) } else { write_out(text) }
    }

    /// Prints a remark beside the answer, on standard error; nothing with `--json`.
    pub fn note(&self, text: &str) -> Result {
        if self.json {
            return Ok(());
        }
        writeln!(io::stderr(), "{text}")
            .map_err(|error| CommandError::internal(format!("cannot write: {error}")))
    }

    /// Prints the document that scripts read; nothing without `--json`.
    pub fn document(&self, document: &Value) -> Result {
        if self.json { write_out(&format!("{document:#}\n")) } else { Ok(()) }
    }

    /// Prints one record of a stream of them; nothing without `--json`.
    pub fn record(&self, record: &Value) -> Result {
        if self.json { write_out(&format!("{record}\n")) } else { Ok(()) }
    }

    /// Reports an error: to standard error, or with `--json` as the one document on standard output.
    pub fn error(&self, error: &CommandError) {
        if error.told {
            return;
        }
        // Nothing is left to tell anyone if not even this can be written.
        let _ = if self.json {
            write_out(&format!("{:#}\n", error.to_json()))
        } else {
            write!(io::stderr(), "{error}").map_err(CommandError::internal)
        };
    }

    /// A progress bar over bytes: on a terminal only.
    pub fn byte_bar(&self, what: &str, total: u64) -> ProgressBar {
        let style = "{msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        self.bar(what, total, style)
    }

    /// A progress bar over items: on a terminal only.
    pub fn item_bar(&self, what: &str, total: u64) -> ProgressBar {
        self.bar(what, total, "{msg} [{bar:32}] {pos}/{len} {eta}")
    }

    fn bar(&self, what: &str, total: u64, template: &str) -> ProgressBar {
        let target = if !self.json && io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style.progress_chars("=> "));
        bar.set_message(what.to_owned());
        bar
    }
}

fn write_out(text: &str) -> Result {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::reader_left(),
        _ => CommandError::internal(format!("cannot write the answer: {error}")),
    })
}

/// Columns of text, each as wide as its widest cell.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The lines, without trailing spaces.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell: &String| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let pad = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
        self.rows
            .iter()
            .map(|row| row.iter().zip(&widths).map(pad).collect::<Vec<_>>().join("  ").trim_end().to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["a", "long"]);
        table.row(["wide cell".into(), "x".into()]);
        assert_eq!(table.lines(), ["a          long", "wide cell  x"]);
    }
}
