//! What a client needs of a model without its weights: manifest, tokenizer and chat template, all checked against the
//! `ModelId`, wherever they come from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gridhour_protocol::{
    model::{Manifest, ModelId, TEMPLATE_BYTES_MAX, TokenizerAsset, chat_template_digest},
    work::{ModelShape, WorkModel},
};

use super::{
    chat::{ChatError, chat_tokens},
    gguf::Gguf,
    template::{ChatTemplate, Message, TemplateError, chat_template_source},
    tokenizer::{Tokenizer, TokenizerError, tokenizer_asset},
};

/// The three parts, as they travel and as they are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetBytes {
    /// [`Manifest::encode`].
    pub manifest: Vec<u8>,
    /// [`TokenizerAsset::encode`].
    pub tokenizer: Vec<u8>,
    /// The chat template's text.
    pub template: Vec<u8>,
}

/// Why a model's parts were refused.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// Bytes that are no such part, or another model's.
    #[error("the {part} is not that of model {model}: {why}")]
    Foreign {
        /// Which part.
        part: &'static str,
        /// The model.
        model: ModelId,
        /// What does not fit.
        why: String,
    },
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A conversation has no tokens.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The cache could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A model's checked parts, ready for use.
#[derive(Debug)]
pub struct ModelAssets {
    model: ModelId,
    manifest: Manifest,
    tokenizer: Tokenizer,
    template: String,
}

impl AssetBytes {
    /// The parts of the model in `file`, whose manifest is `manifest`.
    ///
    /// # Errors
    /// If the file's tokenizer or template cannot be used.
    pub fn from_file(file: &Gguf, manifest: &Manifest) -> Result<Self, AssetError> {
        Ok(Self {
            manifest: manifest.encode(),
            tokenizer: tokenizer_asset(file)?.encode(),
            template: chat_template_source(file)?.as_bytes().to_vec(),
        })
    }

    /// Reads what [`AssetBytes::save`] wrote under `folder`; `None` if there is nothing for this model.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub fn load(folder: &Path, model: ModelId) -> Result<Option<Self>, AssetError> {
        let folder = folder.join(model.to_string());
        let part = |name: &str| match fs::read(folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AssetError::Io { path: folder.join(name), source }),
        };
        let (manifest, tokenizer, template) = (part("manifest")?, part("tokenizer")?, part("template")?);
        Ok(match (manifest, tokenizer, template) {
            (Some(manifest), Some(tokenizer), Some(template)) => Some(Self { manifest, tokenizer, template }),
            _ => None,
        })
    }

    /// Writes the parts under `folder`. They are checked again whenever they are read, so a torn write does no harm.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self, folder: &Path, model: ModelId) -> Result<(), AssetError> {
        let folder = folder.join(model.to_string());
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| AssetError::Io { path, source }
        };
        fs::create_dir_all(&folder).map_err(fail(&folder))?;
        let parts =
            [("manifest", &self.manifest), ("tokenizer", &self.tokenizer), ("template", &self.template)];
        for (name, bytes) in parts {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(fail(&path))?;
        }
        Ok(())
    }

    /// Checks all three parts against `model`.
    ///
    /// # Errors
    /// Naming the part that is not the model's.
    pub fn check(&self, model: ModelId) -> Result<ModelAssets, AssetError> {
        let foreign = |part, why: String| AssetError::Foreign { part, model, why };
        let manifest =
            Manifest::decode(&self.manifest).map_err(|error| foreign("manifest", error.to_string()))?;
        if manifest.model_id() != model {
            return Err(foreign("manifest", format!("its id is {}", manifest.model_id())));
        }
        let asset = TokenizerAsset::decode(&self.tokenizer)
            .map_err(|error| foreign("tokenizer", error.to_string()))?;
        if asset.digest() != manifest.facts().tokenizer {
            return Err(foreign("tokenizer", "its digest is not in the manifest".into()));
        }
        if self.template.len() > TEMPLATE_BYTES_MAX {
            return Err(foreign("template", format!("{} bytes are too long", self.template.len())));
        }
        let template = String::from_utf8(self.template.clone())
            .map_err(|_| foreign("template", "it is no UTF-8".into()))?;
        if chat_template_digest(&template) != manifest.facts().chat_template {
            return Err(foreign("template", "its digest is not in the manifest".into()));
        }
        Ok(ModelAssets { model, manifest, tokenizer: Tokenizer::new(asset)?, template })
    }
}

impl ModelAssets {
    /// The model.
    #[must_use]
    pub fn model(&self) -> ModelId {
        self.model
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its work formula. `None` for absurd sizes.
    #[must_use]
    pub fn work(&self) -> Option<WorkModel> {
        work_of(&self.manifest)
    }

    /// Tokens of a conversation as the model was trained to read it, or of the messages' plain text if the model has no
    /// template.
    ///
    /// # Errors
    /// If the template refuses the conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, AssetError> {
        if self.template.is_empty() {
            let text: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            return Ok(self.tokenizer.encode(&text.join("\n"))?);
        }
        let template = ChatTemplate::new(&self.template, self.tokenizer.asset())?;
        Ok(chat_tokens(&self.tokenizer, &template, messages)?)
    }

    /// Token ids at which the model means to stop.
    #[must_use]
    pub fn stop_tokens(&self) -> Vec<u32> {
        let asset = self.tokenizer.asset();
        let mut ids: Vec<u32> = [asset.eos, asset.eot].into_iter().flatten().collect();
        ids.dedup();
        ids
    }
}

/// The work formula of the model that `manifest` describes. `None` for absurd sizes.
#[must_use]
pub fn work_of(manifest: &Manifest) -> Option<WorkModel> {
    WorkModel::of(&ModelShape::from(&manifest.facts().config))
}
