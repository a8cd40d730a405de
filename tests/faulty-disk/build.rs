//! Builds the library that stands between a program and its disk.

use std::env;
use std::path::PathBuf;

fn main() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let library = folder.join("libfaulty_disk.so");
    let compiler = cc::Build::new().get_compiler();
    let built = compiler
        .to_command()
        .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .args(["src/disk.c", "-ldl"])
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the C compiler does not build src/disk.c");
    println!("cargo::rustc-env=FAULTY_DISK_LIBRARY={}", library.display());
    println!("cargo::rerun-if-changed=src/disk.c");
}
