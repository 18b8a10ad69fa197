//! The ledger as a node sees it that does not keep it, or keeps a copy.

use std::fmt;

use gridhour_protocol::units::Timestamp;

use super::{
    Source,
    sheet::{Sheet, Unit::Things},
};
use crate::drivers::pulse::Pulse;

impl Source for Pulse {
    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let beat = self.now();
        let (height, time, answered) = match &beat.answer {
            Some((status, at)) => (status.height.0, status.time, *at),
            None => (0, Timestamp(0), Timestamp(0)),
        };
        let help = "The last block of the ledger node, by its word";
        sheet.gauge("contact_ledger_height", Things, help, height)?;
        let help = "Time of that block, since the Unix epoch";
        sheet.moment("contact_ledger_tip_time", help, time)?;
        let help = "When the ledger node last answered, since the Unix epoch; 0 for never";
        sheet.moment("contact_ledger_answer_time", help, answered)?;
        let help = "Questions to the ledger node that were not answered";
        sheet.counter("contact_ledger_unanswered", Things, help, beat.missed)
    }
}
