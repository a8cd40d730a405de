use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::load::{ConfigError, merge, read, settle};
use super::raw::{RawSecret, RawSettings};
use super::settings::{Settings, nth};
use super::understand::understand;
use crate::config::source::secret_file::SecretFile;

/// The configuration as `check` wants it: whole even where secrets cannot be read, and with a word about each secret.
#[derive(Debug)]
pub(crate) struct Examined {
    /// Where a secret is not known, something harmless stands in its place: see [`Examined::knows`].
    pub(crate) settings: Settings,
    /// The configuration's file.
    pub(crate) path: PathBuf,
    /// Whether that file has secrets in it and others may read it.
    pub(crate) shows_secrets: bool,
    /// Every secret that is configured.
    pub(crate) secrets: Vec<Secret>,
}

/// A secret, but for what it is.
#[derive(Debug)]
pub(crate) struct Secret {
    /// As messages name it: `queue.url`, or `account acme: secret_key`.
    pub(crate) key: String,
    /// Where it was read, or should have been.
    pub(crate) file: Option<SecretFile>,
    pub(crate) state: SecretState,
    /// Whether other users of this machine can read the file.
    pub(crate) is_shown: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SecretState {
    Fine,
    /// Something that was pasted wrongly, perhaps.
    HasWhitespace,
    Empty,
    /// Why not.
    Unreadable(String),
}

impl Examined {
    /// Whether a secret is configured and was read.
    pub(crate) fn knows(&self, key: &str) -> bool {
        let secret = self.secrets.iter().find(|secret| secret.key == key);
        secret.is_some_and(|secret| !secret.is_lost())
    }

    /// Whether it is known where the queue is: that has a default.
    pub(crate) fn knows_queue(&self) -> bool {
        self.secrets.iter().all(|secret| secret.key != "queue.url" || !secret.is_lost())
    }

    /// Whether it is known by what way Refersion is reached: that need not be configured.
    pub(crate) fn knows_way(&self) -> bool {
        self.secrets.iter().all(|secret| secret.key != PROXY || !secret.is_lost())
    }

    /// Every secret of a list.
    pub(crate) fn listed(&self, key: &str) -> impl Iterator<Item = &Secret> {
        let begin = format!("{key}[");
        self.secrets.iter().filter(move |secret| secret.key.starts_with(&begin))
    }

    /// The file of a secret, if it comes from one.
    pub(crate) fn file_of(&self, key: &str) -> Option<&SecretFile> {
        self.secrets.iter().find(|secret| secret.key == key)?.file.as_ref()
    }
}

impl Secret {
    /// Whether there is a secret to be used.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, SecretState::Empty | SecretState::Unreadable(_))
    }
}

/// Reads the configuration as [`super::load()`] does, but goes on after a secret file that has no secret. May block.
pub(crate) fn examine(path: Option<&Path>) -> Result<Examined, ConfigError> {
    let path = path.ok_or(ConfigError::None)?;
    let text = read(path)?;
    let (mut raw, found) = merge(path, &text);
    let secrets = slots(&mut raw).into_iter().filter_map(Slot::settle).collect();
    let shows_secrets = has_secrets(&text) && others_may_read(path);
    Ok(Examined { settings: settle(path, raw, found)?, path: path.to_owned(), shows_secrets, secrets })
}

/// The place of a secret in the configuration.
pub(crate) struct Slot<'a> {
    pub(crate) key: String,
    value: &'a mut Option<String>,
    pub(crate) file: &'a mut Option<SecretFile>,
    /// What can stand in for it. `None`: it can be left out.
    stand_in: Option<String>,
}

/// The key of the proxy on the way to Refersion.
const PROXY: &str = "refersion.proxy_url";

