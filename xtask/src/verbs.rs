//! The verbs of `cargo xtask`: one table that parsing, help and tests sweep.
//!
//! Does none of the chores itself.

use crate::checkout::Checkout;
use crate::{bench, run, setup, test, torture};
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

/// One chore: a row of `--help` and what it calls.
struct Verb {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    call: fn(&Checkout, &[OsString]) -> Result<ExitCode>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        arguments: "FILE [ARGS]...",
        about: "set up, build release, then `secateur run FILE ARGS...`",
        call: run::call,
    },
    Verb {
        name: "test",
        arguments: "",
        about: "set up, then format check, lints and all tests",
        call: test::call,
    },
    Verb {
        name: "torture",
        arguments: "[--minutes N] [--seed S]",
        about: "set up, then kill runs at random over broken disks and look at what is left",
        call: torture::call,
    },
    Verb {
        name: "zoo",
        arguments: "DIR [ARGS]...",
        about: "set up, then read, couple and prove each model of a folder: zoo.tsv, zoo.md",
        call: bench::zoo,
    },
    Verb {
        name: "bench",
        arguments: "[ARGS]...",
        about: "set up, then measure side by side: loop, replay, estimate, NNI; `bench --help` lists more",
        call: bench::speed,
    },
    Verb {
        name: "setup",
        arguments: "",
        about: "find or make libtorch and leave the link .libtorch, so that plain cargo works",
        call: setup::call,
    },
];

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", help());
        return Ok(ExitCode::from(2));
    };
    if ["help", "--help", "-h"].iter().any(|word| name == word) {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(verb) = VERBS.iter().find(|verb| name == verb.name) else {
        eprint!("error: there is no verb {}\n\n{}", name.display(), help());
        return Ok(ExitCode::from(2));
    };
    let optional = verb.arguments.is_empty() || verb.arguments.starts_with('[');
    let too_few = !optional && rest.is_empty();
    let too_many = verb.arguments.is_empty() && !rest.is_empty();
    if too_few || too_many {
        eprintln!("usage: cargo xtask {} {}", verb.name, verb.arguments);
        return Ok(ExitCode::from(2));
    }
    (verb.call)(&Checkout::find()?, rest)
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask VERB\n\n");
    for verb in VERBS {
        let left = format!("{} {}", verb.name, verb.arguments);
        text += &format!("  {left:<20} {}\n", verb.about);
    }
    text +=
        "\nlibtorch is looked for in this order: LIBTORCH_USE_PYTORCH=1, LIBTORCH, the user's cache folder; else it\n";
    text += "is made there from PyPI's wheels (half a gigabyte, once a machine).\n";
    text
}

#[cfg(test)]
mod tests {
    use super::{VERBS, dispatch, help};
    use std::ffi::OsString;
    use std::process::ExitCode;

    #[test]
    fn help_names_every_verb() {
        assert!(VERBS.iter().all(|verb| help().contains(&format!("  {} ", verb.name))));
    }

    #[test]
    fn bad_usage_exits_2_before_anything_is_done() {
        for words in [&["prune"][..], &["run"], &["test", "everything"], &[]] {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            let code = dispatch(&arguments).expect("usage errors are no failures");
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)), "{words:?}");
        }
    }
}
