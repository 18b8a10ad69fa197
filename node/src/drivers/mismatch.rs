//! Answers of several providers to one request that are not all the same, kept for a dispute: everything that was signed
//! about them, and what they wrote. Whoever is given the file can check it, and can compute the answer again and see
//! who signed what the model does not give.
//!
//! The file is the line [`FIRST_LINE`], and then frames, each a length (u32, little-endian) and so many bytes on the
//! wire: what was asked, then an answer each.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use gridhour_protocol::{
    id::OrderId,
    job::{
        agreement::{Agreement, Tally},
        logprobs::Logprobs,
        request::{OutputChain, Request},
    },
    limits::{OUTPUT_TOKENS_MAX, REDUNDANT_MAX},
    market::{
        advert::Advert,
        order::{Order, Verification},
    },
    receipt::{Cause, Receipt},
    session::terms::Terms,
    signed::{PublicKey, Signed},
    wire::{self, Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::results::{LOGPROBS_BYTES_MAX, ResultError, write_whole};

/// What such a file begins with.
pub const FIRST_LINE: &[u8] = b"gridhour/mismatch/v1\n";
/// Bytes of the longest file.
const FILE_BYTES_MAX: usize =
    FIRST_LINE.len() + (4 + Asked::BYTES_MAX) + REDUNDANT_MAX as usize * (4 + Answer::BYTES_MAX);

/// What several providers were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The order under which all their sessions were opened.
    pub order: Signed<Order>,
    /// The request. Its place in a session is that of nobody: each receipt says its own.
    pub request: Request,
    /// Who was asked, the best offer first.
    pub providers: Vec<PublicKey>,
}

/// What one of them answered, and signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The advert that the terms accept: it leads to the device that answers for it.
    pub advert: Signed<Advert>,
    /// The session's terms.
    pub terms: Terms,
    /// What the provider signed.
    pub receipt: Signed<Receipt>,
    /// Token ids that it wrote.
    pub output: Vec<u32>,
    /// One entry a token if the request asks for log probabilities, else none.
    pub logprobs: Vec<Logprobs>,
}

/// Answers to one request that are not all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was asked.
    pub asked: Asked,
    /// What was answered, with a receipt. Who answered nothing is not in it.
    pub answers: Vec<Answer>,
}

/// Why a file proves nothing. Whoever made it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MismatchFault {
    /// Not an order for so many providers, or not signed by its client.
    #[error("the order is not signed, or asks for another number of providers")]
    Order,
    /// An answer under other terms than the order's, or of nobody who was asked, or the second of one provider.
    #[error("answer {0} is not one of a provider that was asked under the order")]
    Terms(usize),
    /// The advert is not signed, or not the one that the terms accept.
    #[error("the advert of answer {0} is not the one that its terms accept")]
    Advert(usize),
    /// The receipt is not signed, or of another session, request or output.
    #[error("the receipt of answer {0} does not fit what was asked and answered")]
    Receipt(usize),
}

impl Mismatch {
    /// Checks every signature and digest, and counts again who agreed with whom. Nothing is computed: who is right is
    /// not said.
    ///
    /// # Errors
    /// With the first thing that does not fit.
    pub fn tally(&self) -> Result<Tally, MismatchFault> {
        let Asked { order, request, providers } = &self.asked;
        let count = Verification::Redundant { providers: u8::try_from(providers.len()).unwrap_or(u8::MAX) };
        if order.clone().verify().is_err() || order.body.verification != count {
            return Err(MismatchFault::Order);
        }
        let mut agreement = Agreement::new(request, providers.iter().copied());
        for (at, answer) in self.answers.iter().enumerate() {
            let provider = answer.terms.provider;
            let again = self.answers[..at].iter().any(|earlier| earlier.terms.provider == provider);
            if again || !providers.contains(&provider) {
                return Err(MismatchFault::Terms(at));
            }
            answer.check(order, request, at)?;
            agreement.push(provider, &answer.output, &answer.logprobs);
            if answer.receipt.body.cause == Cause::Delivered {
                agreement.vote(provider);
            }
        }
        Ok(agreement.tally())
    }

    /// The file's name for the answers under `order`.
    #[must_use]
    pub fn file_name(order: OrderId) -> String {
        format!("{order}.mismatch")
    }

