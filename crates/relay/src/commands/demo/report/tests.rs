use std::time::Duration;

use super::*;
use crate::commands::demo::page::Page;
use crate::commands::demo::verdict;
use crate::exit::Exit;

/// One event that makes an affiliate, and one that is refused.
fn script() -> Script {
    serde_json::from_str(
        r#"{
            "direct": [
                {"what": "a good one", "account": "shop", "body": {"text": "x"}, "answer": 202, "becomes": {"delivered": "created"}},
                {"what": "a bad one", "account": "shop", "body": {"text": "x"}, "answer": 400, "becomes": {"refused": "malformed"}}
            ],
            "batches": [], "faults": [], "failures": {}, "waits": 0,
            "affiliates": [
                {"account": "shop", "status": "ACTIVE", "email": "a@example.com", "name": "A B", "country": null, "shows": "it"}
            ]
        }"#,
    )
    .unwrap()
}

/// What is seen when everything comes out as it should.
fn observed() -> Observed {
    let answer = |what: &str, status| Answer {
        what: what.to_owned(),
        door: "/v1/destination",
        events: 1,
        status,
        expected: status,
        message: String::new(),
    };
    Observed {
        took: Duration::from_millis(1_234),
        answers: vec![answer("a good one", 202), answer("a bad one", 400)],
        ended: true,
        ledger: Ledger { accepted: 1, delivered: 1, ..Ledger::default() },
        metrics_url: "http://127.0.0.1:1/metrics".to_owned(),
        page: page(PAGE),
        names_somebody: false,
        calls: 1,
        affiliates: vec![Affiliate {
            account: "shop".to_owned(),
            status: "ACTIVE",
            email: "a@example.com".to_owned(),
            name: "A B".to_owned(),
            country: None,
        }],
        letters: Vec::new(),
    }
}

const PAGE: [&str; 4] = [
    "events_accepted_total{door=\"destination\"} 1",
    "events_refused_total{door=\"destination\",reason=\"malformed\"} 1",
    "events_delivered_total{how=\"created\"} 1",
    "refersion_calls_total{operation=\"new\",outcome=\"ok\"} 1",
];

fn page(lines: [&str; 4]) -> Page {
    Page::read(&lines.map(|line| format!("{}{line}", Page::PREFIX)).join("\n"))
}

fn report(observed: Observed) -> Report {
    Report::new(&script(), observed, Next { kept: None, commands: Vec::new() })
}

#[test]
fn a_demo_that_came_out_as_it_should_says_so_and_exits_with_0() {
    let report = report(observed());
    assert!(verdict(&report).is_ok(), "{report}");
    assert!(report.to_string().contains("In 1.2 s everything came out as it should"), "{report}");
}

#[test]
fn whatever_did_not_hold_is_named_and_exits_with_1() {
    type Spoil = fn(&mut Observed);
    let cases: [(&str, Spoil); 9] = [
        ("a bad one is answered with 400 (found: 500)", |seen| seen.answers[1].status = 500),
        ("every event was sent and answered (found: 1)", |seen| drop(seen.answers.pop())),
        ("the queue's ledger adds up (found: -1)", |seen| seen.ledger.delivered = 0),
        ("every accepted event came to its end (found: 0 waiting)", |seen| seen.ended = false),
        ("total{how=\"created\"} is 1 (found: 0)", |seen| seen.page = page([PAGE[0], PAGE[1], "", PAGE[3]])),
        ("Refersion was called as often as the metrics say (found: 1)", |seen| seen.calls = 2),
        ("the metrics name nobody (found: there is an @ on it)", |seen| seen.names_somebody = true),
        ("ACTIVE, A B, no country (found: DISABLED A B -)", |seen| seen.affiliates[0].status = "DISABLED"),
        ("nobody else is at Refersion (found: 2)", |seen| seen.affiliates.push(seen.affiliates[0].clone())),
    ];
    for (named, spoil) in cases {
        let mut seen = observed();
        spoil(&mut seen);
        let report = report(seen);
        let text = report.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("did not hold") && text.contains(named), "{named}\n{report}");
        assert!(matches!(verdict(&report), Err(Exit::Said)), "{named}");
        assert_eq!(serde_json::to_value(&report).unwrap()["held"], false, "{named}");
    }
}
