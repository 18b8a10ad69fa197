//! An open model as a file to be written, its matrices in another type.

use gridhour_node::model::gguf::{Gguf, TensorType};

use super::{GgufWriter, RawTensor, encode_rows};
use crate::f32_eval::dequantise;

/// The model of `file` with every quantised matrix in the type `ty`, metadata and vectors as they are.
///
/// # Panics
/// If the rows of a matrix are no whole number of blocks of that type.
pub fn requantise(file: &Gguf, ty: TensorType) -> GgufWriter {
    let mut writer = GgufWriter::default();
    file.metadata().iter().for_each(|(key, value)| writer.meta(key, value.clone()));
    for tensor in file.tensors() {
        let dims = if tensor.rows == 1 { vec![tensor.cols] } else { vec![tensor.cols, tensor.rows] };
        let (ty, bytes) = match tensor.ty {
            TensorType::F32 => (TensorType::F32, tensor.bytes.to_vec()),
            _ => (ty, encode_rows(ty, &dequantise(&tensor))),
        };
        let dims = dims.into_iter().map(|dim| dim as u64).collect();
        writer.tensor(RawTensor::new(tensor.name, ty, dims, bytes));
    }
    writer
}
