use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use super::fault::{Cause, Fault};
use super::path::SqlitePath;

/// The rights of whoever the database belongs to, for as long as this lives and for the thread that has asked.
///
/// A command that root runs would otherwise do with root's rights, in a folder of somebody else, whatever the names there
/// lead to: make files, write to them, and give them away, as SQLite does with its log. On Linux the rights to files are
/// those of a thread, so configurations and input are still read as root.
#[derive(Debug)]
#[must_use]
pub(crate) struct Rights(#[expect(dead_code, reason = "it is held for its end")] Option<imp::Before>);

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

const ROOT: u32 = 0;

impl Rights {
    /// Anybody but root keeps what rights he has.
    pub(crate) fn of_owner(path: &SqlitePath) -> Result<Self, Fault> {
        if !imp::is_root() {
            return Ok(Self(None));
        }
        // What is wrong with the folder is said by whoever opens the file.
        let Ok(folder) = fs::metadata(path.folder()) else { return Ok(Self(None)) };
        let database = fs::symlink_metadata(path.as_path()).ok();
        let owner = owner(&folder, database.as_ref()).map_err(|folder| {
            let why = format!(
                "{0} belongs to root, and its folder to user {1}, who can put anything in its place: chown {1}:{2} {0}",
                path.as_path().display(),
                folder.user,
                folder.group,
            );
            Fault::new(Cause::Unusable, why)
        })?;
        Ok(Self(owner.and_then(imp::Before::become_owner)))
    }
}

/// Whose rights root takes; none where everything is root's own. `Err`: whoever owns the folder could have put another file
/// of root's there.
fn owner(folder: &Metadata, database: Option<&Metadata>) -> Result<Option<Owner>, Owner> {
    let of = |metadata: &Metadata| Owner { user: metadata.uid(), group: metadata.gid() };
    match (of(folder), database.map(of)) {
        (folder, Some(Owner { user: ROOT, .. })) if folder.user != ROOT => Err(folder),
        (folder, database) => Ok(Some(database.unwrap_or(folder)).filter(|owner| owner.user != ROOT)),
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use rustix::process::{Gid, Uid, getegid, geteuid, getgroups};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    use super::Owner;

    /// What the thread was before.
    #[derive(Debug)]
    pub(crate) struct Before {
        group: Gid,
        groups: Vec<Gid>,
    }

    pub(crate) fn is_root() -> bool {
        geteuid().is_root()
    }

    impl Before {
        /// A root that may not become somebody else, as in some containers, stays what it is.
        pub(crate) fn become_owner(owner: Owner) -> Option<Self> {
            let before = Self { group: getegid(), groups: getgroups().ok()? };
            // The user comes last: nobody else may change groups.
            let _ = set_thread_groups(&[]);
            let _ = set_thread_res_gid(None, Gid::from_raw(owner.group), None);
            if set_thread_res_uid(None, Uid::from_raw(owner.user), None).is_err() {
                before.restore_groups();
                return None;
            }
            Some(before)
        }

        fn restore_groups(&self) {
            let _ = set_thread_res_gid(None, self.group, None);
            let _ = set_thread_groups(&self.groups);
        }
    }

    impl Drop for Before {
        fn drop(&mut self) {
            let _ = set_thread_res_uid(None, Uid::ROOT, None);
            self.restore_groups();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::Owner;

    /// Elsewhere rights are a whole process', which has other files to read.
    #[derive(Debug)]
    pub(crate) struct Before;

    pub(crate) fn is_root() -> bool {
        false
    }

    impl Before {
        pub(crate) fn become_owner(_: Owner) -> Option<Self> {
            None
        }
    }
}
