//! Files that people edit, pass on and lose: settings, network files, keys, results.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{
    drivers::{
        mismatch::{Answer, Asked, Mismatch},
        results::{Agreed, JobResult, Part, Results},
    },
    keys, network_json, own_machines,
    settings::Settings,
};
use gridhour_protocol::{
    arbitrary,
    id::{OrderId, from_hex},
    job::agreement::{Tally, Verdict},
    market::{costs::BuyerCosts, matching::MatchRecord},
    receipt::Cause,
    signed::Signed,
    units::{Credits, Timestamp},
    wire::{decode, encode},
};
use tempfile::TempDir;
use testkit::fuzz::Target;

use crate::{
    run,
    samples::{samples, witnessed_network},
};

/// A file of its own for one target.
struct Scratch {
    folder: TempDir,
    path: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        Self { folder, path }
    }

    fn hold(&self, bytes: &[u8]) -> &Path {
        hold(&self.path, bytes);
        &self.path
    }
}

/// Makes the file anew, for its owner alone: to overwrite one takes file systems a hundred times as long.
fn hold(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("the folder can be written");
}

#[test]
fn settings() {
    let file = Scratch::new("config.toml");
    let full = "listen = [\"/ip4/127.0.0.1/tcp/4001\"]\nmodel = \"smollm2\"\nask = \"1.5\"\nregion = 'eu-de'\n\
                threads = 4\nslots = 2\ndelay-ms = 20\n";
    let corpus = vec![full.as_bytes().to_vec(), b"".to_vec(), b"ask = \"2\"".to_vec()];
    let words =
        &["[", "]", "[[", "{", "}", "\"\"\"", "= ", "\n", "a.b.", "1e999", "-1", "\\u0000", "threads = "];
    run(&Target::new("settings", corpus).with_words(words), |bytes| {
        let settings = Settings::load(file.hold(bytes)).map_err(|error| error.to_string())?;
        assert!(bytes.len() > 2 || settings == Settings::default());
        Ok(())
    });
}

/// What loads is what its operator signed, and is written as it was read.
#[test]
fn network_files() {
    let file = Scratch::new("network.json");
    let signed = witnessed_network();
    let corpus = vec![network_json::render(&signed).into_bytes()];
    let words = &["{", "[", "\"", "\\u0000", "\"signed\": \"", "null", " ", "\n", "00", "ff"];
    run(&Target::new("network-json", corpus).with_words(words), |bytes| {
        let loaded = network_json::load(file.hold(bytes)).map_err(|error| reason(&error, &file))?;
        assert_eq!(loaded.signed(), &signed, "nothing else has a good signature");
        Ok(())
    });
}

/// The same, with the damage in the signed bytes and the text in agreement with them.
#[test]
fn network_files_that_agree_with_themselves() {
    let file = Scratch::new("network.json");
    let signed = witnessed_network();
    run(&Target::new("network-json-signed", vec![encode(&signed)]), |bytes| {
        let inner: Signed<NetworkFile> = decode(bytes).map_err(|error| error.to_string())?;
        let operator = arbitrary::key(254);
        let mut body = inner.body;
        body.genesis.operator = operator.public();
        let again = operator.sign(body);
        let text = network_json::render(&again);
        let loaded = network_json::load(file.hold(text.as_bytes())).map_err(|error| reason(&error, &file))?;
        assert_eq!(network_json::render(loaded.signed()), text);
        Ok(())
    });
}

/// The words of an error without the name of the temporary folder.
fn reason(error: &impl ToString, file: &Scratch) -> String {
    error.to_string().replace(&file.folder.path().display().to_string(), "")
}

#[test]
fn key_files() {
    let file = Scratch::new("key");
    let digits = "0123456789abcdef".repeat(4);
    let corpus = vec![format!("{digits}\n").into_bytes(), digits.to_uppercase().into_bytes()];
    run(&Target::new("key-file", corpus).with_words(&["\n", " ", "é", "0x"]), |bytes| {
        let key = keys::load(file.hold(bytes)).map_err(|error| reason(&error, &file))?;
        let text = std::str::from_utf8(bytes).expect("digits are text");
        assert_eq!(from_hex(&text.trim().to_lowercase()).as_deref(), Some(&key.seed()[..]));
        Ok(())
    });
}

/// What loads are accounts that stand in the file, and is written as a list that loads as the same.
#[test]
fn own_machines_files() {
    let (file, again) = (Scratch::new("own-machines"), Scratch::new("again"));
    let line = |n| format!("{}\n", arbitrary::key(n).public());
    let three: String = (1..4).map(line).collect();
    let corpus = vec![three.into_bytes(), format!("\n  {}", line(5)).into_bytes(), Vec::new()];
    run(&Target::new("own-machines", corpus).with_words(&["\n", "\r\n", " ", "é", "0x", "#"]), |bytes| {
        let own = own_machines::load(file.hold(bytes)).map_err(|error| reason(&error, &file))?;
        let text = std::str::from_utf8(bytes).expect("accounts are text").to_lowercase();
        assert!(own.iter().all(|account| text.contains(&account.to_string())));
        own_machines::save(&again.path, &own).expect("what is no more than what loads can be written");
        assert_eq!(own_machines::load(&again.path).expect("it was just written"), own);
        Ok(())
    });
}

