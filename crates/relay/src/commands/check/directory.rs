use std::path::Path;
use std::time::SystemTime;

use refersion_relay_directory::{DirectorySettings, KeyFile, Keys, Rows, Store};
use refersion_relay_queue::{MailboxDepth, RabbitMq, rfc3339_seconds};

use super::finding::Finding;
use crate::config::{QueueUrl, Settings, others_may_read};
use crate::parts;

const WHAT: &str = "directory";
const KEY_FILE: &str = "directory.key_file";

/// Whether the directory can be used, and how much it holds. Nothing where it is off.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let keys = &settings.directory;
    match (&settings.queue_url, parts::directory_settings(settings)) {
        _ if !keys.enabled => Vec::new(),
        (_, Some(here)) => file(&here),
        (QueueUrl::Sqlite(_), None) => Vec::new(),
        (QueueUrl::RabbitMq(_), None) if !keys.key_file.exists() => {
            let path = keys.key_file.display();
            let says = format!("there is no {path}: give each worker the keys of whoever keeps the directory");
            vec![Finding::warning(KEY_FILE, says)]
        }
        (QueueUrl::RabbitMq(_), None) => {
            let mut findings = readable_by_others(KEY_FILE, &keys.key_file);
            findings.push(match Keys::read(&keys.key_file) {
                Ok(keys) => {
                    Finding::ok(WHAT, format!("is on, with the keys {}, and kept by another process", keys.name()))
                }
                Err(error) => Finding::failed(KEY_FILE, error.to_string()),
            });
            findings
        }
    }
}

/// Whether somebody keeps the directory that this process uses.
pub(super) async fn kept(queue: &RabbitMq, keys: &Keys) -> Finding {
    let what = "directory keeper";
    let name = keys.name();
    match queue.mailbox_depth().await {
        Ok(MailboxDepth { messages, is_read: false }) => Finding::warning(
            what,
            format!(
                "no process keeps the directory with the keys {name}, and {messages} messages wait for it: run one worker with \
                 directory.path and these keys"
            ),
        ),
        Ok(MailboxDepth { messages, is_read: true }) => {
            Finding::ok(what, format!("a process keeps it with the keys {name}; messages that wait for it: {messages}"))
        }
        Err(error) => Finding::failed(what, error.to_string()),
    }
}

fn readable_by_others(key: &str, path: &Path) -> Vec<Finding> {
    let is_readable = others_may_read(path);
    is_readable
        .then(|| Finding::warning(key, format!("others can read {}: chmod 600", path.display())))
        .into_iter()
        .collect()
}

fn file(here: &DirectorySettings) -> Vec<Finding> {
    let path = here.path.display();
    if !here.path.exists() {
        return vec![Finding::ok(WHAT, format!("is on, and will be made at {path} when a worker starts"))];
    }
    let mut findings = readable_by_others("directory.path", &here.path);
    findings.extend(readable_by_others(KEY_FILE, &here.key_file));
    // A missing file of keys would be made, and none fits what was written with another one.
    let keys = match KeyFile::existing(&here.key_file) {
        Ok(file) => file.keys(),
        Err(error) => return vec![Finding::failed(KEY_FILE, error.to_string())],
    };
    findings.push(
        match Store::open(&here.path, keys, SystemTime::now()).and_then(|store| Ok((store.rows()?, store.since()))) {
            Ok((Rows { addresses, erased }, since)) => {
                let since = rfc3339_seconds(since);
                Finding::ok(
                    WHAT,
                    format!(
                        "{path}: addresses: {addresses}, learnt since {since}; deletions of the last 30 days: {erased}"
                    ),
                )
            }
            Err(error) => Finding::failed(WHAT, error.to_string()),
        },
    );
    findings
}
