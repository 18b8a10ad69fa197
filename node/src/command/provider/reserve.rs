//! On which terms a provider reserves capacity: flags over settings over defaults.

use clap::Args;
use gridhour_protocol::{
    market::reservation::stock::ReservationTerms,
    units::{Millis, PricePerHour},
};

use super::argument;
use crate::{command::NodeError, engine::scheduler::JOBS_MAX, settings::Settings};

/// Paid of what is not used of a slot, if nobody says otherwise.
const STANDBY: &str = "50";
/// What missed slots cost, if nobody says otherwise.
const LADDER: [&str; 4] = ["10", "25", "50", "100"];
/// Seconds to answer, if nobody says otherwise.
const ANSWER_S: u64 = 60;
/// Seconds of the client's notice, if nobody says otherwise.
const NOTICE_S: u64 = 60 * 60;
/// Seconds of the longest window, if nobody says otherwise.
const LONGEST_S: u64 = 24 * 60 * 60;

/// What a provider takes to reserve capacity.
#[derive(Debug, Args)]
pub struct ReserveArgs {
    /// Let clients reserve this device: they prepay slots, and a part of what this provider puts up is lost for every slot
    /// that is called for and not answered. The device must be calibrated and have a stake
    #[arg(long, env = "GRIDHOUR_RESERVE")]
    pub reserve: bool,

    /// Ask this many credits for a reserved reference GPU-hour [default: --ask]
    #[arg(long, value_name = "CREDITS", env = "GRIDHOUR_RESERVE_PRICE")]
    pub reserve_price: Option<String>,

    /// Be paid this share of what is not used of a slot, for standing by [default: 50]
    #[arg(long, value_name = "PERCENT", env = "GRIDHOUR_RESERVE_STANDBY")]
    pub reserve_standby: Option<String>,

    /// Lose these shares of a slot's price for the first missed slot, the second, and so on; with the last the reservation
    /// ends [default: 10,25,50,100]
    #[arg(long, value_name = "PERCENT", env = "GRIDHOUR_RESERVE_LADDER", value_delimiter = ',')]
    pub reserve_ladder: Vec<String>,

    /// Take this long at most to answer when a slot is called for, from 10 on, and half a slot at most [default: 60]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_RESERVE_ANSWER")]
    pub reserve_answer: Option<u64>,

    /// Let clients give up slots that begin later than this [default: 3600]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_RESERVE_NOTICE")]
    pub reserve_notice: Option<u64>,

    /// Reserve this long at once at most, all slots together [default: 86400]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_RESERVE_LONGEST")]
    pub reserve_longest: Option<u64>,
}

impl ReserveArgs {
    /// The terms; none if nothing is to be reserved. `ask` is the price of all else, and `slots` the jobs at once.
    pub(super) fn terms(
        &self,
        settings: &Settings,
        ask: PricePerHour,
        slots: u16,
    ) -> Result<Option<ReservationTerms>, NodeError> {
        if !self.reserve && settings.reserve != Some(true) {
            return Ok(None);
        }
        if usize::from(slots) >= JOBS_MAX {
            let why = format!("who reserves capacity serves {} at most: one more runs at need", JOBS_MAX - 1);
            return Err(argument("slots", why));
        }
        let terms = ReservationTerms {
            price: match self.reserve_price.as_deref().or(settings.reserve_price.as_deref()) {
                Some(text) => text.parse().map_err(|error| argument("reserve-price", error))?,
                None => ask,
            },
            standby: self.standby(settings)?,
            answer_within: seconds(self.reserve_answer, settings.reserve_answer, ANSWER_S),
            notice: seconds(self.reserve_notice, settings.reserve_notice, NOTICE_S),
            ladder: self.ladder(settings)?,
            longest: seconds(self.reserve_longest, settings.reserve_longest, LONGEST_S),
        };
        terms.check().map_err(|why| argument("reserve", why))?;
        Ok(Some(terms))
    }

    fn standby(&self, settings: &Settings) -> Result<u16, NodeError> {
        let text = self.reserve_standby.as_deref().or(settings.reserve_standby.as_deref());
        thousandths(text.unwrap_or(STANDBY)).map_err(|why| argument("reserve-standby", why))
    }

    fn ladder(&self, settings: &Settings) -> Result<Vec<u16>, NodeError> {
        let rungs = |texts: &[String]| -> Result<Vec<u16>, String> {
            texts.iter().map(|text| thousandths(text)).collect()
        };
        let ladder = match (&self.reserve_ladder[..], &settings.reserve_ladder) {
            ([], Some(texts)) => rungs(texts),
            ([], None) => rungs(&LADDER.map(str::to_owned)),
            (texts, _) => rungs(texts),
        };
        ladder.map_err(|why| argument("reserve-ladder", why))
    }
}

fn seconds(flag: Option<u64>, setting: Option<u64>, default: u64) -> Millis {
    Millis(flag.or(setting).unwrap_or(default).saturating_mul(1_000))
}

/// A share in per cent, with one place after the point at most, in thousandths.
fn thousandths(text: &str) -> Result<u16, String> {
    let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = || format!("{text:?} is no share in per cent, such as 50 or 12.5");
    if !digits(whole) || !digits(tenths) || tenths.len() > 1 {
        return Err(wrong());
    }
    format!("{whole}{tenths}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        reserve: ReserveArgs,
    }

    const ASK: PricePerHour = PricePerHour(2_000_000);

    fn terms(flags: &str, settings: &str) -> Result<Option<ReservationTerms>, NodeError> {
        let flags = Flags::parse_from(["test"].into_iter().chain(flags.split_whitespace()));
        flags.reserve.terms(&toml::from_str(settings).expect("settings"), ASK, 2)
    }

    #[test]
    fn nothing_is_reserved_unless_asked_for() {
        assert_eq!(terms("--reserve-price 3", "reserve-standby = \"1\"").unwrap(), None);
        let default = terms("--reserve", "").unwrap().expect("it reserves");
        assert_eq!((default.price, default.standby), (ASK, 500));
        assert_eq!(default.ladder, [100, 250, 500, 1_000]);
        assert_eq!((default.answer_within, default.notice), (Millis(60_000), Millis(3_600_000)));
        assert_eq!(default.longest, Millis(86_400_000));
    }

    #[test]
    fn flags_go_before_settings() {
        let file =
            "reserve = true\nreserve-price = \"5\"\nreserve-ladder = [\"20\", \"20.5\"]\nreserve-notice = 7";
        let terms = terms("--reserve-price 4 --reserve-answer 10", file).unwrap().expect("it reserves");
        assert_eq!((terms.price, terms.notice), (PricePerHour(4_000_000), Millis(7_000)));
        assert_eq!((terms.ladder, terms.answer_within), (vec![200, 205], Millis(10_000)));
    }

    #[test]
    fn terms_that_no_ledger_would_book_are_refused() {
        for flags in [
            "--reserve-standby 100.1",
            "--reserve-standby 5.55",
            "--reserve-standby -5",
            "--reserve-ladder 0",
            "--reserve-ladder 20,10",
            "--reserve-ladder 1,1,1,1,1,1,1,1,1",
            "--reserve-answer 9",
            "--reserve-price 0",
            "--reserve-longest 59",
        ] {
            let flags = flags.replacen(' ', "=", 1);
            assert!(terms(&format!("--reserve {flags}"), "").is_err(), "{flags}");
        }
        let flags = Flags::parse_from(["test", "--reserve"]);
        let many = u16::try_from(JOBS_MAX).unwrap();
        assert!(flags.reserve.terms(&Settings::default(), ASK, many).is_err());
    }
}
