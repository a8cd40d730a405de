use std::{
    collections::BTreeSet,
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Where Debian's and `RabbitMQ`'s own packages put every version, as `rabbitmq_server-VERSION`.
const PACKAGED: &str = "/usr/lib/rabbitmq/lib";
const SERVER: &str = "sbin/rabbitmq-server";

/// The server script, if `RabbitMQ` is installed here: below `RABBITMQ_HOME` if that is set, else the packaged one.
///
/// It is not `/usr/sbin/rabbitmq-server`: that wrapper insists on the user `rabbitmq`.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let homes = match env::var_os("RABBITMQ_HOME").filter(|home| !home.is_empty()) {
        Some(home) => vec![home.into()],
        None => packaged(),
    };
    homes.into_iter().map(|home| home.join(SERVER)).find(|script| script.is_file())
}

/// The versions that packages installed, the latest first as far as their names tell.
fn packaged() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = fs::read_dir(PACKAGED)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rabbitmq_server-")))
        .collect();
    homes.sort_by(|one, other| other.cmp(one));
    homes
}

/// Makes `home` a copy, by links, of the installation that `server` belongs to, with only the applications that
/// the broker and `plugins` need. Returns the server script in the copy.
///
/// The scripts put every folder below `plugins` on the code path, and every module that is loaded is looked for in
/// all of them. Without the optional ones a node boots in two thirds of the time, `rabbitmqctl` in a quarter.
pub(crate) fn link(server: &Path, home: &Path, plugins: &[String]) -> io::Result<PathBuf> {
    let origin = server
        .parent()
        .and_then(Path::parent)
        .ok_or_else(|| io::Error::other(format!("{} is not in an installation", server.display())))?;
    if home.exists() {
        fs::remove_dir_all(home)?; // a kept folder may have served another version
    }
    let applications = home.join("plugins");
    fs::create_dir_all(&applications)?;
    for name in ["sbin", "escript"] {
        symlink(origin.join(name), home.join(name))?;
    }
    for application in needed(&origin.join("plugins"), plugins)? {
        symlink(origin.join("plugins").join(&application), applications.join(&application))?;
    }
    Ok(home.join(SERVER))
}

/// The entries of the folder `all` that `rabbit` and `plugins` need, directly or not.
///
/// Every entry if one of them is not described there, being packed otherwise or misspelt: the broker then says so
/// better than we can. An application needs those that its description names; that some name is only a module's
/// does no harm.
fn needed(all: &Path, plugins: &[String]) -> io::Result<BTreeSet<String>> {
    let entries: BTreeSet<String> = fs::read_dir(all)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .filter(|entry| entry.as_ref().map_or(true, |name| name.contains('-'))) // not the README
        .collect::<io::Result<_>>()?;
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = plugins.iter().map(String::as_str).chain(["rabbit"]).collect();
    while let Some(name) = open.pop() {
        let Some(entry) = entries.iter().find(|entry| application_of(entry) == name) else {
            return Ok(entries);
        };
        if found.contains(entry) {
            continue;
        }
        let Ok(description) = fs::read_to_string(all.join(entry).join(format!("ebin/{name}.app"))) else {
            return Ok(entries);
        };
        found.insert(entry.clone());
        let words: BTreeSet<&str> = description.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        open.extend(entries.iter().map(|entry| application_of(entry)).filter(|name| words.contains(name)));
    }
    Ok(found)
}

/// `ranch` of `ranch-2.1.0`.
fn application_of(entry: &str) -> &str {
    entry.split_once('-').map_or(entry, |(name, _)| name)
}
