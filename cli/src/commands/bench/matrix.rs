//! Round trips between regions, from a file that the user names.

use std::{fs::File, io::Read, path::Path};

use gridhour_node::bench::matrix::Matrix;

use crate::error::{CommandError, Result};

/// Bytes of the longest matrix that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// The matrix in the file at `path`; one that is made up where none is named.
pub(super) fn load(path: Option<&Path>) -> Result<Matrix> {
    let Some(path) = path else { return Ok(Matrix::synthetic()) };
    let refused = |error: String| CommandError::usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    // One byte more than there may be, so that a longer file is seen to be one.
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(refused(format!("more than {BYTES_MAX} bytes are no matrix")));
    }
    Matrix::parse(&text).map_err(refused)
}
