use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use refersion_relay_model::{AccountName, Email, PersonId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// The longest file that is read as one of keys.
const MAX_FILE_BYTES: u64 = 4096;

/// What stands for a person's id: 12 bytes of an HMAC over the account, the kind of the id and the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PersonKey(pub(crate) [u8; 12]);

/// What stands for an address: 8 bytes of an HMAC over the account and the address in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(pub(crate) [u8; 8]);

/// Makes keys of ids, and seals addresses. `Debug` hides the keys.
pub struct Keys {
    lookup: hmac::Key,
    /// The first one seals; all of them open.
    seals: Vec<Seal>,
    /// Seals what is sent. It is made of the key of look-ups, so it stays with that.
    sending: LessSafeKey,
    random: SystemRandom,
}

struct Seal {
    number: u8,
    key: LessSafeKey,
}

/// The text of a file of keys. Secret, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
struct Secrets {
    lookup: [u8; KEY_LEN],
    seals: Vec<(u8, [u8; KEY_LEN])>,
}

/// Why there are no keys. Never quotes any.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or made.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is something else.
    #[error("{0} is no file of keys of the directory: name another one, or let it be made")]
    Foreign(PathBuf),
    /// Somebody else has the file in use.
    #[error("{0} is in use: stop the relay first")]
    InUse(PathBuf),
}

/// A file of keys, which nobody replaces while this lives.
pub struct KeyFile {
    path: PathBuf,
    _lock: File,
    secrets: Secrets,
}

impl KeyFile {
    /// Reads the keys, and makes them if there is no file. Several processes may use them at a time.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        Self::locked(path, FlockOperation::NonBlockingLockShared)
    }

    /// The same, where the file has to be there.
    pub fn existing(path: &Path) -> Result<Self, KeysError> {
        match std::fs::metadata(path) {
            Ok(_) => Self::open(path),
            Err(error) => Err(KeysError::File { path: path.to_owned(), error }),
        }
    }

    /// The same, for replacing them: nobody else may be using them.
    pub fn open_alone(path: &Path) -> Result<Self, KeysError> {
        Self::locked(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn locked(path: &Path, operation: FlockOperation) -> Result<Self, KeysError> {
        let failed = |error: io::Error| KeysError::File { path: path.to_owned(), error };
        // The lock is another file, because this one is replaced.
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(path, ".lock"));
        let lock = lock.map_err(failed)?;
        flock(&lock, operation).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => KeysError::InUse(path.to_owned()),
            error => failed(error.into()),
        })?;
        let secrets = match read(path) {
            Ok(text) => Secrets::parse(&text).ok_or_else(|| KeysError::Foreign(path.to_owned()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path, &Secrets::random()) {
                Ok(secrets) => secrets,
                // Another process was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let text = read(path).map_err(failed)?;
                    Secrets::parse(&text).ok_or_else(|| KeysError::Foreign(path.to_owned()))?
                }
                Err(error) => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path: path.to_owned(), _lock: lock, secrets })
    }

    /// The keys in it.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.secrets.keys()
    }

    /// Adds a key that seals from now on. Those of before go on opening what they sealed.
    pub fn add_seal(&mut self) -> Result<(), KeysError> {
        let mut secrets = self.secrets.clone();
        let number = secrets.seals.iter().map(|(number, _)| *number).max().unwrap_or(0).wrapping_add(1);
        secrets.seals.insert(0, (number, random_key()));
        self.replace(secrets)
    }

    /// Forgets every key that does not seal any more. What is still sealed with one is lost.
    pub fn retire_seals(&mut self) -> Result<(), KeysError> {
        let mut secrets = self.secrets.clone();
        secrets.seals.truncate(1);
        self.replace(secrets)
    }

    fn replace(&mut self, secrets: Secrets) -> Result<(), KeysError> {
        let new = beside(&self.path, ".new");
        let replaced = (|| {
            let _ = fs::remove_file(&new);
            create(&new, &secrets)?;
            // Root may do this for a service.
            let owner = fs::metadata(&self.path)?;
            std::os::unix::fs::chown(&new, Some(owner.uid()), Some(owner.gid()))?;
            fs::rename(&new, &self.path)?;
            sync_folder(&self.path)
        })();
        replaced.map_err(|error| KeysError::File { path: self.path.clone(), error })?;
        self.secrets = secrets;
        Ok(())
    }
}