/// What another provider wrote before.
fn part() -> Part {
    Part {
        terms: samples(arbitrary::terms(), 1).remove(0),
        request: samples(arbitrary::requests(), 1).remove(0),
        tokens: 2,
        logprobs: samples(arbitrary::logprobs(), 2),
        receipt: Some(samples(arbitrary::signed(arbitrary::receipts), 1).remove(0)),
        voucher: samples(arbitrary::signed(arbitrary::vouchers), 1).remove(0),
        cost: Credits(3),
        cause: Cause::Network,
    }
}

/// A result of a small job.
pub(crate) fn job_result() -> JobResult {
    let terms = samples(arbitrary::terms(), 1).remove(0);
    let provider = terms.provider;
    JobResult {
        request: samples(arbitrary::requests(), 1).remove(0),
        output: vec![5, 6, 7],
        logprobs: samples(arbitrary::logprobs(), 3),
        receipt: samples(arbitrary::signed(arbitrary::receipts), 1).remove(0),
        voucher: samples(arbitrary::signed(arbitrary::vouchers), 1).remove(0),
        cost: Credits(9),
        before: vec![part()],
        beside: Some(part()),
        agreement: Some(Agreed {
            tally: Tally {
                verdict: Verdict::Majority,
                agreed: vec![provider, arbitrary::key(7).public()],
                dissent: vec![],
                silent: vec![],
            },
            others: Credits(4),
        }),
        matched: MatchRecord {
            order: OrderId([4; 32]),
            at: Timestamp(77),
            chosen: Some(provider),
            candidates: vec![],
            refused: vec![],
            costs: BuyerCosts::NONE,
            considered: [5; 32],
        },
        ttft_ms: 30,
        total_ms: 40,
        terms,
    }
}

/// A file that is no result by its size alone is not read, whoever asks.
#[test]
fn an_oversized_result_is_not_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = Results::new(folder.path().to_owned());
    let id = job_result().receipt.id();
    let file = fs::File::create(results.path(id)).expect("the folder can be written");
    file.set_len(1 << 40).expect("a file may have holes");
    let [loaded, listed] = [results.load(id).map(|_| ()), results.list().map(|_| ())];
    for refused in [loaded, listed] {
        assert!(refused.expect_err("it is refused").to_string().contains("too large"));
    }
}

/// A result that loads is kept as it was loaded.
#[test]
fn results() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = Results::new(folder.path().to_owned());
    let kept = job_result();
    let id = kept.receipt.id();
    results.keep(&kept, "some text").expect("the folder can be written");
    let path = results.path(id);
    let corpus = vec![fs::read(&path).expect("it was written")];
    let words = &["{", "[", "\"", "\\u0000", "\"record\": \"", "null", "4294967296", "-1", "00", "ff"];
    run(&Target::new("result-file", corpus).with_words(words), |bytes| {
        hold(&path, bytes);
        let (result, text) = results.load(id).map_err(|error| error.to_string())?;
        assert_eq!(results.list().expect("it can be read").len(), 1);
        if result.receipt.id() == id {
            let again = Results::new(folder.path().join("again"));
            again.keep(&result, &text).expect("the folder can be written");
            assert_eq!(again.load(id).expect("it was just kept"), (result, text));
        }
        Ok(())
    });
}

/// What the first sample of each kind says that two providers answered.
fn mismatch() -> Mismatch {
    let client = arbitrary::key(3);
    let order = client.sign(samples(arbitrary::orders(client.public()), 1).remove(0));
    let request = samples(arbitrary::requests(), 1).remove(0);
    let asked = Asked { order, request, providers: vec![arbitrary::key(5).public(), client.public()] };
    let answer = |tokens: Vec<u32>| Answer {
        advert: samples(arbitrary::signed(arbitrary::adverts), 1).remove(0),
        terms: samples(arbitrary::terms(), 1).remove(0),
        receipt: samples(arbitrary::signed(arbitrary::receipts), 1).remove(0),
        logprobs: samples(arbitrary::logprobs(), tokens.len()),
        output: tokens,
    };
    Mismatch { asked, answers: vec![answer(vec![1, 2]), answer(vec![1, 3])] }
}

/// A mismatch that loads is kept as it was loaded, and whatever it says can be checked.
#[test]
fn mismatches() {
    let file = Scratch::new("mismatch");
    let kept = mismatch().keep(file.folder.path()).expect("the folder can be written");
    let corpus = vec![fs::read(&kept).expect("it was written")];
    let again = file.folder.path().join("again");
    run(&Target::new("mismatch-file", corpus), |bytes| {
        let found = Mismatch::load(file.hold(bytes)).map_err(|error| reason(&error, &file))?;
        let path = found.keep(&again).expect("the folder can be written");
        assert_eq!(fs::read(path).expect("it was just kept"), bytes);
        // What it proves, if anything, is another question, which may be asked of whatever can be read.
        let _ = found.tally();
        Ok(())
    });
}
