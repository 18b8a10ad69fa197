use insta::assert_snapshot;
use serde_json::json;

use crate::{sandbox::Sandbox, watched};

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    let commands: &[&[&str]] = &[
        &[],
        &["key"],
        &["model"],
        &["model", "pull"],
        &["model", "list"],
        &["model", "show"],
        &["model", "tokenize"],
        &["model", "eval"],
        &["bench"],
        &["bench", "engine"],
        &["bench", "market"],
        &["run"],
        &["receipt"],
        &["budget"],
        &["provider"],
        &["provider", "stake"],
        &["audit", "accuse"],
        &["completions"],
    ];
    for command in commands {
        let answer = sandbox.run(&[command, &["--help"][..]].concat());
        assert_eq!(answer.code, Some(0), "{command:?}");
        assert!(answer.stdout.contains("EXAMPLES:\n  gridhour "), "{answer}");
        assert!(answer.stdout.lines().all(|line| line.chars().count() <= 100), "{answer}");
    }
}

#[test]
fn the_help_of_key() {
    assert_snapshot!(Sandbox::new().run(&["key", "--help"]), @r"
    exit 0
    out: Make, show and back up your identity
    out:
    out: Usage: gridhour key [OPTIONS] <COMMAND>
    out:
    out: Commands:
    out:   new     Make a key in the data directory
    out:   show    Print the account id, which is the public key
    out:   vkey    Print the text under which this key cosigns as a witness called NAME, for `gridhour
    out:           network init --witness`
    out:   backup  Copy the key to a new file that only you can read
    out:   help    Print this message or the help of the given subcommand(s)
    out:
    out: Options:
    out:   -h, --help  Print help
    out:
    out: Global options:
    out:       --data-dir <DIR>     Keep all state but models in DIR [default: the user's data directory]
    out:                            [env: GRIDHOUR_DATA_DIR]
    out:       --config <FILE>      Read settings from FILE [default: config.toml in the data directory]
    out:                            [env: GRIDHOUR_CONFIG]
    out:       --model-cache <DIR>  Keep model files in DIR [default: the user's cache directory] [env:
    out:                            GRIDHOUR_MODEL_CACHE]
    out:       --json               Print one JSON document, errors included, or one line a record
    out:   -v, --verbose...         Log to standard error; twice for more (GRIDHOUR_LOG takes filters)
    out:       --log-format <HOW>   Log as `text`, or as `json`: an object a record [default: text] [env:
    out:                            GRIDHOUR_LOG_FORMAT]
    out:
    out: EXAMPLES:
    out:   gridhour key new
    out:   gridhour key show --json
    out:   gridhour key backup /media/usb/gridhour.key
    ");
}

#[test]
fn the_help_of_model_eval() {
    assert_snapshot!(Sandbox::new().run(&["model", "eval", "-h"]), @r"
    exit 0
    out: Print the perplexity of a text
    out:
    out: Usage: gridhour model eval [OPTIONS] --text <FILE>
    out:
    out: Options:
    out:       --model <MODEL>          Use this model: a catalogue name, an id or a path [default: the
    out:                                catalogue's first] [env: GRIDHOUR_MODEL]
    out:       --text <FILE>            Read the text from FILE, UTF-8
    out:       --window <W>             Cut windows of W tokens [default: 512]
    out:       --tokens <N>             Use the first N tokens of the text, rounded down to whole windows
    out:                                [default: all]
    out:       --device <DEVICE>        Compute on this device [default: cpu] [possible values: cpu, gpu]
    out:       --adapter <ADAPTER>      Take this graphics adapter: its number, or a part of its name
    out:                                [default: the best] [env: GRIDHOUR_ADAPTER]
    out:       --threads <T>            Compute with T threads [default: one a processor] [env:
    out:                                GRIDHOUR_THREADS]
    out:       --isa <ISA>              Compute with these instructions; the result is the same with all
    out:                                [default: auto] [possible values: auto, portable, avx2, avx512]
    out:       --dump-logprobs <F.npy>  Write the log probabilities of all tokens at all positions to F
    out:       --last <K>               Write only the last K rows of each window
    out:   -h, --help                   Print help (see more with '--help')
    out:
    out: Global options:
    out:       --data-dir <DIR>     Keep all state but models in DIR [default: the user's data directory]
    out:                            [env: GRIDHOUR_DATA_DIR]
    out:       --config <FILE>      Read settings from FILE [default: config.toml in the data directory]
    out:                            [env: GRIDHOUR_CONFIG]
    out:       --model-cache <DIR>  Keep model files in DIR [default: the user's cache directory] [env:
    out:                            GRIDHOUR_MODEL_CACHE]
    out:       --json               Print one JSON document, errors included, or one line a record
    out:   -v, --verbose...         Log to standard error; twice for more (GRIDHOUR_LOG takes filters)
    out:       --log-format <HOW>   Log as `text`, or as `json`: an object a record [default: text] [env:
    out:                            GRIDHOUR_LOG_FORMAT]
    out:
    out: EXAMPLES:
    out:   gridhour model eval --text wiki.txt --window 512 --tokens 4096
    out:   gridhour model eval --text wiki.txt --window 4096 --tokens 4096 --dump-logprobs p.npy --last 512
    out:
    out: The .npy file holds 32-bit natural-log probabilities, one row a prediction: row j of a window
    out: predicts its token j+1 from its tokens 0 to j, so a window of W tokens has W-1 rows.
    ");
}

#[test]
fn bad_usage_exits_with_two() {
    let sandbox = Sandbox::new();
    let answer = sandbox.run(&["model", "eval"]);
    assert!(answer.stderr.contains("required") && answer.stderr.contains("--text <FILE>"), "{answer}");
    for line in [
        &["nonsense"][..],
        &[],
        &["model", "eval"],
        &["key"],
        &["key", "backup"],
        &["model", "eval", "--window", "x"],
    ] {
        let answer = sandbox.run(line);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{line:?}");
        assert!(!answer.stderr.is_empty());
    }
}

#[test]
fn rules_of_sampling_out_of_range_are_named_before_anything_is_asked_for() {
    let sandbox = Sandbox::with_model();
    for (options, said) in [
        (&["--temperature", "0.001"][..], "--temperature 0.001: it must be 0, or from 0.01 to 100"),
        (&["--top-p", "1.5"], "--top-p 1.5: it must be from 0 to 1"),
        (&["--min-p", "2"], "--min-p 2: it must be from 0 to 1"),
        (&["--repeat-penalty", "0"], "--repeat-penalty 0: it must be from 0.01 to 100"),
        (&["--frequency-penalty", "-2.5"], "--frequency-penalty -2.5: it must be from -2 to 2"),
        (&["--presence-penalty", "3"], "--presence-penalty 3: it must be from -2 to 2"),
        (&["--stop", ""], "--stop \"\" has 0 bytes: it must have 1 to 64"),
        (&["--logprobs", "21"], "--logprobs 21: it must be from 0 to 20"),
    ] {
        let line = [&["--json", "run", "Hello", "--model", "small.gguf"], options].concat();
        let answer = sandbox.run(&line);
        assert_eq!(
            (answer.code, &answer.document()["error"]["message"]),
            (Some(2), &json!(said)),
            "{answer}"
        );
    }
}

#[test]
fn bad_usage_is_a_document_for_scripts() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["--json", "nonsense"]), @r#"
    exit 2
    out: {
    out:   "error": {
    out:     "kind": "usage",
    out:     "message": "unrecognized subcommand 'nonsense'",
    out:     "hints": [
    out:       "see `gridhour --help`"
    out:     ]
    out:   }
    out: }
    "#);
    for (line, message) in [
        (&["--json"][..], "'gridhour' requires a subcommand but one was not provided"),
        (&["key", "--json"], "'gridhour key' requires a subcommand but one was not provided"),
        (&["model", "eval", "--json"], "the following required arguments were not provided: --text <FILE>"),
    ] {
        let answer = sandbox.run(line);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(2), ""));
        assert!(answer.document()["error"]["message"].as_str().unwrap().starts_with(message), "{answer}");
    }
}

#[test]
fn settings_are_read_and_mistakes_in_them_named() {
    let sandbox = Sandbox::with_model();
    sandbox.write("good.toml", "model = \"small.gguf\"\n");
    let shown = sandbox.json(&["--config", "good.toml", "model", "show"]);
    assert_eq!(shown["path"], json!("small.gguf"));
    sandbox.write("bad.toml", "modle = \"small.gguf\"\n");
    let answer = sandbox.run(&["--config", "bad.toml", "model", "show"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("bad.toml") && answer.stderr.contains("modle"), "{answer}");
    assert_snapshot!(sandbox.run(&["--config", "absent.toml", "model", "show"]), @r"
    exit 2
    err: error: there is no settings file absent.toml
    ");
}

#[test]
fn logs_go_to_standard_error_and_only_when_asked_for() {
    let sandbox = Sandbox::with_model();
    let mut command = sandbox.command(&["model", "tokenize", "--model", "small.gguf", "hello", "--json"]);
    let quiet = watched::output(&mut command);
    let loud = watched::output(command.env("GRIDHOUR_LOG", "trace"));
    assert_eq!(quiet.stdout, loud.stdout);
    assert!(quiet.stderr.is_empty() && !loud.stderr.is_empty());
}
