//! Wire types: bytes are refused, or are the one encoding of a value that everything may be asked of.

use gridhour_contracts_sim::{
    block::{Block, Header},
    genesis::{Allocation, Genesis},
    harness::Deal,
    ledger::entry::Entry,
    limits::WITNESSES_MAX,
    network_file::NetworkFile,
    proof::RecordProof,
    state::{Budget, Device, IdPage, OrderBudget, Reservation, Session, Stake, State, StateKey, Tip},
    tx::{Accusation, Call, Release, Tx},
    witnesses::LogKeys,
};
use gridhour_node::{
    drivers::{results::JobResult, testimony::Testimony},
    limbo::{Cause, Limbo},
    rpc::{
        self, Account, AssetPart, Hold, LedgerAnswer, LedgerRequest, LedgerStatus, ProviderAnswer,
        ProviderRequest, Purpose, Selling,
        checkup::{Checkup, CheckupRequest, Outcome, Port, SeenOffer, Transport, TriedPort},
    },
};
use gridhour_protocol::{
    arbitrary,
    calibration::{
        self,
        challenger::Challenger,
        job::Challenge,
        message::ChallengerMessage,
        provider::{Hospitality, House, continue_of, judge, prompt_of},
        receipt::Calibration,
        shape::{MEMORY_MIN, StandardShape},
    },
    id::{ModelId, NetworkId, PostingId, SessionId},
    job::{
        message::{ClientMessage, ProviderMessage},
        request::Request,
    },
    market::{
        advert::Advert,
        coordinate::{Coordinate, Vivaldi},
        history::{Ended, PPM, ProviderHistory, Run},
        order::Order,
        posting::Posting,
        quote,
        reservation::ReservationOffer,
    },
    receipt::Receipt,
    session::{lane::LaneLedger, terms::Terms, voucher::Voucher},
    signed::Signed,
    units::{Credits, GpuNs, Height, Millis, Timestamp},
    wire::{Wire, decode, encode},
};
use testkit::fuzz::Target;

use crate::{
    files::job_result,
    run,
    samples::{busy_chain, encoded, samples, witnessed_network},
};

/// Damages `values`; whatever is decoded is what its bytes say, and `ask` may ask it anything.
fn canonical<T: Wire>(name: &'static str, values: &[T], ask: impl Fn(T)) {
    run(&Target::new(name, encoded(values)), |bytes| {
        let value: T = decode(bytes).map_err(|error| error.to_string())?;
        assert!(bytes.len() <= T::BYTES_MAX);
        assert_eq!(encode(&value), bytes, "one value has one encoding");
        ask(value);
        Ok(())
    });
}

#[test]
fn adverts() {
    let values = samples(arbitrary::signed(arbitrary::adverts), 8);
    canonical("advert", &values, |advert: Signed<Advert>| {
        let _ =
            (advert.id(), advert.body.is_live(Timestamp(1 << 40)), advert.body.offer_of(&ModelId([0; 32])));
        let _ = advert.body.check_calibration();
        let _ = advert.verify();
    });
}

#[test]
fn quotes() {
    let values = samples(arbitrary::signed(arbitrary::quotes), 8);
    canonical("quote", &values, |signed: Signed<Advert>| {
        let (client, advert) = (signed.body.provider, &values[0].body);
        let posting = signed.body.quote.map_or(PostingId([0; 32]), |quote| quote.posting);
        let _ = quote::check(&signed.body, &posting, &client, Some(advert), advert.issued_at);
        let _ = (signed.body.is_for(&client), signed.verify());
    });
}

#[test]
fn postings() {
    let values = samples(arbitrary::signed(arbitrary::postings), 8);
    canonical("posting", &values, |posting: Signed<Posting>| {
        let wanted = posting.body.wanted();
        assert_eq!((wanted.total_max, wanted.tag), (Credits(u64::MAX), None), "nothing is said of money");
        let _ = (posting.id(), posting.body.is_live(Timestamp(1 << 40)), posting.verify());
    });
}

