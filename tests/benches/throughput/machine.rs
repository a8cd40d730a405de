use std::fs::read_to_string;
use std::process::Command;
use std::time::SystemTime;

use refersion_relay_private_broker::PrivateBroker;
use serde_json::{Value, json};

use crate::report::aligned;

/// What the figures depend on.
pub(crate) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    pub(crate) async fn of(broker: &PrivateBroker) -> anyhow::Result<Self> {
        let cpu = read_to_string("/proc/cpuinfo")?;
        let model =
            cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
        let memory = read_to_string("/proc/meminfo")?;
        let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        let gib = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() >> 20;
        let cores = std::thread::available_parallelism()?;
        let release = read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self(vec![
            ("date", humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
            ("commit", said("git", &["describe", "--always", "--dirty"])),
            ("machine", format!("{cores} cores ({}), {gib} GiB, everything on it", model.unwrap_or("unknown"))),
            ("Linux", release.trim().to_owned()),
            ("Rust", said("rustc", &["--version"])),
            ("RabbitMQ", broker.ctl(&["version"]).await?.trim().to_owned()),
            ("Erlang", broker.ctl(&["eval", "erlang:system_info(otp_release)."]).await?.trim().replace('"', "")),
            ("Python, Node", format!("{}, {}", said("python3", &["--version"]), said("node", &["--version"]))),
        ]))
    }

    pub(crate) fn markdown(&self) -> String {
        let rows = self.0.iter().map(|(what, value)| vec![(*what).to_owned(), value.clone()]);
        aligned(&[vec![vec!["measured".to_owned(), String::new()]], rows.collect()].concat())
    }

    pub(crate) fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(what, value)| (what.to_lowercase(), json!(value))).collect())
    }
}

/// What a program says about itself, if it is there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.filter(|said| !said.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
