//! One family after the other: its name, type, unit and help, then its numbers.

use std::fmt;

use gridhour_protocol::units::{Credits, Timestamp};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry,
};

use super::times::Times;

/// What a number counts, which its name says too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The things that the name says.
    Things,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Millionths of a credit.
    Microcredits,
}

impl Unit {
    fn known(self) -> Option<registry::Unit> {
        match self {
            Self::Things => None,
            Self::Seconds => Some(registry::Unit::Seconds),
            Self::Bytes => Some(registry::Unit::Bytes),
            Self::Microcredits => Some(registry::Unit::Other("microcredits".into())),
        }
    }
}

/// What families are written on.
pub struct Sheet<'a>(DescriptorEncoder<'a>);

/// Writes one family's numbers.
type Write<'w> = &'w mut dyn FnMut(MetricEncoder<'_>) -> fmt::Result;

impl<'a> Sheet<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// Of the writer.
    pub fn gauge(&mut self, name: &str, unit: Unit, help: &str, value: u64) -> fmt::Result {
        self.family(name, unit, help, MetricType::Gauge, &mut |mut to| to.encode_gauge(&value))
    }

    /// 1 if it is so, 0 if not.
    ///
    /// # Errors
    /// Of the writer.
    pub fn flag(&mut self, name: &str, help: &str, is_so: bool) -> fmt::Result {
        self.gauge(name, Unit::Things, help, is_so.into())
    }

    /// An amount of money.
    ///
    /// # Errors
    /// Of the writer.
    pub fn credits(&mut self, name: &str, help: &str, amount: Credits) -> fmt::Result {
        self.gauge(name, Unit::Microcredits, help, amount.0)
    }

    /// A time of the wall clock, in seconds since the Unix epoch; 0 for never.
    ///
    /// # Errors
    /// Of the writer.
    pub fn moment(&mut self, name: &str, help: &str, time: Timestamp) -> fmt::Result {
        let seconds = seconds(time.0 / 1_000, time.0 % 1_000 * 1_000_000);
        self.family(name, Unit::Seconds, help, MetricType::Gauge, &mut |mut to| to.encode_gauge(&seconds))
    }

    /// A number that only grows, from 0 at the start of the process.
    ///
    /// # Errors
    /// Of the writer.
    pub fn counter(&mut self, name: &str, unit: Unit, help: &str, value: u64) -> fmt::Result {
        let write: Write<'_> = &mut |mut to| to.encode_counter::<NoLabelSet, _, u64>(&value, None);
        self.family(name, unit, help, MetricType::Counter, write)
    }

    /// Nanoseconds that only grow, shown as seconds.
    ///
    /// # Errors
    /// Of the writer.
    pub fn nanoseconds(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let seconds = seconds(value / 1_000_000_000, value % 1_000_000_000);
        let write: Write<'_> = &mut |mut to| to.encode_counter::<NoLabelSet, _, u64>(&seconds, None);
        self.family(name, Unit::Seconds, help, MetricType::Counter, write)
    }

    /// Counters that differ in one label, whose values are fixed by the program.
    ///
    /// # Errors
    /// Of the writer.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&'static str, u64)],
    ) -> fmt::Result {
        self.family(name, Unit::Things, help, MetricType::Counter, &mut |mut to| {
            values.iter().try_for_each(|(which, value)| {
                let labels = [(label, *which)];
                to.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)
            })
        })
    }

    /// How long something took, by how many times.
    ///
    /// # Errors
    /// Of the writer.
    pub fn times(&mut self, name: &str, help: &str, times: &Times) -> fmt::Result {
        let write: Write<'_> = &mut |to| times.histogram().encode(to);
        self.family(name, Unit::Seconds, help, MetricType::Histogram, write)
    }

    /// A 1 whose labels say something fixed.
    ///
    /// # Errors
    /// Of the writer.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.family(name, Unit::Things, help, MetricType::Info, &mut |mut to| to.encode_info(&labels))
    }

    fn family(
        &mut self,
        name: &str,
        unit: Unit,
        help: &str,
        kind: MetricType,
        write: Write<'_>,
    ) -> fmt::Result {
        let unit = unit.known();
        write(self.0.encode_descriptor(name, help, unit.as_ref(), kind)?)
    }
}

/// Exact to a microsecond for the next centuries, which is more than anyone reads.
fn seconds(whole: u64, nanoseconds: u64) -> f64 {
    whole as f64 + nanoseconds as f64 / 1e9
}