#[test]
fn coordinates() {
    let values = samples(arbitrary::coordinates(), 8);
    canonical("coordinate", &values, |coordinate: Coordinate| {
        let mut node = Vivaldi::new(coordinate, 1);
        let _ = node.learn(&values[0], u64::from(coordinate.height_us), 0);
        assert!(coordinate.is_sane() && node.coordinate().is_sane());
        assert!(coordinate.distance_us(&values[0]) > 0);
    });
}

#[test]
fn histories() {
    let values = samples(arbitrary::histories(), 8);
    canonical("history", &values, |mut history: ProviderHistory| {
        let at = history.newest();
        let model = ModelId([0; 32]);
        let _ = history.learned(Timestamp(1 << 50), &model, 40);
        history.record(model, 40, Ended::Served(Run::new(at, u64::MAX, u64::MAX, 1)));
        let learned = history.learned(at, &model, 40);
        assert!(learned.first_token.is_some() && learned.availability_ppm <= PPM);
    });
}

#[test]
fn calibrations() {
    let values = samples(arbitrary::signed(arbitrary::calibrations), 8);
    canonical("calibration", &values, |receipt: Signed<Calibration>| {
        let _ = (receipt.body.rates(), receipt.digest(), receipt.verify());
    });
}

/// Whoever asks is judged, and what else it says is looked at in its turn.
#[test]
fn challenger_messages() {
    let open = Hospitality::open(Millis(5));
    let values = samples(arbitrary::challenger_messages(), 16);
    canonical("challenger-message", &values, |message: ChallengerMessage| {
        if let ChallengerMessage::Ask(ask) = &message {
            let house = House {
                hospitality: &open,
                numerics: ask.numerics,
                memory_bytes: u64::MAX,
                last: None,
                now: Timestamp(9),
                busy: false,
                serving: true,
            };
            if let Ok(shape) = judge(&arbitrary::key(1).public(), ask, &house) {
                assert!(shape.bytes() <= ask.memory_bytes && shape.config().check().is_ok());
            }
        }
        let _ = (prompt_of(&message), continue_of(&message), message.name());
    });
}

/// A challenger in every state hears whatever is decoded.
#[test]
fn calibration_answers() {
    let shape = StandardShape::of(MEMORY_MIN).expect("the least");
    let challenge = Challenge {
        numerics: [1; 32],
        network: NetworkId([2; 32]),
        challenger: arbitrary::key(1).public(),
        provider: arbitrary::key(2).public(),
        memory_bytes: MEMORY_MIN,
        seed: [3; 32],
    };
    let before = [
        calibration::message::ProviderMessage::Preparing,
        calibration::message::ProviderMessage::Ready,
        calibration::message::ProviderMessage::First { token: 4 },
    ];
    let values = samples(arbitrary::calibration_answers(), 16);
    canonical("calibration-answer", &values, |answer: calibration::message::ProviderMessage| {
        let (mut machine, _) = Challenger::new(challenge, &shape);
        for step in &before {
            let _ = machine.clone().hear(answer.clone(), 7, [4; 32]);
            machine.hear(step.clone(), 5, [4; 32]).expect("in turn");
        }
        let _ = machine.hear(answer, u64::MAX, [4; 32]);
    });
}

#[test]
fn orders() {
    let values = samples(arbitrary::signed(arbitrary::orders), 8);
    canonical("order", &values, |order: Signed<Order>| {
        let _ = (order.id(), order.verify());
    });
}

#[test]
fn terms() {
    canonical("terms", &samples(arbitrary::terms(), 8), |terms: Terms| {
        for (prompt, output) in [(1, 1), (131_072, 131_072), (u32::MAX, u32::MAX)] {
            let _ = (terms.id(), terms.job_amount(prompt, output));
        }
        let _ = terms.amount(GpuNs(u64::MAX));
    });
}

