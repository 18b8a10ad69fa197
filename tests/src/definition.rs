//! A model file for the definition of the arithmetic.

use gridhour_node::model::{
    config::llama_config,
    gguf::{Gguf, TensorType},
};
use gridhour_protocol::exact::{
    llama::{LlamaWeights, Tensor},
    weights::BlockType,
};

/// The weights of `file` as the definition codes them.
///
/// # Panics
/// If the file is not a sound model.
pub fn definition_weights(file: &Gguf) -> LlamaWeights {
    let tensor = |name: &str| {
        let tensor = file.tensor(name).ok()?;
        let kind = block_type(tensor.ty);
        Some(Tensor { kind, rows: tensor.rows, columns: tensor.cols, bytes: tensor.bytes })
    };
    let config = llama_config(file).expect("the sizes are sound");
    LlamaWeights::load(config, tensor).expect("the weights are sound")
}

/// The definition's name of a tensor type.
pub fn block_type(ty: TensorType) -> BlockType {
    match ty {
        TensorType::F32 => BlockType::F32,
        TensorType::F16 => BlockType::F16,
        TensorType::Bf16 => BlockType::Bf16,
        TensorType::Q4_0 => BlockType::Q4_0,
        TensorType::Q4_1 => BlockType::Q4_1,
        TensorType::Q5_0 => BlockType::Q5_0,
        TensorType::Q5_1 => BlockType::Q5_1,
        TensorType::Q8_0 => BlockType::Q8_0,
        TensorType::Q4K => BlockType::Q4K,
        TensorType::Q6K => BlockType::Q6K,
    }
}
