use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

/// How often a file may vanish between two looks.
const TRIES: usize = 10;

/// Opens a file beside the database to write it, and makes it if it is missing: whoever may use `database` may use it.
///
/// Others may have the right to put something into the folder, so a name there is not followed anywhere. What exists is
/// only opened, and never given to anybody.
pub(crate) fn open(path: &Path, database: &Metadata) -> io::Result<File> {
    for _ in 0..TRIES {
        match make(path, database) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        match existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    Err(io::Error::other("somebody keeps deleting it"))
}

/// Why a file may not be used, if it may not: through a link or a second name one can be reached that is somebody else's.
pub(crate) fn objection(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_symlink() {
        return Some("is a link: name what it leads to, or delete it");
    }
    if !metadata.is_file() {
        return Some("is no file");
    }
    (1 < metadata.nlink())
        .then_some("has a second name (a hard link), and with it somebody else's contents perhaps: delete one of them")
}

/// The same of whatever a name is the name of, which need not exist.
pub(crate) fn objection_to(path: &Path) -> Option<&'static str> {
    fs::symlink_metadata(path).ok().as_ref().and_then(objection)
}

fn make(path: &Path, database: &Metadata) -> io::Result<File> {
    let mode = database.permissions().mode() & 0o777;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if file.metadata()?.uid() != database.uid() {
        // By a root that could not become the owner. Who cannot give it away need not.
        let _ = fchown(&file, Some(database.uid()), Some(database.gid()));
    }
    Ok(file)
}

fn existing(path: &Path) -> io::Result<File> {
    let refuse = |why| io::Error::new(io::ErrorKind::InvalidInput, format!("it {why}"));
    if let Some(why) = objection_to(path) {
        return Err(refuse(why));
    }
    // It may be another one by now. Without O_NONBLOCK a pipe would be waited for.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    match objection(&file.metadata()?) {
        None => Ok(file),
        Some(why) => Err(refuse(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_name_leads_to_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let database = fs::metadata(folder.path()).unwrap();
        fs::write(at("theirs"), "theirs").unwrap();
        symlink(at("theirs"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::hard_link(at("theirs"), at("second")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for (name, why) in [("link", "link"), ("dangling", "link"), ("second", "hard link"), ("folder", "no file")] {
            let error = open(&at(name), &database).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(!at("nowhere").exists());

        fs::remove_file(at("second")).unwrap();

        assert!(open(&at("theirs"), &database).is_ok(), "an ordinary file");
        assert!(open(&at("new"), &database).is_ok());
    }
}
