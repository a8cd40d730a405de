//! Files that commands write personal data to.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{self, Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rustix::fs::OFlags;

use crate::output::output::{self, tell};

/// What becomes of what is in a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    /// It is replaced.
    Replaced,
    /// It stays, and more is added to it.
    Kept,
}

/// Nobody but its owner reads or writes it.
const PRIVATE: u32 = 0o600;
const OF_OTHERS: u32 = 0o077;

/// Opens a file for personal data, so that only the user who runs the command can read it: a new one is made so, and an
/// existing one of the user's own becomes so, which is said. A file of somebody else, or one that somebody else's link
/// leads to, anywhere on the way, is refused. Pipes, terminals and `/dev/stdout` are taken as they are. Blocks until a pipe is read.
pub(crate) fn open(path: &Path, present: Present) -> anyhow::Result<File> {
    let opened = match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_existing(path, present),
        created => created.map_err(anyhow::Error::new),
    };
    opened.with_context(|| format!("cannot write to {}", path.display()))
}

/// Makes a file that only its owner can read, where there is nothing yet, not even a link. Somebody else's link on the way
/// there is refused.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    refuse_strange_links(path, rustix::process::geteuid().as_raw())?;
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)
}

fn open_existing(path: &Path, present: Present) -> anyhow::Result<File> {
    if is_stdout(path) {
        // Opened anew, a file would be written from its beginning.
        return Ok(output::stdout()?);
    }
    let me = rustix::process::geteuid().as_raw();
    let link = fs::symlink_metadata(path)?;
    // Looked at before it is opened, too: a pipe that nobody reads would never be looked at.
    refuse(&Found::of(&link), me)?;
    refuse(&Found::of(&fs::metadata(path)?), me)?;
    let mut options = OpenOptions::new();
    options.write(true).append(present == Present::Kept);
    if !link.is_symlink() {
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    }
    let file = options.open(path)?;
    let opened = file.metadata()?;
    refuse(&Found::of(&opened), me)?;
    if opened.is_file() {
        let mode = opened.mode() & 0o777;
        if mode & OF_OTHERS != 0 {
            file.set_permissions(Permissions::from_mode(mode & !OF_OTHERS)).context("others may read it")?;
            tell!("{} was open to others ({mode:03o}), and is open to its owner only now", path.display());
        }
        if present == Present::Replaced {
            file.set_len(0)?;
        }
    }
    Ok(file)
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Refuses a path that leads over somebody else's link: whoever owns the link chooses where the data goes. Links that a
/// link leads to count as well.
fn refuse_strange_links(path: &Path, me: u32) -> io::Result<()> {
    let mut at = PathBuf::new();
    let mut ahead = parts(&path::absolute(path)?);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        // The first of an absolute path is its root, which replaces what was before.
        let next = at.join(&part);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            // There is nothing to be led by.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if !found.is_symlink() {
            at = next;
            continue;
        }
        if found.uid() != me && found.uid() != 0 {
            let why = format!("{} is another user's link: name a file of your own", next.display());
            return Err(io::Error::other(why));
        }
        links += 1;
        if MAX_LINKS < links {
            return Err(io::Error::other("there are too many links on the way"));
        }
        ahead.extend(parts(&fs::read_link(&next)?));
    }
    Ok(())
}

/// The last one first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| OsStr::to_owned(part.as_os_str())).collect()
}

fn is_stdout(path: &Path) -> bool {
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|stdout| path == Path::new(stdout))
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    what: What,
    owner: u32,
    names: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    File,
    Link,
    /// Nothing stays in it.
    Passage,
    Folder,
}

impl Found {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        let what = match kind {
            kind if kind.is_symlink() => What::Link,
            kind if kind.is_dir() => What::Folder,
            kind if kind.is_fifo() || kind.is_char_device() || kind.is_socket() => What::Passage,
            _ => What::File,
        };
        Self { what, owner: metadata.uid(), names: metadata.nlink() }
    }
}

