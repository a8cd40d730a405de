//! That each account has its own work queue, and what becomes of what is for one that has none.

use std::sync::Arc;

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Conservation, Death, Letter, Place, Queue, Terms};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{
    DELIVERED, INVALID, TIER, account, bodies, crowd, event, events, later, moved, numbers, other_later, other_work,
    strange_work, work,
};
use refersion_relay_queue_testkit::instance::{EVERYTHING, ROOM};
use refersion_relay_queue_testkit::judges::{by, sweep};
use refersion_relay_queue_testkit::waiting::{eventually, nothing_comes, take, take_one};

const UNROUTED: Place = Place::Dead(Class::Unrouted);

pub(crate) async fn what_is_for_an_account_that_was_never_admitted_is_unrouted<B: Backend>() {
    let relay = B::start().await;

    relay.store(&strange_work(), events(0..3)).await;

    assert_eq!(relay.bodies(Class::Unrouted).await, numbers(0..3));
    relay.store(&work(), events(3..5)).await;
    let mut owned = relay.own(&work()).await;
    for delivery in take(&mut owned, 2).await {
        let settle = moved(&delivery, strange_work());
        delivery.settle(settle).await.unwrap();
    }
    owned.release().await;
    relay.store(&INVALID, events(5..6)).await;
    let to_a_stranger = |letter: &Letter| Action::Move {
        place: strange_work(),
        headers: Box::new(letter.message.headers.replayed()),
        subject: 1,
    };
    sweep(&*relay, 1, &mut by(to_a_stranger)).await;
    let (total, letters) = relay.browse(Class::Unrouted, EVERYTHING).await;
    assert_eq!((total, relay.bodies(Class::Unrouted).await), (6, numbers(0..6)));
    for letter in letters {
        let Death { class, reason, .. } = letter.message.headers.death.unwrap();
        assert_eq!((class, reason.as_str()), (Class::Unrouted, "no_queue"));
        assert_eq!(letter.message.headers.account, Some(account("acme")), "as its sender said");
    }
    assert_eq!((relay.depth(&strange_work()).await, relay.depth(&work()).await), (0, 0));
    let sum = sum(&relay, |sum| sum.accepted == 6).await;
    assert_eq!((sum.dead(), sum.waiting()), (6, 0), "{sum}");
    relay.clean().await;
}

pub(crate) async fn what_comes_out_of_a_tier_for_such_an_account_is_unrouted_too<B: Backend>() {
    let relay = B::start().await;
    // Somebody works, as always.
    let mut owned = relay.own(&work()).await;
    let stranger = Place::Later(account("stranger"), TIER);
    relay.store(&stranger, events(0..3)).await;
    relay.store(&later(), events(3..4)).await;

    relay.until_depth(&UNROUTED, 3).await;

    let (_, letters) = relay.browse(Class::Unrouted, EVERYTHING).await;
    assert_eq!(relay.bodies(Class::Unrouted).await, numbers(0..3));
    let reasons: Vec<_> = letters.into_iter().map(|letter| letter.message.headers.death.unwrap().reason).collect();
    assert_eq!(reasons, ["no_queue"; 3]);
    assert_eq!(bodies(&take(&mut owned, 1).await), numbers(3..4));
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn an_account_that_is_admitted_has_its_queue_from_then_on_in_every_process<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    relay.queue.admit(&[account("acme"), account("other"), account("stranger")]).await.unwrap();

    relay.store(&strange_work(), events(0..2)).await;
    // This one has not heard of it.
    other.store(&strange_work(), events(2..4)).await;

    assert_eq!((relay.depth(&strange_work()).await, relay.depth(&UNROUTED).await), (4, 0));
    let mut owned = other.own(&strange_work()).await;
    let taken = take(&mut owned, 4).await;
    assert_eq!(bodies(&taken), numbers(0..4));
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_work_queue_is_taken_up_as_soon_as_its_account_is_admitted<B: Backend>() {
    let relay = B::start().await;
    let stop = CancellationToken::new();
    let mut terms = Terms::new(relay.queue.clone(), strange_work());
    let taking = tokio::spawn(async move {
        let mut owned = terms.next(ROOM, &stop).await.unwrap();
        let taken = bodies(&take(&mut owned, 2).await);
        owned.release().await;
        taken
    });
    relay.queue.admit(&[account("acme"), account("stranger")]).await.unwrap();

    relay.store(&strange_work(), events(0..2)).await;

    assert_eq!(taking.await.unwrap(), numbers(0..2));
    relay.clean().await;
}

pub(crate) async fn the_queue_names_the_account_whatever_an_event_says<B: Backend>() {
    let relay = B::start().await;
    let claims = [Some(account("acme")), Some(account("victim")), None];
    for (number, claim) in claims.iter().enumerate() {
        let mut message = event("one", &number.to_string());
        message.headers.account.clone_from(claim);
        relay.store(&other_work(), [message.clone()]).await;
        relay.store(&other_later(), [message]).await;
    }
    let mut owned = relay.own(&other_work()).await;

    for delivery in take(&mut owned, 2 * claims.len()).await {
        assert_eq!(delivery.message.headers.account, Some(account("other")));
        delivery.settle(DELIVERED).await.unwrap();
    }

    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn an_owner_that_goes_is_not_noticed_by_those_of_other_accounts<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..10)).await;
    relay.store(&other_work(), events(0..10)).await;
    let (mut owned, mut other) = (relay.own(&work()).await, relay.own(&other_work()).await);
    let mut in_hand = take(&mut other, 5).await;
    for round in 0..5 {
        take(&mut owned, 10 - round).await.remove(0).settle(DELIVERED).await.unwrap();

        drop(owned); // as when its task panics

        in_hand.remove(0).settle(DELIVERED).await.unwrap();
        owned = relay.own(&work()).await;
    }

    let again = take(&mut owned, 5).await;
    assert_eq!(bodies(&again), numbers(5..10));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    assert!(!other.ended().is_cancelled());
    let rest = take(&mut other, 5).await;
    assert_eq!(bodies(&rest), numbers(5..10));
    assert!(rest.iter().all(|delivery| !delivery.redelivered));
    owned.release().await;
    other.release().await;
    relay.clean().await;
}

