//! Whether the files are the log that the state names: from the first byte to the last, a piece at a time.

use std::io;

use gridhour_protocol::merkle::TreeHead;

use super::{
    Files,
    growth::{Added, ENTRIES, Growth, PARTS, first_entry},
};
use crate::store::disk::BlockFile;

/// Bytes of entries read at once: more than any entry has.
const PIECE_BYTES: u64 = 256 * 1024;

/// The log's growth so far, if the files are the log `head` and nothing else.
pub(super) fn check(files: &Files, head: &TreeHead) -> io::Result<Option<Growth>> {
    let mut growth = Growth::default();
    let mut added = Added::default();
    let mut ends = [0; PARTS.len()];
    let size = files[ENTRIES].size()?;
    while ends[ENTRIES] < size && growth.head().size < head.size {
        let piece = read(&*files[ENTRIES], ends[ENTRIES], (size - ends[ENTRIES]).min(PIECE_BYTES))?;
        let mut rest = piece.as_slice();
        while let Some((entry, behind)) = first_entry(rest) {
            growth.push(entry, &mut added);
            rest = behind;
        }
        if added.len() == 0 || !follow(files, &mut ends, &added)? {
            return Ok(None);
        }
        added.clear();
    }
    let whole = files.iter().zip(ends).try_fold(true, |whole, (file, end)| Ok(whole & (file.size()? == end)));
    let same: Result<bool, io::Error> = whole;
    Ok((same? && growth.head() == *head).then_some(growth))
}

/// Whether each file goes on with what was added; then `ends` are behind it.
fn follow(files: &Files, ends: &mut [u64; PARTS.len()], added: &Added) -> io::Result<bool> {
    for ((file, end), bytes) in files.iter().zip(ends).zip(added.parts()) {
        let len = bytes.len() as u64;
        if *end + len > file.size()? || read(&**file, *end, len)? != *bytes {
            return Ok(false);
        }
        *end += len;
    }
    Ok(true)
}

fn read(file: &dyn BlockFile, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_at(from, &mut bytes)?;
    Ok(bytes)
}
