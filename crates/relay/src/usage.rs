use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Says what is wrong with the arguments in one line: clap's message, its suggestions, and which help to read.
///
/// `None` for `--help` and `--version`, which are no mistakes, and where a command is left out: the help says which there
/// are.
pub(crate) fn mistake(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Option<String> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) || lacks_command(error) {
        return None;
    }
    let command = command(arguments.skip(1));
    Some(format!("{} (see `{command} --help`)", one_line(&error.to_string())))
}

/// Whether what clap has to say is the help, because no command was given.
pub(crate) fn lacks_command(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What clap says before its usage and its own hint at the help, in one line. Only laid out anew: nothing is decided by it.
fn one_line(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim);
    let said = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let mut message = String::new();
    for line in said.filter(|line| !line.is_empty()) {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        let between = match (message.is_empty(), line.starts_with("tip: ")) {
            (true, _) => "",
            (false, true) => "; ",
            (false, false) => " ",
        };
        message.push_str(between);
        message.push_str(line);
    }
    message.replace(char::is_control, " ")
}

/// The command that the arguments mean, as far as they mean one: `refersion-relay dlq list`.
fn command(arguments: impl Iterator<Item = OsString>) -> String {
    let root = Cli::command();
    let (mut path, mut current): (String, &Command) = (root.get_name().to_owned(), &root);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            arguments.next(); // its value, which may be called like a command
        } else if let Some(subcommand) = current.find_subcommand(&argument) {
            path = format!("{path} {}", subcommand.get_name());
            current = subcommand;
        } else if !argument.to_string_lossy().starts_with('-') {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[track_caller]
    fn mistake_of(arguments: &str) -> Option<String> {
        let arguments: Vec<_> = arguments.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).expect_err("it is wrong");
        mistake(&error, arguments.into_iter())
    }

    #[test]
    fn clap_has_no_complaint_about_the_command_line() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_suggestion_and_the_help_to_read_are_named() {
        let typo = mistake_of("refersion-relay chek").unwrap();
        assert!(
            typo.contains("'chek'") && typo.contains("'check'") && typo.ends_with("(see `refersion-relay --help`)")
        );
        let option = mistake_of("refersion-relay --config dlq run --ops-liste x").unwrap();
        assert!(
            option.contains("'--ops-listen'") && option.ends_with("(see `refersion-relay run --help`)"),
            "{option}"
        );
        let value = mistake_of("refersion-relay dlq list --class x").unwrap();
        assert!(value.contains("poison") && value.ends_with("(see `refersion-relay dlq list --help`)"), "{value}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let id = mistake_of("refersion-relay dlq show").unwrap();
        assert!(id.contains("<ID>") && id.contains("dlq show --help"), "{id}");
    }

    #[test]
    fn without_a_command_the_help_is_what_there_is_to_say() {
        for (arguments, command) in [("refersion-relay", "check"), ("refersion-relay dlq", "replay")] {
            let error = Cli::try_parse_from(arguments.split(' ')).expect_err("there is no command");
            assert!(lacks_command(&error) && error.to_string().contains(command), "{error}");
            assert_eq!(mistake_of(arguments), None);
        }
    }

    #[test]
    fn help_and_version_are_no_mistakes_and_a_mistake_is_one_line() {
        assert_eq!(mistake_of("refersion-relay check --help"), None);
        assert_eq!(mistake_of("refersion-relay --version"), None);
        let line = mistake_of("refersion-relay two\nlines").unwrap();
        assert!(!line.contains('\n'), "{line}");
    }
}
