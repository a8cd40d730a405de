use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn process() -> (Parts, CancellationToken) {
    let stop = CancellationToken::new();
    (Parts::new(stop.clone()), stop)
}

fn failure(part: &str, how: How) -> Failure {
    Failure { part: part.to_owned(), how }
}

/// A part that takes a while to end once it is asked to.
async fn drains(stop: CancellationToken, takes: Duration) {
    stop.cancelled().await;
    sleep(takes).await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_returns_unasked_stops_the_others_which_end_in_their_own_time() {
    let (parts, stop) = process();
    let began = Instant::now();

    let short = parts.supervise("short", &stop, sleep(SECOND));
    let long = parts.supervise("long", &stop, drains(stop.clone(), SECOND * 5));
    let noticed = async {
        stop.cancelled().await;
        assert_eq!((began.elapsed(), parts.failure()), (SECOND, Some(failure("short", How::Returned))));
    };
    tokio::join!(short, long, noticed);

    assert_eq!(began.elapsed(), SECOND * 6);
    assert_eq!(parts.failure(), Some(failure("short", How::Returned)), "the other one was asked");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_returns_after_it_was_asked_is_no_failure() {
    let (parts, stop) = process();
    let part = parts.supervise("part", &stop, drains(stop.clone(), SECOND));
    stop.cancel();
    part.await;
    assert_eq!(parts.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_also_after_the_stop() {
    for asked in [false, true] {
        let (parts, stop) = process();
        if asked {
            stop.cancel();
        }
        let part = async {
            sleep(SECOND).await;
            panic!("broken");
        };
        tokio::spawn(parts.supervise("part", &stop, part)).await.expect("it is caught");
        assert_eq!(parts.failure(), Some(failure("part", How::Panicked(Some("broken")))));
        assert!(stop.is_cancelled());
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_message_that_stands_in_the_source_is_told() {
    let (parts, stop) = process();
    let email = format!("{}@example.com", "peter");
    parts.supervise("part", &stop, async { panic!("no such person: {email}") }).await;
    assert_eq!(parts.failure(), Some(failure("part", How::Panicked(None))));
    assert_eq!(parts.failure().expect("one").to_string(), "part has ended unasked: it panicked");
}

#[tokio::test(start_paused = true)]
async fn an_errand_may_end_by_itself_and_not_by_a_panic() {
    let (parts, stop) = process();
    parts.errand("errand", sleep(SECOND)).await;
    assert_eq!((parts.failure(), stop.is_cancelled()), (None, false));

    parts.errand("errand", async { panic!("broken") }).await;
    assert_eq!(parts.failure(), Some(failure("errand", How::Panicked(Some("broken")))));
    assert!(stop.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_dropped_was_asked_to_end() {
    let (parts, stop) = process();
    let part = tokio::spawn(parts.supervise("part", &stop, std::future::pending()));
    part.abort();
    assert!(part.await.expect_err("it never ends").is_cancelled());
    assert_eq!(parts.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_the_one_that_is_told() {
    let (parts, stop) = process();
    let asked_later = CancellationToken::new();
    let second = parts.supervise("second", &asked_later, drains(stop.clone(), SECOND));
    tokio::join!(second, parts.supervise("first", &stop, async {}));
    assert_eq!(parts.failure(), Some(failure("first", How::Returned)));
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_part_are_parts_of_the_whole_whenever_they_fail() {
    for fails_first in [false, true] {
        let ((whole, stop), inner, asked) = (process(), Parts::default(), CancellationToken::new());
        let failing = inner.supervise("inner", &asked, async {});
        if fails_first {
            failing.await;
            assert!(!stop.is_cancelled());
            inner.belong_to(&whole);
        } else {
            inner.belong_to(&whole);
            failing.await;
        }
        assert_eq!(whole.failure(), Some(failure("inner", How::Returned)));
        assert!(stop.is_cancelled());
    }
}

#[test]
fn a_thread_is_a_part_as_any_other() {
    let (parts, stop) = process();
    let named = || assert_eq!(thread::current().name(), Some("worker"));
    let run = |part: fn()| parts.thread("worker", &stop, part).expect("a thread").join().expect("it is caught");
    run(|| panic!("broken"));
    assert_eq!(parts.failure(), Some(failure("worker", How::Panicked(Some("broken")))));

    let (parts, stop) = process();
    parts.thread("worker", &stop, named).expect("a thread").join().expect("it is caught");
    assert_eq!(parts.failure(), Some(failure("worker", How::Returned)));

    let (parts, stop) = process();
    stop.cancel();
    parts.thread("worker", &stop, named).expect("a thread").join().expect("it is caught");
    assert_eq!(parts.failure(), None);
}
