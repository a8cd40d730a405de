use std::path::Path;

use anyhow::anyhow;
use refersion_relay_model::AccountName;

use crate::exit::Exit;

/// Every key with its default, and what it is for.
const EXAMPLE: &str = include_str!("../../../../../relay.example.toml");

const HEAD: &str = "\
# Made by `refersion-relay init`. Every key is here. One behind a # has its default until the # is taken away.
#
#   refersion-relay check --config relay.toml      is everything as it should be?
#   refersion-relay run --config relay.toml
#
# Environment variables win over the file: RELAY__WORKER__PREFETCH=64 is worker.prefetch. Durations are written like \"30s\" or
# \"1h 30m\".
";

/// The example as a configuration of this account: what has a default is a comment.
pub(super) fn configuration(
    account: &AccountName,
    public_key: &str,
    secret_key_file: &Path,
    write_key_file: &Path,
) -> Result<String, Exit> {
    let values = [
        ("name", format!("name = {}", quoted(account.as_str()))),
        ("public_key", format!("public_key = {}", quoted(public_key))),
        ("secret_key", format!("secret_key_file = {}", path(secret_key_file)?)),
        ("write_key", format!("write_key_file = {}", path(write_key_file)?)),
    ];
    let body = EXAMPLE.split_once("\n\n").map_or(EXAMPLE, |(_, body)| body);
    let mut text = format!("{HEAD}\n");
    let mut in_account = false;
    for line in body.lines() {
        in_account |= line == "[[account]]";
        let key = line.split_once(" = ").map(|(key, _)| key).filter(|key| !key.starts_with('#'));
        let value = values.iter().find(|(name, _)| in_account && Some(*name) == key);
        match (key, value) {
            (_, Some((_, value))) => text.push_str(value),
            (Some(_), None) => {
                text.push('#');
                text.push_str(line);
            }
            (None, None) => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
}

/// As TOML has it, which is as JSON has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn path(path: &Path) -> Result<String, Exit> {
    let text = path.to_str().ok_or_else(|| Exit::Usage(anyhow!("{} is no UTF-8 text", path.display())))?;
    Ok(quoted(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn it_is_a_configuration_of_this_account_with_every_default() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, write) = (folder.path().join("sec\"ret"), folder.path().join("write"));
        std::fs::write(&secret, "sec_1").unwrap();
        std::fs::write(&write, "write_1").unwrap();
        let account = AccountName::try_from("initech".to_owned()).unwrap();

        let text = configuration(&account, "pub_1", &secret, &write).unwrap();

        let made = config::from_toml(&text).unwrap();
        let least = "[[account]]\nname = \"initech\"\npublic_key = \"pub_1\"\nsecret_key = \"sec_1\"\nwrite_key = \"write_1\"\n";
        assert_eq!(made, config::from_toml(least).unwrap(), "{text}");
        for key in ["#prefetch = 512", "#listen = ", "#tiers = ", "#webhook_secret = ", "#status = "] {
            assert!(text.contains(&format!("\n{key}")), "{key}: {text}");
        }
    }
}
