//! `docs/senders.md`, followed to the letter: its commands, and what it says they print.

use refersion_relay_tests::{Config, Refersion, Relay, eventually};
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/senders.md");

/// Each command of the page with what it prints.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks: Vec<_> = PAGE.split("```").skip(1).step_by(2).collect();
    let pair = |pair: &[&'static str]| Some((pair[0].strip_prefix("sh\n")?, pair[1].strip_prefix("text\n")?));
    blocks.chunks(2).map(|blocks| pair(blocks).expect("a command, and then what it prints")).collect()
}

#[tokio::test]
async fn every_example_prints_what_the_page_says_and_has_its_effect() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("name = \"acme\"\n", "name = \"acme\"\nwebhook_secret = \"a shared secret\"\n");
    let relay = Relay::start("run", &config).await;
    let environment = [
        ("RELAY", format!("http://{}", relay.door())),
        ("KEY", "pub_1.sec_1".to_owned()),
        ("WRITE_KEY", "write_1".to_owned()),
        ("SECRET", "a shared secret".to_owned()),
    ];
    let examples = examples();
    assert!(8 <= examples.len(), "{examples:?}");
    for (command, printed) in examples {
        let mut shell = Command::new("bash");
        shell.arg("-euo").arg("pipefail").arg("-c").arg(command).envs(environment.clone()).kill_on_drop(true);
        let output = shell.output().await.expect("bash is there");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, printed, "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    eventually("nothing waits", || async { config.ledger().await["waiting"] == 0 }).await;
    let mut people: Vec<_> = refersion.simulator.affiliates();
    people.sort_by(|one, other| one.email.cmp(&other.email));
    let people: Vec<_> = people.iter().map(|one| (one.email.as_str(), one.status.as_str())).collect();
    let expected = [
        ("bob@example.com", "PENDING"),
        ("joanna@example.com", "PENDING"),
        ("milton@example.com", "PENDING"),
        ("peter@example.com", "DISABLED"),
        ("samir@example.com", "PENDING"),
        ("tom@example.com", "PENDING"),
    ];
    assert_eq!(people, expected);
    let letters = config.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["message_id"]),
        (&"unsigned".into(), &"a4cbabaf-29cc-41ec-8a88-53614c5568b0".into())
    );
}
