//! What nodes remember is bounded, table by table, and does not grow with the life of the world.

use std::collections::BTreeMap;

use super::{Checker, View};
use crate::sim::fact::Fact;

/// What is remembered of each other node grows until every one was met. It has its maximum, and need not be flat before.
const BY_ACQUAINTANCE: [&str; 3] = ["histories", "distrusted", "scores"];
/// By how much the second half of a life may hold more than the first, as a share in thousandths, and a few on top: loads
/// are drawn at random.
const GROWTH_PER_MILLE: usize = 1_250;
const FEW: usize = 50;
/// Looks from which on something can be said of halves.
const LOOKS_MIN: usize = 20;

/// What all nodes held in one table, look by look.
#[derive(Clone, Debug, Default)]
pub struct MemoryIsFlat {
    looks: usize,
    now: BTreeMap<&'static str, usize>,
    tables: BTreeMap<&'static str, Vec<usize>>,
}

impl MemoryIsFlat {
    fn note(&mut self, fact: &Fact, view: &View<'_>) -> Result<(), String> {
        match fact {
            Fact::Size { node, table, entries, most } if entries > most => {
                Err(format!("node {} holds {entries} {table}, at most {most} are allowed", node.0))
            }
            Fact::Size { table, entries, .. } => {
                *self.now.entry(table).or_default() += entries;
                Ok(())
            }
            Fact::Sampled => {
                self.now.insert("ledger records", view.ledger.state().records().len());
                for (table, entries) in std::mem::take(&mut self.now) {
                    let series = self.tables.entry(table).or_default();
                    series.resize(self.looks, 0);
                    series.push(entries);
                }
                self.looks += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The most in each half.
fn halves(series: &[usize]) -> (usize, usize) {
    let (first, second) = series.split_at(series.len() / 2);
    let most = |part: &[usize]| part.iter().max().copied().unwrap_or(0);
    (most(first), most(second))
}

impl Checker for MemoryIsFlat {
    fn name(&self) -> &'static str {
        "memory_is_flat"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        view.facts.iter().try_for_each(|fact| self.note(fact, view))
    }

    fn finish(&mut self, _: &View<'_>) -> Result<(), String> {
        for (table, series) in self.tables.iter().filter(|(table, _)| !BY_ACQUAINTANCE.contains(table)) {
            let (first, second) = halves(series);
            if series.len() >= LOOKS_MIN && second > first * GROWTH_PER_MILLE / 1_000 + FEW {
                return Err(format!(
                    "{table}: at most {first} in the first half, {second} in the second: {series:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::stage::{CLIENT, Stage},
        *,
    };

    fn look(entries: usize) -> [Fact; 2] {
        [Fact::Size { node: CLIENT, table: "runs", entries, most: 1_000 }, Fact::Sampled]
    }

    fn looks(sizes: impl Iterator<Item = usize>) -> Result<(), String> {
        let (stage, mut checker) = (Stage::new(), MemoryIsFlat::default());
        let facts: Vec<Fact> = sizes.flat_map(look).collect();
        stage.show(&mut checker, &facts)?;
        checker.finish(&stage.view(1, &[]))
    }

    #[test]
    fn a_table_over_its_maximum_or_one_that_grows_is_found() {
        assert!(looks([1_001].into_iter()).is_err(), "more than allowed");
        assert!(looks((0..60).map(|minute| 10 * minute)).is_err(), "it grows");
        assert_eq!(looks((0..60).map(|minute| 400 + minute % 7)), Ok(()));
        assert_eq!(looks((0..60).map(|minute| 400 * usize::from(minute > 20))), Ok(()), "it was filled once");
    }
}
