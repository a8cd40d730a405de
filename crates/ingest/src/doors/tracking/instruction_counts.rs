//! What a batch costs between its body and the queue.

use refersion_relay_instructions::{Operation, RUST, guard};
use refersion_relay_model::{AccountName, KeyPair};
use refersion_relay_telemetry::Metrics;
use secrecy::SecretString;

use super::*;
use crate::AccountAccess;

const EVENTS: usize = 100;

fn batch() -> Bytes {
    let event = |number| {
        format!(
            r#"{{"type":"identify","messageId":"ajs-next-1762161164101-{number:03}","userId":"u{number:03}",
            "timestamp":"2025-11-03T09:12:44.101Z","traits":{{"firstName":"Samir","lastName":"Nagheenanajar",
            "email":"samir-{number:03}@example.com","plan":"premium","address":{{"city":"Austin","country":"USA"}}}},
            "context":{{"library":{{"name":"analytics.js","version":"npm:next-1.84.3"}},"locale":"en-GB"}}}}"#
        )
    };
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    format!(r#"{{"batch":[{}],"sentAt":"2025-11-03T09:12:44.103Z"}}"#, events.join(",")).into()
}

#[test]
fn a_batch_is_sorted_at_the_usual_cost() {
    let sorting = Operation {
        name: "sort a batch of 100 events",
        repetitions: 3,
        run: |times| {
            let (body, mut access) = (batch(), Access::default());
            let name = AccountName::try_from("acme").unwrap();
            let write_keys = vec![SecretString::from("write_1")];
            let account = AccountAccess { write_keys, ..AccountAccess::new(name, KeyPair::new("pub_1", "sec_1")) };
            access.admit(account, &Metrics::new());
            let received = Received { traceparent: None, ..Received::now() };
            let mut batch = Batch::default();
            for _ in 0..times {
                let opened = open(&access, Some("write_1".to_owned()), &body);
                let Ok(Opened { items, account, envelope }) = opened else { panic!("a batch") };
                let classify = |item| account.classify_in(Credential::WriteKey, &envelope, item, &received);
                batch = items.into_iter().map(classify).collect();
            }
            assert_eq!(batch.fates(), ["work"; EVENTS]);
        },
    };
    guard("doors::tracking::instruction_counts::a_batch_is_sorted_at_the_usual_cost", &[RUST], &[sorting]);
}
