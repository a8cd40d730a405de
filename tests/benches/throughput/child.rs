use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{self, ChildStdin, ChildStdout, Command};

use crate::process::Process;
use crate::programs::Program;

/// A program that is measured and is not the relay. Killed with its handle.
pub(crate) struct Child {
    running: process::Child,
    said: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
}

impl Child {
    /// This program once more, as another one.
    pub(crate) fn of(program: &Program) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--bench").args(program.arguments());
        Self::start(command)
    }

    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("piped")?;
        let stdin = child.stdin.take().context("piped")?;
        Ok(Self { running: child, said: BufReader::new(stdout).lines(), stdin })
    }

    /// Waits for what it says next, of which `word` is the first, and returns the rest.
    pub(crate) async fn says(&mut self, word: &str) -> anyhow::Result<String> {
        let line = self.said.next_line().await?.with_context(|| format!("it ended before it said {word}"))?;
        let (first, rest) = line.split_once(' ').unwrap_or((&line, ""));
        ensure!(first == word, "it was to say {word} and said {line}");
        Ok(rest.to_owned())
    }

    /// Waits for something that it brings about.
    pub(crate) async fn until<T>(&mut self, done: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = done => done,
            ended = self.running.wait() => bail!("it has ended by itself: {}", ended?),
        }
    }

    /// Lets it begin.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        Ok(self.stdin.write_all(b"go\n").await?)
    }

    pub(crate) fn process(&self) -> anyhow::Result<Process> {
        Ok(Process::of(self.running.id().context("it runs")?))
    }

    /// Ends it at once. It must not have ended by itself.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        ensure!(self.running.try_wait()?.is_none(), "it has ended by itself");
        Ok(self.running.kill().await?)
    }
}
