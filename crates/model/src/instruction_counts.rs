//! What reading and judging an event costs.

use refersion_relay_instructions::{Operation, RUST, guard};

use crate::judge;
use crate::{Event, Judgement, MissingLastName};

const IDENTIFY: &[u8] =
    br#"{"timestamp":"2025-11-03T09:12:44.101Z","integrations":{"Segment.io":true},"userId":"u8814",
    "anonymousId":"0c5b2e6f-5a0a-4f3e-9a59-7f5f1c2f7e10","type":"identify","traits":{"firstName":"Samir",
    "lastName":"Nagheenanajar","email":"samir@example.com","phone":"+1 212 555 0100","plan":"premium","logins":5,
    "address":{"street":"6th St","city":"San Francisco","state":"CA","postalCode":"94103","country":"USA"}},
    "context":{"ip":"192.0.2.5","page":{"path":"/signup","url":"https://shop.example.com/signup?a=1"},
    "library":{"name":"analytics.js","version":"npm:next-1.84.3"},"locale":"en-GB","timezone":"Europe/London"},
    "messageId":"ajs-next-1762161164101-0c5b2e6f-5a0a-4f3e-9a59-7f5f1c2f7e10","sentAt":"2025-11-03T09:12:44.103Z"}"#;

#[test]
fn an_event_is_read_and_judged_at_the_usual_cost() {
    let read_and_judge = Operation {
        name: "read and judge an identify",
        repetitions: 100,
        run: |times| {
            for _ in 0..times {
                let event = Event::parse(IDENTIFY).unwrap();
                assert!(matches!(judge(&event, MissingLastName::default()), Judgement::Work(_)));
            }
        },
    };
    guard("instruction_counts::an_event_is_read_and_judged_at_the_usual_cost", &[RUST], &[read_and_judge]);
}
