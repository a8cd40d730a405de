//! Tests that run in a process of their own: on a disk that can be made to fail, or where they mount something that nobody
//! else sees.

use std::env;
use std::path::Path;
use std::process::Command;

use refersion_relay_faulty_disk::FaultyDisk;

const INSIDE: &str = "RELAY_TEST_NAMESPACE";

/// The disk below this process, which can be made to fail. `None`: it is an ordinary one, so the test of this name was run
/// on one, and has succeeded.
pub(crate) fn on_faulty_disk(test: &str) -> Option<FaultyDisk> {
    if let Some(disk) = FaultyDisk::below() {
        return Some(disk);
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::at(folder.path());
    run(Command::new(env::current_exe().unwrap()).envs(disk.variables()), test);
    None
}

/// Whether this is the inside of a mount namespace. If not, the test of this name is run there, and has to succeed.
pub(crate) fn is_in_namespace(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let may = |rights: &str| Command::new("unshare").args([rights, "true"]).status().is_ok_and(|ended| ended.success());
    let rights = ["-rm", "-m"]
        .into_iter()
        .find(|rights| may(rights))
        .expect("this test mounts file systems: it needs `unshare` from util-linux and either user namespaces or root");
    run(Command::new("unshare").arg(rights).arg(env::current_exe().unwrap()).env(INSIDE, "1"), test);
    false
}

/// Runs a test by a command that is this program, somehow.
fn run(command: &mut Command, test: &str) {
    let ran = command.args(["--exact", test, "--include-ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
}

/// A disk of so many KiB.
pub(crate) fn mount_disk(at: &Path, kib: u32) {
    mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"], at);
}

/// The same folder under another name, where the right to write can be taken away.
pub(crate) fn mount_again(folder: &Path, at: &Path) {
    mount(&["--bind", folder.to_str().unwrap()], at);
}

/// `rights`: `ro` or `rw`.
pub(crate) fn remount(at: &Path, rights: &str) {
    mount(&["-o", &format!("remount,bind,{rights}")], at);
}

fn mount(arguments: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(at).output().unwrap();
    assert!(mounted.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&mounted.stderr));
}
