//! Commands that are killed in the middle.

use std::collections::BTreeMap;

use refersion_relay_tests::{Admin, Config, DeadLetter, eventually, shared_broker};

/// Kills a replay of every second letter several times, and lets the last one end.
async fn replays_are_killed(in_flight: usize, letters: usize, kills: usize, step: usize) {
    let config = Config::new(&shared_broker(), "http://127.0.0.1:9", &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let kind = |n: usize| if n.is_multiple_of(2) { "identify" } else { "delete" };
    let letter = |n: usize| DeadLetter { kind: kind(n), ..DeadLetter::new(&format!("m{n}")) };
    admin.bury((0..letters).map(letter)).await;
    let in_hand = in_flight.to_string();
    let arguments = ["dlq", "replay", "--type", "identify", "--in-flight", &in_hand, "--yes"];

    let mut replayed = 0;
    for _ in 0..kills {
        let command = config.begin(&arguments);
        let wanted = replayed + rand::random_range(1..step);
        eventually("some more are replayed", || async { wanted <= admin.replayed().await }).await;
        command.signal("KILL").await;
        let killed = command.output().await;
        assert_eq!(killed.code, None, "it was killed in the middle: {killed:?}");
        replayed = admin.replayed().await;
    }
    let last = config.command(&arguments).await;
    assert_eq!(last.code, Some(0), "{last:?}");

    let work = admin.drain_work().await;
    let mut class = BTreeMap::<String, usize>::new();
    for id in admin.drain("dead.rejected").await {
        *class.entry(id).or_default() += 1;
    }
    for n in 0..letters {
        let (here, id) = (if n.is_multiple_of(2) { &work } else { &class }, format!("m{n}"));
        assert!(here.contains_key(&id), "{id} was lost");
    }
    assert_eq!(work.len() + class.len(), letters, "none is where it should not be");
    let copies = work.values().chain(class.values()).map(|count| count - 1).sum::<usize>();
    println!("{copies} letters were there twice after {kills} kills with {in_flight} in flight");
    assert!(copies <= kills * in_flight, "{copies} copies after {kills} kills");
}

#[tokio::test]
async fn a_killed_replay_loses_nothing_and_leaves_one_letter_twice_at_most() {
    replays_are_killed(1, 1_600, 8, 80).await;
}

#[tokio::test]
async fn a_killed_replay_with_many_in_flight_loses_nothing_and_leaves_no_more_of_them_twice() {
    replays_are_killed(20, 8_000, 5, 600).await;
}