#[test]
fn vouchers() {
    let values = samples(arbitrary::signed(arbitrary::vouchers), 8);
    canonical("voucher", &values, |voucher: Signed<Voucher>| {
        let _ = (voucher.digest(), voucher.verify());
    });
}

#[test]
fn receipts() {
    let values = samples(arbitrary::signed(arbitrary::receipts), 8);
    canonical("receipt", &values, |receipt: Signed<Receipt>| {
        let _ = (receipt.id(), receipt.verify());
    });
}

#[test]
fn requests() {
    canonical("request", &samples(arbitrary::requests(), 8), |request: Request| {
        let _ = (request.digest(), request.core(), request.job());
    });
}

#[test]
fn client_messages() {
    canonical("client-message", &samples(arbitrary::client_messages(), 16), |message: ClientMessage| {
        let _ = message.name();
    });
}

#[test]
fn provider_messages() {
    canonical(
        "provider-message",
        &samples(arbitrary::provider_messages(), 16),
        |message: ProviderMessage| {
            let _ = message.name();
        },
    );
}

/// A lane comes back from disk and goes on.
#[test]
fn lanes() {
    let terms = samples(arbitrary::terms(), 1).remove(0);
    let voucher = samples(arbitrary::signed(arbitrary::vouchers), 1).remove(0);
    let receipt = samples(arbitrary::signed(arbitrary::receipts), 1).remove(0);
    canonical("lane", &samples(arbitrary::lane_ledgers(), 16), |mut lane: LaneLedger| {
        let _ = (lane.next_index(), lane.next_sequence(), lane.amount_with(&terms, 9, 9));
        let _ = lane.check_voucher(&terms, &voucher.clone().verify().expect("it is signed"));
        lane.note_voucher(voucher.clone());
        let _ = lane.with_receipt(&receipt).map(|mut lane| lane.settle(voucher.clone()));
    });
}

#[test]
fn transactions() {
    let mut chain = busy_chain();
    let blocks = chain.blocks().to_vec();
    let mut txs: Vec<Signed<Tx>> = blocks.into_iter().flat_map(|block| block.txs).collect();
    // The only call that no story without the passing of days can hold.
    let device = chain.state().stakes().next().map(|(id, _)| *id).expect("one is at stake");
    txs.push(chain.sign(&arbitrary::key(9), Call::Withdraw { device }));
    canonical("tx", &txs, |tx: Signed<Tx>| {
        let _ = (tx.body.id(), tx.body.call.name(), tx.verify());
    });
}

#[test]
fn releases() {
    let deal = Deal::new(&busy_chain(), &arbitrary::key(1), &arbitrary::key(2));
    canonical("release", &[deal.release(Credits(5))], |release: Signed<Release>| {
        let _ = release.verify();
    });
}

#[test]
fn blocks() {
    canonical("block", busy_chain().blocks(), |block: Block| {
        let _ = (block.hash(), gridhour_contracts_sim::block::tx_root(&block.txs));
    });
}

#[test]
fn headers() {
    let headers: Vec<Signed<Header>> =
        busy_chain().blocks().iter().map(|block| block.header.clone()).collect();
    canonical("header", &headers, |header: Signed<Header>| {
        let _ = (header.body.hash(), header.body.totals.are_conserved());
    });
}

#[test]
fn entries() {
    let mut chain = busy_chain();
    let issuer = chain.issuer().clone();
    let to = arbitrary::key(9).public();
    let mut entries = vec![chain.fund(&to, Credits(7))];
    entries.push(chain.acting(&issuer).ok(Call::Burn { amount: Credits(1) }));
    canonical("entry", &entries, |entry: Entry| {
        let _ = (entry.leaf_hash(), entry.event.session(), entry.event.lanes().len());
    });
}

