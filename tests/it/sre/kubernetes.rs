use std::path::Path;
use std::process::Command;

/// The script says what it validates against; it installs what it needs below `target/`.
#[test]
fn every_object_for_kubernetes_is_valid() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/validate");
    let validated = Command::new(script).output().expect("the script is in the repository");
    let said = format!("{}{}", String::from_utf8_lossy(&validated.stdout), String::from_utf8_lossy(&validated.stderr));
    assert!(validated.status.success(), "{said}");
}
