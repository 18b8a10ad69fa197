//! Reading what a node shows over HTTP: a plain request, and a strict parser of OpenMetrics text, version 1.0.0, that shares
//! nothing with what wrote it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

/// The most that any answer here may be long.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// An answer's status, its headers in lower case, and its body.
pub struct Page {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

/// Asks for `path` at a URL such as `http://127.0.0.1:4880`.
pub fn get(url: &str, path: &str) -> Page {
    let host = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{url}: {error}"));
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("it listens");
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).expect("it answers in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("headers end");
    let (first, headers) = head.split_once("\r\n").expect("a status line");
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Page { status, headers: headers.to_lowercase(), body: body.to_owned() }
}

/// Status and document of `/healthz` or `/readyz`.
pub fn health(url: &str, path: &str) -> (u16, Value) {
    let page = get(url, path);
    assert!(page.headers.contains("application/json"), "{}", page.headers);
    (page.status, serde_json::from_str(&page.body).expect("JSON"))
}

/// Names of the reasons that `path` gives.
pub fn reasons(url: &str, path: &str) -> Vec<String> {
    let (status, document) = health(url, path);
    let list = document["reasons"].as_array().expect("a list");
    let names = list.iter().map(|reason| reason["reason"].as_str().expect("a name").to_owned());
    let names: Vec<String> = names.collect();
    assert_eq!((status == 200, &document["ok"]), (names.is_empty(), &names.is_empty().into()), "{document}");
    assert!(status == 200 || status == 503, "{status}");
    names
}

/// One family: its type, its unit, its help, and its samples by name and labels.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub help: String,
    pub samples: BTreeMap<String, f64>,
}

/// All families by their names.
pub type Families = BTreeMap<String, Family>;

/// Scrapes a node.
pub fn scrape(url: &str) -> Families {
    let page = get(url, "/metrics");
    assert_eq!(page.status, 200, "{}", page.body);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(page.headers.contains(kind), "{}", page.headers);
    parse(&page.body).unwrap_or_else(|why| panic!("{why} in\n{}", page.body))
}

/// The value of one sample.
pub fn value(families: &Families, sample: &str) -> f64 {
    let found = families.values().find_map(|family| family.samples.get(sample));
    *found.unwrap_or_else(|| panic!("{sample} is not shown"))
}

/// Reads a whole exposition, and refuses whatever the format forbids.
pub fn parse(text: &str) -> Result<Families, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end in # EOF")?;
    let (mut families, mut current) = (Families::new(), None::<(String, Family)>);
    for line in body.lines() {
        let begins_family = line.strip_prefix("# HELP ");
        if let Some(rest) = begins_family {
            finish(&mut families, current.take())?;
            let (name, help) = rest.split_once(' ').ok_or_else(|| format!("no help: {line}"))?;
            check_name(name)?;
            current = Some((name.to_owned(), Family { help: help.to_owned(), ..Family::default() }));
            continue;
        }
        let (name, family) = current.as_mut().ok_or_else(|| format!("outside a family: {line}"))?;
        read(line, name, family)?;
    }
    finish(&mut families, current)?;
    Ok(families)
}

fn read(line: &str, name: &str, family: &mut Family) -> Result<(), String> {
    let own = |rest: &str| -> Result<String, String> {
        let word = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        word.map(str::to_owned).ok_or_else(|| format!("within {name}: {line}"))
    };
    let is_late = !family.samples.is_empty();
    if let Some(rest) = line.strip_prefix("# TYPE ") {
        let kinds = ["counter", "gauge", "histogram", "info"];
        family.kind = own(rest).map(|kind| if is_late { String::new() } else { kind })?;
        return kinds.contains(&&*family.kind).then_some(()).ok_or_else(|| format!("type: {line}"));
    }
    if let Some(rest) = line.strip_prefix("# UNIT ") {
        let unit = own(rest)?;
        let named = name.ends_with(&format!("_{unit}")) && !is_late;
        family.unit = Some(unit);
        return named.then_some(()).ok_or_else(|| format!("unit: {line}"));
    }
    let (sample, number) = sample(line, name, &family.kind)?;
    match family.samples.insert(sample, number) {
        None => Ok(()),
        Some(_) => Err(format!("twice: {line}")),
    }
}

/// One sample as `name{labels}` and its number.
fn sample(line: &str, family: &str, kind: &str) -> Result<(String, f64), String> {
    let (sample, number) = line.rsplit_once(' ').ok_or_else(|| format!("no value: {line}"))?;
    let number: f64 = number.parse().map_err(|error| format!("{error}: {line}"))?;
    let (name, labels) = match sample.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(|| format!("open: {line}"))?),
        None => (sample, ""),
    };
    check_labels(labels)?;
    let suffix = name.strip_prefix(family).ok_or_else(|| format!("not of {family}: {line}"))?;
    let suffixes: &[&str] = match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => &[""],
    };
    let is_amount = kind == "gauge" || number >= 0.0;
    match suffixes.contains(&suffix) && is_amount && number.is_finite() {
        true => Ok((sample.to_owned(), number)),
        false => Err(format!("no {kind}: {line}")),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    good.then_some(()).ok_or_else(|| format!("name {name:?}"))
}

/// Labels of this program need no escapes.
fn check_labels(labels: &str) -> Result<(), String> {
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').ok_or_else(|| format!("label {label:?}"))?;
        check_name(name)?;
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let inner = inner.ok_or_else(|| format!("label {label:?}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_".contains(c);
        if !inner.chars().all(plain) || inner.len() > 32 {
            return Err(format!("label {label:?}"));
        }
    }
    Ok(())
}

fn finish(families: &mut Families, family: Option<(String, Family)>) -> Result<(), String> {
    let Some((name, family)) = family else { return Ok(()) };
    if family.kind.is_empty() || family.help.is_empty() {
        return Err(format!("{name} has no type or no help"));
    }
    if family.kind == "histogram" {
        check_buckets(&name, &family)?;
    }
    match families.insert(name.clone(), family) {
        None => Ok(()),
        Some(_) => Err(format!("{name} comes twice")),
    }
}

/// Buckets never fall, and the last holds all.
fn check_buckets(name: &str, family: &Family) -> Result<(), String> {
    let end = |sample: &str| {
        let le = sample.strip_prefix(&format!("{name}_bucket{{le=\""))?.strip_suffix("\"}")?;
        if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() }
    };
    let mut buckets: Vec<(f64, f64)> =
        family.samples.iter().filter_map(|(sample, count)| Some((end(sample)?, *count))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rises = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
    let all = family.samples.get(&format!("{name}_count")).copied();
    let last = buckets.last().filter(|last| last.0.is_infinite()).map(|last| last.1);
    (rises && last.is_some() && last == all).then_some(()).ok_or_else(|| format!("buckets of {name}"))
}

#[test]
fn what_the_format_forbids_is_refused() {
    let good =
        "# HELP a_seconds What.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1\n";
    assert!(parse(&format!("{good}# EOF\n")).is_ok());
    for (from, to) in [
        ("_total 1", " 1"),
        ("_total 1", "_total -1"),
        ("_total 1", "_total{a=\"b} 1"),
        ("_total 1", "_total 1\na_seconds_total 2"),
        ("# TYPE a_seconds counter\n", ""),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("counter", "number"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && parse(&format!("{bad}# EOF\n")).is_err(), "{bad}");
    }
    assert!(parse(good).is_err(), "no end");
    assert!(parse(&format!("{good}{good}# EOF\n")).is_err(), "twice");
}
