//! Asks the compilers who they are: figures say something only about what the same ones have built.

use std::env;
use std::process::Command;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let rustc = first_line(Command::new(variable("RUSTC")).arg("--version"));
    let mut rust = format!("{rustc} for {} at opt-level {}", variable("TARGET"), variable("OPT_LEVEL"));
    for flag in variable("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()) {
        rust.push(' ');
        rust.push_str(flag);
    }
    println!("cargo::rustc-env=RUST_COMPILER={rust}");
    println!(
        "cargo::rustc-env=C_COMPILER={}",
        first_line(cc::Build::new().get_compiler().to_command().arg("--version"))
    );
    println!("cargo::rerun-if-changed=build.rs");
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().expect("a compiler says its version");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}
