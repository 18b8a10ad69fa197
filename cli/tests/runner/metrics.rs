//! What running nodes show over HTTP: numbers that another program can read, and whether they serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Instant,
};

use crate::{
    market::{Market, Node, PATIENCE},
    scrape::{Families, get, health, reasons, scrape, value},
};

const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

/// Where a node that is ready serves HTTP.
fn url(node: &Node) -> String {
    let [http, _] = node.wait_for_each(["http", "ready"]);
    http["url"].as_str().expect("a URL").to_owned()
}

/// A ledger node, a provider and an observer that all serve HTTP, and where.
struct Shown {
    market: Market,
    ledger: Node,
    provider: Node,
    observer: Node,
    urls: [String; 3],
}

impl Shown {
    fn start() -> Self {
        let market = Market::new("2");
        let ledger = market.ledger_with(&HTTP);
        let provider = market.provider_with(&HTTP);
        let observer = market.observer_with(&HTTP);
        let urls = [&ledger, &provider, &observer].map(url);
        Self { market, ledger, provider, observer, urls }
    }

    fn scrape(&self) -> [Families; 3] {
        [0, 1, 2].map(|at| scrape(&self.urls[at]))
    }

    /// Buys one answer.
    fn buy(&self) {
        self.market.fund();
        let limits = ["--max-tokens", "8", "--max-price", "2000", "--max-total", "20"];
        self.market.sandbox.json(&[&["run", "Hello", "--model", "small.gguf"], &limits[..]].concat());
    }
}

/// Scrapes until `is_so`.
fn until(url: &str, what: &str, is_so: impl Fn(&Families) -> bool) -> Families {
    let end = Instant::now() + PATIENCE;
    loop {
        let families = scrape(url);
        if is_so(&families) {
            return families;
        }
        assert!(Instant::now() < end, "never: {what}: {families:#?}");
    }
}

/// Asks until the reasons are these.
fn until_reasons(url: &str, path: &str, wanted: &[&str]) {
    let end = Instant::now() + PATIENCE;
    while reasons(url, path) != wanted {
        assert!(Instant::now() < end, "never {wanted:?}: {:?}", reasons(url, path));
    }
}

/// Whether no counter fell, nor any bucket of a histogram.
fn assert_grown(before: &Families, after: &Families) {
    for (name, family) in before.iter().filter(|(_, family)| family.kind != "gauge") {
        for (sample, then) in &family.samples {
            let now = after[name].samples[sample];
            assert!(now >= *then, "{sample} fell from {then} to {now}");
        }
    }
}

#[test]
fn a_job_is_counted_where_it_happens_and_nowhere_by_name() {
    let shown = Shown::start();
    let before = shown.scrape();
    shown.buy();
    let sold = "gridhour_provider_sessions_ended_total{end=\"closed\"}";
    until(&shown.urls[1], "a session is closed", |families| value(families, sold) == 1.0);
    until(&shown.urls[2], "the copy is level", |families| {
        value(families, "gridhour_ledger_height") >= 3.0 && value(families, "gridhour_observer_level") == 1.0
    });
    let after = shown.scrape();
    before.iter().zip(&after).for_each(|(before, after)| assert_grown(before, after));
    let [ledger, provider, observer] = &after;
    assert_eq!(value(provider, "gridhour_provider_jobs_total{end=\"settled\"}"), 1.0);
    assert_eq!(value(provider, "gridhour_provider_output_tokens_total"), 8.0);
    assert_eq!(value(provider, "gridhour_provider_job_stream_seconds_count"), 1.0);
    assert!(value(provider, "gridhour_provider_collected_microcredits_total") > 0.0);
    assert!(value(provider, "gridhour_engine_tokens_total") >= 8.0);
    assert!(value(provider, "gridhour_engine_compute_seconds_total") > 0.0);
    assert!(value(provider, "gridhour_engine_kv_limit_bytes") > 0.0);
    assert!(value(provider, "gridhour_net_peers") >= 1.0);
    assert_eq!(value(provider, "gridhour_provider_unclaimed_microcredits"), 0.0);
    // Registered, funded, opened and closed.
    assert!(value(ledger, "gridhour_sequencer_transactions_total") >= 4.0);
    assert_eq!(value(ledger, "gridhour_ledger_overdue"), 0.0);
    let sum = ["balances", "holds", "stakes"].map(|part| format!("gridhour_ledger_{part}_microcredits"));
    let sum: f64 = sum.iter().map(|part| value(ledger, part)).sum();
    assert_eq!(sum, value(ledger, "gridhour_ledger_issued_microcredits"));
    let blocks = value(ledger, "gridhour_ledger_blocks_total");
    assert_eq!(blocks, value(ledger, "gridhour_store_block_write_seconds_count"));
    assert!(value(observer, "gridhour_ledger_blocks_total") >= 3.0);
    for url in &shown.urls {
        let text = get(url, "/metrics").body;
        let long = text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| word.len() >= 40);
        assert_eq!(long, None, "a key or an id is shown");
    }
}

