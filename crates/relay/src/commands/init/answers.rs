use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use refersion_relay_model::AccountName;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

use crate::cli::InitArgs;
use crate::config::SecretFile;
use crate::exit::Exit;
use crate::output::output::tell;

/// What the configuration cannot do without.
pub(super) struct Answers {
    pub(super) account: AccountName,
    pub(super) public_key: String,
    pub(super) secret_key: SecretKey,
}

pub(super) enum SecretKey {
    /// It stays where it is.
    In(PathBuf),
    /// It needs a file.
    Given(SecretString),
}

/// More is no key.
const LONGEST: u64 = 4 << 10;

/// Takes the options, and asks for what is missing where there is a terminal to ask at.
pub(super) fn collect(args: &InitArgs) -> Result<Answers, Exit> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    let missing: Vec<_> = [
        ("--account", args.account.is_none()),
        ("--public-key", args.public_key.is_none()),
        ("--secret-key-file", args.secret_key_file.is_none()),
    ]
    .into_iter()
    .filter_map(|(option, is_missing)| is_missing.then_some(option))
    .collect();
    if !can_ask && !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Exit::Usage(anyhow!(
            "there is no terminal to ask at: give {missing} (see `refersion-relay init --help`)"
        )));
    }
    let account = match &args.account {
        Some(name) => account(name).context("--account").map_err(Exit::Usage)?,
        None => ask("What is the account to be called here (a-z, 0-9, - and _)? ", account)?,
    };
    let public_key = match &args.public_key {
        Some(key) => self::public_key(key).context("--public-key").map_err(Exit::Usage)?,
        None => ask("Its public key at Refersion? ", self::public_key)?,
    };
    let secret = |text: &str| secret_key(text, &public_key);
    let secret_key = match &args.secret_key_file {
        Some(file) if file == Path::new("-") && !io::stdin().is_terminal() => piped(secret)?,
        Some(file) if file != Path::new("-") => in_file(file, secret)?,
        _ => SecretKey::Given(SecretString::from(hidden(|| ask("Its secret key (it is not shown)? ", secret))?)),
    };
    Ok(Answers { account, public_key, secret_key })
}

fn account(text: &str) -> anyhow::Result<AccountName> {
    AccountName::try_from(text.trim().to_owned()).map_err(|error| anyhow!("{error}"))
}

/// Never quotes it: it may be the secret one.
fn key(text: &str) -> anyhow::Result<String> {
    let key = text.trim();
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(anyhow!("the key has to be one word"));
    }
    Ok(key.to_owned())
}

fn public_key(text: &str) -> anyhow::Result<String> {
    let key = key(text)?;
    if key.contains('.') {
        return Err(anyhow!(
            "that has a dot in it, as publickey.secretkey has, which is both: give what stands before the dot"
        ));
    }
    Ok(key)
}

fn secret_key(text: &str, public_key: &str) -> anyhow::Result<String> {
    let key = key(text)?;
    if key == public_key || key.starts_with(&format!("{public_key}.")) {
        return Err(anyhow!("that is the public key, or both: give the secret one alone"));
    }
    Ok(key)
}

fn piped(take: impl Fn(&str) -> anyhow::Result<String>) -> Result<SecretKey, Exit> {
    let mut text = String::new();
    let read = io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    read.context("cannot read the secret key from standard input").map_err(Exit::Failed)?;
    let key = take(&text).context("standard input").map_err(Exit::Usage)?;
    Ok(SecretKey::Given(SecretString::from(key)))
}

fn in_file(file: &Path, take: impl Fn(&str) -> anyhow::Result<String>) -> Result<SecretKey, Exit> {
    // What is there instead of a file may be the secret itself.
    let Some(shown) = SecretFile::from(file.to_owned()).shown() else {
        let why = "--secret-key-file: there is no such file; it takes the path of a file that has the secret key";
        return Err(Exit::Usage(anyhow!(why)));
    };
    let named = || format!("--secret-key-file {shown}");
    let text = fs::read_to_string(file).with_context(named).map_err(Exit::Usage)?;
    take(&text).with_context(named).map_err(Exit::Usage)?;
    std::path::absolute(file).map(SecretKey::In).map_err(Exit::failed)
}

/// Asks until the answer will do.
fn ask<T>(question: &str, take: impl Fn(&str) -> anyhow::Result<T>) -> Result<T, Exit> {
    loop {
        let _ = io::stderr().write_all(question.as_bytes());
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).map_err(Exit::failed)? == 0 {
            tell!("");
            return Err(Exit::Failed(anyhow!("nothing was made: there was no answer")));
        }
        match take(&line) {
            Ok(answer) => return Ok(answer),
            Err(why) => tell!("{why}."),
        }
    }
}

/// What is typed meanwhile is not shown.
fn hidden<T>(asking: impl FnOnce() -> T) -> T {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).ok();
    if let Some(mut silent) = before.clone() {
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    }
    let answer = asking();
    if let Some(before) = before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_that_was_pasted_whole_is_neither_of_its_keys() {
        assert_eq!(public_key(" pub_1\n").unwrap(), "pub_1");
        assert_eq!(secret_key("sec_1\n", "pub_1").unwrap(), "sec_1");
        for wrong in [public_key("pub_1.sec_1"), secret_key("pub_1", "pub_1"), secret_key("pub_1.sec_1", "pub_1")] {
            let error = wrong.unwrap_err().to_string();
            assert!(!error.contains("_1"), "{error}");
        }
    }

    #[test]
    fn a_secret_key_in_the_place_of_its_file_is_not_quoted() {
        for (given, is_shown) in [("s3cr3t", false), ("/nowhere/acme", true)] {
            let Err(Exit::Usage(error)) = in_file(Path::new(given), |text| Ok(text.to_owned())) else {
                panic!("{given} is refused")
            };
            let said = format!("{error:#}");
            assert!(said.contains("--secret-key-file") && said.contains(given) == is_shown, "{said}");
        }
    }
}
