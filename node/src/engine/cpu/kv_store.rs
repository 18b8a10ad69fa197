//! Pages of keys and values in main memory. A page gets its memory when it is first written, and keeps it.

use super::{
    super::{
        device::{PAGE, PageId},
        fixed::Scale,
    },
    head_view::{HeadView, KeyPair, PageScales},
};

/// Sizes of the keys and values of one position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Key-value heads of a layer.
    pub heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl KvShape {
    /// Bytes that one position takes.
    pub fn position_bytes(&self) -> usize {
        2 * self.layers * self.heads * (self.head_dim * size_of::<i16>() + size_of::<Scale>())
    }

    /// Bytes that one page takes.
    pub fn page_bytes(&self) -> usize {
        PAGE * self.position_bytes()
    }
}

/// What one position of one key-value head brings: codes and scale of its key, and of its value.
#[derive(Clone, Copy, Debug)]
pub struct KvEntry<'a> {
    /// The key.
    pub key: (&'a [i16], Scale),
    /// The value.
    pub value: (&'a [i16], Scale),
}

/// Where an entry goes.
#[derive(Clone, Copy, Debug)]
pub struct KvPlace {
    /// The layer.
    pub layer: usize,
    /// The key-value head.
    pub head: usize,
    /// The page that holds the position.
    pub page: PageId,
    /// The position's place in that page.
    pub slot: usize,
}

/// All pages, by id.
#[derive(Debug)]
pub struct KvStore {
    shape: KvShape,
    pages: Vec<Option<KvPage>>,
}

/// One page: the heads of layer after layer, each with [`PAGE`] positions as [`HeadView`] has them.
#[derive(Debug)]
struct KvPage {
    keys: Vec<KeyPair>,
    key_scales: Vec<PageScales>,
    values: Vec<i16>,
    value_scales: Vec<PageScales>,
}

/// There is no memory for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl KvPage {
    fn new(shape: KvShape) -> Result<Self, NoMemory> {
        let heads = shape.layers * shape.heads;
        Ok(Self {
            keys: filled(heads * shape.head_dim / 2, [0; 2 * PAGE])?,
            key_scales: filled(heads, PageScales::ZERO)?,
            values: filled(heads * PAGE * shape.head_dim, 0)?,
            value_scales: filled(heads, PageScales::ZERO)?,
        })
    }
}

fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>, NoMemory> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| NoMemory)?;
    all.resize(len, value);
    Ok(all)
}

impl KvStore {
    /// No page has memory yet.
    pub fn new(shape: KvShape) -> Self {
        Self { shape, pages: Vec::new() }
    }

    /// Sees to it that `page` has memory.
    ///
    /// # Errors
    /// [`NoMemory`] if the system gives none.
    pub fn back(&mut self, page: PageId) -> Result<(), NoMemory> {
        let at = page.0 as usize;
        if at >= self.pages.len() {
            self.pages.resize_with(at + 1, || None);
        }
        if self.pages[at].is_none() {
            self.pages[at] = Some(KvPage::new(self.shape)?);
        }
        Ok(())
    }

    /// Writes one position of one head.
    ///
    /// # Panics
    /// If the page was never backed, or the entry is not a head's.
    pub fn write(&mut self, place: KvPlace, entry: KvEntry<'_>) {
        let KvShape { heads, head_dim, .. } = self.shape;
        let KvPlace { layer, head, page, slot } = place;
        let head = layer * heads + head;
        let page = self.pages[page.0 as usize].as_mut().expect("a page is backed before it is written");
        let keys = &mut page.keys[head * head_dim / 2..(head + 1) * head_dim / 2];
        for (pair, key) in keys.iter_mut().zip(entry.key.0.as_chunks::<2>().0) {
            pair.as_chunks_mut::<2>().0[slot] = *key;
        }
        // Of the values, two positions stand side by side in each column.
        let values = &mut page.values[(head * PAGE + slot / 2 * 2) * head_dim..][..2 * head_dim];
        for (pair, value) in values.as_chunks_mut::<2>().0.iter_mut().zip(entry.value.0) {
            pair[slot % 2] = *value;
        }
        page.key_scales[head].set(slot, entry.key.1);
        page.value_scales[head].set(slot, entry.value.1);
    }

    /// The first `positions` positions of one head of the text whose pages are `table`, page after page.
    ///
    /// # Panics
    /// While it is read: if a page was never backed.
    pub fn head<'a>(
        &'a self,
        (layer, head): (usize, usize),
        table: &'a [PageId],
        positions: usize,
    ) -> impl Iterator<Item = HeadView<'a>> + Clone {
        let (head, head_dim) = (layer * self.shape.heads + head, self.shape.head_dim);
        table[..positions.div_ceil(PAGE)].iter().enumerate().map(move |(index, id)| {
            let page = self.pages[id.0 as usize].as_ref().expect("a page is backed before it is read");
            HeadView {
                positions: PAGE.min(positions - index * PAGE),
                keys: &page.keys[head * head_dim / 2..(head + 1) * head_dim / 2],
                key_scales: &page.key_scales[head],
                values: &page.values[head * PAGE * head_dim..(head + 1) * PAGE * head_dim],
                value_scales: &page.value_scales[head],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape { layers: 2, heads: 3, head_dim: 4 };

    #[test]
    fn positions_come_back_in_the_order_of_the_table() {
        let mut store = KvStore::new(SHAPE);
        let table = [PageId(5), PageId(0)];
        for t in 0..PAGE + 3 {
            let (page, code) = (table[t / PAGE], t as i16);
            store.back(page).expect("a little memory");
            let entry = KvEntry {
                key: (&[code; 4], Scale::from(1, i32::from(code))),
                value: (&[-code; 4], Scale::from(1, -i32::from(code))),
            };
            store.write(KvPlace { layer: 1, head: 2, page, slot: t % PAGE }, entry);
        }
        let views: Vec<_> = store.head((1, 2), &table, PAGE + 2).collect();
        let sizes: Vec<_> = views.iter().map(|view| view.positions).collect();
        assert_eq!(sizes, [PAGE, 2]);
        for t in 0..PAGE + 2 {
            let (view, slot, code) = (&views[t / PAGE], t % PAGE, t as i16);
            assert_eq!(view.keys.iter().map(|pair| pair[2 * slot]).collect::<Vec<_>>(), [code; 2]);
            assert_eq!(view.keys.iter().map(|pair| pair[2 * slot + 1]).collect::<Vec<_>>(), [code; 2]);
            let values = view.values[slot / 2 * 8..].iter().skip(slot % 2).step_by(2).take(4);
            assert_eq!(values.copied().collect::<Vec<_>>(), [-code; 4]);
            assert_eq!(view.key_scales.at(slot), Scale::from(1, i32::from(code)));
            assert_eq!(view.value_scales.at(slot), Scale::from(1, -i32::from(code)));
        }
        assert_eq!(store.head((1, 2), &table, PAGE).count(), 1, "a full page needs no other");
    }

    #[test]
    fn pages_take_memory_only_when_backed() {
        let mut store = KvStore::new(SHAPE);
        store.back(PageId(1_000)).expect("a little memory");
        assert_eq!(store.pages.iter().flatten().count(), 1);
    }
}