#[test]
fn network_files() {
    let mut with_peers = busy_chain().network_file();
    with_peers.body.bootstrap = vec!["/ip4/127.0.0.1/tcp/4001".into()];
    let corpus = [busy_chain().network_file(), with_peers, witnessed_network()];
    canonical("network-file", &corpus, |file: Signed<NetworkFile>| {
        let keys = LogKeys::of(&file.body).expect("whoever is named can sign notes");
        let (required, named) = (file.body.witnesses.required, keys.witnesses().len());
        assert!(usize::from(required) <= named && named <= WITNESSES_MAX && (required == 0) == (named == 0));
        let _ = (file.body.id(), file.verify());
    });
}

#[test]
fn geneses() {
    let empty = busy_chain().state().genesis().clone();
    let allocations = (1..4).map(|n| Allocation { account: arbitrary::key(n).public(), amount: Credits(9) });
    let full = Genesis { allocations: allocations.collect(), ..empty.clone() };
    canonical("genesis", &[empty, full], |genesis: Genesis| {
        State::new(genesis).expect("a genesis within its bounds begins a ledger");
    });
}

#[test]
fn sessions() {
    let chain = busy_chain();
    let sessions: Vec<Session> = chain.state().sessions().map(|(_, session)| session.clone()).collect();
    canonical("session", &sessions, |session: Session| {
        let _ = (session.lane(3), session.terms.id());
    });
}

#[test]
fn order_budgets() {
    let chain = busy_chain();
    let terms = samples(arbitrary::terms(), 1).remove(0);
    let budgets: Vec<OrderBudget> = chain.state().orders().map(|(_, budget)| budget.clone()).collect();
    canonical("order-budget", &budgets, |budget: OrderBudget| {
        let _ = (budget.is_within(), budget.allows(&terms));
    });
}

#[test]
fn devices() {
    let chain = busy_chain();
    let owner = arbitrary::key(9).public();
    let devices: Vec<Device> = chain.state().devices().map(|(_, device)| device.clone()).collect();
    canonical("device", &devices, |device: Device| {
        let _ = device.registration.device_of(&owner);
    });
}

#[test]
fn budgets() {
    let chain = busy_chain();
    let now = chain.now();
    let budgets: Vec<Budget> = chain.state().budgets().map(|(_, budget)| budget.clone()).collect();
    canonical("budget", &budgets, |budget: Budget| {
        let period = budget.period_at(now);
        for at in (0..).take(budget.caps.len() + 1) {
            let _ = budget.path(at).iter().map(|at| budget.caps[*at].used_in(period)).max();
        }
    });
}

#[test]
fn stakes() {
    let chain = busy_chain();
    let now = chain.now();
    let stakes: Vec<Stake> = chain.state().stakes().map(|(_, stake)| stake.clone()).collect();
    canonical("stake", &stakes, |stake: Stake| {
        let _ = (stake.total(), stake.holds_any(), stake.is_barred(now));
    });
}

#[test]
fn reservation_offers() {
    let values = samples(arbitrary::signed(arbitrary::reservation_offers), 8);
    let advert = samples(arbitrary::signed(arbitrary::adverts), 1).remove(0).body;
    canonical("reservation-offer", &values, |offer: Signed<ReservationOffer>| {
        let terms = &offer.body;
        assert!(terms.start_of(terms.slots) > terms.starts_at && terms.slot_price() > Credits::ZERO);
        assert!(
            terms.price_of(terms.slots).checked_add(terms.bond(0)).is_some(),
            "price and bond can be held"
        );
        let _ = (terms.id(), terms.is_offered_by(&advert), offer.verify());
    });
}

#[test]
fn reservations() {
    let chain = busy_chain();
    let now = chain.now();
    let values: Vec<Reservation> = chain.state().reservations().map(|(_, known)| known.clone()).collect();
    canonical("reservation", &values, |reservation: Reservation| {
        let _ = (reservation.total(), reservation.end(), reservation.is_kept(), reservation.is_due(now));
        let _ = (reservation.running(now), reservation.overlaps(now, reservation.end()));
    });
}

