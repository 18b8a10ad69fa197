//! A model's tokenizer and template for a client without the weights: from its cache, or from any provider that serves
//! the model, and checked against the `ModelId` either way.

use std::sync::{Arc, Mutex, PoisonError};

use gridhour_protocol::{
    id::ModelId,
    market::advert::Advert,
    signed::{PublicKey, Verified},
    wire,
};

use super::Client;
use crate::{
    model::assets::{AssetBytes, AssetError, ModelAssets},
    net::{NetHandle, RequestError, Service},
    rpc::{AssetPart, ProviderAnswer, ProviderRequest},
};

/// Why a model's parts could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody offers the model.
    #[error("no provider that is seen now serves model {}", .0.short())]
    NotOffered(ModelId),
    /// Every provider failed.
    #[error("no provider gave the tokenizer of model {}: {}", .model.short(), .tried.join("; "))]
    Nobody {
        /// The model.
        model: ModelId,
        /// What each did.
        tried: Vec<String>,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] AssetError),
}

/// Models whose parts stay in memory.
const LOADED_MAX: usize = 4;

/// Parts that were used last, the newest at the end.
pub(super) type Loaded = Mutex<Vec<Arc<ModelAssets>>>;

impl Client {
    /// The model's tokenizer and template.
    ///
    /// # Errors
    /// If they are not cached and no provider gives the right ones.
    pub async fn assets(
        &self,
        model: ModelId,
        adverts: &[Verified<Advert>],
    ) -> Result<Arc<ModelAssets>, FetchError> {
        let loaded = || self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded().iter().find(|assets| assets.model() == model) {
            return Ok(known.clone());
        }
        let assets = Arc::new(self.find_assets(model, adverts).await?);
        let mut loaded = loaded();
        if loaded.len() >= LOADED_MAX {
            loaded.remove(0);
        }
        loaded.push(assets.clone());
        Ok(assets)
    }

    async fn find_assets(
        &self,
        model: ModelId,
        adverts: &[Verified<Advert>],
    ) -> Result<ModelAssets, FetchError> {
        let folder = self.data_dir.assets();
        if let Some(cached) = AssetBytes::load(&folder, model)? {
            match cached.check(model) {
                Ok(assets) => return Ok(assets),
                Err(error) => tracing::warn!(%error, "the cached parts of a model are not used"),
            }
        }
        let servers = adverts.iter().filter(|advert| advert.offer_of(&model).is_some());
        let mut tried = Vec::new();
        for advert in servers {
            match self.fetch_checked(model, advert.provider).await {
                Ok((bytes, assets)) => {
                    bytes.save(&folder, model)?;
                    return Ok(assets);
                }
                Err(why) => tried.push(format!("{}: {why}", advert.provider.short())),
            }
        }
        Err(if tried.is_empty() {
            FetchError::NotOffered(model)
        } else {
            FetchError::Nobody { model, tried }
        })
    }

    async fn fetch_checked(
        &self,
        model: ModelId,
        provider: PublicKey,
    ) -> Result<(AssetBytes, ModelAssets), String> {
        let bytes = AssetBytes {
            manifest: self.fetch(model, provider, AssetPart::Manifest).await?,
            tokenizer: self.fetch(model, provider, AssetPart::Tokenizer).await?,
            template: self.fetch(model, provider, AssetPart::Template).await?,
        };
        let assets = bytes.check(model).map_err(|error| error.to_string())?;
        Ok((bytes, assets))
    }

    async fn fetch(&self, model: ModelId, provider: PublicKey, part: AssetPart) -> Result<Vec<u8>, String> {
        match self.ask_provider(provider, ProviderRequest::Asset { model, part }).await? {
            ProviderAnswer::Asset(bytes) => Ok(bytes),
            ProviderAnswer::Refused(why) => Err(why),
            _ => Err("the answer is to another question".into()),
        }
    }

    /// Asks a provider something outside a job.
    pub(super) async fn ask_provider(
        &self,
        provider: PublicKey,
        asked: ProviderRequest,
    ) -> Result<ProviderAnswer, String> {
        ask(&self.net, provider, asked).await
    }
}

/// Asks a provider something outside a job, over this network.
pub(super) async fn ask(
    net: &NetHandle,
    provider: PublicKey,
    asked: ProviderRequest,
) -> Result<ProviderAnswer, String> {
    let answer = net.request(provider, Service::Asset, wire::encode(&asked)).await;
    let bytes = answer.map_err(|error: RequestError| error.to_string())?;
    wire::decode(&bytes).map_err(|error| error.to_string())
}
