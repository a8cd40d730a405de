use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use refersion_relay_model::AccountName;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

use crate::cli::InitArgs;
use crate::exit::Exit;
use crate::output::tell;

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
        Some(key) => self::key(key).context("--public-key").map_err(Exit::Usage)?,
        None => ask("Its public key at Refersion? ", self::key)?,
    };
    let secret_key = match &args.secret_key_file {
        Some(file) if file == Path::new("-") && !io::stdin().is_terminal() => piped()?,
        Some(file) if file != Path::new("-") => in_file(file)?,
        _ => SecretKey::Given(SecretString::from(hidden(|| ask("Its secret key (it is not shown)? ", self::key))?)),
    };
    Ok(Answers { account, public_key, secret_key })
}

fn account(text: &str) -> anyhow::Result<AccountName> {
    AccountName::try_from(text.trim().to_owned()).map_err(|error| anyhow!("the name {error}"))
}

/// Never quotes it: it may be the secret one.
fn key(text: &str) -> anyhow::Result<String> {
    let key = text.trim();
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(anyhow!("the key has to be one word"));
    }
    Ok(key.to_owned())
}

fn piped() -> Result<SecretKey, Exit> {
    let mut text = String::new();
    let read = io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    read.context("cannot read the secret key from standard input").map_err(Exit::Failed)?;
    let key = self::key(&text).context("standard input").map_err(Exit::Usage)?;
    Ok(SecretKey::Given(SecretString::from(key)))
}

fn in_file(file: &Path) -> Result<SecretKey, Exit> {
    let named = || format!("--secret-key-file {}", file.display());
    let text = fs::read_to_string(file).with_context(named).map_err(Exit::Usage)?;
    key(&text).with_context(named).map_err(Exit::Usage)?;
    std::path::absolute(file).map(SecretKey::In).map_err(Exit::failed)
}

/// Asks until the answer will do.
fn ask<T>(question: &str, take: impl Fn(&str) -> anyhow::Result<T>) -> Result<T, Exit> {
    loop {
        eprint!("{question}");
        let _ = io::stderr().flush();
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
