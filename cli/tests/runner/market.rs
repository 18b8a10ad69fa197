//! A market of real processes: a ledger node and a provider on this machine, and orders to them.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::gguf::SmallModel;

use crate::{
    sandbox::{Answer, Sandbox},
    watched,
};

/// How long anything may take that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(100);
/// Events of a node that nobody has asked for yet; more than any test lets happen.
const EVENTS_MAX: usize = 4096;
/// What the client gets to spend, as typed and as counted.
const FUNDS: (&str, u64) = ("25", 25_000_000);

/// A program that runs until it is killed, and is heard through its JSON events. It is never left behind.
pub struct Node {
    child: Child,
    events: Receiver<Value>,
}

impl Node {
    /// Starts it.
    pub fn start(command: Command) -> Self {
        Self::start_logging_to(command, Stdio::null())
    }

    fn start_logging_to(mut command: Command, stderr: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (told, events) = sync_channel(EVENTS_MAX);
        // A thread of its own, so that the node does not wait until a test asks for an event.
        thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).try_for_each(|event| told.send(event))
        });
        Self { child, events }
    }

    /// The next events of these names, in whatever order they come.
    pub fn wait_for_each<const N: usize>(&self, names: [&str; N]) -> [Value; N] {
        let mut found = names.map(|_| None);
        while found.iter().any(Option::is_none) {
            let event = self.next_event(&names);
            let at = names.iter().position(|name| event["event"] == **name).expect("one of these");
            found[at].get_or_insert(event);
        }
        found.map(|event| event.expect("all were found"))
    }

    /// The next event called `name`.
    pub fn wait_for(&self, name: &str) -> Value {
        self.next_event(&[name])
    }

    /// The next event of one of these names.
    fn next_event(&self, names: &[&str]) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event =
                self.events.recv_timeout(left).unwrap_or_else(|error| panic!("no {names:?} event: {error}"));
            assert!(event.get("error").is_none(), "{event}");
            if names.iter().any(|name| event["event"] == **name) {
                return event;
            }
        }
    }

    /// Hears no more of it: the pipe closes behind the next event.
    pub fn stop_listening(&mut self) {
        (_, self.events) = sync_channel(0);
    }

    /// Tells it to stop, as service managers do.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let told =
            Command::new("kill").args(["-TERM", &id]).status().expect("there is a program that signals");
        assert!(told.success(), "it runs");
    }

    /// Waits for its end, which must come soon, and gives its exit code.
    pub fn exit_code(mut self) -> Option<i32> {
        // Its output ends with it.
        let end = Instant::now() + PATIENCE;
        while self.events.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < end, "it does not end");
        watched::wait_for(self.child.id(), || self.child.wait()).expect("a child can be waited for").code()
    }

    /// Ends it with a signal that no program hears.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.code(), None, "it ended by itself");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Errors only if it has ended before.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A network of one ledger node, one slow provider and a funded client.
pub struct Market {
    pub sandbox: Sandbox,
    listen: String,
    /// The filter and the format of the logs of nodes and orders; each node's go to `FOLDER.log`.
    pub logs: Option<(&'static str, &'static str)>,
}

impl Market {
    /// The files of a network that leaves providers `grace_secs` to collect, and of everyone on it.
    pub fn new(grace_secs: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("small.gguf", SmallModel { context: 4096, ..SmallModel::new(1) }.bytes());
        let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
        let init = ["network", "init", "--grace-secs", grace_secs, "--bootstrap", &listen];
        sandbox.json(&[&["--data-dir", "ledger"], &init[..]].concat());
        for member in ["data", "seller"] {
            sandbox.json(&["--data-dir", member, "network", "join", "ledger/network.json"]);
        }
        fs::rename(sandbox.path("ledger/issuer.key"), sandbox.path("data/issuer.key"))
            .expect("a key can be moved");
        Self { sandbox, listen, logs: None }
    }

    /// Starts the ledger node; always the same one, at the same address.
    pub fn ledger(&self) -> Node {
        self.ledger_with(&[])
    }

    /// Starts it with these options more.
    pub fn ledger_with(&self, options: &[&str]) -> Node {
        self.node("ledger", &[&["validator", "--listen", &self.listen], options].concat())
    }

    /// Starts the provider; always the same one. It answers slowly, so that a job can be met while it runs.
    pub fn provider(&self) -> Node {
        self.provider_with(&[])
    }

    /// Starts it with these options more.
    pub fn provider_with(&self, options: &[&str]) -> Node {
        let listen = "/ip4/127.0.0.1/tcp/0";
        let slow = ["--threads", "1", "--delay-ms", "60"];
        let offer = ["provider", "--listen", listen, "--model", "small.gguf", "--ask", "1000"];
        self.node("seller", &[&offer[..], &slow, options].concat())
    }

    /// Starts another provider, which is not slow, with its files in `folder`.
    pub fn rival(&self, folder: &str, options: &[&str]) -> Node {
        self.sandbox.json(&["--data-dir", folder, "network", "join", "ledger/network.json"]);
        let offer =
            ["provider", "--listen", "/ip4/127.0.0.1/tcp/0", "--model", "small.gguf", "--threads", "1"];
        self.node(folder, &[&offer[..], options].concat())
    }

    /// Starts an observer of the ledger node; always the same one.
    pub fn observer(&self) -> Node {
        self.observer_with(&[])
    }

    /// Starts it with these options more.
    pub fn observer_with(&self, options: &[&str]) -> Node {
        self.sandbox.json(&["--data-dir", "watcher", "network", "join", "ledger/network.json"]);
        self.node("watcher", &[&["observer", "--listen", "/ip4/127.0.0.1/tcp/0"], options].concat())
    }

