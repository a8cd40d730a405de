//! Runs a command next to a `RabbitMQ` node of its own, whose address it finds in `RELAY_TEST_AMQP_URL`.

use std::{
    env,
    ffi::OsString,
    fs::File,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
    time::Instant,
};

use anyhow::{Context, bail};
use refersion_relay_private_broker::PrivateBroker;
use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal as Signals, SignalKind, signal},
};

const USAGE: &str =
    "usage: private-broker exec -- COMMAND [ARGUMENT…]; COMMAND finds the address of the broker in RELAY_TEST_AMQP_URL";
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("private-broker: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    let mut command = parse(env::args_os().skip(1))?;
    let mut interruptions = Interruptions::listen()?;
    let begin = Instant::now();
    let broker = tokio::select! {
        broker = PrivateBroker::start() => broker?,
        signal = interruptions.next() => return Ok(ended_by(signal)),
    };
    eprintln!(
        "private-broker: rabbitmq answers on port {} as process {} after {:.1} s",
        broker.port(),
        broker.pid(),
        begin.elapsed().as_secs_f64()
    );
    let mut child = command
        .env("RELAY_TEST_AMQP_URL", broker.url())
        .spawn()
        .with_context(|| format!("could not run {}", command.as_std().get_program().display()))?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_code(status?)),
            signal = interruptions.next() => pass_on(signal, &child),
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Command> {
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(verb), Some(separator), Some(program)) if verb == "exec" && separator == "--" => {
            let mut command = Command::new(program);
            command.args(arguments);
            Ok(command)
        }
        _ => bail!(USAGE),
    }
}

struct Interruptions {
    interrupt: Signals,
    terminate: Signals,
}

impl Interruptions {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }
}

/// A terminal sends Ctrl-C to the command as well as to us; a test runner would take a second one for impatience.
fn pass_on(signal: Signal, child: &Child) {
    if signal == Signal::INT && in_foreground() {
        return;
    }
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(pid, signal); // it has not been waited for, so the id is still its own
    }
}

fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let signalled = status.signal().and_then(Signal::from_named_raw).map(ended_by);
    code.map(ExitCode::from).or(signalled).unwrap_or(ExitCode::FAILURE)
}

fn ended_by(signal: Signal) -> ExitCode {
    u8::try_from(signal.as_raw()).map_or(ExitCode::FAILURE, |number| ExitCode::from(SIGNALLED.saturating_add(number)))
}
