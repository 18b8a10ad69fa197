//! An organisation's budget, each party a process of its own: keys without credits run jobs until a cap refuses.

use serde_json::{Value, json};

use crate::{market::Market, sandbox::Answer};

const ORDER: [&str; 8] =
    ["run", "Hello", "--max-tokens", "3", "--max-price", "2000", "--model", "small.gguf"];

/// A market with an organisation that has 20 credits, and a client that has none.
struct Town {
    market: Market,
    spender: String,
}

impl Town {
    fn new() -> Self {
        let market = Market::new("2");
        market.sandbox.json(&["--data-dir", "org", "network", "join", "ledger/network.json"]);
        let key = |folder| {
            let shown = market.sandbox.json(&["--data-dir", folder, "key", "new"]);
            shown["id"].as_str().expect("an account").to_owned()
        };
        let (owner, spender) = (key("org"), key("data"));
        let town = Self { market, spender };
        let ledger = town.market.ledger();
        ledger.wait_for("ready");
        town.market.sandbox.json(&["account", "fund", "20", "--to", &owner]);
        drop(ledger);
        town
    }

    fn org(&self, arguments: &[&str]) -> Value {
        self.market.sandbox.json(&[&["--data-dir", "org"], arguments].concat())
    }

    /// The only budget, as the organisation sees it.
    fn budget(&self) -> Value {
        let shown = self.org(&["budget", "show"]);
        assert_eq!(shown["budgets"].as_array().map(Vec::len), Some(1), "{shown}");
        shown["budgets"][0].clone()
    }

    fn order(&self, id: &str, more: &[&str]) -> Answer {
        self.market.sandbox.run(&[&["--json"], &ORDER[..], &["--budget", id], more].concat())
    }

    /// The spender's refused order, whose error says all of `sentences`.
    fn refused(&self, id: &str, more: &[&str], sentences: &[&str]) {
        let answer = self.order(id, more);
        assert_eq!(answer.code, Some(1), "{answer}");
        let error = answer.document()["error"].to_string();
        assert!(sentences.iter().all(|sentence| error.contains(sentence)), "{answer}");
    }

    fn plan(&self, alice: u64, halted: bool) -> Vec<String> {
        let amount = format!("{}.{:06}", alice / 1_000_000, alice % 1_000_000);
        let file = format!(
            "period = \"30d\"\n[[cap]]\nname = \"acme\"\namount = \"10\"\n[[cap]]\nname = \"lab\"\nparent = \"acme\"\n\
             amount = \"10\"\nhalted = {halted}\n[[cap]]\nname = \"alice\"\nparent = \"lab\"\namount = \"{amount}\"\n\
             spender = \"{}\"\n",
            self.spender
        );
        self.market.sandbox.write("acme.toml", file);
        ["budget", "set", "--file", "acme.toml"].map(str::to_owned).to_vec()
    }

