//! Models in several files: each is a whole GGUF file that says which part it is; the first has the metadata.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Gguf, GgufError, PARTS_MAX, PartFault, TENSORS_MAX, TensorFault, TensorPlace, Value, header};
use crate::model::map::FileBytes;

const NUMBER_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const TENSORS_KEY: &str = "split.tensors.count";

/// One file, its description checked.
pub(super) struct File {
    pub(super) bytes: FileBytes,
    pub(super) header: header::Header,
}

/// Which part of a model a file says that it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Split {
    /// Counted from 0.
    number: u64,
    count: u64,
    /// Tensors of all parts.
    tensors: u64,
}

/// Maps and checks one file.
pub(super) fn read(path: &Path) -> Result<File, GgufError> {
    let io = |source| GgufError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(io)?;
    parse(FileBytes::map(&file).map_err(io)?)
}

/// Checks one file.
pub(super) fn parse(bytes: FileBytes) -> Result<File, GgufError> {
    Ok(File { header: header::read(&bytes)?, bytes })
}

/// What the file says of its place; `None` where it is a whole model.
fn split(meta: &BTreeMap<String, Value>) -> Result<Option<Split>, GgufError> {
    let number = |key: &str, max: u64| match meta.get(key).map(Value::as_u64) {
        Some(Some(found)) if found <= max => Ok(found),
        Some(_) => {
            Err(GgufError::Key { key: key.to_owned(), reason: format!("is not a number of at most {max}") })
        }
        None => Err(GgufError::MissingKey { key: key.to_owned() }),
    };
    if !meta.contains_key(COUNT_KEY) {
        return Ok(None);
    }
    let count = number(COUNT_KEY, PARTS_MAX)?;
    if count <= 1 {
        return Ok(None);
    }
    let (number, tensors) = (number(NUMBER_KEY, count - 1)?, number(TENSORS_KEY, TENSORS_MAX)?);
    Ok(Some(Split { number, count, tensors }))
}

/// Refuses a file that is only a part.
pub(super) fn refuse_part(file: &File) -> Result<(), GgufError> {
    match split(&file.header.meta)? {
        Some(Split { number, count, .. }) => Err(GgufError::Alone { number: number + 1, count }),
        None => Ok(()),
    }
}

/// Where the parts of a model lie, and what they must say.
pub(super) struct Parts {
    paths: Vec<PathBuf>,
    split: Split,
}

/// The parts of the model of which `opened`, at `path`, is one; `None` if it is the whole.
pub(super) fn parts_of(path: &Path, opened: &File) -> Result<Option<Parts>, GgufError> {
    let Some(split) = split(&opened.header.meta)? else {
        return Ok(None);
    };
    let end = |number: u64| format!("-{:05}-of-{:05}.gguf", number + 1, split.count);
    let fault = || part_fault(path, PartFault::Name { end: end(split.number) });
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(fault)?;
    let stem = name.strip_suffix(&end(split.number)).ok_or_else(fault)?;
    let beside = |number| path.with_file_name(format!("{stem}{}", end(number)));
    Ok(Some(Parts { paths: (0..split.count).map(beside).collect(), split }))
}

/// Opens all parts, in their order, as one model.
pub(super) fn assemble(parts: &Parts) -> Result<Gguf, GgufError> {
    let mut model = Gguf { files: Vec::new(), meta: BTreeMap::new(), tensors: BTreeMap::new() };
    for (part, path) in parts.paths.iter().enumerate() {
        let in_part = |source| GgufError::Part { path: path.to_owned(), source: Box::new(source) };
        let File { bytes, header } = read(path).map_err(in_part)?;
        let expected = Split { number: part as u64, ..parts.split };
        check_place(path, split(&header.meta).map_err(in_part)?, expected)?;
        add_tensors(&mut model.tensors, part, header.tensors).map_err(in_part)?;
        if part == 0 {
            model.meta = header.meta;
        }
        model.files.push(bytes);
    }
    let (found, expected) = (model.tensors.len() as u64, parts.split.tensors);
    if found != expected {
        return Err(part_fault(&parts.paths[0], PartFault::Tensors { found, expected }));
    }
    Ok(model)
}

fn check_place(path: &Path, found: Option<Split>, expected: Split) -> Result<(), GgufError> {
    let place = |split: Split| (split.number + 1, split.count);
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) if place(found) == place(expected) => {
            Err(part_fault(path, PartFault::Tensors { found: found.tensors, expected: expected.tensors }))
        }
        found => {
            let (found, expected) = (place(found.unwrap_or(Split::WHOLE)), place(expected));
            Err(part_fault(path, PartFault::Place { found, expected }))
        }
    }
}

impl Split {
    /// A model in one file.
    const WHOLE: Self = Self { number: 0, count: 1, tensors: 0 };
}

fn add_tensors(
    all: &mut BTreeMap<String, TensorPlace>,
    part: usize,
    tensors: BTreeMap<String, TensorPlace>,
) -> Result<(), GgufError> {
    for (name, place) in tensors {
        if all.contains_key(&name) {
            return Err(GgufError::Tensor { name, reason: TensorFault::Duplicate });
        }
        all.insert(name, TensorPlace { part, ..place });
    }
    Ok(())
}

fn part_fault(path: &Path, reason: PartFault) -> GgufError {
    GgufError::Place { path: path.to_owned(), reason }
}
