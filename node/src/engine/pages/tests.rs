//! Random lives of texts against books kept independently: who has which page, and what stands on it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::{
    super::device::{PAGE, PageId},
    prefix::{PrefixKey, PrefixKeys},
    table::{PageTable, Pages},
};

/// What may happen to texts.
#[derive(Clone, Debug)]
enum Step {
    /// A text wants in: whose, the kind of each of its full pages, and pages that it may add.
    Admit { scope: Option<u8>, kinds: Vec<u32>, more: usize },
    /// A living text computes up to so many pages.
    Compute { text: usize, pages: usize },
    /// A living text lets others use what it computed.
    Publish { text: usize },
    /// A living text ends.
    End { text: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let scope = prop_oneof![1 => Just(None), 3 => (0..2u8).prop_map(Some)];
    prop_oneof![
        3 => (scope, vec(0..2u32, 0..5), 0..4usize)
            .prop_map(|(scope, kinds, more)| Step::Admit { scope, kinds, more }),
        3 => (0..8usize, 1..9usize).prop_map(|(text, pages)| Step::Compute { text, pages }),
        3 => (0..8usize).prop_map(|text| Step::Publish { text }),
        2 => (0..8usize).prop_map(|text| Step::End { text }),
    ]
}

/// A living text with its keys; those of one without a scope are its own.
struct Text {
    table: PageTable,
    shares: bool,
    keys: Vec<PrefixKey>,
    pages_max: usize,
}

/// The pages under test, and the books.
struct World {
    limit: usize,
    pages: Pages,
    texts: Vec<Text>,
    /// What was computed last on each page.
    content: BTreeMap<PageId, PrefixKey>,
    /// Texts that were admitted; names those without a scope.
    count: u32,
}

impl World {
    fn new(limit: usize) -> Self {
        // A page of one byte, so that bytes count pages.
        Self { limit, pages: Pages::new(limit, 1), texts: Vec::new(), content: BTreeMap::new(), count: 0 }
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        let texts = self.texts.len().max(1);
        match step {
            Step::Admit { scope, kinds, more } => self.admit(scope, &kinds, more)?,
            Step::Compute { text, pages } if text % texts < self.texts.len() => {
                self.compute(text % texts, pages)?;
            }
            Step::Publish { text } if text % texts < self.texts.len() => {
                let Text { table, shares: true, keys, .. } = &mut self.texts[text % texts] else {
                    return Ok(());
                };
                table.publish(&keys[..table.ids().len()]);
            }
            Step::End { text } if text % texts < self.texts.len() => {
                self.texts.swap_remove(text % texts);
            }
            _ => {}
        }
        self.check()
    }

    fn admit(&mut self, scope: Option<u8>, kinds: &[u32], more: usize) -> Result<(), TestCaseError> {
        self.count += 1;
        let pages_max = kinds.len() + more;
        let mut tokens: Vec<u32> = kinds.iter().flat_map(|kind| [*kind; PAGE]).collect();
        let prefix_len = kinds.len();
        // What is added later is like no other text's.
        tokens.resize(pages_max * PAGE, 1_000 + self.count);
        let own = self.count.to_le_bytes();
        let keys =
            PrefixKeys::new(scope.as_ref().map_or(&own[..], std::slice::from_ref)).of(&tokens).to_vec();
        let prefix = if scope.is_some() { &keys[..prefix_len] } else { &[] };
        let living: BTreeSet<PageId> = self.living();
        let before = self.pages.used();
        let Some(table) = self.pages.admit(prefix, pages_max * PAGE) else {
            prop_assert!(before + pages_max > self.limit, "refused with room for all of it");
            prop_assert_eq!(self.pages.used(), before);
            return Ok(());
        };
        for (id, key) in table.ids().iter().zip(&keys) {
            prop_assert_eq!(self.content.get(id), Some(key), "a page that holds something else");
        }
        let woken = table.ids().iter().filter(|id| !living.contains(id)).count();
        prop_assert_eq!(self.pages.used(), before + woken + pages_max - table.ids().len());
        self.texts.push(Text { table, shares: scope.is_some(), keys, pages_max });
        Ok(())
    }