#[test]
fn recent_ids() {
    let records = busy_chain().state().records().into_iter();
    let pages = records.filter(|(key, _)| key[0] == b't').flat_map(|(_, value)| value);
    let pages: Vec<IdPage> = pages.map(|page| decode(&page).expect("it was stored")).collect();
    canonical("recent-ids", &pages, |_| {});
}

#[test]
fn tips() {
    canonical("tip", &[busy_chain().state().tip().clone()], |tip: Tip| {
        let mut log = tip.log;
        if log.is_sane() && log.size() < u64::MAX {
            log.push([1; 32]);
        }
        let _ = (log.root(), tip.totals.are_conserved());
    });
}

#[test]
fn testimonies_and_accusations() {
    let deal = Deal::new(&busy_chain(), &arbitrary::key(1), &arbitrary::key(2));
    let Call::Slash(accusation) = deal.slash() else { unreachable!("it accuses") };
    let Accusation { terms, advert, one, other } = *accusation.clone();
    let testimony = |receipt| Testimony { terms: terms.clone(), advert: advert.clone(), receipt };
    let both = [one, other].map(testimony);
    canonical("testimony", &both, |testimony: Testimony| {
        let _ = (testimony.is_over(Timestamp(1 << 40)), testimony.against(&both[0]));
    });
    canonical("accusation", &[*accusation], |accusation: Accusation| {
        let _ = (accusation.device(), accusation.leads_to_device());
    });
}

fn checkup() -> Checkup {
    let ports = vec![Port { transport: Transport::Tcp, number: 1 }];
    let offer = SeenOffer { sequence: 7, expires_at: Timestamp(9), offers_model: true, ports };
    let why = || "no answer".to_owned();
    let outcomes = [Outcome::Reached, Outcome::Unreached(why()), Outcome::NotTried(why())];
    let port = Port { transport: Transport::Quic, number: 4802 };
    let tried = outcomes.map(|outcome| TriedPort { port, outcome });
    Checkup { now: Timestamp(8), offer: Some(offer), tried: tried.into() }
}

#[test]
fn ledger_requests() {
    let chain = busy_chain();
    let ports: Vec<Port> = checkup().tried.into_iter().map(|tried| tried.port).collect();
    let (session, _) = chain.state().sessions().next().expect("one is open");
    let values = [
        LedgerRequest::Status,
        LedgerRequest::Network,
        LedgerRequest::Account(arbitrary::key(1).public()),
        LedgerRequest::Limbo(arbitrary::key(1).public()),
        LedgerRequest::Session(*session),
        LedgerRequest::Submit(Box::new(chain.blocks()[1].txs[0].clone())),
        LedgerRequest::Blocks { from: Height(1) },
        LedgerRequest::Prove(StateKey::Session(*session)),
        LedgerRequest::Record(StateKey::Account(arbitrary::key(2).public())),
        LedgerRequest::Devices(arbitrary::key(3).public()),
        LedgerRequest::Budgets(arbitrary::key(4).public()),
        LedgerRequest::Checkup(CheckupRequest { node: arbitrary::key(5).public(), ports: ports.clone() }),
        LedgerRequest::Reservations(arbitrary::key(6).public()),
    ];
    canonical("ledger-request", &values, |_| {});
}

