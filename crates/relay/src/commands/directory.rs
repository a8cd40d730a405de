//! `directory`: which addresses belong to whom, for people who have a right to know, to be forgotten or to be known.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use refersion_relay_directory::{KeyFile, Learnt, Store};
use refersion_relay_model::{AccountName, Email, Envelope, Event, MAX_EVENT_BYTES, PersonId, PersonIdKind};
use serde_json::json;

use crate::cli::{DirectoryCommand, LearnArgs, PeopleArgs};
use crate::config::{DirectoryKeys, Settings};
use crate::exit::Exit;
use crate::output::output::say;

/// Lines that are learnt in one transaction.
const TOGETHER: usize = 1_000;
/// The longest id that is read.
const LONGEST_ID: u64 = 64 * 1024;

pub(super) fn run(settings: &Settings, command: &DirectoryCommand) -> Result<(), Exit> {
    let DirectoryKeys { path, key_file, .. } = &settings.directory;
    let Some(path) = path else {
        return Err(Exit::Usage(anyhow!(
            "directory.path is not set: run this where the directory is kept, with the configuration of the worker there"
        )));
    };
    let keys = Files { path, key_file };
    if !path.exists() {
        let path = path.display();
        return Err(Exit::Failed(anyhow!(
            "there is no directory at {path}: a relay with directory.enabled = true makes it"
        )));
    }
    match command {
        DirectoryCommand::Show(args) => show(&opened(&keys)?.store, settings, args),
        DirectoryCommand::Forget(args) => forget(&opened(&keys)?.store, settings, args),
        DirectoryCommand::Learn(args) => learn(&mut opened(&keys)?.store, settings, args),
        DirectoryCommand::Rekey => rekey(&keys),
    }
}

/// Where it is.
struct Files<'a> {
    path: &'a Path,
    key_file: &'a Path,
}

/// With its keys, which nobody replaces meanwhile.
struct Opened {
    store: Store,
    _keys: KeyFile,
}

fn opened(keys: &Files<'_>) -> Result<Opened, Exit> {
    let file = KeyFile::existing(keys.key_file).map_err(Exit::failed)?;
    let store = Store::open(keys.path, file.keys(), SystemTime::now()).map_err(Exit::failed)?;
    Ok(Opened { store, _keys: file })
}

fn show(store: &Store, settings: &Settings, args: &PeopleArgs) -> Result<(), Exit> {
    let account = account(settings, args.account.as_deref())?;
    for person in people(args)? {
        let (addresses, was_deleted) = store.show(&account, &person).map_err(Exit::failed)?;
        let addresses: Vec<_> = addresses.iter().map(Email::expose).collect();
        let (kind, id) = (person.kind().as_str(), person.expose());
        say!("{}", json!({"account": account.as_str(), kind: id, "emails": addresses, "deleted": was_deleted}))?;
    }
    Ok(())
}

fn forget(store: &Store, settings: &Settings, args: &PeopleArgs) -> Result<(), Exit> {
    let account = account(settings, args.account.as_deref())?;
    let (mut asked, mut addresses) = (0_u64, 0);
    for person in people(args)? {
        asked += 1;
        addresses += store.forget(&account, &person).map_err(Exit::failed)?;
    }
    // At best: what stands in the log is sealed, and goes with it.
    let _ = store.clear_log();
    say!("people forgotten: {asked}, with addresses: {addresses}")
}

/// People by the ids on standard input.
fn people(args: &PeopleArgs) -> Result<Vec<PersonId>, Exit> {
    let kind = if args.anonymous { PersonIdKind::Anonymous } else { PersonIdKind::User };
    let mut people = Vec::new();
    let mut lines = Lines::of(Box::new(std::io::stdin()), LONGEST_ID);
    while let Some(line) = lines.next_line()? {
        match std::str::from_utf8(line).map(str::trim) {
            Ok("") => {}
            Ok(id) => people.push(PersonId::new(kind, id)),
            Err(_) => return Err(lines.bad("is no text")),
        }
    }
    if people.is_empty() {
        return Err(Exit::Usage(anyhow!("no ids: write one on each line of standard input")));
    }
    Ok(people)
}

