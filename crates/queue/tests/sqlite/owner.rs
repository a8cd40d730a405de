//! Whose the files are, and what a name in the folder may lead to.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use refersion_relay_queue::{BrokerState, Queue};
use tempfile::TempDir;

use refersion_relay_queue_testkit::events::{events, work};
use refersion_relay_queue_testkit::sqlite::{begin, open};

/// A user and a group that nobody has.
const SOMEBODY: (u32, u32) = (54_321, 54_322);

/// A file of the user who runs the tests, outside of the queue's folder.
struct Theirs {
    path: PathBuf,
    _folder: TempDir,
}

impl Theirs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs");
        fs::write(&path, "theirs").unwrap();
        Self { path, _folder: folder }
    }

    fn is_untouched(&self) {
        let metadata = fs::metadata(&self.path).unwrap();
        let me = fs::metadata(self.path.parent().unwrap()).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (me.uid(), me.gid()));
        assert_eq!(fs::read_to_string(&self.path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(self.path.parent().unwrap()).unwrap().count(), 1, "something was made beside it");
    }
}

/// Whether this is root, who alone can be tested with the folder of somebody else.
fn is_root(folder: &Path) -> bool {
    let root = fs::metadata(folder).unwrap().uid() == 0;
    if !root {
        eprintln!("NOT TESTED: only root can run this with a folder of somebody else");
    }
    root
}

fn give(path: &Path) {
    chown(path, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
}

/// The owners of everything in a folder.
fn owners(folder: &Path) -> Vec<(String, u32, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let owner = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), metadata.uid(), metadata.gid())
    };
    let mut owners: Vec<_> = entries.map(owner).collect();
    owners.sort();
    owners
}

#[tokio::test]
async fn what_root_makes_in_somebody_s_folder_is_somebody_s() {
    let folder = tempfile::tempdir().unwrap();
    if !is_root(folder.path()) {
        return;
    }
    give(folder.path());
    let relay = open(&folder.path().join("relay.db")).await;
    relay.store(&work(), events(0..1)).await;
    assert_eq!(relay.depth(&work()).await, 1);

    let found = owners(folder.path());

    let names = ["", "-shm", "-turn", "-wal", "-worker"].map(|suffix| format!("relay.db{suffix}"));
    assert_eq!(found, names.map(|name| (name, SOMEBODY.0, SOMEBODY.1)));
    assert_eq!(fs::metadata("/proc/thread-self").unwrap().uid(), 0, "this thread is root's as before");
    relay.queue.close().await;
    let again = open(&folder.path().join("relay.db")).await;
    assert_eq!(again.depth(&work()).await, 1);
}

#[tokio::test]
async fn root_has_only_the_rights_of_somebody_in_his_folder() {
    let folder = tempfile::tempdir().unwrap();
    if !is_root(folder.path()) {
        return;
    }
    give(folder.path());
    let path = folder.path().join("relay.db");
    open(&path).await.queue.close().await;
    // Root's, and an ordinary file: nothing but the rights keeps it from being written to.
    let worker = folder.path().join("relay.db-worker");
    fs::remove_file(&worker).unwrap();
    fs::write(&worker, "root's").unwrap();
    fs::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let relay = begin(&path);

    let state = relay.until("away", |state| state.to_string().contains("Permission denied")).await;
    assert!(state.to_string().contains("relay.db-worker"), "{state}");
    assert_eq!(fs::metadata(&worker).unwrap().uid(), 0);
    fs::remove_file(&worker).unwrap();
    relay.until_up().await;
}

#[tokio::test]
async fn root_uses_no_file_of_its_own_that_somebody_may_have_put_there() {
    let folder = tempfile::tempdir().unwrap();
    if !is_root(folder.path()) {
        return;
    }
    let path = folder.path().join("relay.db");
    open(&path).await.queue.close().await;
    give(folder.path());

    let relay = begin(&path);

    let state = relay.until("a mismatch", |state| matches!(state, BrokerState::Mismatch { .. })).await.to_string();
    assert!(state.contains(&format!("chown {}:{}", SOMEBODY.0, SOMEBODY.1)), "{state}");
    for entry in fs::read_dir(folder.path()).unwrap() {
        give(&entry.unwrap().path());
    }
    relay.until_up().await;
}

/// Opens a queue that has `name` in its folder, as `make` has made it, which is named and left alone.
async fn check(name: &str, why: &str, make: impl Fn(&Path, &Path)) {
    let theirs = Theirs::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    open(&path).await.queue.close().await;
    let planted = folder.path().join(name);
    let aside = folder.path().join("aside");
    let was_there = fs::rename(&planted, &aside).is_ok();
    make(&theirs.path, &planted);

    let relay = begin(&path);

    let named = |state: &BrokerState| state.to_string().contains(why) && state.to_string().contains(name);
    relay.until(&format!("{name} is named: {why}"), named).await;
    assert!(relay.queue.depth(&work()).await.is_err() || name.ends_with("-turn") || name.ends_with("-worker"));
    theirs.is_untouched();
    fs::remove_file(&planted).unwrap();
    if was_there {
        fs::rename(&aside, &planted).unwrap();
    }
    relay.until_up().await;
    relay.store(&work(), events(0..1)).await;
    theirs.is_untouched();
}

#[tokio::test]
async fn no_name_in_the_folder_leads_anywhere_else() {
    for name in ["relay.db", "relay.db-wal", "relay.db-shm", "relay.db-journal", "relay.db-turn", "relay.db-worker"] {
        check(name, "is a link", |theirs, planted| symlink(theirs, planted).unwrap()).await;
        check(name, "second name", |theirs, planted| fs::hard_link(theirs, planted).unwrap()).await;
    }
}

#[tokio::test]
async fn nothing_is_made_where_a_name_in_the_folder_leads() {
    for name in ["relay.db-wal", "relay.db-shm", "relay.db-journal", "relay.db-turn", "relay.db-worker"] {
        check(name, "is a link", |theirs, planted| {
            symlink(theirs.with_file_name("nowhere"), planted).unwrap();
        })
        .await;
    }
}