pub(crate) async fn an_account_that_leaves_keeps_what_waits_and_what_comes_and_goes_on_in_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&other_work(), events(0..3)).await;
    let mut owned = relay.own(&other_work()).await;
    take_one(&mut owned).await.settle(DELIVERED).await.unwrap();
    owned.release().await;
    relay.store(&other_later(), events(3..5)).await;

    relay.queue.admit(&[account("acme")]).await.unwrap();

    let mut another = relay.own(&work()).await; // somebody works, as always
    relay.until_depth(&other_work(), 4).await;
    relay.store(&other_work(), events(5..7)).await;
    assert_eq!((relay.depth(&other_work()).await, relay.depth(&UNROUTED).await), (6, 0));
    let left = sum(&relay, |sum| sum.accepted == 7 && sum.delivered == 1).await;
    assert_eq!((left.waiting(), left.dead()), (6, 0), "{left}");
    nothing_comes(&mut another).await;
    another.release().await;

    relay.queue.admit(&[account("acme"), account("other")]).await.unwrap();

    relay.store(&other_work(), events(7..9)).await;
    let mut owned = relay.own(&other_work()).await;
    let taken = take(&mut owned, 8).await;
    assert_eq!(bodies(&taken), numbers(1..9));
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    let back = sum(&relay, |sum| sum.delivered == 9).await;
    assert_eq!(back.waiting(), 0, "{back}");
    relay.clean().await;
}

pub(crate) async fn accounts_that_come_and_go_at_once_leave_the_others_alone<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), crowd(0..5)).await;
    let mut owned = relay.own(&work()).await;
    let in_hand = take(&mut owned, 5).await;
    let all = ["acme", "other", "stranger"].map(account);
    for accounts in [&all[..1], &all, &all[1..], &all] {
        relay.queue.admit(accounts).await.unwrap();
    }

    for delivery in in_hand {
        delivery.settle(DELIVERED).await.unwrap();
    }

    relay.store(&work(), events(5..6)).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), numbers(5..6));
    owned.release().await;
    relay.clean().await;
}

/// Waits until everything that was counted is in the sum.
async fn sum<B: Backend>(relay: &B, wanted: impl Fn(&Conservation) -> bool) -> Conservation {
    let queue: &Arc<B::Queue> = &relay.queue;
    eventually("the sum", async || {
        // A look at the wrong moment can cost the connection it was made over.
        let sum = queue.conservation().await;
        sum.ok().filter(|sum| sum.difference() == 0 && wanted(sum))
    })
    .await
}
