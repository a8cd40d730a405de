use std::{
    fmt::Write as _,
    fs::{self, File, Permissions},
    hash::{BuildHasher, RandomState},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{Options, membership::Member, ports::Ports};

const LOG_LINES: usize = 100;

/// Where one node keeps everything.
pub(crate) struct Folder {
    path: PathBuf,
    pub(crate) member: Member,
    /// Removes the folder, unless it was the caller's.
    temporary: Option<TempDir>,
}

impl Folder {
    pub(crate) fn create(given: Option<&Path>, member: Member) -> io::Result<Self> {
        let (path, temporary) = if let Some(path) = given {
            (std::path::absolute(path)?, None)
        } else {
            let temporary = tempfile::Builder::new()
                .prefix("private-broker-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()?;
            (temporary.path().to_path_buf(), Some(temporary))
        };
        for name in ["home", "log", "data"] {
            fs::create_dir_all(path.join(name))?;
        }
        let folder = Self { path, member, temporary };
        folder.write_cookie()?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn temporary(&self) -> Option<&Path> {
        self.temporary.as_ref().map(TempDir::path)
    }

    /// A copy of the installation, see [`crate::installation::link`].
    pub(crate) fn installation(&self) -> PathBuf {
        self.path.join("rabbitmq")
    }

    pub(crate) fn write_configuration(&self, options: &Options, ports: &Ports) -> io::Result<()> {
        let configuration = format!(
            "listeners.tcp.default = 127.0.0.1:{}\n\
             loopback_users.guest = true\n\
             log.file.level = info\n\
             log.console = false\n\
             vm_memory_high_watermark.relative = 0.4\n\
             disk_free_limit.absolute = 50MB\n\
             {}{}{}\n",
            ports.amqp(),
            self.member.configuration(),
            if options.management { management(ports) } else { String::new() },
            options.extra_conf
        );
        fs::write(self.path.join("rabbitmq.conf"), configuration)?;
        fs::write(self.path.join("enabled_plugins"), format!("[{}].\n", options.all_plugins().join(",")))
    }

    /// The whole environment of the node and its tools, `PATH` apart; nothing else is handed down.
    pub(crate) fn environment(&self, ports: &Ports) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.path.join(name).display().to_string();
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        vec![
            ("HOME", file("home")), // here the cookie is looked for
            ("LC_ALL", "C.UTF-8".into()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("ERL_EPMD_PORT", self.member.epmd(ports).to_string()),
            ("ERL_CRASH_DUMP_SECONDS", "0".into()), // no dump
            ("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config")),
            ("RABBITMQ_ALLOW_INPUT", "1".into()), // the script becomes the VM, and does not stay as its parent
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_CTL_DIST_PORT_MAX", ports.ctl().end().to_string()),
            ("RABBITMQ_CTL_DIST_PORT_MIN", ports.ctl().start().to_string()),
            ("RABBITMQ_CTL_ERL_ARGS", format!("{loopback} +S 1:1 +sbwt none")),
            ("RABBITMQ_DIST_PORT", ports.distribution().to_string()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
            ("RABBITMQ_FEATURE_FLAGS_FILE", file("data/feature_flags")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", file("config")),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_MNESIA_BASE", file("data")),
            ("RABBITMQ_MNESIA_DIR", file("data/node")),
            ("RABBITMQ_NODENAME", self.member.name.clone()),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("RABBITMQ_SCHEMA_DIR", file("schema")),
            (
                // Two schedulers that sleep when idle: several nodes share a small machine.
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("{loopback} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"),
            ),
        ]
    }

    /// A file for the node's output, which is short; the log proper is written by the node itself.
    pub(crate) fn output(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(self.path.join("log/output"))
    }

    /// What the node has logged so far. It writes a moment later than it answers.
    pub(crate) fn log(&self) -> io::Result<String> {
        fs::read(self.path.join(format!("log/{}.log", self.member.name)))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// The last lines of every file in the log folder.
    pub(crate) fn log_tail(&self) -> String {
        let mut tail = String::new();
        for entry in fs::read_dir(self.path.join("log")).into_iter().flatten().flatten() {
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                let _ = writeln!(tail, "{}: {line}", entry.file_name().to_string_lossy()); // a String takes all
            }
        }
        tail
    }

    /// What nodes of one cluster know one another by.
    pub(crate) fn cookie(&self) -> io::Result<String> {
        fs::read_to_string(self.cookie_path())
    }

    fn cookie_path(&self) -> PathBuf {
        self.path.join("home/.erlang.cookie")
    }

    fn write_cookie(&self) -> io::Result<()> {
        let path = self.cookie_path();
        if path.exists() {
            return Ok(());
        }
        let half = || RandomState::new().hash_one(std::process::id());
        let own = || format!("{:016x}{:016x}", half(), half());
        let cookie = self.member.cluster.as_ref().map_or_else(own, |cluster| cluster.cookie.clone());
        File::options().create_new(true).write(true).mode(0o400).open(path)?.write_all(cookie.as_bytes())
    }
}

fn management(ports: &Ports) -> String {
    format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n", ports.management())
}
