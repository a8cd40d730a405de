//! What reading an answer costs.

use refersion_relay_instructions::{Operation, RUST, guard};

use crate::Operation as Call;
use crate::answers::classify::{Answer, RawAnswer, classify};

const CREATED: &str = r#"{"id":"a3y7","first_name":"Samir","last_name":"Nagheenanajar","email":"samir@example.com",
    "company":"Initech","status":"ACTIVE","offer":"12345","link":"https://shop.example.com/?rfsn=1234567.89abcd",
    "unique_merchant_id":"u8814","custom_fields":[{"label":"Plan","value":"premium"}]}"#;
const TAKEN: &str = r#"{"error":["The First Name field is required.",
    "The email you have entered is taken by another Affiliate."]}"#;

fn read(times: u32, status: u16, body: &str) -> Answer {
    let mut answer = Answer::NotFound;
    for _ in 0..times {
        let raw = RawAnswer { status, retry_after: None, body: body.as_bytes().to_vec() };
        answer = classify(&raw, raw.object(), Call::New.success_keys());
    }
    answer
}

#[test]
fn an_answer_is_read_at_the_usual_cost() {
    let success = Operation {
        name: "read a success",
        repetitions: 200,
        run: |times| assert!(matches!(read(times, 200, CREATED), Answer::Success(_))),
    };
    let refusal = Operation {
        name: "read a refusal",
        repetitions: 200,
        run: |times| assert_eq!(read(times, 422, TAKEN), Answer::Taken),
    };
    guard("instruction_counts::an_answer_is_read_at_the_usual_cost", &[RUST], &[success, refusal]);
}
