//! The bytes of a model file: mapped from disk, or owned in tests. The only unsafe code of this room.
#![allow(unsafe_code)]

use std::{fs::File, io, ops::Deref};

use memmap2::Mmap;

/// Read-only bytes of a whole file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Maps all of `file`, read-only.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private and read-only, and it is only handed out as `&[u8]`. What the type
        // system cannot rule out is another process that shortens the file under us, which ends this process
        // with SIGBUS; pulled models are written once, under a temporary name, and never changed in place.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(map))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