impl Keys {
    /// Keys of their own, for a directory that nobody opens again.
    #[must_use]
    pub fn random() -> Self {
        Secrets::random().keys()
    }

    /// What stands for a person.
    #[must_use]
    pub fn person(&self, account: &AccountName, person: &PersonId) -> PersonKey {
        let mut key = [0; 12];
        key.copy_from_slice(
            &self.mac(&[
                b"person v1",
                account.as_str().as_bytes(),
                person.kind().as_str().as_bytes(),
                person.expose().as_bytes(),
            ])[..12],
        );
        PersonKey(key)
    }

    /// What stands for an address.
    #[must_use]
    pub fn address(&self, account: &AccountName, email: &Email) -> AddressKey {
        let mut key = [0; 8];
        key.copy_from_slice(&self.mac(&[b"address v1", account.as_str().as_bytes(), email.folded().as_bytes()])[..8]);
        AddressKey(key)
    }

    /// Keys that a process may use that does not keep the directory. Nobody is kept from replacing the file.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = read(path).map_err(|error| KeysError::File { path: path.to_owned(), error })?;
        Secrets::parse(&text).map(|secrets| secrets.keys()).ok_or_else(|| KeysError::Foreign(path.to_owned()))
    }

    /// What tells these keys from others, and says nothing of them. It stays when another key seals addresses, and so does what is sent.
    #[must_use]
    pub fn name(&self) -> String {
        hex(&self.check()[..4])
    }

    /// Shows whether a file was written with these keys.
    pub(crate) fn check(&self) -> [u8; 16] {
        let mut check = [0; 16];
        check.copy_from_slice(&self.mac(&[b"check v1"])[..16]);
        check
    }

    /// Parts with a zero byte between them. Only the last one may have one in it: names and kinds have none.
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.lookup);
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                context.update(&[0]);
            }
            context.update(part);
        }
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    /// The address, for this person only: the number of a key, and what was sealed with that.
    pub(crate) fn seal(&self, person: PersonKey, email: &Email) -> Vec<u8> {
        let Seal { number, key } = &self.seals[0];
        let mut sealed = vec![*number];
        sealed.extend_from_slice(&self.seal_with(key, &person.0, email.expose().as_bytes()));
        sealed
    }

    /// The address in it, if it was sealed for this person with a key that is known.
    pub(crate) fn unseal(&self, person: PersonKey, sealed: &[u8]) -> Option<Email> {
        let (number, rest) = sealed.split_first()?;
        let seal = self.seals.iter().find(|seal| seal.number == *number)?;
        let text = open_with(&seal.key, &person.0, rest)?;
        Email::parse(std::str::from_utf8(&text).ok()?).ok()
    }

    /// A text that is sent, for this purpose only.
    pub(crate) fn seal_sent(&self, purpose: &[u8], text: &[u8]) -> Vec<u8> {
        self.seal_with(&self.sending, purpose, text)
    }

    /// The text in it, if it was sent for this purpose by somebody with the same keys.
    pub(crate) fn open_sent(&self, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open_with(&self.sending, purpose, sealed)
    }

    /// A nonce, and the sealed text.
    fn seal_with(&self, key: &LessSafeKey, purpose: &[u8], text: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).expect("the system has random bytes");
        let mut text = text.to_vec();
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut text)
            .expect("it is short");
        [&nonce, &text[..], tag.as_ref()].concat()
    }

    /// The number of the key that seals, which is the first byte of what it has sealed.
    pub(crate) fn number(&self) -> u8 {
        self.seals[0].number
    }
}

impl Secrets {
    fn random() -> Self {
        Self { lookup: random_key(), seals: vec![(0, random_key())] }
    }

