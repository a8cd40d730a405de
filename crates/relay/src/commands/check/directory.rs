use std::time::SystemTime;

use refersion_relay_directory::{KeyFile, Rows, Store};
use refersion_relay_queue::rfc3339_seconds;

use super::finding::Finding;
use crate::config::{Settings, others_may_read};
use crate::parts;

/// Whether the directory can be used, and how much it holds. Nothing where it is off.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let what = "directory";
    let opened = match parts::directory_settings(settings) {
        Ok(None) => return Vec::new(),
        Ok(Some(opened)) => opened,
        Err(why) => return vec![Finding::failed(what, why.to_string())],
    };
    let path = opened.path.display();
    if !opened.path.exists() {
        return vec![Finding::ok(what, format!("is on, and will be made at {path} when a worker starts"))];
    }
    let mut findings = Vec::new();
    for (key, path) in [("directory.path", &opened.path), ("directory.key_file", &opened.key_file)] {
        if others_may_read(path) {
            findings.push(Finding::warning(key, format!("others can read {}: chmod 600", path.display())));
        }
    }
    // A missing file of keys would be made, and none fits what was written with another one.
    let keys = match KeyFile::existing(&opened.key_file) {
        Ok(file) => file.keys(),
        Err(error) => return vec![Finding::failed("directory.key_file", error.to_string())],
    };
    findings.push(
        match Store::open(&opened.path, keys, SystemTime::now()).and_then(|store| Ok((store.rows()?, store.since()))) {
            Ok((Rows { addresses, erased }, since)) => {
                let since = rfc3339_seconds(since);
                Finding::ok(
                    what,
                    format!(
                        "{path}: addresses: {addresses}, learnt since {since}; deletions of the last 30 days: {erased}"
                    ),
                )
            }
            Err(error) => Finding::failed(what, error.to_string()),
        },
    );
    findings
}
