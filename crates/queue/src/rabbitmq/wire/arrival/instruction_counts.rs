//! What the headers of a message cost.

use std::time::Duration;

use refersion_relay_instructions::{Operation, RUST, guard};

use super::properties::write;
use super::*;

fn account() -> AccountName {
    AccountName::try_from("acme").unwrap()
}

/// Of an event that was tried before.
fn headers() -> Headers {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let received =
        Headers::received("ajs-next-1762161164101", "identify", account(), "0123456789abcdef".to_owned(), at);
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    Headers { attempts: 3, first_failed_at: Some(at), due_at: Some(at), traceparent, ..received }
}

#[test]
fn headers_are_written_and_read_at_the_usual_cost() {
    let writing = Operation {
        name: "write headers",
        repetitions: 200,
        run: |times| {
            let headers = headers();
            for _ in 0..times {
                assert!(write(&headers).headers().is_some());
            }
        },
    };
    let reading = Operation {
        name: "read headers",
        repetitions: 200,
        run: |times| {
            let properties = write(&headers());
            let (names, origin) = (Names::new("refersion"), Origin::Work(account()));
            for _ in 0..times {
                let route = Route { exchange: "refersion.events", routing_key: "acme" };
                assert_eq!(read(&names, &origin, route, Vec::new(), &properties).headers.attempts, 3);
            }
        },
    };
    guard(
        "rabbitmq::wire::arrival::instruction_counts::headers_are_written_and_read_at_the_usual_cost",
        &[RUST],
        &[writing, reading],
    );
}