    fn keys(&self) -> Keys {
        let seal = |(number, key): &(u8, [u8; KEY_LEN])| Seal {
            number: *number,
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("it has the length of a key")),
        };
        let lookup = hmac::Key::new(hmac::HMAC_SHA256, &self.lookup);
        let sending = hmac::sign(&lookup, b"sending v1");
        Keys {
            sending: LessSafeKey::new(
                UnboundKey::new(&AES_256_GCM, sending.as_ref()).expect("it has the length of a key"),
            ),
            lookup,
            seals: self.seals.iter().map(seal).collect(),
            random: SystemRandom::new(),
        }
    }

    fn text(&self) -> String {
        let mut text = "# Keys of the directory of refersion-relay. Without them nobody can read it.\n".to_owned();
        let _ = writeln!(text, "lookup {}", hex(&self.lookup));
        for (number, key) in &self.seals {
            let _ = writeln!(text, "seal {number} {}", hex(key));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let (mut lookup, mut seals) = (None, Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["lookup", key] if lookup.is_none() => lookup = Some(unhex(key)?),
                ["seal", number, key] => seals.push((number.parse().ok()?, unhex(key)?)),
                _ => return None,
            }
        }
        Some(Self { lookup: lookup?, seals }).filter(|secrets| !secrets.seals.is_empty())
    }
}

fn open_with(key: &LessSafeKey, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let opened = key.open_in_place(nonce, Aad::from(purpose), &mut text).ok()?.len();
    text.truncate(opened);
    Some(text)
}

fn random_key() -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    SystemRandom::new().fill(&mut key).expect("the system has random bytes");
    key
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// A file that only its owner may read, whole and on the disk when this returns. Fails if there is one.
fn create(path: &Path, secrets: &Secrets) -> io::Result<Secrets> {
    let new = beside(path, &format!(".{}.new", std::process::id()));
    let _ = fs::remove_file(&new);
    let created = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(secrets.text().as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&new, path)?;
        sync_folder(path)
    })();
    let _ = fs::remove_file(&new);
    created.map(|()| secrets.clone())
}

/// A name is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; KEY_LEN]> {
    let mut bytes = [0; KEY_LEN];
    if text.len() != 2 * KEY_LEN || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFile").field(&self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn acme() -> AccountName {
        AccountName::try_from("acme").unwrap()
    }

    fn peter() -> Email {
        Email::parse("Peter@example.com").unwrap()
    }

    #[test]
    fn an_address_opens_for_its_person_only() {
        let keys = Keys::random();
        let key = |account: &str, id: &str| keys.person(&AccountName::try_from(account).unwrap(), &PersonId::user(id));
        let sealed = keys.seal(key("acme", "1"), &peter());
        assert_eq!(keys.unseal(key("acme", "1"), &sealed), Some(peter()));
        for other in [key("acme", "2"), key("other", "1")] {
            assert_eq!(keys.unseal(other, &sealed), None);
        }
        assert_eq!(Keys::random().unseal(key("acme", "1"), &sealed), None, "with other keys");
        for cut in 0..sealed.len() {
            assert_eq!(keys.unseal(key("acme", "1"), &sealed[..cut]), None);
        }
        assert_ne!(sealed, keys.seal(key("acme", "1"), &peter()), "a nonce is used once");
    }

    #[test]
    fn the_file_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.key");
        let check = KeyFile::open(&path).unwrap().keys().check();
        assert_eq!(KeyFile::open(&path).unwrap().keys().check(), check);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        for foreign in ["", "lookup 00", "secret", "lookup 00\nseal 0 zz"] {
            fs::write(&path, foreign).unwrap();
            assert!(matches!(KeyFile::open(&path), Err(KeysError::Foreign(_))), "{foreign:?}");
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_opens_until_it_is_retired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.key");
        let mut file = KeyFile::open_alone(&path).unwrap();
        let person = file.keys().person(&acme(), &PersonId::user("1"));
        let old = file.keys().seal(person, &peter());
        file.add_seal().unwrap();
        assert_eq!(file.keys().person(&acme(), &PersonId::user("1")), person, "ids are found as before");
        let new = file.keys().seal(person, &peter());
        assert!(old[0] != file.keys().number() && new[0] == file.keys().number());
        assert_eq!(
            (file.keys().unseal(person, &old), file.keys().unseal(person, &new)),
            (Some(peter()), Some(peter()))
        );
        file.retire_seals().unwrap();
        drop(file);
        let keys = KeyFile::open(&path).unwrap().keys();
        assert_eq!((keys.unseal(person, &old), keys.unseal(person, &new)), (None, Some(peter())));
    }

    #[test]
    fn nobody_replaces_keys_that_are_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.key");
        let (one, other) = (KeyFile::open(&path).unwrap(), KeyFile::open(&path).unwrap());
        assert!(matches!(KeyFile::open_alone(&path), Err(KeysError::InUse(_))));
        drop((one, other));
        assert!(KeyFile::open_alone(&path).is_ok());
    }
}
