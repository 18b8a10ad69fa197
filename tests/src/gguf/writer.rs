//! Writes GGUF files, sound ones and, for tests of the reader, ones that lie.

use gridhour_node::model::gguf::{TensorType, Value};

const ALIGNMENT: usize = 32;

/// A tensor as it will be described, truthfully or not.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// Name.
    pub name: String,
    /// The type's number.
    pub code: u32,
    /// Dimensions, columns first.
    pub dims: Vec<u64>,
    /// Data.
    pub bytes: Vec<u8>,
    /// Offset to claim instead of the true one.
    pub offset: Option<u64>,
}

impl RawTensor {
    /// A tensor that is described as it is.
    pub fn new(name: &str, ty: TensorType, dims: Vec<u64>, bytes: Vec<u8>) -> Self {
        let code = ty.code().into();
        Self { name: name.to_owned(), code, dims, bytes, offset: None }
    }
}

/// A file to be written: metadata and tensors in order.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    meta: Vec<(String, Value)>,
    /// The tensors.
    pub tensors: Vec<RawTensor>,
}

impl GgufWriter {
    /// Sets a metadata key, replacing a value set before.
    pub fn meta(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.meta.push((key.to_owned(), value));
    }

    /// Removes a metadata key.
    pub fn remove(&mut self, key: &str) {
        self.meta.retain(|(other, _)| other != key);
    }

    /// Appends a tensor.
    pub fn tensor(&mut self, tensor: RawTensor) {
        self.tensors.push(tensor);
    }

    /// The tensor called `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor_mut(&mut self, name: &str) -> &mut RawTensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .expect("the test names a tensor of the file")
    }

    /// The same model in `count` files: metadata in the first, tensors spread in their order. The first has none
    /// where there are more files than tensors to spread.
    pub fn parts(&self, count: usize) -> Vec<Self> {
        let part = |number: usize| {
            let share = |number| number * self.tensors.len() / count;
            let meta = if number == 0 { self.meta.clone() } else { Vec::new() };
            let mut part = Self { meta, tensors: self.tensors[share(number)..share(number + 1)].to_vec() };
            part.meta("split.no", Value::Uint(number as u64));
            part.meta("split.count", Value::Uint(count as u64));
            part.meta("split.tensors.count", Value::Int(self.tensors.len() as i64));
            part
        };
        (0..count).map(part).collect()
    }

    /// The file's bytes, version 3.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        put_u64(&mut out, self.tensors.len());
        put_u64(&mut out, self.meta.len());
        for (key, value) in &self.meta {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_description(&mut out, tensor, offset);
            offset = (offset + tensor.bytes.len()).next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend_from_slice(&tensor.bytes);
        }
        out
    }
}

fn put_description(out: &mut Vec<u8>, tensor: &RawTensor, offset: usize) {
    put_text(out, &tensor.name);
    out.extend((tensor.dims.len() as u32).to_le_bytes());
    tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
    out.extend(tensor.code.to_le_bytes());
    out.extend(tensor.offset.unwrap_or(offset as u64).to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u64).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let code = |out: &mut Vec<u8>, code: u32| out.extend(code.to_le_bytes());
    let list = |out: &mut Vec<u8>, element: u32, count| {
        code(out, 9);
        code(out, element);
        put_u64(out, count);
    };
    match value {
        Value::Uint(number) => {
            code(out, 10);
            out.extend(number.to_le_bytes());
        }
        Value::Int(number) => {
            code(out, 11);
            out.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            code(out, 6);
            out.extend(number.to_le_bytes());
        }
        Value::F64(number) => {
            code(out, 12);
            out.extend(number.to_le_bytes());
        }
        Value::Bool(flag) => {
            code(out, 7);
            out.push((*flag).into());
        }
        Value::Text(text) => {
            code(out, 8);
            put_text(out, text);
        }
        Value::Uints(numbers) => {
            list(out, 10, numbers.len());
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        Value::Ints(numbers) => {
            list(out, 11, numbers.len());
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        Value::F32s(numbers) => {
            list(out, 6, numbers.len());
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        Value::F64s(numbers) => {
            list(out, 12, numbers.len());
            numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
        }
        Value::Bools(flags) => {
            list(out, 7, flags.len());
            out.extend(flags.iter().map(|flag| u8::from(*flag)));
        }
        Value::Texts(texts) => {
            list(out, 8, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
    }
}
