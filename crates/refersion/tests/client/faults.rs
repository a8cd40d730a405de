use std::num::NonZeroU32;
use std::time::Duration;

use refersion_relay_refersion::{Applied, Existing, Failure, Rejection, Unreadable};
use refersion_relay_simulator::{Fault, FaultRule, Operation, Shape, Status};

use crate::failures::{BROKE, TOO_LONG, check, limited, not_json};
use crate::support::{ACTIVE, Simulated, client_with, create, deactivate, keys, person};

const NOT_DONE: Failure = Failure::Rejected(Rejection::NotDone);

/// Gets a 200 of this many bytes that is no success.
fn no_success(bytes: usize) -> Failure {
    Failure::Unclear { status: 200, bytes, why: Unreadable::NoSuccessKeys }
}

/// A Refersion where all goes wrong in this way.
async fn failing(fault: Fault) -> Simulated {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(fault));
    refersion
}

fn drip(pause_ms: u64) -> Fault {
    Fault::Drip { bytes: NonZeroU32::MIN, pause_ms }
}

#[tokio::test]
async fn connections_that_end_without_an_answer_are_broken() {
    check(Fault::Close, BROKE).await;
    check(Fault::NotHttp, BROKE).await;
}

#[tokio::test]
async fn a_success_that_is_none_is_unclear() {
    check(Fault::ErrorIn200, no_success(33)).await;
    check(Fault::NoSuccessKeys, no_success(16)).await;
    // Only the edit and the status change answer like this.
    check(Fault::NotMentioned, no_success(39)).await;
    for (shape, bytes) in [(Shape::Array, 15), (Shape::String, 4), (Shape::Number, 1), (Shape::Null, 4)] {
        check(Fault::WrongShape { shape }, not_json(200, bytes)).await;
    }
}

#[tokio::test]
async fn an_error_beside_the_success_is_unclear_and_a_repeat_ends_well() {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule { times: Some(1), ..FaultRule::always(Fault::SuccessWithError) });

    let first = create(&refersion.client, "jo@x.co").await;
    let second = create(&refersion.client, "jo@x.co").await;

    assert!(matches!(first, Err(Failure::Unclear { status: 200, why: Unreadable::NoSuccessKeys, .. })), "{first:?}");
    assert_eq!((second, refersion.simulator.affiliates().len()), (Ok(Applied::Existing), 1));
}

#[tokio::test]
async fn a_gateways_403_is_unauthorized() {
    check(Fault::Forbidden, Failure::Unauthorized { status: 403 }).await;
}

#[tokio::test]
async fn a_redirect_to_ourselves_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let location = "/v2/affiliate/list".to_owned();
        check(Fault::Redirect { status, location }, not_json(status, 0)).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_a_broken_connection_although_the_effect_happened() {
    let refersion = failing(Fault::CutOff).await;

    assert_eq!(create(&refersion.client, "jo@x.co").await, Err(BROKE));
    assert_eq!(refersion.simulator.affiliates().len(), 1);
}

#[tokio::test]
async fn a_dripping_answer_is_an_answer_unless_it_takes_too_long_as_a_whole() {
    let refersion = failing(drip(1)).await;
    assert_eq!(create(&refersion.client, "jo@x.co").await, Ok(Applied::Created));

    // Each byte comes in time; all of them do not.
    let refersion = failing(drip(100)).await;
    let impatient = client_with(&refersion.base_url, Duration::from_millis(500), |_, _| ());
    assert_eq!(create(&impatient, "jo@x.co").await, Err(TOO_LONG));
    assert_eq!(refersion.simulator.affiliates().len(), 1);
}

#[tokio::test]
async fn an_oversized_answer_is_read_up_to_a_megabyte() {
    const MEGABYTE: u64 = 1024 * 1024;
    let refersion = failing(Fault::Oversized { bytes: MEGABYTE }).await;
    assert_eq!(create(&refersion.client, "jo@x.co").await, Ok(Applied::Created));

    let refersion = failing(Fault::Oversized { bytes: 1_000 * MEGABYTE }).await;
    let failure = create(&refersion.client, "jo@x.co").await;
    assert!(matches!(failure, Err(Failure::Unclear { status: 200, why: Unreadable::TooLarge, .. })), "{failure:?}");
}

#[tokio::test]
async fn an_outage_is_no_answer_and_then_no_connection_until_it_is_over() {
    for (fault, meanwhile) in [
        (Fault::RefuseConnections { ms: 1_500 }, Failure::Transport { what: "could not connect" }),
        (Fault::CloseConnections { ms: 1_500 }, BROKE),
    ] {
        let refersion = Simulated::start().await;
        refersion.simulator.add_fault(FaultRule { times: Some(1), ..FaultRule::always(fault.clone()) });

        let mut failures = vec![refersion.client.check_keys(&keys()).await.unwrap_err()];
        while let Err(failure) = create(&refersion.client, "jo@x.co").await {
            failures.push(failure);
        }

        assert_eq!(failures[0], BROKE, "{fault:?}");
        assert!(failures.contains(&meanwhile), "{fault:?}");
        assert!(failures.iter().all(|failure| matches!(failure, Failure::Transport { .. })), "{fault:?}");
        assert_eq!(refersion.simulator.affiliates().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_limited_with_and_without_a_wait() {
    for (retry_after, seconds) in [(None, None), (Some("2".to_owned()), Some(2))] {
        let refersion = Simulated::start().await;
        refersion.simulator.add_fault(FaultRule {
            above_per_second: NonZeroU32::new(1),
            ..FaultRule::always(Fault::TooManyRequests { retry_after })
        });

        let first = create(&refersion.client, "jo@x.co").await;
        let second = create(&refersion.client, "ann@x.co").await;

        assert_eq!((first, second), (Ok(Applied::Created), Err(limited(seconds))));
    }
}

#[tokio::test]
async fn a_change_that_is_not_confirmed_is_done_only_if_it_shows() {
    for fault in [Fault::NotChanged, Fault::NotMentioned] {
        for (happened, expected) in [(false, Err(NOT_DONE)), (true, Ok(Applied::Deactivated))] {
            let refersion = Simulated::start().await;
            refersion.seed("jo@x.co", Status::Active);
            let fault = if happened { Fault::after_effect(fault.clone()) } else { fault.clone() };
            let operation = Some(Operation::StatusChange);
            refersion.simulator.add_fault(FaultRule { operation, ..FaultRule::always(fault.clone()) });

            assert_eq!(deactivate(&refersion.client, "jo@x.co").await, expected, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_update_that_is_not_confirmed_is_done_only_if_it_is_denied_and_shows() {
    for (fault, expected) in [
        (Fault::NotChanged, Err(NOT_DONE)),
        (Fault::NotMentioned, Err(NOT_DONE)),
        (Fault::after_effect(Fault::NotChanged), Ok(Applied::Unchanged)),
        (Fault::after_effect(Fault::NotMentioned), Err(NOT_DONE)),
    ] {
        let refersion = Simulated::start().await;
        refersion.seed("jo@x.co", Status::Active);
        let operation = Some(Operation::Edit);
        refersion.simulator.add_fault(FaultRule { operation, ..FaultRule::always(fault.clone()) });

        let applied = refersion.client.create(&keys(), &person("jo@x.co"), ACTIVE, Existing::Update).await;

        assert_eq!(applied, expected, "{fault:?}");
    }
}