/// Type of a family, and of which nodes it is.
type About = (String, String);

/// Rows of the table of metrics in the documentation, by name.
fn documented() -> BTreeMap<String, About> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATING.md");
    let text = fs::read_to_string(file).expect("the documentation is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `gridhour_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let row = |cells: Vec<&str>| {
        let name = format!("gridhour_{}", cells[0].trim_end_matches('`'));
        (name, (cells[1].to_owned(), cells[2].to_owned()))
    };
    cells.map(row).collect()
}

/// The same of what nodes show.
fn shown(families: &[Families; 3]) -> BTreeMap<String, About> {
    let mut about = BTreeMap::<String, About>::new();
    for (node, families) in ["ledger", "provider", "observer"].iter().zip(families) {
        for (name, family) in families {
            let entry = about.entry(shown_name(name, &family.kind)).or_default();
            let nodes = if entry.1.is_empty() { (*node).to_owned() } else { format!("{}, {node}", entry.1) };
            *entry = (family.kind.clone(), nodes);
        }
    }
    let all = |nodes: String| if nodes == "ledger, provider, observer" { "all".to_owned() } else { nodes };
    about.into_iter().map(|(name, (kind, nodes))| (name, (kind, all(nodes)))).collect()
}

/// A family's name as its samples have it, labels and buckets apart.
fn shown_name(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

#[test]
fn the_documentation_names_every_metric_and_no_other() {
    let (shown, documented) = (shown(&Shown::start().scrape()), documented());
    let names = |map: &BTreeMap<String, About>| map.keys().cloned().collect::<BTreeSet<_>>();
    let missing: Vec<_> = names(&shown).difference(&names(&documented)).cloned().collect();
    let stale: Vec<_> = names(&documented).difference(&names(&shown)).cloned().collect();
    assert_eq!((missing, stale), (vec![], vec![]), "not documented; documented and gone");
    assert_eq!(documented, shown, "type, or nodes");
}

#[test]
fn a_node_is_healthy_while_its_ledger_answers_and_says_why_when_not() {
    let Shown { market, ledger, provider, observer, urls } = Shown::start();
    for url in &urls {
        until_reasons(url, "/readyz", &[]);
        assert_eq!(health(url, "/healthz").0, 200);
    }
    ledger.kill();
    for url in &urls[1..] {
        until_reasons(url, "/healthz", &["ledger-unreachable"]);
    }
    let (_, document) = health(&urls[1], "/healthz");
    let why = document["reasons"][0]["why"].as_str().expect("a sentence");
    assert!(why.contains("does not answer") && why.contains("see that it runs"), "{why}");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    for url in &urls[1..] {
        until_reasons(url, "/readyz", &[]);
    }
    drop((provider, observer));
}
