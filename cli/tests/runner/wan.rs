//! A market of real processes on a network as slow and as lossy as the world's: each in a network namespace of its own,
//! joined by wires that delay and lose ([`testkit::wan`]).

use std::{fs, path::Path, process::Command, time::Instant};

use gridhour_node::net::peer_id_of;
use gridhour_protocol::signed::PublicKey;
use serde_json::Value;
use testkit::{data, gguf::SmallModel, wan::Wan};

use crate::{
    market::{Node, Order, PATIENCE},
    sandbox::{Answer, PROGRAM, Sandbox},
    watched,
};

/// Who is where. The ledger node is nobody's bootstrap peer: everyone but the guide finds it.
const PLACES: [(&str, &str); 9] = [
    ("ledger", "gb"),
    ("guide", "ie"),
    ("seller-fr", "fr"),
    ("seller-ca", "ca-on"),
    ("seller-jp", "jp-tk"),
    ("seller-br", "br-sp"),
    ("seller-sg", "sg"),
    ("buyer-de", "de"),
    ("buyer-us", "us-va"),
];
const LEDGER: usize = 0;
const GUIDE: usize = 1;
const SELLERS: std::ops::Range<usize> = 2..7;
/// Each buyer, and the seller nearest to it: all ask the same.
const BUYERS: [(usize, usize); 2] = [(7, 2), (8, 3)];
/// What each buyer gets, as typed and as counted.
const FUNDS: (&str, u64) = ("25", 25_000_000);
/// An order that everyone meets; who answers first is preferred.
const ORDER: [&str; 8] =
    ["--model", "small.gguf", "--max-price", "2000", "--max-total", "5", "--prefer", "fastest"];
/// Tokens of an answer that is still being written when it is known who writes it.
const LONG: &str = "200";

/// The processes' files, and the network between them.
struct World {
    wan: Wan,
    sandbox: Sandbox,
}

impl World {
    /// `None` if this machine cannot have such a network, or the round trips are not there.
    fn new() -> Option<Self> {
        let wan = Wan::between(data::round_trips()?, &PLACES.map(|(_, region)| region))?;
        println!("wires: {}", wan.kind());
        let sandbox = Sandbox::new();
        sandbox.write("small.gguf", SmallModel { context: 4096, ..SmallModel::new(1) }.bytes());
        let world = Self { wan, sandbox };
        world.found();
        Some(world)
    }

    /// Makes the network, whose file names the guide and nobody else, and lets everyone join.
    fn found(&self) {
        let guide = self.json(GUIDE, &["key", "new"])["id"].clone();
        let guide = format!("/ip4/{}/tcp/4803/p2p/{}", self.wan.address(GUIDE), peer_id(&guide));
        self.json(LEDGER, &["network", "init", "--grace-secs", "120", "--bootstrap", &guide]);
        for at in GUIDE..PLACES.len() {
            self.json(at, &["network", "join", "ledger/network.json"]);
        }
        for (buyer, _) in BUYERS {
            let key = format!("{}/issuer.key", PLACES[buyer].0);
            fs::copy(self.sandbox.path("ledger/issuer.key"), self.sandbox.path(&key))
                .expect("a key can be copied");
        }
    }

    /// The program at a place, with the place's files.
    fn command(&self, at: usize, arguments: &[&str]) -> Command {
        let enter = self.wan.at(at);
        let [enter, options @ ..] = enter.each_ref().map(String::as_str);
        let begin = [PROGRAM, "--data-dir", PLACES[at].0];
        self.sandbox.command_of(Path::new(enter), &[&options[..], &begin, arguments].concat())
    }

    fn run(&self, at: usize, arguments: &[&str]) -> Answer {
        let output = watched::output(&mut self.command(at, arguments));
        Answer::new(&output, &self.sandbox.path(""))
    }

    /// The document of a command that ends well.
    fn json(&self, at: usize, arguments: &[&str]) -> Value {
        let answer = self.run(at, &[&["--json"], arguments].concat());
        assert_eq!(answer.code, Some(0), "{}: {answer}", PLACES[at].0);
        answer.document()
    }

    fn node(&self, at: usize, arguments: &[&str]) -> Node {
        let arguments = [&["--json", "node"], arguments, &["--until-stdin-closes"]].concat();
        Node::start(self.command(at, &arguments))
    }

    /// Answers slowly, so that a job can be met while it runs.
    fn seller(&self, at: usize) -> Node {
        let seller = self.node(
            at,
            &[
                "provider",
                "--model",
                "small.gguf",
                "--ask",
                "1000",
                "--threads",
                "1",
                "--delay-ms",
                "50",
                "--region",
                PLACES[at].1,
            ],
        );
        seller.wait_for("advertised");
        seller
    }

    /// The ledger node, the guide that follows it, and the sellers.
    fn start(&self) -> (Vec<Node>, Vec<Option<Node>>) {
        let ledger = self.node(LEDGER, &["validator"]);
        ledger.wait_for("ready");
        let (address, name) = (self.wan.address(LEDGER), peer_id(&self.account(LEDGER)));
        let guide =
            self.node(GUIDE, &["observer", "--follow", &format!("/ip4/{address}/tcp/4801/p2p/{name}")]);
        guide.wait_for("ready");
        (vec![ledger, guide], SELLERS.map(|at| Some(self.seller(at))).collect())
    }

    fn account(&self, at: usize) -> Value {
        self.json(at, &["key", "show"])["id"].clone()
    }

