use std::{
    env, io,
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    StartError,
    folder::Folder,
    guardian::Guardian,
    installation::{self, installed},
    membership::{Member, Membership},
    ports::Ports,
    process::Process,
};

/// Some seconds are usual; several nodes may start at once on a machine that compiles meanwhile.
const BOOT: Duration = Duration::from_mins(2);
const EPMD_START: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_mins(1);
const CTL: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(25);
/// How often new ports are tried when somebody else was faster.
const ATTEMPTS: usize = 5;

/// How a node differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines of `rabbitmq.conf`, after ours; a plugin's listener has to be put on loopback and a free port here.
    pub extra_conf: String,
    /// Names of plugins to enable; none by default, as each makes the start slower.
    pub plugins: Vec<String>,
    /// Whether the management plugin is enabled too, with its listener at [`PrivateBroker::management_url`].
    pub management: bool,
    /// The cluster that the node joins when it first starts, see [`PrivateBroker::membership`]; by default it is alone.
    pub cluster: Option<Membership>,
    /// Where the node keeps its data, cookie and logs. A folder given here is kept, and a later node can continue
    /// on it; by default it is a temporary one.
    pub folder: Option<PathBuf>,
}

impl Options {
    pub(crate) fn all_plugins(&self) -> Vec<String> {
        let management = self.management.then(|| "rabbitmq_management".to_owned());
        self.plugins.iter().cloned().chain(management).collect()
    }
}

/// A `RabbitMQ` node of our own: loopback only, free ports, a temporary folder, its own cookie and epmd.
///
/// Dropping it kills the node, frozen or not, and removes the folder if it was temporary. The same happens when
/// this process dies.
pub struct PrivateBroker {
    // Fields are dropped in this order: the guardian kills everything at once, the processes are waited for, and
    // only then the folder goes, and the claim on the ports.
    guardian: Guardian,
    vm: Option<Process>,
    epmd: Option<Process>,
    folder: Folder,
    ports: Ports,
    server: PathBuf,
    management: bool,
}

