//! A disk that is full, read-only or does not answer, for one program and without mounting anything: so it needs no rights.
//!
//! The program runs with a library before the C library, see `disk.c`. So it has to be linked dynamically, as is usual.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const LIBRARY: &str = env!("FAULTY_DISK_LIBRARY");
const DISK: &str = "FAULTY_DISK";
const FAULTS: &str = "FAULTY_DISK_FAULTS";

/// A folder that can be made to fail for the programs that run with [`FaultyDisk::variables`].
#[derive(Debug)]
pub struct FaultyDisk {
    folder: PathBuf,
    faults: PathBuf,
    /// Where it was made.
    _controls: Option<TempDir>,
}

/// What can be wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No file can be made or become longer.
    Full,
    /// Nothing can be opened to be written.
    ReadOnly,
    /// What is written is never confirmed: `fsync` does not come back.
    Hangs,
}

impl FaultyDisk {
    /// Everything below `folder`, which has to exist.
    ///
    /// # Panics
    /// When there is no such folder, or no temporary one can be made.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let folder = folder.canonicalize().expect("the folder exists");
        let controls = tempfile::tempdir().expect("a temporary folder");
        let faults = controls.path().to_owned();
        // A program may do without its rights, and still has to see what is in force.
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&faults, anybody).expect("the folder is ours");
        Self { folder, faults, _controls: Some(controls) }
    }

    /// The disk that this program itself runs on. `None`: it runs on an ordinary one.
    #[must_use]
    pub fn below() -> Option<Self> {
        let (folder, faults) = (env::var_os(DISK)?, env::var_os(FAULTS)?);
        Some(Self { folder: folder.into(), faults: faults.into(), _controls: None })
    }

    /// What a program has to be started with.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, OsString); 3] {
        [("LD_PRELOAD", LIBRARY.into()), (DISK, self.folder.clone().into()), (FAULTS, self.faults.clone().into())]
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on.
    ///
    /// # Panics
    /// When somebody has taken the temporary folder away.
    pub fn fails(&self, fault: Fault) {
        fs::write(self.faults.join(fault.name()), "").expect("the folder is ours");
    }

    /// Until now.
    ///
    /// # Panics
    /// When it was not so.
    pub fn is_mended(&self, fault: Fault) {
        fs::remove_file(self.faults.join(fault.name())).expect("it was in force");
    }
}

impl Fault {
    /// As `disk.c` has them.
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Hangs => "hangs",
        }
    }
}
