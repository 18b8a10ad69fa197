//! Metadata values of a GGUF file.

use super::{ARRAY_MAX, GgufError, STRING_MAX, cursor::Cursor};

/// One metadata value. Integers of all widths are widened; floats keep their bits.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// An unsigned integer of 8 to 64 bits.
    Uint(u64),
    /// A signed integer of 8 to 64 bits.
    Int(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// Unsigned integers.
    Uints(Vec<u64>),
    /// Signed integers.
    Ints(Vec<i64>),
    /// 32-bit floats.
    F32s(Vec<f32>),
    /// 64-bit floats.
    F64s(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Strings.
    Texts(Vec<String>),
}

impl Value {
    /// The integer, if it is one and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Uint(value) => Some(*value),
            Self::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The 32-bit float, if it is one.
    pub fn as_f32(&self) -> Option<f32> {
        match self {
            Self::F32(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The strings, if it is an array of them.
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Self::Texts(values) => Some(values),
            _ => None,
        }
    }

    /// The signed integers, if it is an array of them.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Self::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// The 32-bit floats, if it is an array of them.
    pub fn as_f32s(&self) -> Option<&[f32]> {
        match self {
            Self::F32s(values) => Some(values),
            _ => None,
        }
    }
}

const TYPE_BOOL: u32 = 7;
const TYPE_TEXT: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// Reads the type number and the value of `key`.
pub(super) fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
    match cursor.u32(key)? {
        TYPE_ARRAY => read_array(cursor, key),
        code => read_scalar(cursor, code, key),
    }
}

fn bad(key: &str, reason: &str) -> GgufError {
    GgufError::Key { key: key.to_owned(), reason: reason.to_owned() }
}

fn read_bool(cursor: &mut Cursor<'_>, key: &str) -> Result<bool, GgufError> {
    match cursor.array::<1>(key)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(bad(key, "holds a truth value other than 0 and 1")),
    }
}

fn read_uint(cursor: &mut Cursor<'_>, code: u32, key: &str) -> Result<u64, GgufError> {
    match code {
        0 => cursor.array(key).map(|b| u8::from_le_bytes(b).into()),
        2 => cursor.array(key).map(|b| u16::from_le_bytes(b).into()),
        4 => cursor.array(key).map(|b| u32::from_le_bytes(b).into()),
        _ => cursor.u64(key),
    }
}

fn read_int(cursor: &mut Cursor<'_>, code: u32, key: &str) -> Result<i64, GgufError> {
    match code {
        1 => cursor.array(key).map(|b| i8::from_le_bytes(b).into()),
        3 => cursor.array(key).map(|b| i16::from_le_bytes(b).into()),
        5 => cursor.array(key).map(|b| i32::from_le_bytes(b).into()),
        _ => cursor.array(key).map(i64::from_le_bytes),
    }
}

fn read_scalar(cursor: &mut Cursor<'_>, code: u32, key: &str) -> Result<Value, GgufError> {
    Ok(match code {
        0 | 2 | 4 | 10 => Value::Uint(read_uint(cursor, code, key)?),
        1 | 3 | 5 | 11 => Value::Int(read_int(cursor, code, key)?),
        6 => Value::F32(f32::from_le_bytes(cursor.array(key)?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array(key)?)),
        TYPE_BOOL => Value::Bool(read_bool(cursor, key)?),
        TYPE_TEXT => Value::Text(cursor.text(STRING_MAX, key)?.to_owned()),
        _ => return Err(bad(key, "has a value type that GGUF does not define")),
    })
}

/// Bytes that an element of type `code` takes at least.
fn least_bytes(code: u32) -> usize {
    match code {
        2 | 3 => 2,
        4..=6 => 4,
        TYPE_TEXT | 10..=12 => 8,
        _ => 1,
    }
}

fn read_array(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
    let code = cursor.u32(key)?;
    if code == TYPE_ARRAY {
        return Err(bad(key, "is an array of arrays, which no model needs"));
    }
    let count = cursor.count(ARRAY_MAX, least_bytes(code), key)?;
    Ok(match code {
        0 | 2 | 4 | 10 => Value::Uints(repeat(count, || read_uint(cursor, code, key))?),
        1 | 3 | 5 | 11 => Value::Ints(repeat(count, || read_int(cursor, code, key))?),
        6 => Value::F32s(repeat(count, || cursor.array(key).map(f32::from_le_bytes))?),
        12 => Value::F64s(repeat(count, || cursor.array(key).map(f64::from_le_bytes))?),
        TYPE_BOOL => Value::Bools(repeat(count, || read_bool(cursor, key))?),
        TYPE_TEXT => Value::Texts(repeat(count, || cursor.text(STRING_MAX, key).map(str::to_owned))?),
        _ => return Err(bad(key, "is an array of a type that GGUF does not define")),
    })
}

fn repeat<T>(count: usize, mut read: impl FnMut() -> Result<T, GgufError>) -> Result<Vec<T>, GgufError> {
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(read()?);
    }
    Ok(values)
}
