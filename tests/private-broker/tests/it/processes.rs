use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The state of a socket that waits for connections, in the kernel's tables.
const LISTEN: &str = "0A";

const PATIENCE: Duration = Duration::from_secs(20);

/// The ids of the processes, zombies not counted, whose environment mentions `text`.
pub(crate) fn mentioning(text: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|id| environment(*id).contains(text)).collect()
}

/// The folder a node works in.
pub(crate) fn folder_of(id: u32) -> PathBuf {
    fs::read_link(format!("/proc/{id}/cwd")).unwrap()
}

/// `R`, `S`, `T` and so on; `None` if there is no such process.
pub(crate) fn state_of(id: u32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    line.rsplit_once(") ")?.1.chars().next()
}

/// Where the processes of the node in `folder` wait for connections. From the kernel: what Erlang says of its sockets
/// does not tell one that waits from one that is about to connect.
pub(crate) fn listeners_of(folder: &Path) -> Vec<SocketAddr> {
    let sockets: HashSet<String> = mentioning(folder.to_str().unwrap()).into_iter().flat_map(sockets_of).collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let listening = rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let is_ours = columns[3] == LISTEN && sockets.contains(columns[9]);
        is_ours.then(|| socket_address(columns[1]))
    });
    listening.collect()
}

/// Returns when no process and no file of the node in `folder` is left.
#[track_caller]
pub(crate) fn assert_nothing_left(folder: &Path) {
    let begin = Instant::now();
    let name = folder.to_str().unwrap();
    while !mentioning(name).is_empty() || folder.exists() {
        assert!(begin.elapsed() < PATIENCE, "{name} still has {:?}", mentioning(name));
        std::thread::sleep(Duration::from_millis(20)); // there is nothing to wait on: they are not our children
    }
}

/// The inodes of the sockets that a process has open.
fn sockets_of(id: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// From the form of `proc_pid_net(5)`: the address in words of four bytes as they are in memory, in hexadecimal, and the
/// port.
fn socket_address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let words = (0..ip.len()).step_by(8).map(|start| u32::from_str_radix(&ip[start..start + 8], 16).unwrap());
    let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    let ip = <[u8; 4]>::try_from(&bytes[..])
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(&bytes[..]).map(IpAddr::from));
    SocketAddr::new(ip.unwrap(), u16::from_str_radix(port, 16).unwrap())
}

fn environment(id: u32) -> String {
    fs::read(format!("/proc/{id}/environ"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