impl PrivateBroker {
    /// Starts a node with the default options. It resolves when the node answers over AMQP.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default()).await
    }

    /// Starts a node. It resolves when the node answers over AMQP.
    pub async fn start_with(options: Options) -> Result<Self, StartError> {
        let server = installed().ok_or(StartError::NotInstalled)?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&server, &options).await {
                Err(StartError::PortTaken { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn start_once(server: &Path, options: &Options) -> Result<Self, StartError> {
        let ports = Ports::claim()?;
        let member = Member::new(options.cluster.as_ref(), &ports);
        let folder = Folder::create(options.folder.as_deref(), member)?;
        folder.write_configuration(options, &ports)?;
        let server = installation::link(server, &folder.installation(), &options.all_plugins())?;
        let guardian = Guardian::start(folder.temporary())?;
        let mut broker = Self { guardian, vm: None, epmd: None, folder, ports, server, management: options.management };
        broker.boot().await?;
        Ok(broker)
    }

    /// What a client connects to, as the administrator `guest` on the virtual host `/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port())
    }

    /// The AMQP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.amqp()
    }

    /// Where the management API is, for the same administrator. `None` unless [`Options::management`] asked for it.
    #[must_use]
    pub fn management_url(&self) -> Option<String> {
        self.management.then(|| format!("http://guest:guest@127.0.0.1:{}", self.ports.management()))
    }

    /// What another node needs to join this one's cluster. This node's epmd is theirs too, so it has to outlive them; its
    /// VM need not.
    pub fn membership(&self) -> io::Result<Membership> {
        let (peer, epmd) = (self.folder.member.name.clone(), self.folder.member.epmd(&self.ports));
        Ok(Membership { peer, epmd, cookie: self.folder.cookie()? })
    }

    /// What this node is called within its cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.folder.member.name
    }

    /// The process id of the Erlang VM itself; that of the last one if the node was killed or stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.vm().id()
    }

    /// Stops the VM in its tracks: connections stay open and nothing answers. Returns when it stands still.
    pub fn freeze(&self) {
        self.vm().signal(Signal::STOP);
        self.vm().wait_until_stopped();
    }

    /// Lets a frozen VM go on.
    pub fn thaw(&self) {
        self.vm().signal(Signal::CONT);
    }

    /// Kills the VM with SIGKILL, as a crash or a power cut would end it, and waits for its end.
    pub async fn kill(&mut self) {
        if let Some(vm) = &mut self.vm {
            vm.signal(Signal::KILL);
            vm.wait(GRACE).await; // at once, unless the disk hangs
        }
    }

    /// Stops the node in good order with SIGTERM and waits for its end; one that takes over a minute is killed.
    pub async fn stop(&mut self) {
        if let Some(vm) = &mut self.vm {
            vm.signal(Signal::TERM);
            vm.signal(Signal::CONT); // a frozen one would not notice
            if !vm.wait(GRACE).await {
                self.kill().await;
            }
        }
    }

    /// Starts the node again with its folder and ports; one that still runs is stopped before.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await;
        self.boot().await
    }

    /// Runs `rabbitmqctl --quiet ARGS` for this node and returns its output; an error carries what it complained of.
    pub async fn ctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = tokio::process::Command::from(self.command(&self.server.with_file_name("rabbitmqctl")));
        command.args(["--quiet", "--node", &self.folder.member.name]).args(args).kill_on_drop(true);
        let output = timeout(CTL, command.output())
            .await
            .with_context(|| format!("rabbitmqctl {args:?} took over {} s", CTL.as_secs()))?
            .context("rabbitmqctl could not be run")?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            anyhow::bail!("rabbitmqctl {args:?} failed with {}: {}", output.status, complaint.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Everything that the node has logged: asks it for a line of ours and waits for that, as it writes a moment later than it
    /// answers.
    pub async fn log(&self) -> anyhow::Result<String> {
        let mark = format!("the log was read here, at {} ns", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
        self.ctl(&["eval", &format!("logger:notice({mark:?}).")]).await?;
        let written = async {
            loop {
                match self.folder.log() {
                    Ok(log) if log.contains(&mark) => return Ok(log),
                    Ok(_) => sleep(POLL).await,
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(timeout(CTL, written).await.context("the node writes nothing into its log")??)
    }

    fn vm(&self) -> &Process {
        self.vm.as_ref().expect("a broker is handed out only after its first start, and then always has a VM")
    }

    async fn boot(&mut self) -> Result<(), StartError> {
        self.ports.check_free()?;
        self.start_epmd().await?;
        let output = self.folder.output()?;
        let mut command = self.command(&self.server);
        command.arg("-noinput").stdout(output.try_clone()?).stderr(output);
        self.vm = None;
        let vm = self.vm.insert(Process::spawn(&mut command)?);
        let deadline = Instant::now() + BOOT;
        let management = self.management.then(|| self.ports.management());
        while !(answers(self.ports.amqp()).await && listens(management).await) {
            if vm.has_ended() {
                self.ports.check_free()?; // the likely reason
                return Err(StartError::DiedDuringStart { log_tail: self.folder.log_tail() });
            }
            if deadline <= Instant::now() {
                self.kill().await;
                return Err(StartError::TimedOut { after: BOOT, log_tail: self.folder.log_tail() });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts epmd and waits until it listens. A VM that finds none starts one itself, which would stay for ever.
    async fn start_epmd(&mut self) -> Result<(), StartError> {
        if self.folder.member.cluster.is_some() {
            return Ok(());
        }
        if self.epmd.as_mut().is_some_and(|epmd| !epmd.has_ended()) {
            return Ok(());
        }
        self.ports.check_epmd_free()?;
        let port = self.ports.epmd();
        let mut command = self.command(Path::new("epmd"));
        command
            .args(["-address", "127.0.0.1", "-port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(self.folder.output()?);
        let epmd = match Process::spawn(&mut command) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StartError::NotInstalled),
            result => self.epmd.insert(result?),
        };
        let deadline = Instant::now() + EPMD_START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            if epmd.has_ended() {
                self.ports.check_epmd_free()?;
                return Err(StartError::DiedDuringStart { log_tail: self.folder.log_tail() });
            }
            if deadline <= Instant::now() {
                return Err(StartError::TimedOut { after: EPMD_START, log_tail: self.folder.log_tail() });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// A command in the node's environment and group.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear() // variables for some other node, or for Erlang, have no say here
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.folder.environment(&self.ports))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .process_group(self.guardian.group());
        command
    }
}

/// Whether something on `port` greets us with a method frame, which can only be connection.start. That the port is
/// open says too little: the kernel accepts connections before the node looks at them.
async fn answers(port: u16) -> bool {
    let greet = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        stream.read_u8().await
    };
    matches!(timeout(Duration::from_secs(1), greet).await, Ok(Ok(1)))
}

/// Whether something listens on `port`, if there is one.
async fn listens(port: Option<u16>) -> bool {
    match port {
        Some(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok(),
        None => true,
    }
}
