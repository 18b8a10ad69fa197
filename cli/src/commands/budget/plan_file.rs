//! A tree of caps as a TOML file names it, and as the ledger counts it.

use std::{collections::BTreeMap, path::Path};

use gridhour_contracts_sim::{limits::CAPS_MAX, tx::CapPlan};
use gridhour_protocol::{
    signed::PublicKey,
    units::{Credits, Millis},
};
use serde::Deserialize;

use super::super::audit::read_at_most;
use crate::{
    error::{CommandError, Result},
    human_time::parse_span,
};

/// The largest plan file that is read, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Caps with names, in their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Tells the budgets of one owner apart.
    pub number: Option<u64>,
    /// After so long every cap is whole again.
    pub period: Option<Millis>,
    /// How long the budget lasts from now on.
    pub span: Option<Millis>,
    /// Names, by place.
    pub names: Vec<String>,
    /// Caps, by place.
    pub caps: Vec<CapPlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    number: Option<u64>,
    period: Option<String>,
    #[serde(rename = "for")]
    span: Option<String>,
    #[serde(rename = "cap")]
    caps: Vec<CapEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CapEntry {
    name: String,
    amount: String,
    parent: Option<String>,
    spender: Option<String>,
    #[serde(default)]
    halted: bool,
}

/// Reads the plan in `path`.
pub fn load(path: &Path) -> Result<Named> {
    let fail = |why: String| CommandError::usage(format!("{}: {why}", path.display()));
    let bytes = read_at_most(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| fail(error.to_string()))?;
    parse(&text).map_err(fail)
}

fn parse(text: &str) -> std::result::Result<Named, String> {
    let file: PlanFile = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.caps.is_empty() || file.caps.len() > CAPS_MAX {
        return Err(format!("{} caps; a budget has 1 to {CAPS_MAX}", file.caps.len()));
    }
    let span = |text: Option<String>| text.as_deref().map(parse_span).transpose();
    let mut places = BTreeMap::new();
    let (mut names, mut caps) = (Vec::new(), Vec::new());
    for (place, entry) in (0u16..).zip(file.caps) {
        caps.push(cap(&entry, &places).map_err(|why| format!("cap {:?}: {why}", entry.name))?);
        if places.insert(entry.name.clone(), place).is_some() {
            return Err(format!("two caps are called {:?}", entry.name));
        }
        names.push(entry.name);
    }
    Ok(Named { number: file.number, period: span(file.period)?, span: span(file.span)?, names, caps })
}

fn cap(entry: &CapEntry, places: &BTreeMap<String, u16>) -> std::result::Result<CapPlan, String> {
    let parent = match &entry.parent {
        None if places.is_empty() => None,
        None => return Err("it needs a parent: only the first cap has none".into()),
        Some(above) => {
            Some(*places.get(above).ok_or_else(|| format!("no cap before it is called {above:?}"))?)
        }
    };
    let amount: Credits = entry.amount.parse().map_err(|error| format!("{error}"))?;
    let spender: Option<PublicKey> =
        entry.spender.as_deref().map(str::parse).transpose().map_err(|error| format!("spender: {error}"))?;
    Ok(CapPlan { parent, spender, amount, halted: entry.halted })
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::key;

    use super::*;

    #[test]
    fn a_file_names_a_tree() {
        let spender = key(1).public();
        let text = format!(
            "number = 7\nperiod = \"30d\"\n[[cap]]\nname = \"acme\"\namount = \"100\"\n\
             [[cap]]\nname = \"lab\"\nparent = \"acme\"\namount = \"40.5\"\nhalted = true\n\
             [[cap]]\nname = \"alice\"\nparent = \"lab\"\namount = \"10\"\nspender = \"{spender}\"\n"
        );
        let named = parse(&text).expect("it is a plan");
        let cap =
            |parent, spender, amount, halted| CapPlan { parent, spender, amount: Credits(amount), halted };
        assert_eq!((named.number, named.span), (Some(7), None));
        assert_eq!(named.period, Some(Millis(30 * 24 * 60 * 60 * 1000)));
        assert_eq!(named.names, ["acme", "lab", "alice"]);
        let caps = [
            cap(None, None, 100_000_000, false),
            cap(Some(0), None, 40_500_000, true),
            cap(Some(1), Some(spender), 10_000_000, false),
        ];
        assert_eq!(named.caps, caps);
    }

    #[test]
    fn what_is_no_tree_is_refused_by_name() {
        let first = "[[cap]]\nname = \"a\"\namount = \"1\"\n";
        let refused = [
            ("", "missing field"),
            ("cap = []", "0 caps"),
            ("[[cap]]\nname = \"a\"\namount = \"1\"\nparent = \"b\"", "no cap before it is called \"b\""),
            (&format!("{first}[[cap]]\nname = \"b\"\namount = \"1\""), "cap \"b\": it needs a parent"),
            (&format!("{first}[[cap]]\nname = \"a\"\nparent = \"a\"\namount = \"1\""), "two caps are called"),
            ("[[cap]]\nname = \"a\"\namount = \"-1\"", "cap \"a\""),
            ("[[cap]]\nname = \"a\"\namount = \"1\"\nspender = \"me\"", "spender"),
            (&format!("period = \"1 month\"\n{first}"), "no span of time"),
            (&format!("perod = \"30d\"\n{first}"), "perod"),
            (&first.repeat(CAPS_MAX + 1), "65 caps"),
        ];
        for (text, why) in refused {
            let error = parse(text).expect_err(why);
            assert!(error.contains(why), "{error:?} for {text:?}");
        }
    }
}
