use std::{
    io,
    process::{Child, Command},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(10);

/// A child that never outlives this value. Its id stays ours until we have seen its end, so no signal can go astray.
pub(crate) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.spawn()?, ended: false })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        // An error would be that it is not a child of ours, or was waited for already: either way it is not running.
        self.ended = self.ended || !matches!(self.child.try_wait(), Ok(None));
        self.ended
    }

    /// Does nothing if the process was seen to end.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.ended {
            let _ = kill_process(self.pid(), signal); // a child not waited for can be signalled, even when it is dead
        }
    }

    /// Returns when every thread of the process stands still, or the process has ended.
    pub(crate) fn wait_until_stopped(&self) {
        if !self.ended {
            let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(self.pid()), what), Err(rustix::io::Errno::INTR)) {}
        }
    }

    /// Whether the process ended within `patience`.
    pub(crate) async fn wait(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.has_ended() {
            if deadline <= Instant::now() {
                return false;
            }
            sleep(POLL).await;
        }
        true
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait(); // if it fails there is nobody to wait for
    }
}