    fn set(&self, alice: u64, halted: bool) -> Value {
        let arguments = self.plan(alice, halted);
        self.org(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no amount"))
}

#[test]
fn a_key_without_credits_runs_jobs_out_of_a_budget_until_its_cap_refuses() {
    let town = Town::new();
    let (ledger, provider) = (town.market.ledger(), town.market.provider());
    ledger.wait_for("ready");
    provider.wait_for("advertised");
    let made = town.set(5_000_000, false);
    let (id, paid_in) = (made["id"].as_str().expect("an id").to_owned(), number(&made["paid_in"]));
    assert_eq!((paid_in, &made["new"]), (10_000_000, &json!(true)), "the first cap's amount");
    assert_eq!(number(&town.org(&["account", "show"])["balance"]), 10_000_000);

    let first = town.order(&id[..8], &[]);
    assert_eq!(first.code, Some(0), "{first}");
    let cost = number(&first.document()["cost"]);
    let budget = town.budget();
    assert_eq!(
        (number(&budget["pot"]), &budget["open"]),
        (paid_in - cost, &json!(0)),
        "the rest went back to the pot"
    );
    let used: Vec<u64> = (0..3).map(|place| number(&budget["caps"][place]["used"])).collect();
    assert_eq!(used, [cost; 3], "it is charged to the cap and to every one above");
    assert_eq!(budget["caps"][2]["name"], "alice");
    assert_eq!(town.market.account()["balance"], json!(0), "the spender never had a credit");

    // Room for one more job, whose hold is what the longest output costs, and for no third.
    town.set(cost * 2, false);
    let mut spent = cost;
    let refusal = loop {
        let answer = town.order(&id, &["--cap", "2"]);
        if answer.code != Some(0) {
            break answer;
        }
        spent += number(&answer.document()["cost"]);
        assert!(spent <= cost * 2, "a cap is never passed: {spent} of {}", cost * 2);
    };
    let error = refusal.document()["error"].to_string();
    assert!(error.contains("over-cap") && error.contains("they are whole again"), "{refusal}");
    let budget = town.budget();
    assert_eq!((number(&budget["pot"]), number(&budget["caps"][0]["used"])), (paid_in - spent, spent));

    let closed = town.org(&["budget", "close", &id]);
    assert_eq!(number(&closed["paid_back"]), paid_in - spent);
    town.refused(&id, &[], &["there is no budget"]);
    assert_eq!(number(&town.org(&["account", "show"])["balance"]), 20_000_000 - spent);
    assert_eq!(town.market.earned(), spent);
    town.market.audit();
}

#[test]
fn who_may_not_spend_is_told_why() {
    let town = Town::new();
    let (ledger, provider) = (town.market.ledger(), town.market.provider());
    ledger.wait_for("ready");
    provider.wait_for("advertised");
    let made = town.set(5_000_000, true);
    let id = made["id"].as_str().expect("an id");
    town.refused(id, &[], &["halted", "its owner halted cap 2"]);
    town.refused(id, &["--cap", "1"], &["not-spender", "names another account"]);
    let unknown = town.order(id, &["--cap", "alice"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.stdout.contains("names are known only where the budget was set"), "{unknown}");
    let stranger = ["--data-dir", "org", "--json"];
    let answer = town.market.sandbox.run(&[&stranger, &ORDER[..], &["--budget", id]].concat());
    assert_eq!(answer.code, Some(1), "{answer}");
    assert!(answer.stdout.contains("no cap of the budget names"), "{answer}");
    town.market.sandbox.write("acme.toml", "[[cap]]\nname = \"acme\"\namount = \"10\"\n");
    let fewer = town.market.sandbox.run(&["--data-dir", "org", "budget", "set", "--file", "acme.toml"]);
    assert_eq!(fewer.code, Some(1), "{fewer}");
    assert!(fewer.stderr.contains("plan-mismatch") && fewer.stderr.contains("keeps its caps"), "{fewer}");
}

#[test]
fn a_simple_budget_is_set_by_flags_and_shown_as_a_tree() {
    let town = Town::new();
    let ledger = town.market.ledger();
    ledger.wait_for("ready");
    let set = ["budget", "set", "--total", "8", "--period", "1d", "--for", "90d", "--spender", &town.spender];
    let made = town.org(&[&set[..], &["--each", "2"]].concat());
    assert_eq!((number(&made["paid_in"]), &made["new"]), (8_000_000, &json!(true)));
    let changed = town.org(&[&set[..], &["--each", "3", "--pay-in", "1"]].concat());
    assert_eq!((&changed["id"], &changed["new"]), (&made["id"], &json!(false)));
    let budget = town.budget();
    assert_eq!((number(&budget["pot"]), number(&budget["period"])), (9_000_000, 86_400_000));
    assert_eq!((number(&budget["caps"][1]["amount"]), &budget["caps"][1]["parent"]), (3_000_000, &json!(0)));
    let unsaid = ["budget", "set", "--total", "9", "--spender", &town.spender, "--each", "3"];
    assert_eq!(town.org(&unsaid)["until"], changed["until"], "what is not spoken of stays");
    let kept = town.budget();
    assert_eq!((number(&kept["pot"]), number(&kept["period"])), (9_000_000, 86_400_000));
    let spender = town.market.sandbox.run(&["budget", "show"]);
    for part in ["pot      9 credits; 0 sessions", "caps are whole again", "\n1      -   0     3   "] {
        assert!(spender.stdout.contains(part), "{part:?} in {spender}");
    }
    let bad =
        town.market.sandbox.run(&["--data-dir", "org", "budget", "set", "--total", "1", "--period", "1s"]);
    assert_eq!(bad.code, Some(2), "{bad}");
    assert!(bad.stderr.contains("a period of 1000 ms"), "{bad}");
}
