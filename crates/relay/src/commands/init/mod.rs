//! Makes a configuration to begin with, and the files of its secrets.

mod answers;
mod files;
mod template;

use std::path::{Path, PathBuf};

use refersion_relay_model::AccountName;
use secrecy::{ExposeSecret, SecretString};

use crate::cli::InitArgs;
use crate::exit::Exit;
use crate::output::output::say;
use crate::output::words::quoted;
use answers::{Answers, SecretKey};
use files::Files;

/// Where the configuration is made if nothing is said.
const HERE: &str = "relay.toml";

pub(super) fn run(path: Option<&Path>, args: &InitArgs) -> Result<(), Exit> {
    let path = std::path::absolute(path.unwrap_or(Path::new(HERE))).map_err(Exit::failed)?;
    // Before anybody is asked for anything.
    files::check_free(&path)?;
    let Answers { account, public_key, secret_key } = answers::collect(args)?;
    let mut files = Files::beside(&path);
    let secret_key_file = match &secret_key {
        SecretKey::In(file) => file.clone(),
        SecretKey::Given(secret) => files.secret(&format!("{account}-secret-key"), secret),
    };
    let write_key_file = files.secret(&format!("{account}-write-key"), &write_key());
    let text = template::configuration(&account, &public_key, &secret_key_file, &write_key_file)?;
    let made = files.write(&path, &text)?;
    report(&path, &account, &made, &write_key_file)
}

/// 128 bits that nobody guesses.
fn write_key() -> SecretString {
    let bits: u128 = rand::random();
    SecretString::from(format!("{bits:032x}"))
}

fn report(path: &Path, account: &AccountName, made: &[PathBuf], write_key_file: &Path) -> Result<(), Exit> {
    let shown = |path: &Path| quoted(&path.display().to_string());
    say!("Made, and readable by you alone:")?;
    for file in made {
        say!("  {}", file.display())?;
    }
    let program = std::env::args().next().map_or_else(|| "refersion-relay".to_owned(), |name| quoted(&name));
    say!("\nNext:")?;
    say!("  # is everything as it should be? (it asks Refersion whether the keys of {account} work)")?;
    say!("  {program} check --config {}", shown(path))?;
    say!("  # takes events in and works them, until Ctrl-C")?;
    say!("  {program} run --config {}", shown(path))?;
    say!("  # in a second terminal: an event, with the write key that was made up")?;
    say!(
        "  curl -u \"$(cat {}):\" -d '{{\"type\":\"identify\",\"traits\":{{\"name\":\"Peter Gibbons\",\"email\":\"peter@example.com\"}}}}' \
         http://127.0.0.1:8080/v1/identify",
        shown(write_key_file)
    )
}

/// A secret as it stands in a file.
fn line(secret: &SecretString) -> String {
    format!("{}\n", secret.expose_secret())
}