    /// Starts the witness whose key is in `folder`, and returns where it is asked.
    pub fn witness(&self, folder: &str) -> (Node, String) {
        let begin =
            ["--json", "--data-dir", folder, "audit", "witness", "--serve", "127.0.0.1:0", "--name", folder];
        let node =
            Node::start(self.sandbox.command(&[&begin[..], &["--network", "ledger/network.json"]].concat()));
        let url = node.wait_for("witness")["url"].as_str().expect("a URL").to_owned();
        (node, url)
    }

    fn node(&self, folder: &str, arguments: &[&str]) -> Node {
        let begin = ["--json", "--data-dir", folder, "node"];
        let command = self.logged(&[&begin[..], arguments, &["--until-stdin-closes"]].concat());
        let log = File::create(self.sandbox.path(&format!("{folder}.log"))).expect("a log can be written");
        Node::start_logging_to(command, log.into())
    }

    /// The program with these arguments, and logs as they are wanted.
    pub fn logged(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        if let Some((filter, format)) = self.logs {
            command.env("GRIDHOUR_LOG", filter).env("GRIDHOUR_LOG_FORMAT", format);
        }
        command
    }

    /// Waits until a client that asks hears of so many providers.
    pub fn wait_for_offers(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.sandbox.run(&["--json", "market", "offers"]);
            if heard.code == Some(0) && heard.document()["offers"].as_array().map(Vec::len) == Some(count) {
                return;
            }
            assert!(Instant::now() < end, "{count} are not heard: {heard}");
        }
    }

    /// Mints the client's money and returns how much it is.
    pub fn fund(&self) -> u64 {
        self.sandbox.json(&["account", "fund", FUNDS.0]);
        FUNDS.1
    }

    /// Starts an order of more tokens than a test waits for.
    pub fn order(&self, use_secs: &str) -> Order {
        self.order_within("3000", use_secs, "2000")
    }

    /// Starts an order of this many tokens that the second provider meets too.
    pub fn order_of(&self, tokens: &str) -> Order {
        self.order_within(tokens, "600", "20000")
    }

    fn order_within(&self, tokens: &str, use_secs: &str, price: &str) -> Order {
        let limits = ["--max-tokens", tokens, "--max-price", price, "--max-total", "20"];
        let order = ["run", "Tell me everything.", "--model", "small.gguf", "--use-secs", use_secs];
        Order::start(self.sandbox.command(&[&order[..], &limits].concat()))
    }

    /// The client's account as the ledger has it.
    pub fn account(&self) -> Value {
        let account = self.sandbox.json(&["account", "show"]);
        assert_eq!(account["source"], "ledger");
        account
    }

    /// The client's balance when nothing is held any more.
    pub fn balance_without_holds(&self) -> u64 {
        let end = Instant::now() + PATIENCE;
        loop {
            let account = self.account();
            if account["holds"].as_array().expect("a list").is_empty() {
                return account["balance"].as_u64().expect("an amount");
            }
            assert!(Instant::now() < end, "still held: {account}");
        }
    }

    /// What the provider can spend.
    pub fn earned(&self) -> u64 {
        self.earned_by("seller")
    }

    /// What the second provider can spend.
    pub fn second_earned(&self) -> u64 {
        self.earned_by("rival")
    }

    fn earned_by(&self, folder: &str) -> u64 {
        let key = self.sandbox.json(&["--data-dir", folder, "key", "show"]);
        let account = self.sandbox.json(&["account", "show", key["id"].as_str().expect("an id")]);
        account["balance"].as_u64().expect("an amount")
    }

    /// Has the whole ledger audited, which must be in order and hold nothing.
    pub fn audit(&self) -> Value {
        let report = self.sandbox.json(&["audit", "verify"]);
        assert_eq!((&report["ok"], &report["holds"]), (&true.into(), &0.into()), "{report}");
        assert_eq!(report["balances"], report["issued"], "{report}");
        report
    }
}

/// A port that nobody listens at, below those that systems give out by themselves, so that nobody is given it between one
/// start of a node and the next. Each is handed out once.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 50) as u16 * 200;
    let is_free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    let ports = std::iter::repeat_with(|| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    ports.take(10_000).find(is_free).expect("a port is free")
}

/// `gridhour run`, while it runs.
pub struct Order {
    child: Child,
    /// Output that was waited for.
    seen: Vec<u8>,
}

impl Order {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: child.expect("the program starts"), seen: Vec::new() }
    }

    /// Waits until this much more of the answer came.
    pub fn wait_for_output(&mut self, bytes: usize) {
        let seen = self.seen.len();
        self.seen.resize(seen + bytes, 0);
        let (id, stdout) = (self.child.id(), self.child.stdout.as_mut().expect("piped"));
        watched::wait_for(id, || stdout.read_exact(&mut self.seen[seen..])).expect("the answer comes");
    }

    /// Reads no more of it, and closes the pipe.
    pub fn stop_reading(&mut self) {
        drop(self.child.stdout.take());
    }

    /// How it ended, and all that it said.
    pub fn end(self, market: &Market) -> Answer {
        self.end_in(&market.sandbox.path(""))
    }

    /// The same of an order in this folder.
    pub fn end_in(self, folder: &Path) -> Answer {
        let rest = watched::wait_for(self.child.id(), || self.child.wait_with_output());
        let rest = rest.expect("a child can be waited for");
        let output = Output { stdout: [self.seen, rest.stdout].concat(), ..rest };
        Answer::new(&output, folder)
    }
}
