use std::{io, process::Stdio};

use crate::{
    sandbox::{Answer, Sandbox},
    watched,
};

#[test]
fn scripts_complete_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let answer = sandbox.run(&["completions", shell]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["tokenize", "backup", "dump-logprobs"] {
            assert!(answer.stdout.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn an_unknown_shell_is_a_usage_error() {
    let answer = Sandbox::new().run(&["completions", "tcsh"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("zsh"), "{answer}");
}

#[test]
fn a_reader_that_left_is_no_error() {
    let sandbox = Sandbox::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command(&["completions", "bash"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let answer =
        Answer::new(&watched::wait_for(child.id(), || child.wait_with_output()).unwrap(), &sandbox.path(""));
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
}