    /// Writes it into `folder`, under its order's name, and says where.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, ResultError> {
        let path = folder.join(Self::file_name(self.asked.order.id()));
        match write_whole(&path, &self.to_file()) {
            Ok(()) => Ok(path),
            Err(source) => Err(ResultError::Io { path, source }),
        }
    }

    /// What the file at `path` holds. Nothing is checked but that it can be read.
    ///
    /// # Errors
    /// If it cannot be read, or is no such file.
    pub fn load(path: &Path) -> Result<Self, ResultError> {
        let fail = |source: io::Error| ResultError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        // A byte more than the longest, so that a longer file is seen to be one.
        let most = FILE_BYTES_MAX as u64 + 1;
        File::open(path).map_err(fail)?.take(most).read_to_end(&mut bytes).map_err(fail)?;
        Self::from_file(&bytes).map_err(|why| ResultError::Unreadable { path: path.to_owned(), why })
    }

    fn to_file(&self) -> Vec<u8> {
        let mut bytes = FIRST_LINE.to_vec();
        let frames = std::iter::once(wire::encode(&self.asked)).chain(self.answers.iter().map(wire::encode));
        for frame in frames {
            let len = u32::try_from(frame.len()).expect("a message is shorter than 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&frame);
        }
        bytes
    }

    fn from_file(bytes: &[u8]) -> Result<Self, String> {
        at_most("bytes", bytes.len(), FILE_BYTES_MAX)?;
        let mut rest = bytes.strip_prefix(FIRST_LINE).ok_or("it does not begin as such a file does")?;
        let asked = take(&mut rest)?;
        let mut answers = Vec::new();
        while !rest.is_empty() {
            at_most("answers", answers.len() + 1, usize::from(REDUNDANT_MAX))?;
            answers.push(take(&mut rest)?);
        }
        Ok(Self { asked, answers })
    }
}

/// The next frame of `rest`.
fn take<T: Wire>(rest: &mut &[u8]) -> Result<T, String> {
    let cut = "it ends within a frame";
    let (len, behind) = rest.split_first_chunk::<4>().ok_or(cut)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|error| error.to_string())?;
    let (frame, behind) = behind.split_at_checked(len).ok_or(cut)?;
    *rest = behind;
    wire::decode(frame).map_err(|error| error.to_string())
}

impl Answer {
    /// Checks that it is an answer to `request` under `order`; it is the one at place `at`.
    fn check(&self, order: &Signed<Order>, request: &Request, at: usize) -> Result<(), MismatchFault> {
        let Self { advert, terms, receipt, output, logprobs } = self;
        let agreed = (terms.order, terms.client, terms.model, terms.network);
        if agreed != (order.id(), order.body.client, order.body.model, order.body.network) {
            return Err(MismatchFault::Terms(at));
        }
        let accepted = (advert.id(), advert.body.provider) == (terms.advert, terms.provider);
        if !accepted || advert.clone().verify().is_err() {
            return Err(MismatchFault::Advert(at));
        }
        let said = &receipt.body;
        let placed =
            Request { session: terms.id(), lane: said.lane, index: said.index, ..request.clone() }.digest();
        let fits = (said.session, said.provider, said.model) == (terms.id(), terms.provider, terms.model)
            && said.request == placed
            && said.output == OutputChain::of(&placed, output, logprobs)
            && usize::try_from(said.output_tokens) == Ok(output.len());
        if !fits || receipt.clone().verify().is_err() {
            return Err(MismatchFault::Receipt(at));
        }
        Ok(())
    }
}

impl Wire for Asked {
    const BYTES_MAX: usize =
        Signed::<Order>::BYTES_MAX + Request::BYTES_MAX + 8 + 32 * REDUNDANT_MAX as usize;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("providers", self.providers.len(), usize::from(REDUNDANT_MAX))?;
        self.order.check_bounds()?;
        self.request.check_bounds()
    }
}

impl Wire for Answer {
    const BYTES_MAX: usize = Signed::<Advert>::BYTES_MAX
        + Terms::BYTES_MAX
        + Signed::<Receipt>::BYTES_MAX
        + 16
        + (4 + LOGPROBS_BYTES_MAX) * OUTPUT_TOKENS_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("output", self.output.len(), OUTPUT_TOKENS_MAX)?;
        at_most("logprobs", self.logprobs.len(), OUTPUT_TOKENS_MAX)?;
        self.logprobs.iter().try_for_each(Logprobs::check_bounds)?;
        self.advert.check_bounds()?;
        self.terms.check_bounds()?;
        self.receipt.check_bounds()
    }
}
