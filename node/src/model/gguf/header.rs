//! The description at the head of a file: metadata, and where each tensor lies.

use std::collections::BTreeMap;

use super::{
    ALIGNMENT_MAX, DIM_MAX, GgufError, KEYS_MAX, METADATA_MAX, NAME_MAX, TENSORS_MAX, TensorFault,
    TensorPlace, TensorType, Value, cursor::Cursor, types::type_name, value::read_value,
};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;
/// Least bytes of one entry: a key of one letter with a byte; a tensor's name, one dimension, type and
/// offset.
const ENTRY_LEAST: usize = 14;
const TENSOR_LEAST: usize = 33;

/// All that precedes the tensors' data, checked against the file's size.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) meta: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, TensorPlace>,
}

/// A tensor as the file describes it, its data not yet placed.
struct Claim<'a> {
    name: &'a str,
    ty: TensorType,
    rows: usize,
    cols: usize,
    bytes: u64,
    offset: u64,
}

/// Reads and checks the description of a whole file.
pub(super) fn read(file: &[u8]) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(file);
    read_version(&mut cursor)?;
    let tensor_count = cursor.count(TENSORS_MAX, TENSOR_LEAST, "the number of tensors")?;
    let key_count = cursor.count(KEYS_MAX, ENTRY_LEAST, "the number of metadata keys")?;
    let meta = read_meta(&mut cursor, key_count)?;
    let mut claims = Vec::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        claims.push(read_claim(&mut cursor)?);
    }
    let alignment = alignment(&meta)?;
    let data_start = (cursor.position() as u64).next_multiple_of(alignment);
    let tensors = place(claims, data_start, alignment, file.len() as u64)?;
    Ok(Header { meta, tensors })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<(), GgufError> {
    if cursor.array::<4>("the magic number").map_err(|_| GgufError::NotGguf)? != *MAGIC {
        return Err(GgufError::NotGguf);
    }
    match cursor.u32("the version")? {
        2 | 3 => Ok(()),
        other if matches!(other.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
        found => Err(GgufError::Version { found }),
    }
}

fn read_meta(cursor: &mut Cursor<'_>, count: usize) -> Result<BTreeMap<String, Value>, GgufError> {
    let mut meta = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.text(NAME_MAX, "a metadata key")?;
        let value = read_value(cursor, key)?;
        let found = cursor.position() as u64;
        if found > METADATA_MAX {
            return Err(GgufError::TooMany {
                what: "bytes of metadata".to_owned(),
                found,
                max: METADATA_MAX,
            });
        }
        if meta.insert(key.to_owned(), value).is_some() {
            return Err(GgufError::Key { key: key.to_owned(), reason: "appears twice".to_owned() });
        }
    }
    Ok(meta)
}

fn read_claim<'a>(cursor: &mut Cursor<'a>) -> Result<Claim<'a>, GgufError> {
    let name = cursor.text(NAME_MAX, "a tensor's name")?;
    let fault = |reason| GgufError::Tensor { name: name.to_owned(), reason };
    let dims = cursor.u32(name)?;
    if !matches!(dims, 1 | 2) {
        return Err(fault(TensorFault::Dimensions(dims)));
    }
    let mut sizes = [1u64; 2];
    for size in sizes.iter_mut().take(dims as usize) {
        *size = cursor.u64(name)?;
        if !(1..=DIM_MAX).contains(size) {
            return Err(fault(TensorFault::Size(*size)));
        }
    }
    let code = cursor.u32(name)?;
    let offset = cursor.u64(name)?;
    let unsupported = || GgufError::UnsupportedType { name: name.to_owned(), found: type_name(code) };
    let ty = TensorType::from_code(code).ok_or_else(unsupported)?;
    let [cols, rows] = sizes.map(|size| size as usize);
    let row_bytes = ty.row_bytes(cols).ok_or_else(|| fault(TensorFault::Blocks { cols, ty }))?;
    // Both factors are below 2^27, so the product cannot overflow.
    let bytes = row_bytes as u64 * rows as u64;
    Ok(Claim { name, ty, rows, cols, bytes, offset })
}

fn alignment(meta: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let Some(value) = meta.get(ALIGNMENT_KEY) else {
        return Ok(ALIGNMENT_DEFAULT);
    };
    match value.as_u64() {
        Some(found) if found.is_power_of_two() && found <= ALIGNMENT_MAX => Ok(found),
        _ => Err(GgufError::Key {
            key: ALIGNMENT_KEY.to_owned(),
            reason: format!("is not a power of two of at most {ALIGNMENT_MAX}"),
        }),
    }
}

/// Checks that the claims lie in the data section `data_start..file_len`, aligned and apart.
fn place(
    mut claims: Vec<Claim<'_>>,
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<BTreeMap<String, TensorPlace>, GgufError> {
    claims.sort_by_key(|claim| claim.offset);
    let available = file_len.saturating_sub(data_start);
    let mut tensors = BTreeMap::new();
    let mut previous: Option<(&str, u64)> = None;
    for Claim { name, ty, rows, cols, bytes, offset } in claims {
        let fault = |reason| Err(GgufError::Tensor { name: name.to_owned(), reason });
        if offset % alignment != 0 {
            return fault(TensorFault::Alignment { offset, alignment });
        }
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= available) else {
            return fault(TensorFault::PastEnd { offset, bytes, available });
        };
        if let Some((other, _)) = previous.filter(|(_, other_end)| *other_end > offset) {
            return fault(TensorFault::Overlap(other.to_owned()));
        }
        previous = Some((name, end));
        // Both ends are at most the length of a slice, so they fit a usize.
        let range = (data_start + offset) as usize..(data_start + end) as usize;
        if tensors.insert(name.to_owned(), TensorPlace { ty, rows, cols, part: 0, range }).is_some() {
            return fault(TensorFault::Duplicate);
        }
    }
    Ok(tensors)
}