    fn seller_of(&self, account: &Value) -> usize {
        SELLERS.clone().find(|at| self.account(*at) == *account).expect("a seller's account")
    }

    fn order(&self, buyer: usize, tokens: &str) -> Order {
        let what = ["run", "Tell me everything.", "--max-tokens", tokens];
        Order::start(self.command(buyer, &[&what[..], &ORDER[..]].concat()))
    }

    /// Whether a node at this place has found the peer: it would dial it first after a restart. Asked by way of the program,
    /// which takes its time.
    fn knows(&self, at: usize, peer: &str) -> bool {
        self.json(at, &["network", "show"]);
        let known = fs::read_to_string(self.sandbox.path(&format!("{}/peers", PLACES[at].0)));
        known.is_ok_and(|known| known.contains(peer))
    }

    /// With whom the buyer has a session, once whoever answers for the ledger knows of it.
    fn serving(&self, buyer: usize) -> usize {
        let purpose = until(|| {
            let account = self.json(buyer, &["account", "show"]);
            account["holds"][0]["purpose"].as_str().map(str::to_owned)
        });
        let (_, provider) = purpose.rsplit_once(' ').expect("it is held for a session with a provider");
        self.seller_of(&provider.into())
    }

    /// What the market looks like from a buyer, once it does as wanted.
    fn explain_until(&self, buyer: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = ["market", "explain", "--max-tokens", LONG];
        until(|| Some(self.json(buyer, &[&what[..], &ORDER[..]].concat())).filter(&wanted))
    }

    /// The balance of a buyer once nothing is held any more.
    fn settled(&self, buyer: usize) -> u64 {
        until(|| {
            let account = self.json(buyer, &["account", "show"]);
            let is_settled = account["holds"].as_array().expect("a list").is_empty();
            is_settled.then(|| account["balance"].as_u64().expect("an amount"))
        })
    }

    fn earned(&self, seller: usize) -> u64 {
        let id = self.account(seller);
        let account = self.json(seller, &["account", "show", id.as_str().expect("an id")]);
        account["balance"].as_u64().expect("an amount")
    }

    /// An answer that was cut, and went on elsewhere.
    fn assert_served_in_parts(&self, buyer: usize, order: Order) {
        let answer = order.end_in(&self.sandbox.path(""));
        assert_eq!(answer.code, Some(0), "{answer}");
        let results = self.json(buyer, &["receipt", "list"]);
        let result = results["results"].as_array().and_then(|all| all.last()).expect("a result").clone();
        assert_eq!(result["output_tokens"], 200);
        assert!(result["parts"].as_array().is_some_and(|parts| parts.len() > 1), "{result}");
    }
}

/// What `look` finds, which must be soon.
fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it does not happen");
    }
}

fn peer_id(account: &Value) -> String {
    let key: PublicKey = account.as_str().and_then(|text| text.parse().ok()).expect("a key");
    peer_id_of(&key).expect("a public key is a point").to_string()
}

/// Sellers are found, preferred by how near they are, killed and cut off, and come back; nobody's credits are lost.
#[test]
fn a_market_across_namespaces_serves_or_refunds_through_a_kill_and_a_partition() {
    let Some(world) = World::new() else { return };
    let (_nodes, mut sellers) = world.start();

    // Sellers were told of the guide alone.
    let ledger = peer_id(&world.account(LEDGER));
    for seller in SELLERS {
        until(|| world.knows(seller, &ledger).then_some(()));
    }
    for (buyer, nearest) in BUYERS {
        world.json(buyer, &["account", "fund", FUNDS.0]);
        let nearest = world.account(nearest);
        let found = world.explain_until(buyer, |found| {
            let count = found["candidates"].as_array().map(Vec::len);
            count == Some(SELLERS.len()) && found["chosen"] == nearest
        });
        println!("{} would choose {}", PLACES[buyer].0, found["candidates"][0]);
    }

    let [(first, _), (second, _)] = BUYERS;
    let mut order = world.order(first, LONG);
    order.wait_for_output(1);
    let killed = world.serving(first);
    sellers[killed - SELLERS.start].take().expect("it runs").kill();
    world.assert_served_in_parts(first, order);

    let mut order = world.order(second, LONG);
    order.wait_for_output(1);
    let cut = world.serving(second);
    world.wan.cut(cut);
    world.assert_served_in_parts(second, order);
    world.wan.mend(cut);
    let back = world.account(cut);
    world.explain_until(second, |found| {
        found["candidates"].as_array().is_some_and(|all| all.iter().any(|one| one["provider"] == back))
    });
    sellers[killed - SELLERS.start] = Some(world.seller(killed));

    for (buyer, _) in BUYERS {
        let answer = world.order(buyer, "16").end_in(&world.sandbox.path(""));
        assert_eq!(answer.code, Some(0), "{answer}");
    }
    let paid: u64 = BUYERS.iter().map(|(buyer, _)| FUNDS.1 - world.settled(*buyer)).sum();
    assert_eq!(paid, SELLERS.map(|seller| world.earned(seller)).sum::<u64>());
    assert!(paid > 0);

    world.json(first, &["audit", "export", "--out", "ledger.export"]);
    let report = world.json(first, &["audit", "verify", "ledger.export", "--network", "ledger/network.json"]);
    assert_eq!((&report["ok"], &report["holds"]), (&true.into(), &0.into()), "{report}");
    assert_eq!(
        (&report["issued"], &report["balances"]),
        (&(2 * FUNDS.1).into(), &(2 * FUNDS.1).into()),
        "{report}"
    );
}
