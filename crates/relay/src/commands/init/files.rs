use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use secrecy::SecretString;

use super::line;
use crate::exit::Exit;

/// The folder of the secrets, beside the configuration.
const FOLDER: &str = "secrets";

/// The files that are to be made. Nothing is there before [`Files::write`].
pub(super) struct Files {
    folder: PathBuf,
    secrets: Vec<(PathBuf, SecretString)>,
}

impl Files {
    pub(super) fn beside(configuration: &Path) -> Self {
        Self { folder: configuration.with_file_name(FOLDER), secrets: Vec::new() }
    }

    /// Adds a secret, and returns where it will be.
    pub(super) fn secret(&mut self, name: &str, secret: &SecretString) -> PathBuf {
        let path = self.folder.join(name);
        self.secrets.push((path.clone(), secret.clone()));
        path
    }

    /// Makes all of them, or none: what is there already stays as it is, and stops it. Returns what was made.
    pub(super) fn write(self, configuration: &Path, text: &str) -> Result<Vec<PathBuf>, Exit> {
        for (path, _) in &self.secrets {
            check_free(path)?;
        }
        let mut made = Made::default();
        made.folder(&self.folder).map_err(|error| cannot(&self.folder, error))?;
        for (path, secret) in &self.secrets {
            made.file(path, &line(secret)).map_err(|error| cannot(path, error))?;
        }
        made.file(configuration, text).map_err(|error| cannot(configuration, error))?;
        Ok(made.keep())
    }
}

/// Refuses to go on where something is, whatever it is.
pub(super) fn check_free(path: &Path) -> Result<(), Exit> {
    if path.symlink_metadata().is_ok() {
        let why = anyhow!(
            "{} is there already, and nothing is overwritten: move it away, or name another with --config",
            path.display()
        );
        return Err(Exit::Usage(why));
    }
    Ok(())
}

fn cannot(path: &Path, error: io::Error) -> Exit {
    Exit::Failed(anyhow::Error::new(error).context(format!("cannot make {}", path.display())))
}

/// What was made so far: removed again unless all of it is.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    folder: Option<PathBuf>,
}

impl Made {
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.folder = Some(path.to_owned()),
            // It may be there from another account's. Its files are closed by themselves.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.files.push(path.to_owned());
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// The configuration first.
    fn keep(mut self) -> Vec<PathBuf> {
        self.folder = None;
        let mut files = std::mem::take(&mut self.files);
        files.reverse();
        files
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_files_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("relay.toml");
        let mut files = Files::beside(&configuration);
        let secret = files.secret("acme-secret-key", &SecretString::from("sec_1"));

        let made = files.write(&configuration, "text").unwrap();

        assert_eq!(made, [configuration.clone(), secret.clone()]);
        assert_eq!([mode(&folder.path().join("secrets")), mode(&secret), mode(&configuration)], [0o700, 0o600, 0o600]);
        assert_eq!(fs::read_to_string(secret).unwrap(), "sec_1\n");
    }

    #[test]
    fn what_is_there_stays_and_a_half_is_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("relay.toml");
        // The configuration comes last, so its secret was written already.
        fs::create_dir(&configuration).unwrap();
        let mut files = Files::beside(&configuration);
        files.secret("acme-secret-key", &SecretString::from("sec_1"));
        assert!(files.write(&configuration, "text").is_err());
        assert!(!folder.path().join("secrets").exists());

        let mut files = Files::beside(&configuration);
        let secret = files.secret("acme-secret-key", &SecretString::from("sec_2"));
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(&secret, "mine").unwrap();
        assert!(matches!(files.write(&folder.path().join("other.toml"), "text"), Err(Exit::Usage(_))));
        assert_eq!(fs::read_to_string(secret).unwrap(), "mine");
        assert!(!folder.path().join("other.toml").exists());
    }
}