/// Whose personal data would become, if it were written there.
fn refuse(found: &Found, me: u32) -> anyhow::Result<()> {
    let (mine, roots) = (found.owner == me, found.owner == 0);
    match found.what {
        What::Folder => Err(anyhow!("it is a folder")),
        What::Link if !mine && !roots => Err(anyhow!("it is another user's link: name a file of your own")),
        What::Passage if !mine && !roots => Err(anyhow!("it is another user's: name a file of your own")),
        What::File if !mine => {
            Err(anyhow!("it belongs to another user, and what is written is personal data: name a file of your own"))
        }
        What::File if 1 < found.names => {
            Err(anyhow!("the same file has another name (a hard link), and what is written is personal data"))
        }
        What::Link | What::Passage | What::File => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_and_an_existing_one_are_open_to_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters");
        open(&path, Present::Replaced).unwrap().write_all(b"new").unwrap();
        assert_eq!(mode(&path), 0o600);

        for (present, expected) in [(Present::Kept, "newmore"), (Present::Replaced, "more")] {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            open(&path, present).unwrap().write_all(b"more").unwrap();
            assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o600, expected));
        }
    }

    #[test]
    fn a_file_with_two_names_and_a_folder_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("letters"), folder.path().join("other"));
        fs::write(&path, "there").unwrap();
        fs::hard_link(&path, &other).unwrap();
        for refused in [path.as_path(), folder.path()] {
            assert!(open(refused, Present::Replaced).is_err(), "{}", refused.display());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "there");
    }

    #[test]
    fn a_link_of_ones_own_is_followed_and_what_it_leads_to_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("letters"), folder.path().join("link"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        open(&link, Present::Replaced).unwrap();
        assert_eq!(mode(&path), 0o600);
        open(Path::new("/dev/null"), Present::Replaced).unwrap();
    }

    #[test]
    fn a_link_of_ones_own_to_a_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, link) = (folder.path().join("inner"), folder.path().join("link"));
        fs::create_dir(&inner).unwrap();
        symlink("../link/../inner", inner.join("again")).unwrap();
        symlink("inner", &link).unwrap();
        open(&link.join("again/letters"), Present::Replaced).unwrap();
        assert!(inner.join("letters").exists());

        symlink("round", folder.path().join("round")).unwrap();
        assert!(open(&folder.path().join("round/letters"), Present::Replaced).is_err());
    }

    #[test]
    fn a_link_of_somebody_else_is_refused_wherever_it_is_on_the_way() {
        if !rustix::process::geteuid().is_root() {
            tell!("NOT TESTED: only root can make a link of somebody else");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (mine, theirs) = (folder.path().join("mine"), folder.path().join("theirs"));
        fs::create_dir(&mine).unwrap();
        fs::create_dir(&theirs).unwrap();
        let (letters, link) = (mine.join("letters"), theirs.join("out"));
        fs::write(&letters, "there").unwrap();
        symlink(&mine, &link).unwrap();
        // Root's own link leads over theirs.
        let over = folder.path().join("over");
        symlink(link.join("letters"), &over).unwrap();
        for path in [&theirs, &link] {
            std::os::unix::fs::lchown(path, Some(1000), Some(1000)).unwrap();
        }

        for path in [link.join("letters"), link.join("new"), over.clone()] {
            for present in [Present::Replaced, Present::Kept] {
                let error = open(&path, present).unwrap_err();
                let why = format!("{error:#}");
                assert!(why.contains("another user's link"), "{}: {why}", path.display());
            }
        }
        assert_eq!(fs::read_to_string(&letters).unwrap(), "there");
        assert!(!mine.join("new").exists(), "nothing was made there");
        open(&theirs.join("letters"), Present::Replaced).unwrap();
    }

    #[test]
    fn what_belongs_to_somebody_else_gets_nothing() {
        let (me, other, root) = (1000, 1001, 0);
        let found = |what, owner| Found { what, owner, names: 1 };
        for (what, mine, roots, others) in [
            (What::File, true, false, false),
            (What::Link, true, true, false),
            (What::Passage, true, true, false),
            (What::Folder, false, false, false),
        ] {
            for (owner, fine) in [(me, mine), (root, roots), (other, others)] {
                assert_eq!(refuse(&found(what, owner), me).is_ok(), fine, "{what:?} of {owner}");
            }
        }
        assert!(refuse(&Found { names: 2, ..found(What::File, me) }, me).is_err());
    }
}
