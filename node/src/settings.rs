//! Settings of a node from three places: a TOML file, environment variables `GRIDHOUR_*` and flags, in rising
//! precedence. They share their names: `ask = "1.5"`, `GRIDHOUR_ASK=1.5`, `--ask 1.5`.

use std::{fs, io, net::SocketAddr, path::Path};

use serde::Deserialize;

use crate::command::BackendKind;

/// The largest settings file that is read, in bytes.
const SETTINGS_BYTES_MAX: u64 = 64 * 1024;

/// What a settings file may hold; all of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Multiaddresses to listen on.
    pub listen: Option<Vec<String>>,
    /// Multiaddresses of the nodes that an observer follows.
    pub follow: Option<Vec<String>>,
    /// Where a node serves metrics and health over HTTP, and its public log if it has one, such as `127.0.0.1:4880`.
    pub http: Option<SocketAddr>,
    /// URLs of the witnesses that a ledger node asks for cosignatures.
    pub witnesses: Option<Vec<String>>,
    /// Model to serve or to run: a catalogue name, an id or a path.
    pub model: Option<String>,
    /// Price of a GPU-hour, in credits.
    pub ask: Option<String>,
    /// Price of a GPU-hour in the spot tier, in credits; without it nothing is sold there.
    pub spot_ask: Option<String>,
    /// Milliseconds that a spot job goes on once its slot is wanted back.
    pub spot_notice_ms: Option<u64>,
    /// Milliseconds that a job waits for a slot at most; 0 refuses it at once.
    pub queue_ms: Option<u64>,
    /// Declared region.
    pub region: Option<String>,
    /// Declared jurisdiction.
    pub jurisdiction: Option<String>,
    /// Threads that jobs use.
    pub threads: Option<u16>,
    /// What computes: `cpu` or `gpu`.
    pub backend: Option<BackendKind>,
    /// Graphics adapter: its number, or a part of its name.
    pub adapter: Option<String>,
    /// Jobs served at once.
    pub slots: Option<u16>,
    /// Memory for keys and values of jobs, such as `512MiB`.
    pub kv_memory: Option<String>,
    /// Seconds between the starts of two calibrations at least, or `never`.
    pub calibrate_every: Option<String>,
    /// Seconds that one step of a calibration may take.
    pub calibrate_timeout: Option<u64>,
    /// Seconds that running jobs have once a provider is told to stop.
    pub drain: Option<u64>,
    /// Who may calibrate the provider; anyone if it is absent.
    pub challengers: Option<Vec<String>>,
    /// The least that a provider quotes for posted orders, in credits for a GPU-hour; absent, it quotes nothing.
    pub quote_floor: Option<String>,
    /// Seconds for which its quotes are firm.
    pub quote_secs: Option<u64>,
    /// Credits that a provider keeps at stake for its device; 0 for none.
    pub stake: Option<String>,
    /// Whether a provider lets clients reserve its device.
    pub reserve: Option<bool>,
    /// Price of a reserved GPU-hour, in credits; `ask` if it is absent.
    pub reserve_price: Option<String>,
    /// Paid of what is not used of a slot, in per cent.
    pub reserve_standby: Option<String>,
    /// What missed slots cost the provider, in per cent of a slot's price.
    pub reserve_ladder: Option<Vec<String>>,
    /// Seconds to answer when a slot is called for.
    pub reserve_answer: Option<u64>,
    /// Slots that begin more seconds from now can be given up.
    pub reserve_notice: Option<u64>,
    /// Seconds of all slots of a reservation together, at most.
    pub reserve_longest: Option<u64>,
    /// Delay added to pings and answers, in milliseconds.
    pub delay_ms: Option<u64>,
}

/// Why a settings file was refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The system could not read it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML, or a setting that does not exist.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// Not a settings file.
    #[error("{0} is larger than any settings file")]
    TooLong(String),
}

impl Settings {
    /// Reads `path`; an absent file is an empty one.
    ///
    /// # Errors
    /// If the file cannot be read, or holds anything but settings.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let name = || path.display().to_string();
        let text = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > SETTINGS_BYTES_MAX => {
                return Err(SettingsError::TooLong(name()));
            }
            Err(source) => Err(source),
            Ok(_) => fs::read_to_string(path),
        };
        let text = text.map_err(|source| SettingsError::Io { path: name(), source })?;
        toml::from_str(&text)
            .map_err(|source| SettingsError::Malformed { path: name(), source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_settings_as_flags_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(Settings::load(&path).unwrap(), Settings::default());
        fs::write(&path, "ask = \"1.5\"\ndelay-ms = 20\n").unwrap();
        let settings = Settings::load(&path).unwrap();
        assert_eq!((settings.ask.as_deref(), settings.delay_ms), (Some("1.5"), Some(20)));
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "aks = \"1.5\"\n").unwrap();
        assert!(Settings::load(&path).unwrap_err().to_string().contains("aks"));
    }
}
