//! `-h HOST`, as clients of mosquitto name the broker: here `-h` is for help, which would end well with nothing done.

use std::{ffi::OsString, ptr};

use clap::{Arg, Command, Error, error::ErrorKind};

/// What the options that say where the broker is are called in our types.
const BROKER_OPTIONS: [&str; 2] = ["host", "brokers"];

/// What to say instead of `error`, which came of `words` (without the program's name): where help was asked for with a host behind
/// `-h`, and the command has an option for it, an error that names the option.
pub fn explain(error: Error, program: &Command, words: &[OsString]) -> Error {
    let is_help = error.kind() == ErrorKind::DisplayHelp;
    let at = words.iter().position(|word| is_help && word == "-h");
    let Some((at, host)) = at.and_then(|at| Some((at, words.get(at + 1)?))) else {
        return error;
    };
    let command = command_of(program, &words[..at]);
    let is_other = host.is_empty()
        || host.as_encoded_bytes().starts_with(b"-")
        || command.find_subcommand(host).is_some();
    // What follows the host may be the rest of the command's name, as in `bench -h HOST pairs`.
    let command = command_of(command, &words[at..]);
    // Without a command it is a broker itself.
    if is_other || ptr::eq(command, program) {
        return error;
    }
    let Some(option) = broker_option(command) else {
        return error;
    };
    let short = option.get_short().unwrap_or_default();
    let long = option.get_long().unwrap_or_default();
    let host = host.to_string_lossy();
    let text =
        format!("-h is for help: say where the broker is with -{short} {host} or --{long} {host}");
    command.clone().error(ErrorKind::UnknownArgument, text)
}

/// The command that `words` name.
fn command_of<'a>(program: &'a Command, words: &[OsString]) -> &'a Command {
    words.iter().fold(program, |command, word| {
        command.find_subcommand(word).unwrap_or(command)
    })
}

/// The option of a command, or of those below it, that says where the broker is.
fn broker_option(command: &Command) -> Option<&Arg> {
    let is_broker = |option: &&Arg| BROKER_OPTIONS.contains(&option.get_id().as_str());
    let below = || command.get_subcommands().find_map(broker_option);
    command.get_arguments().find(is_broker).or_else(below)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn said(words: &str) -> (ErrorKind, String) {
        let mut program = crate::Arguments::command();
        program.build();
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let parsed = program
            .clone()
            .no_binary_name(true)
            .try_get_matches_from(&words);
        let error = explain(parsed.unwrap_err(), &program, &words);
        (error.kind(), error.to_string())
    }

    // A script that was written for mosquitto_pub would publish nothing, and be told that all is well.
    #[test]
    fn a_host_behind_h_is_told_of_the_option_that_is_meant() {
        for (words, option, usage) in [
            ("pub -h b -t x -m y", "-H b or --host b", "catena pub "),
            ("sub -t x -h b", "-H b or --host b", "catena sub "),
            (
                "bench pairs -h b",
                "-H b or --host b",
                "catena bench pairs ",
            ),
            (
                "bench -h b pairs",
                "-H b or --host b",
                "catena bench pairs ",
            ),
            ("bench -h b", "-H b or --host b", "catena bench "),
            ("verify -h b", "-b b or --broker b", "catena verify "),
        ] {
            let (kind, text) = said(words);
            assert_eq!(kind, ErrorKind::UnknownArgument, "{words}");
            assert!(
                text.contains(option) && text.contains(usage),
                "{words}: {text}"
            );
        }
    }

    #[test]
    fn help_that_is_asked_for_is_given() {
        for words in [
            "-h",
            "-h b",
            "-h pub",
            "pub -h",
            "pub --help b",
            "pub -h -t x",
            "bench -h pairs",
            "backup -h b",
            "help pub",
        ] {
            let (kind, text) = said(words);
            assert_eq!(kind, ErrorKind::DisplayHelp, "{words}: {text}");
        }
        let (kind, _) = said("pub -h b -t");
        assert_eq!(kind, ErrorKind::UnknownArgument);
        let (kind, text) = said("pub -t x -m -h b");
        assert!(
            kind == ErrorKind::UnknownArgument && !text.contains("-H"),
            "it is the payload: {text}"
        );
    }
}
