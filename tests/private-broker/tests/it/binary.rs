use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{assert_nothing_left, folder_of};

/// Prints its process id and the broker's address, then waits to be ended.
const WAIT: &str = r#"echo "$$ $RELAY_TEST_AMQP_URL"; exec sleep 1000"#;

fn private_broker(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_private-broker"));
    command.args(arguments);
    command
}

/// `private-broker exec` with a command that waits: itself, the command's id, the VM's id and the address.
fn waiting() -> (Child, u32, u32, String) {
    let mut child = private_broker(&["exec", "--", "sh", "-c", WAIT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut err).unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut out).unwrap();
    let (command, url) = out.trim().split_once(' ').expect(&err);
    let vm = err.split_once("as process ").expect(&err).1.split_once(' ').unwrap().0;
    (child, command.parse().unwrap(), vm.parse().unwrap(), url.into())
}

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn own_node_leaves_nothing_behind_when_its_parent_is_killed() {
    let (mut child, command, vm, _) = waiting();
    let folder = folder_of(vm);

    child.kill().unwrap();
    child.wait().unwrap();
    signal(command, Signal::KILL);

    assert_nothing_left(&folder);
}

#[test]
fn own_node_leaves_nothing_behind_when_its_parent_is_killed_while_it_is_frozen() {
    let (mut child, command, vm, _) = waiting();
    let folder = folder_of(vm);
    signal(vm, Signal::STOP);

    child.kill().unwrap();
    child.wait().unwrap();
    signal(command, Signal::KILL);

    assert_nothing_left(&folder);
}

#[test]
fn own_node_and_command_end_with_a_signal() {
    let (mut child, _, vm, url) = waiting();
    let folder = folder_of(vm);

    signal(child.id(), Signal::TERM);
    let status = child.wait().unwrap();

    assert!(url.starts_with("amqp://guest:guest@127.0.0.1:"), "{url}");
    assert_eq!((status.code(), status.signal()), (Some(128 + 15), None));
    assert_nothing_left(&folder);
}

#[test]
fn own_node_exits_as_its_command_did() {
    let status = private_broker(&["exec", "--", "sh", "-c", "exit 7"]).status().unwrap();

    assert_eq!(status.code(), Some(7));
}

#[test]
fn own_node_without_a_runnable_command_is_an_error() {
    let output = private_broker(&["exec", "--", "/no/such/command"]).output().unwrap();

    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn wrong_arguments_are_an_error_in_one_line() {
    for arguments in [&[][..], &["exec"], &["exec", "--"], &["exec", "true"], &["run", "--", "true"]] {
        let output = private_broker(arguments).output().unwrap();

        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
}

#[test]
fn a_machine_without_rabbitmq_is_told_what_to_install() {
    let output = private_broker(&["exec", "--", "true"]).env("RABBITMQ_HOME", "/nowhere").output().unwrap();

    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint.contains("apt-get install rabbitmq-server"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1);
}