fn learn(store: &mut Store, settings: &Settings, args: &LearnArgs) -> Result<(), Exit> {
    let account = account(settings, args.account.as_deref())?;
    if !settings.accounts.iter().any(|configured| configured.name == account) {
        return Err(Exit::Usage(anyhow!("the account {account} is not configured")));
    }
    let input: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(&args.file);
        Box::new(file.with_context(|| format!("cannot read {}", args.file.display())).map_err(Exit::Failed)?)
    };
    let mut lines = Lines::of(input, u64::try_from(MAX_EVENT_BYTES).unwrap_or(u64::MAX));
    let (mut new, mut known, mut deleted) = (0_u64, 0_u64, 0_u64);
    loop {
        let (lessons, after) = lessons(&mut lines);
        let now = SystemTime::now();
        // Whoever was deleted is not to come back by a file of before.
        let learnt = store.learn_all(&account, &lessons, SystemTime::UNIX_EPOCH, now).map_err(Exit::failed)?;
        for learnt in learnt {
            match learnt {
                Learnt::New | Learnt::Another => new += 1,
                Learnt::Known => known += 1,
                Learnt::Erased => deleted += 1,
            }
        }
        match after {
            After::More => {}
            After::End => break,
            After::Bad(error) => return Err(error),
        }
    }
    say!("learnt: {new}, known before: {known}, left out since they were deleted: {deleted}")
}

/// How a file goes on.
enum After {
    /// With more lines.
    More,
    End,
    /// With a line that teaches nothing. What stands before it is good.
    Bad(Exit),
}

/// What the next lines teach.
fn lessons(lines: &mut Lines) -> (Vec<(PersonId, Email)>, After) {
    let mut lessons = Vec::with_capacity(TOGETHER);
    while lessons.len() < TOGETHER {
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return (lessons, After::End),
            Err(error) => return (lessons, After::Bad(error)),
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        // What stands there need not say that it is an identify.
        let event = Event::parse_in(line, &Envelope::default().with_word("identify"));
        match event.as_ref().ok().and_then(Event::lesson) {
            Some(lesson) => lessons.push(lesson),
            None => {
                return (lessons, After::Bad(lines.bad("has no address with a userId or anonymousId")));
            }
        }
    }
    (lessons, After::More)
}

fn rekey(keys: &Files<'_>) -> Result<(), Exit> {
    let mut file = KeyFile::open_alone(keys.key_file).map_err(Exit::failed)?;
    // With the new key first and the old ones still there, so that whatever interrupts it can be followed by another try.
    file.add_seal().map_err(Exit::failed)?;
    let mut store = Store::open(keys.path, file.keys(), SystemTime::now()).map_err(Exit::failed)?;
    while store.reseal().map_err(Exit::failed)? {}
    let rows = store.rows().map_err(Exit::failed)?;
    file.retire_seals().map_err(Exit::failed)?;
    say!("addresses sealed with a new key: {}; the old key is gone", rows.addresses)
}

fn account(settings: &Settings, chosen: Option<&str>) -> Result<AccountName, Exit> {
    match (chosen, settings.accounts.as_slice()) {
        // One that was taken out of the configuration still has its people.
        (Some(name), _) => AccountName::try_from(name.to_owned()).map_err(Exit::usage),
        (None, [one]) => Ok(one.name.clone()),
        (None, _) => {
            Err(Exit::Usage(anyhow!("several accounts are configured: say with --account whose people are meant")))
        }
    }
}

/// Lines of bytes, none longer than is allowed. Never quotes one.
struct Lines {
    input: BufReader<Box<dyn Read>>,
    longest: u64,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    fn of(input: Box<dyn Read>, longest: u64) -> Self {
        Self { input: BufReader::new(input), longest, number: 0, line: Vec::new() }
    }

    /// The next one, without its end.
    fn next_line(&mut self) -> Result<Option<&[u8]>, Exit> {
        self.line.clear();
        let read = (&mut self.input).take(self.longest + 1).read_until(b'\n', &mut self.line).map_err(Exit::failed)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if u64::try_from(read).unwrap_or(u64::MAX) > self.longest {
            return Err(self.bad("is too long"));
        }
        Ok(Some(self.line.trim_ascii_end()))
    }

    fn bad(&self, why: &str) -> Exit {
        Exit::Failed(anyhow!("line {} {why}; nothing of it or after it was used", self.number))
    }
}