#[test]
fn ledger_answers() {
    let chain = busy_chain();
    let tip = chain.state().tip();
    let (id, session) = chain.state().sessions().next().expect("one is open");
    let device = chain.state().stakes().next().map(|(id, _)| *id).expect("one is at stake");
    let budget = chain.state().budgets().next().map(|(id, _)| *id).expect("one is open");
    let reservation = chain.state().reservations().next().map(|(id, _)| *id).expect("one is kept");
    let holds = [
        Purpose::Session { session: *id, provider: session.terms.provider },
        Purpose::Bond { device },
        Purpose::Unbonding { device },
        Purpose::Budget { budget },
        Purpose::Prepaid { reservation, provider: session.terms.provider },
        Purpose::Promised { reservation, client: session.terms.client },
    ];
    let holds = holds.map(|purpose| Hold { purpose, amount: session.held, deadline: session.collect_until });
    let causes =
        [Cause::Uncollected(*id), Cause::Overdue(Purpose::Bond { device }), Cause::Called(reservation)];
    let limbo = causes.map(|cause| Limbo { cause, amount: session.held, deadline: session.collect_until });
    let status = LedgerStatus { height: tip.height, hash: tip.hash, time: tip.time, totals: tip.totals };
    let tx = chain.blocks()[0].txs[0].body.id();
    let shown = chain.state().show(&StateKey::Session(*id)).expect("the genesis is a checkpoint");
    let header = chain.blocks()[0].header.clone();
    let key = StateKey::Session(*id);
    let proof = RecordProof { key, value: shown.value, proof: shown.proof, header };
    let record = |key| LedgerAnswer::Record(chain.state().value(&key).map(Box::new));
    let values = [
        LedgerAnswer::Status(status),
        LedgerAnswer::Network(Box::new(chain.network_file())),
        LedgerAnswer::Account(Account {
            balance: Credits(5),
            holds: holds.to_vec(),
            selling: Selling::default(),
        }),
        LedgerAnswer::Limbo(limbo.to_vec()),
        LedgerAnswer::Session(Some(Box::new(session.clone()))),
        LedgerAnswer::Applied(rpc::Applied { tx, height: Height(1) }),
        LedgerAnswer::Rejected { code: 3, name: "a".into(), detail: "b".into(), transient: true },
        LedgerAnswer::Blocks(chain.blocks().iter().map(encode).collect()),
        LedgerAnswer::Proven(None),
        LedgerAnswer::Proven(Some(Box::new(proof))),
        LedgerAnswer::Fault("disk".into()),
        record(StateKey::Stake(device)),
        record(StateKey::Budget(budget)),
        record(StateKey::Session(SessionId([9; 32]))),
        LedgerAnswer::Devices(chain.state().devices().map(|(_, device)| device.clone()).collect()),
        LedgerAnswer::Budgets(vec![budget]),
        LedgerAnswer::Checkup(checkup()),
        LedgerAnswer::Reservations(chain.state().reservations().map(|(_, known)| known.clone()).collect()),
    ];
    canonical("ledger-answer", &values, |_| {});
}

#[test]
fn provider_requests() {
    let asset = |part| ProviderRequest::Asset { model: ModelId([5; 32]), part };
    let (session, _) = busy_chain().state().sessions().next().map(|(id, s)| (*id, s.clone())).expect("open");
    let parts = [AssetPart::Manifest, AssetPart::Tokenizer, AssetPart::Template].map(asset);
    let reservation = busy_chain().state().reservations().next().map(|(id, _)| *id).expect("one is kept");
    let wishes = samples(arbitrary::reservation_wishes(), 4).into_iter().map(ProviderRequest::Reserve);
    let rest = [ProviderRequest::Settle(session), ProviderRequest::Slot(reservation)];
    let values: Vec<_> = parts.into_iter().chain(rest).chain(wishes).collect();
    canonical("provider-request", &values, |_| {});
}

#[test]
fn provider_answers() {
    let tx = busy_chain().blocks()[0].txs[0].body.id();
    let offer = samples(arbitrary::signed(arbitrary::reservation_offers), 1).remove(0);
    let advert = samples(arbitrary::signed(arbitrary::adverts), 1).remove(0);
    let values = [
        ProviderAnswer::Asset(vec![1; 100]),
        ProviderAnswer::Settled(rpc::Applied { tx, height: Height(9) }),
        ProviderAnswer::Refused("not here".into()),
        ProviderAnswer::Offered(Box::new(offer)),
        ProviderAnswer::Slot(Box::new(advert)),
    ];
    canonical("provider-answer", &values, |_| {});
}

#[test]
fn job_results() {
    canonical("job-result", &[job_result()], |result: JobResult| {
        let _ = (result.receipt.id(), result.terms.id());
    });
}
