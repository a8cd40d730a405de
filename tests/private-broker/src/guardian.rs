use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// Waits for the end of its input, then kills its group and removes the folder `$1`.
///
/// The terminal's signals are for the process that holds us. HUP is among them: the kernel sends it to a group
/// whose parent died and of which a member is stopped, and a frozen broker is just that. The one who kills must be
/// outside of the group, hence the session of its own; without `setsid` (util-linux) the folder is removed first,
/// as well as that goes with a broker that still writes.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r _
if command -v setsid >/dev/null; then
    setsid sh -c '
        kill -s KILL -- "-$1"
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -n "$2" ] && [ -e "$2" ] || exit
            rm -rf -- "$2"
            sleep 0.2
        done
    ' sh "$$" "$1"
else
    [ -n "$1" ] && rm -rf -- "$1"
    kill -s KILL 0
fi
exit
"#;

/// Kills a node's processes when ours is gone, however it went.
///
/// It is a shell that leads a process group and reads from a pipe of which only we have the other end: with us, even
/// after `kill -9`, the pipe ends. The node's processes join the group before they are executed, so there is no
/// moment at which one of them runs unguarded, and no list of process ids that could be out of date: while the
/// guardian lives, its group's number cannot be given to anyone else.
///
/// `PR_SET_PDEATHSIG`, as of `setpriv --pdeathsig`, is weaker. It is about the *thread* that started the process, so
/// it would shoot a node that a test's thread started for all; and it does not reach the helpers, nor the folder.
pub(crate) struct Guardian {
    shell: Child,
    group: Pid,
}

impl Guardian {
    /// `folder` is removed if we are killed.
    pub(crate) fn start(folder: Option<&Path>) -> io::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "private-broker-guardian"])
            .args(folder)
            .current_dir("/")
            .stdin(Stdio::piped()) // the lifeline: closed on exec, so that no child of ours holds it as well
            .stdout(Stdio::null()) // a runner waits for whoever still has its output
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&shell);
        Ok(Self { shell, group })
    }

    /// The group to start a process in that shall not outlive us.
    pub(crate) fn group(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }
}

impl Drop for Guardian {
    /// Kills everything in the group, at once. Who started it still has to wait for it.
    fn drop(&mut self) {
        // Neither can fail: the group has at least its leader, which is ours and not waited for before.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.shell.wait();
    }
}
