//! A matrix of 32-bit floats in NumPy's `.npy` format, version 1.0, written row by row.
//!
//! ```text
//! 0x93 "NUMPY" 1 0 | u16 length of the text | a Python dict as text, padded with spaces, '\n' | floats, row
//! by row
//! ```
//! Numbers are little-endian, and the floats start at a multiple of 64 bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
};

/// Where the floats start is a multiple of this.
const ALIGNMENT: usize = 64;
/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A matrix being written beside its final place, where it appears complete or not at all.
#[derive(Debug)]
pub struct NpyWriter {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    columns: usize,
    rows_left: usize,
}

impl NpyWriter {
    /// Begins a matrix of `rows` rows of `columns` floats, which [`NpyWriter::finish`] puts at `path`.
    ///
    /// # Errors
    /// If the folder does not exist or cannot be written to, or if `path` is a folder.
    pub fn create(path: &Path, rows: usize, columns: usize) -> io::Result<Self> {
        let name = path.file_name().filter(|_| !path.is_dir()).ok_or(io::ErrorKind::IsADirectory)?;
        let partial = path.with_file_name(format!(".{}.{}.partial", name.display(), process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut writer = Self { path: path.to_owned(), partial, file, columns, rows_left: rows };
        writer.file.write_all(&header(rows, columns))?;
        Ok(writer)
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If the row has another length, if there are enough rows already, or if the disk does not take it.
    pub fn row(&mut self, row: &[f32]) -> io::Result<()> {
        if row.len() != self.columns {
            return Err(io::Error::other(format!("a row of {} for {} columns", row.len(), self.columns)));
        }
        self.rows_left = self.rows_left.checked_sub(1).ok_or_else(|| io::Error::other("one row too many"))?;
        row.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
    }

    /// Puts the matrix in its place, durable, over any file there.
    ///
    /// # Errors
    /// If rows are missing, or if the disk does not take it.
    pub fn finish(mut self) -> io::Result<()> {
        if self.rows_left > 0 {
            return Err(io::Error::other(format!("{} rows are missing", self.rows_left)));
        }
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.partial, &self.path)
    }
}

impl Drop for NpyWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing by that name; a leftover harms nobody.
        let _ = fs::remove_file(&self.partial);
    }
}

fn header(rows: usize, columns: usize) -> Vec<u8> {
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic and version take eight bytes, the length two, the line's end one.
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("two numbers and a few words");
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_that_numpy_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        let mut writer = NpyWriter::create(&path, 2, 3).unwrap();
        writer.row(&[0.0, 1.0, -2.5]).unwrap();
        assert!(!path.exists(), "nothing is there before it is complete");
        writer.row(&[f32::MIN_POSITIVE, 4.0, 5.0]).unwrap();
        writer.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        let text =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }}{}\n", " ".repeat(58));
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00v\x00", "118 bytes of text follow");
        assert_eq!(bytes[10..128], *text.as_bytes());
        let floats: Vec<f32> = bytes[128..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(floats, [0.0, 1.0, -2.5, f32::MIN_POSITIVE, 4.0, 5.0]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_incomplete_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        let mut writer = NpyWriter::create(&path, 2, 2).unwrap();
        assert!(writer.row(&[1.0]).is_err());
        writer.row(&[1.0, 2.0]).unwrap();
        assert!(writer.finish().is_err());
        let mut writer = NpyWriter::create(&path, 1, 1).unwrap();
        writer.row(&[1.0]).unwrap();
        assert!(writer.row(&[1.0]).is_err());
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(NpyWriter::create(&folder.path().join("no/m.npy"), 1, 1).is_err());
        assert!(NpyWriter::create(folder.path(), 1, 1).is_err());
        assert!(NpyWriter::create(Path::new("/"), 1, 1).is_err());
    }
}
