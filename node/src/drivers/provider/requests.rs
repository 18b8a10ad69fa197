//! What clients ask of a provider outside a job: parts of its model, the settlement of their session, and what is reserved
//! for them, or could be.

use std::sync::Arc;

use gridhour_protocol::{
    id::{ModelId, SessionId},
    signed::PublicKey,
    wire,
};

use super::{Shared, reserved, settle};
use crate::{
    net::InboundRequest,
    rpc::{AssetPart, ProviderAnswer, ProviderRequest, detail},
};

/// Answers one question.
pub(crate) async fn answer(shared: Arc<Shared>, request: InboundRequest) {
    let InboundRequest { peer, bytes, responder, .. } = request;
    let sent = match wire::decode::<ProviderRequest>(&bytes) {
        Err(error) => responder.refuse(&error.to_string()).await,
        Ok(asked) => responder.respond(wire::encode(&answer_to(&shared, peer, asked).await)).await,
    };
    if sent.is_err() {
        tracing::debug!("the network ended before an answer left");
    }
}

async fn answer_to(shared: &Shared, peer: PublicKey, asked: ProviderRequest) -> ProviderAnswer {
    match asked {
        ProviderRequest::Asset { model, part } => asset(shared, model, part),
        ProviderRequest::Settle(session) => settled(shared, peer, session).await,
        ProviderRequest::Reserve(wish) => match reserved::offer(shared, peer, wish).await {
            Ok(offer) => ProviderAnswer::Offered(Box::new(offer)),
            Err(why) => refused(why),
        },
        ProviderRequest::Slot(reservation) => match reserved::slot(shared, peer, reservation).await {
            Ok(advert) => ProviderAnswer::Slot(Box::new(advert)),
            Err(why) => refused(why),
        },
    }
}

fn asset(shared: &Shared, model: ModelId, part: AssetPart) -> ProviderAnswer {
    if model != shared.served.offer.model {
        return refused(format!("model {} is not served here", model.short()));
    }
    let assets = &shared.served.assets;
    ProviderAnswer::Asset(match part {
        AssetPart::Manifest => assets.manifest.clone(),
        AssetPart::Tokenizer => assets.tokenizer.clone(),
        AssetPart::Template => assets.template.clone(),
    })
}

async fn settled(shared: &Shared, peer: PublicKey, session: SessionId) -> ProviderAnswer {
    let client = shared.busy.lock().await.get(&session).map(|entry| entry.terms.client);
    if client != Some(peer) {
        return refused("you have no session of this id here".into());
    }
    match settle::settle_when_idle(shared, session).await {
        Ok(applied) => ProviderAnswer::Settled(applied),
        Err(error) => refused(error.to_string()),
    }
}

fn refused(why: String) -> ProviderAnswer {
    ProviderAnswer::Refused(detail(why))
}
