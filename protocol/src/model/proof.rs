//! One weight row, opened alone against a [`ModelId`].

use thiserror::Error;

use super::{
    ModelId,
    manifest::{Manifest, TensorEntry},
    row::WeightRow,
    tree::{Digest, inclusion_path, root_from_path},
};

/// The way from one row's leaf to the model's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowProof {
    /// The tensor that the row is of.
    pub tensor: TensorEntry,
    /// Which row.
    pub row: u32,
    /// From the row's leaf to the tensor's root, lowest sibling first.
    pub row_path: Vec<Digest>,
    /// Place of the tensor among the model's top leaves.
    pub top_index: u32,
    /// How many top leaves the model has.
    pub top_count: u32,
    /// From the tensor's entry to the model's id, lowest sibling first.
    pub top_path: Vec<Digest>,
}

/// Why a row does not open.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RowProofError {
    /// The manifest has no such tensor.
    #[error("the model has no tensor {0:?}")]
    UnknownTensor(String),
    /// The leaves are not those of the tensor.
    #[error("the rows given are not those of tensor {0:?}")]
    OtherRows(String),
    /// There is no such row.
    #[error("tensor {name:?} has {rows} rows, so none of number {row}")]
    NoSuchRow {
        /// The tensor.
        name: String,
        /// Its rows.
        rows: u32,
        /// The row asked for.
        row: u32,
    },
    /// The row's type or width is not the tensor's.
    #[error("the row has another type or width than tensor {0:?}")]
    Shape(String),
    /// The row does not lead to the tensor's root.
    #[error("row {row} of tensor {name:?} is not what the model holds there")]
    Row {
        /// The tensor.
        name: String,
        /// The row.
        row: u32,
    },
    /// The tensor's entry does not lead to the model's id.
    #[error("tensor {name:?} as described is not part of model {model}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The model.
        model: ModelId,
    },
}

impl RowProof {
    /// Opens row `row` of the tensor called `name`, whose rows have these leaves.
    ///
    /// # Errors
    /// [`RowProofError`] if there is no such tensor or row, or the leaves are not the tensor's.
    pub fn make(manifest: &Manifest, name: &str, leaves: &[Digest], row: u32) -> Result<Self, RowProofError> {
        let unknown = || RowProofError::UnknownTensor(name.to_owned());
        let position = manifest.position(name).ok_or_else(unknown)?;
        let tensor = manifest.tensors()[position].clone();
        let no_row = || RowProofError::NoSuchRow { name: name.to_owned(), rows: tensor.rows, row };
        let row_path = inclusion_path(leaves, row as usize).ok_or_else(no_row)?;
        let leaf = &leaves[row as usize];
        if root_from_path(leaf, row as usize, tensor.rows as usize, &row_path) != Some(tensor.root) {
            return Err(RowProofError::OtherRows(name.to_owned()));
        }
        let top = manifest.leaves();
        let top_path = inclusion_path(&top, position + 1).ok_or_else(unknown)?;
        let [top_index, top_count] = [position + 1, top.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Ok(Self { tensor, row, row_path, top_index, top_count, top_path })
    }

    /// Whether `row` is what `model` holds at this place.
    ///
    /// # Errors
    /// [`RowProofError`] naming the step that fails.
    pub fn verify(&self, model: ModelId, row: &WeightRow<'_>) -> Result<(), RowProofError> {
        let TensorEntry { name, ty, rows, cols, root, .. } = &self.tensor;
        if !row.has_shape(*ty, *cols as usize) {
            return Err(RowProofError::Shape(name.clone()));
        }
        let found = root_from_path(&row.leaf(), self.row as usize, *rows as usize, &self.row_path);
        if found != Some(*root) {
            return Err(RowProofError::Row { name: name.clone(), row: self.row });
        }
        let (index, count) = (self.top_index as usize, self.top_count as usize);
        match root_from_path(&self.tensor.leaf(), index, count, &self.top_path) {
            Some(id) if id == model.0 => Ok(()),
            _ => Err(RowProofError::Tensor { name: name.clone(), model }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        manifest::tests::facts,
        row::{RowCodes, RowType},
        tree::TreeBuilder,
    };

    const ROWS: u8 = 11;

    fn row(codes: &[i8; 32]) -> WeightRow<'_> {
        WeightRow { ty: RowType::Q8_0, kd: 4, km: 0, scales: &[77], mins: &[], codes: RowCodes::Bytes(codes) }
    }

    fn leaves() -> Vec<Digest> {
        (0..ROWS).map(|number| row(&[number.cast_signed(); 32]).leaf()).collect()
    }

    fn model() -> Manifest {
        let mut tree = TreeBuilder::new();
        tree.extend(leaves());
        let entry = |name: &str, root| TensorEntry {
            name: name.to_owned(),
            ty: RowType::Q8_0,
            rows: ROWS.into(),
            cols: 32,
            exponent: 3,
            root,
        };
        let root = tree.root().expect("there are rows");
        let tensors = vec![entry("a", [9; 32]), entry("b", root), entry("c", [8; 32])];
        Manifest::new(facts(), tensors).expect("three small tensors")
    }

    proptest! {
        #[test]
        fn every_row_opens_and_no_other_passes(number in 0..ROWS, other in 0..ROWS) {
            let manifest = model();
            let proof = RowProof::make(&manifest, "b", &leaves(), number.into()).expect("the row exists");
            let verdict = proof.verify(manifest.model_id(), &row(&[other.cast_signed(); 32]));
            prop_assert_eq!(verdict.is_ok(), number == other, "{:?}", verdict);
        }

        #[test]
        fn a_lie_about_the_tensor_fails(number in 0..ROWS, exponent: i16) {
            let manifest = model();
            let mut proof = RowProof::make(&manifest, "b", &leaves(), number.into()).expect("the row exists");
            prop_assume!(exponent != proof.tensor.exponent);
            proof.tensor.exponent = exponent;
            let verdict = proof.verify(manifest.model_id(), &row(&[number.cast_signed(); 32]));
            let is_tensor = matches!(verdict, Err(RowProofError::Tensor { .. }));
            prop_assert!(is_tensor);
        }
    }

    #[test]
    fn impossible_openings_are_refused() {
        let manifest = model();
        let make = |name, row| RowProof::make(&manifest, name, &leaves(), row).map(|_| ());
        assert_eq!(make("z", 0), Err(RowProofError::UnknownTensor("z".into())));
        assert_eq!(make("b", 11), Err(RowProofError::NoSuchRow { name: "b".into(), rows: 11, row: 11 }));
        assert_eq!(make("a", 0), Err(RowProofError::OtherRows("a".into())));
    }

    #[test]
    fn a_row_of_another_shape_is_refused() {
        let manifest = model();
        let proof = RowProof::make(&manifest, "b", &leaves(), 0).expect("the row exists");
        let short = WeightRow { codes: RowCodes::Bytes(&[0; 31]), ..row(&[0; 32]) };
        assert_eq!(proof.verify(manifest.model_id(), &short), Err(RowProofError::Shape("b".into())));
    }
}
