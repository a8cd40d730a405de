//! What travels beside a body, and the body.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Death, Headers, Message, Place, Settle};

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{DELIVERED, INVALID, account, later, other_later, other_work, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::judges::{by, sweep};
use refersion_relay_queue_testkit::waiting::{take, take_one};

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + millis)
}

/// Every field has a value that no other field has.
fn full() -> Headers {
    Headers {
        message_id: "m".repeat(100),
        kind: "identify".to_owned(),
        account: Some(account("acme")),
        subject: Some("0123456789abcdef".to_owned()),
        received_at: at(1),
        attempts: 3,
        first_failed_at: Some(at(2)),
        due_at: Some(at(3)),
        generation: 4,
        create_only: true,
        vouched: true,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        death: None,
    }
}

fn death(class: Class) -> Death {
    Death {
        class,
        reason: "invalid_email".to_owned(),
        status: Some(422),
        error: Some("the e-mail address “…” is not one".to_owned()),
        dead_at: Some(at(4)),
    }
}

/// Nothing that need not have a value has one.
fn bare() -> Headers {
    Headers {
        message_id: String::new(),
        kind: String::new(),
        account: None,
        subject: None,
        received_at: at(0),
        attempts: 0,
        first_failed_at: None,
        due_at: None,
        generation: 0,
        create_only: false,
        vouched: false,
        traceparent: None,
        death: None,
    }
}

/// The extremes: nothing at all, everything, and numbers as large as they get.
fn all_kinds() -> Vec<Headers> {
    let large = Headers { attempts: u32::MAX, generation: u32::MAX, ..full() };
    vec![bare(), full(), large]
}

/// As they are taken from an account's work queue, which is what names the account.
fn of(name: &str, headers: Headers) -> Headers {
    Headers { account: Some(account(name)), ..headers }
}

fn message(headers: Headers) -> Message {
    Message { body: Bytes::from_static(b"{}"), headers }
}

pub(crate) async fn headers_survive_every_place<B: Backend>() {
    let relay = B::start().await;
    for place in [work(), later()] {
        for headers in all_kinds() {
            relay.store(&place, [message(headers)]).await;
        }
        let mut owned = relay.own(&work()).await;
        for headers in all_kinds() {
            let delivery = take_one(&mut owned).await;
            assert_eq!(delivery.message.headers, of("acme", headers), "{place:?}");
            delivery.settle(DELIVERED).await.unwrap();
        }
        owned.release().await;
    }
    for class in Class::ALL {
        let bare_death = Death { status: None, error: None, dead_at: None, ..death(class) };
        let dead = [Headers { death: Some(death(class)), ..full() }, Headers { death: Some(bare_death), ..bare() }];
        for headers in &dead {
            relay.store(&Place::Dead(class), [message(headers.clone())]).await;
        }
        let (_, letters) = relay.browse(class, EVERYTHING).await;
        let letters: Vec<_> = letters.into_iter().map(|letter| letter.message.headers).collect();
        assert_eq!(letters, dead, "{class}");
    }
    relay.clean().await;
}

pub(crate) async fn headers_survive_every_move<B: Backend>() {
    let relay = B::start().await;
    let dead = Headers { death: Some(death(Class::Invalid)), ..full() };
    relay.store(&work(), [message(full())]).await;
    let route =
        [("acme", later()), ("acme", other_work()), ("other", other_later()), ("other", work()), ("acme", INVALID)];
    for (from, to) in route {
        let mut owned = relay.own(&Place::Work(account(from))).await;
        let delivery = take_one(&mut owned).await;
        assert_eq!(delivery.message.headers, of(from, full()), "at {from}");
        assert_eq!(&delivery.message.body[..], b"{}");
        let headers = if to == INVALID { dead.clone() } else { delivery.message.headers.clone() };
        delivery.settle(Settle::Move(to, Box::new(headers))).await.unwrap();
        owned.release().await;
    }
    // A letter that stays.
    sweep(&*relay, 1, &mut by(|_| Action::Keep)).await;
    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    assert_eq!(letters[0].message.headers, dead);

    // A letter that moves to another class, and one that moves back.
    let other = Headers { death: Some(death(Class::Exhausted)), ..full() };
    sweep(
        &*relay,
        1,
        &mut by(|_| Action::Move {
            place: Place::Dead(Class::Exhausted),
            headers: Box::new(other.clone()),
            subject: 1,
        }),
    )
    .await;

    let (_, letters) = relay.browse(Class::Exhausted, EVERYTHING).await;
    assert_eq!(letters[0].message.headers, other);
    assert_eq!(&letters[0].message.body[..], b"{}");
    assert_eq!(relay.depth(&INVALID).await, 0);
    relay.clean().await;
}

pub(crate) async fn what_a_move_changes_is_changed_and_nothing_else<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), [message(full())]).await;
    let mut owned = relay.own(&work()).await;
    let changed = Headers { attempts: 7, first_failed_at: Some(at(9)), ..full() };

    take_one(&mut owned).await.settle(Settle::Move(work(), Box::new(changed.clone()))).await.unwrap();
    let again = take_one(&mut owned).await;
    assert_eq!(again.message.headers, changed);
    again.settle(Settle::Move(work(), Box::new(bare()))).await.unwrap();

    let last = take_one(&mut owned).await.message.headers;
    assert_eq!(last, of("acme", bare()), "nothing of what was there remains");
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn bodies_are_the_same_to_the_byte<B: Backend>() {
    let relay = B::start().await;
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let bodies = [
        Bytes::new(),
        Bytes::from_static(&[0xff, 0, 0xfe, b'\r', b'\n', 0]),
        Bytes::from(all_bytes.iter().copied().cycle().take(600 * 1024).collect::<Vec<u8>>()),
        Bytes::from_static(b" {\"a\" : 1e400}\n"),
    ];
    for body in &bodies {
        relay.store(&work(), [Message { body: body.clone(), headers: full() }]).await;
    }
    let mut owned = relay.own(&work()).await;
    for (delivery, body) in take(&mut owned, bodies.len()).await.into_iter().zip(&bodies) {
        assert!(delivery.message.body == *body, "{} bytes as they were published", body.len());
        let headers = Box::new(Headers { death: Some(death(Class::Invalid)), ..full() });
        delivery.settle(Settle::Move(INVALID, headers)).await.unwrap();
    }
    owned.release().await;
    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    for (letter, body) in letters.iter().zip(&bodies) {
        assert!(letter.message.body == *body, "{} bytes as a letter", body.len());
    }

    let mut judge = |letter: &refersion_relay_queue::Letter| Action::Move {
        place: other_work(),
        headers: Box::new(letter.message.headers.replayed()),
        subject: 1,
    };
    sweep(&*relay, 10, &mut Bytewise(&mut judge)).await;

    let mut owned = relay.own(&other_work()).await;
    for (delivery, body) in take(&mut owned, bodies.len()).await.into_iter().zip(&bodies) {
        assert!(delivery.message.body == *body, "{} bytes after the replay", body.len());
    }
    owned.release().await;
    relay.clean().await;
}

/// Decides without reading the body.
struct Bytewise<'a, F>(&'a mut F);

#[async_trait::async_trait]
impl<F: FnMut(&refersion_relay_queue::Letter) -> Action + Send> refersion_relay_queue::LetterVisitor
    for Bytewise<'_, F>
{
    fn begin(&mut self, _: u64) {}

    async fn judge(&mut self, letter: &refersion_relay_queue::Letter) -> Action {
        self.0(letter)
    }

    fn settled(&mut self, _: refersion_relay_queue::Fate) {}
}
