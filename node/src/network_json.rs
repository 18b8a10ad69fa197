//! The network file as people pass it on: JSON that can be read, around the signed bytes that count.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::network_file::{NETWORK_FILE_VERSION, NetworkFile};
use gridhour_protocol::{
    id::{from_hex, to_hex},
    signed::{Signed, Verified},
    wire::{self, Wire},
};
use serde::{Deserialize, Serialize};

/// The largest network file that is read, in bytes: twice the signed bytes in hexadecimal, and some prose.
const FILE_BYTES_MAX: u64 = 4 * (NetworkFile::BYTES_MAX as u64 + 64) + 64 * 1024;

/// Why a network file was refused.
#[derive(Debug, thiserror::Error)]
pub enum NetworkJsonError {
    /// There is none.
    #[error(
        "no network file at {0}: make a network with `gridhour network init`, or join one with `gridhour network join FILE`"
    )]
    Missing(PathBuf),
    /// It is no network file, or was edited.
    #[error("{path} is no network file: {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system could not read or write.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What every version of the file begins with.
#[derive(Deserialize)]
struct Versioned {
    /// Absent from those of version 1.
    version: Option<u16>,
}

/// The file. Everything but `signed` repeats what is signed, for people; a difference refuses the file.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Rendered {
    version: u16,
    network: String,
    name: String,
    operator: String,
    issuer: String,
    bootstrap: Vec<String>,
    witnesses: Vec<String>,
    witnesses_required: u16,
    signed: String,
}

impl Rendered {
    fn of(file: &Signed<NetworkFile>) -> Self {
        let NetworkFile { genesis, bootstrap, witnesses } = &file.body;
        // A name that no key may have is refused when the file is decoded.
        let vkeys = witnesses.named.iter().filter_map(|witness| witness.vkey().ok());
        Self {
            version: NETWORK_FILE_VERSION,
            network: file.body.id().to_string(),
            name: genesis.name.clone(),
            operator: genesis.operator.to_string(),
            issuer: genesis.issuer.to_string(),
            bootstrap: bootstrap.clone(),
            witnesses: vkeys.map(|vkey| vkey.to_string()).collect(),
            witnesses_required: witnesses.required,
            signed: to_hex(&wire::encode(file)),
        }
    }
}

/// The file's text.
#[must_use]
pub fn render(file: &Signed<NetworkFile>) -> String {
    let text = serde_json::to_string_pretty(&Rendered::of(file)).expect("texts are JSON");
    text + "\n"
}

/// Writes `file` to `path`, whose folder is created.
///
/// # Errors
/// If the disk fails.
pub fn save(path: &Path, file: &Signed<NetworkFile>) -> Result<(), NetworkJsonError> {
    let fail = |source| NetworkJsonError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    fs::write(path, render(file)).map_err(fail)
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// If there is none, it was edited, or its operator did not sign it.
pub fn load(path: &Path) -> Result<Verified<NetworkFile>, NetworkJsonError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => NetworkJsonError::Missing(path.to_owned()),
        _ => NetworkJsonError::Io { path: path.to_owned(), source },
    };
    let refused = |why: String| NetworkJsonError::Refused { path: path.to_owned(), why };
    if fs::metadata(path).map_err(fail)?.len() > FILE_BYTES_MAX {
        return Err(refused("it is too large".into()));
    }
    parse(&fs::read(path).map_err(fail)?).map_err(refused)
}

fn parse(bytes: &[u8]) -> Result<Verified<NetworkFile>, String> {
    let Versioned { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = version.unwrap_or(1);
    if version != NETWORK_FILE_VERSION {
        return Err(format!(
            "it is of version {version}, this program reads {NETWORK_FILE_VERSION}: ask the network's operator for it"
        ));
    }
    let rendered: Rendered = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let signed = from_hex(&rendered.signed).ok_or("`signed` is not hexadecimal")?;
    let file: Signed<NetworkFile> = wire::decode(&signed).map_err(|error| error.to_string())?;
    if Rendered::of(&file) != rendered {
        return Err("it was edited: its text differs from what the operator signed".into());
    }
    file.verify().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, key},
        witnesses::{NamedWitness, Witnesses},
    };

    use super::*;

    fn witnessed() -> Signed<NetworkFile> {
        let chain = Chain::new();
        let named = vec![NamedWitness { name: "w.example/1".into(), key: key(1).public() }];
        let witnesses = Witnesses { named, required: 1 };
        chain.operator().sign(NetworkFile { witnesses, ..chain.network_file().body })
    }

    #[test]
    fn a_file_comes_back_and_an_edited_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/network.json");
        assert!(matches!(load(&path), Err(NetworkJsonError::Missing(_))));
        let file = witnessed();
        save(&path, &file).unwrap();
        assert_eq!(load(&path).unwrap().signed(), &file);
        let text = fs::read_to_string(&path).unwrap();
        for edited in [
            text.replacen("\"name\": \"", "\"name\": \"x", 1),
            text.replace("\"signed\": \"", "\"signed\": \"0"),
            text.replace("\"witnesses_required\": 1", "\"witnesses_required\": 0"),
            text.replace("w.example/1", "w.example/2"),
        ] {
            assert_ne!(edited, text);
            fs::write(&path, edited).unwrap();
            assert!(matches!(load(&path), Err(NetworkJsonError::Refused { .. })));
        }
    }

    /// A file that was written before files had a version, and one from the future.
    #[test]
    fn a_file_of_another_version_is_refused_by_name() {
        let text = render(&witnessed());
        for (other, version) in [("", "version 1,"), ("\"version\": 3,", "version 3,")] {
            let other = text.replace("\"version\": 2,", other);
            let why = parse(other.as_bytes()).expect_err("another version");
            assert!(why.contains(version), "{why}");
        }
    }
}
