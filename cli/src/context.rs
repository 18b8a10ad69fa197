//! What every command is given: where state lies, what the settings say, and how to speak.

use std::path::PathBuf;

use clap::Args;
use gridhour_node::{
    data_dir::DataDir,
    logging::LogFormat,
    model::catalogue::{MODEL_CACHE_VARIABLE, ModelCache},
    settings::Settings,
};

use crate::{
    error::{CommandError, Result},
    output::Output,
};

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Keep all state but models in DIR [default: the user's data directory]
    #[arg(long, value_name = "DIR", env = "GRIDHOUR_DATA_DIR", global = true, hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// Read settings from FILE [default: config.toml in the data directory]
    #[arg(long, value_name = "FILE", env = "GRIDHOUR_CONFIG", global = true, hide_env_values = true)]
    config: Option<PathBuf>,

    /// Keep model files in DIR [default: the user's cache directory]
    #[arg(long, value_name = "DIR", env = MODEL_CACHE_VARIABLE, global = true, hide_env_values = true)]
    model_cache: Option<PathBuf>,

    /// Print one JSON document, errors included, or one line a record
    #[arg(long, global = true)]
    json: bool,

    /// Log to standard error; twice for more (GRIDHOUR_LOG takes filters)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Log as `text`, or as `json`: an object a record [default: text]
    #[arg(long, value_name = "HOW", env = "GRIDHOUR_LOG_FORMAT", global = true, hide_env_values = true)]
    #[arg(hide_possible_values = true)]
    pub log_format: Option<LogFormat>,
}

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// Where all state lies.
    pub data_dir: DataDir,
    /// The data directory that the user named, if any.
    pub data_dir_asked: Option<PathBuf>,
    /// How to speak.
    pub out: Output,
    config: Option<PathBuf>,
    model_cache: Option<PathBuf>,
}

impl Context {
    /// The context that the options describe. Nothing is read yet.
    pub fn new(globals: Globals) -> Self {
        let data_dir_asked = globals.data_dir;
        let data_dir = data_dir_asked.clone().map_or_else(DataDir::default_for_user, DataDir::new);
        let out = Output { json: globals.json };
        Self { data_dir, data_dir_asked, out, config: globals.config, model_cache: globals.model_cache }
    }

    /// The same, with all state in `folder`.
    pub fn in_folder(&self, folder: PathBuf) -> Self {
        let (config, model_cache) = (self.config.clone(), self.model_cache.clone());
        Self {
            data_dir: DataDir::new(folder.clone()),
            data_dir_asked: Some(folder),
            out: self.out,
            config,
            model_cache,
        }
    }

    /// The user's model files.
    ///
    /// # Errors
    /// If nobody says where they lie.
    pub fn model_cache(&self) -> Result<ModelCache> {
        Ok(ModelCache::locate(self.model_cache.clone())?)
    }

    /// The settings file, or defaults where there is none.
    ///
    /// # Errors
    /// If it is malformed, or if a file that was named is absent.
    pub fn settings(&self) -> Result<Settings> {
        if let Some(named) = self.config.as_deref().filter(|named| !named.exists()) {
            return Err(CommandError::usage(format!("there is no settings file {}", named.display())));
        }
        Ok(Settings::load(&self.config.clone().unwrap_or_else(|| self.data_dir.config()))?)
    }
}
