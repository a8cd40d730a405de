//! Tests that mount something, where nobody else sees it.

use std::env;
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "RELAY_TEST_NAMESPACE";

/// Whether this is the inside of a mount namespace. If not, the test of this name is run there, and has to succeed.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let may = |rights: &str| Command::new("unshare").args([rights, "true"]).status().is_ok_and(|ended| ended.success());
    let rights = ["-rm", "-m"]
        .into_iter()
        .find(|rights| may(rights))
        .expect("this test mounts file systems: it needs `unshare` from util-linux and either user namespaces or root");
    let ran = Command::new("unshare")
        .arg(rights)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    false
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
