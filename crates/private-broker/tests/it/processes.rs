use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

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

fn environment(id: u32) -> String {
    fs::read(format!("/proc/{id}/environ"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