/// Every key that is a secret.
pub(crate) fn slots(raw: &mut RawSettings) -> Vec<Slot<'_>> {
    let RawSettings { queue, refersion, account, .. } = raw;
    let nowhere = Some("amqp://unknown.invalid".to_owned());
    let mut slots = vec![
        Slot { key: "queue.url".to_owned(), value: &mut queue.url, file: &mut queue.url_file, stand_in: nowhere },
        Slot {
            key: "queue.management_url".to_owned(),
            value: &mut queue.management_url,
            file: &mut queue.management_url_file,
            stand_in: None,
        },
        // Left out, it would be said that the keys go straight to Refersion.
        Slot {
            key: PROXY.to_owned(),
            value: &mut refersion.proxy_url,
            file: &mut refersion.proxy_url_file,
            stand_in: Some("http://unknown.invalid".to_owned()),
        },
    ];
    for (number, account) in account.iter_mut().enumerate() {
        slots.push(Slot {
            key: format!("{}: secret_key", account.label),
            value: &mut account.secret_key,
            file: &mut account.secret_key_file,
            stand_in: Some(format!("unknown-{number}")),
        });
        slots.push(Slot {
            key: format!("{}: write_key", account.label),
            value: &mut account.write_key,
            file: &mut account.write_key_file,
            stand_in: None,
        });
        slots.push(Slot {
            key: format!("{}: webhook_secret", account.label),
            value: &mut account.webhook_secret,
            file: &mut account.webhook_secret_file,
            stand_in: None,
        });
        let lists = [
            ("write_keys", &mut account.write_keys),
            ("write_key_files", &mut account.write_key_files),
            ("webhook_secrets", &mut account.webhook_secrets),
            ("webhook_secret_files", &mut account.webhook_secret_files),
        ];
        for (list, secrets) in lists {
            slots.extend(secrets.iter_mut().enumerate().map(|(index, RawSecret { value, file })| Slot {
                key: nth(&format!("{}: {list}", account.label), index),
                value,
                file,
                stand_in: None,
            }));
        }
        slots.extend(account.former_keys.iter_mut().enumerate().map(|(index, keys)| Slot {
            key: format!("{}.secret_key", nth(&format!("{}: former_keys", account.label), index)),
            value: &mut keys.secret_key,
            file: &mut keys.secret_key_file,
            stand_in: Some(format!("unknown-{number}-{index}")),
        }));
    }
    slots
}

impl Slot<'_> {
    /// Reads the file, if there is one, once: it may be a pipe. What is wrong with a value in the configuration itself is
    /// left to the settings, and so is a secret that is given twice.
    fn settle(self) -> Option<Secret> {
        let Self { key, value, file, stand_in } = self;
        if let Some(value) = value {
            return Some(Secret { key, file: None, state: state(value), is_shown: false });
        }
        let file = file.take()?;
        let is_shown = others_may_read(file.path());
        let (state, read) = match file.read() {
            Ok(text) => (state(&text), Some(text)),
            Err(error) => (SecretState::Unreadable(file.why(&key, &error)), None),
        };
        let secret = Secret { key, file: Some(file), state, is_shown };
        *value = if secret.is_lost() { stand_in } else { read };
        Some(secret)
    }
}

fn state(text: &str) -> SecretState {
    let text = text.trim();
    if text.is_empty() {
        SecretState::Empty
    } else if text.contains(char::is_whitespace) {
        SecretState::HasWhitespace
    } else {
        SecretState::Fine
    }
}

/// Whether there is a secret in the file itself. A URL is one only if it has a user, and a path is none.
fn has_secrets(text: &str) -> bool {
    let (mut raw, _) = understand(text, &[]);
    let is_secret = |value: &String| !value.starts_with("sqlite:") && (!value.contains("://") || value.contains('@'));
    slots(&mut raw).iter().any(|slot| slot.value.as_ref().is_some_and(is_secret))
}

/// Whether users of this machine who are neither the owner nor of the group can read a file: they may read it itself, and
/// enter every folder above it.
pub(crate) fn others_may_read(path: &Path) -> bool {
    let mode = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    let Ok(path) = path.canonicalize() else { return false };
    mode(&path) & 0o004 != 0 && path.ancestors().skip(1).all(|folder| mode(folder) & 0o001 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readable_file_in_a_closed_folder_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("inner"), folder.path().join("inner/secret"));
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "sec").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(folder.path(), 0o700);
        set(&inner, 0o755);
        set(&file, 0o644);
        assert!(!others_may_read(&file));
        set(folder.path(), 0o711);
        assert!(others_may_read(&file));
        set(&file, 0o640);
        assert!(!others_may_read(&file));
        assert!(!others_may_read(&folder.path().join("nowhere")));
    }

    #[test]
    fn whitespace_counts_only_within_a_secret() {
        assert_eq!(state(" sec_1\n"), SecretState::Fine);
        assert_eq!(state("sec_1\nsec_2\n"), SecretState::HasWhitespace);
        assert_eq!(state(" \n"), SecretState::Empty);
    }

    #[test]
    fn a_url_without_a_user_is_no_secret() {
        let account = "[[account]]\nname = \"a\"\npublic_key = \"p\"\nsecret_key_file = \"f\"\n";
        let url = |url: &str| format!("[queue]\nmanagement_url = \"{url}\"\nurl_file = \"f\"\n{account}");
        assert!(!has_secrets(&url("http://broker:15672")));
        assert!(has_secrets(&url("http://user:password@broker:15672")));
        assert!(!has_secrets(&format!("[queue]\nurl = \"sqlite:relay@home.db\"\n{account}")));
        assert!(has_secrets(&account.replace("secret_key_file", "secret_key")));
    }
}