    fn compute(&mut self, text: usize, pages: usize) -> Result<(), TestCaseError> {
        let living = self.living();
        let Text { table, keys, pages_max, .. } = &mut self.texts[text];
        let had = table.ids().len();
        table.grow(pages.min(*pages_max) * PAGE);
        for (id, key) in table.ids().iter().zip(keys).skip(had) {
            prop_assert!(!living.contains(id), "a page in use was taken from its text");
            self.content.insert(*id, *key);
        }
        Ok(())
    }

    fn living(&self) -> BTreeSet<PageId> {
        self.texts.iter().flat_map(|text| text.table.ids().iter().copied()).collect()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let living = self.living();
        let promised: usize = self.texts.iter().map(|text| text.pages_max - text.table.ids().len()).sum();
        prop_assert_eq!(self.pages.used(), living.len() + promised);
        prop_assert!(self.pages.used() + self.pages.kept() <= self.limit + promised);
        prop_assert!(self.pages.used() <= self.limit, "more was promised than there is");
        prop_assert!(living.iter().all(|id| (id.0 as usize) < self.limit));
        for text in &self.texts {
            for (id, key) in text.table.ids().iter().zip(&text.keys) {
                prop_assert_eq!(self.content.get(id), Some(key), "a text lost what it computed");
            }
        }
        Ok(())
    }

    /// Every page comes back, and one text can then have them all.
    fn close(mut self) -> Result<(), TestCaseError> {
        self.texts.clear();
        prop_assert_eq!(self.pages.used(), 0);
        let mut all = self.pages.admit(&[], self.limit * PAGE).expect("nobody uses any");
        all.grow(self.limit * PAGE);
        let distinct: BTreeSet<_> = all.ids().iter().collect();
        prop_assert_eq!((distinct.len(), self.pages.kept()), (self.limit, 0));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn pages_belong_to_whom_the_books_say(limit in 1..14usize, steps in vec(step(), 1..60)) {
        let mut world = World::new(limit);
        for step in steps {
            world.apply(step)?;
        }
        world.close()?;
    }
}

/// A text of one scope whose pages are all of one kind, computed and published.
fn run(pages: &Pages, kind: u32, full: usize) -> usize {
    let tokens = vec![kind; full * PAGE];
    let mut keys = PrefixKeys::new(b"scope");
    let mut table = pages.admit(keys.of(&tokens), full * PAGE).expect("room");
    let reused = table.reused();
    table.grow(full * PAGE);
    table.publish(keys.of(&tokens));
    reused / PAGE
}

#[test]
fn the_pages_unused_for_longest_go_first_and_ends_before_beginnings() {
    let pages = Pages::new(6, 1);
    assert_eq!((run(&pages, 1, 3), run(&pages, 2, 3), run(&pages, 1, 3)), (0, 0, 3));
    assert_eq!(pages.kept(), 6);
    // Takes two pages: the last ones of the second text, which was used before the first was used again.
    assert_eq!(run(&pages, 3, 2), 0);
    assert_eq!((run(&pages, 1, 3), run(&pages, 2, 1)), (3, 1));
}

#[test]
fn shared_pages_count_once_and_outlive_the_text_that_computed_them() {
    let pages = Pages::new(4, 1);
    let tokens = vec![7; 2 * PAGE];
    let mut keys = PrefixKeys::new(b"scope");
    let mut first = pages.admit(&[], 3 * PAGE).expect("room");
    first.grow(2 * PAGE);
    first.publish(keys.of(&tokens));
    let second = pages.admit(keys.of(&tokens), 3 * PAGE).expect("two of three are there");
    assert_eq!((second.ids(), second.reused()), (first.ids(), 2 * PAGE));
    assert_eq!(pages.used(), 4);
    assert!(pages.admit(keys.of(&tokens), 3 * PAGE).is_none(), "its third page has no room");
    drop(first);
    assert_eq!((pages.used(), pages.kept()), (3, 0));
    drop(second);
    assert_eq!((pages.used(), pages.kept()), (0, 2));
}
