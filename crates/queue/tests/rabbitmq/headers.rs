//! What travels beside a body, seen raw.

use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{Headers, Place, Settle};

use refersion_relay_queue_testkit::admin::{header_names, number};
use refersion_relay_queue_testkit::events::{body, event, later, other_work, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{take, take_one};

#[tokio::test]
async fn our_headers_survive_tiers_and_moves_and_those_of_the_broker_stay_behind() {
    let relay = Relay::start().await;
    let mut message = event("one", "body");
    message.headers.generation = 2;
    relay.store(&work(), [message]).await;
    let first_failed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    for trip in 1..=2 {
        let mut owned = relay.own(&work()).await;
        let delivery = take(&mut owned, 1).await.remove(0);
        assert_eq!(delivery.message.headers.attempts, trip - 1);
        let headers =
            Headers { attempts: trip, first_failed_at: Some(first_failed_at), ..delivery.message.headers.clone() };
        delivery.settle(Settle::Move(later(), Box::new(headers))).await.unwrap();
        owned.release().await;
        let raw = relay.admin.peek(&relay.work_queue("acme")).await;
        assert!(header_names(&raw).contains(&"x-death".to_owned()), "the broker says that it expired");
        assert_eq!(number(&raw, "x-relay-attempts"), Some(trip.into()));
    }
    let mut owned = relay.own(&work()).await;
    let delivery = take(&mut owned, 1).await.remove(0);
    let headers = delivery.message.headers.clone();
    assert_eq!((headers.attempts, headers.generation), (2, 2));
    assert_eq!(headers.first_failed_at, Some(first_failed_at));

    delivery.settle(Settle::Move(other_work(), Box::new(headers))).await.unwrap();

    let raw = relay.admin.peek(&relay.work_queue("other")).await;
    let strange: Vec<_> = header_names(&raw).into_iter().filter(|name| !name.starts_with("x-relay-")).collect();
    assert_eq!(strange, [""; 0]);
    assert_eq!(number(&raw, "x-relay-attempts"), Some(2));
    assert_eq!(number(&raw, "x-relay-generation"), Some(2));
    assert_eq!(raw.expiration(), &None);
    assert_eq!(raw.delivery_mode(), &Some(2));
    assert_eq!(raw.message_id().as_ref().map(ShortString::as_str), Some("body"));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_a_stranger_publishes_is_read_with_suspicion_and_moves_on_without_its_additions() {
    let relay = Relay::start().await;
    let mut table = FieldTable::default();
    table.insert("x-relay-attempts".into(), AMQPValue::LongString("many".into()));
    table.insert("x-relay-account".into(), AMQPValue::LongString("../etc".into()));
    table.insert("CC".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("other".into())].into()));
    table.insert("x-stranger".into(), AMQPValue::Boolean(true));
    let properties = BasicProperties::default().with_headers(table).with_expiration("3600000".into());
    relay.admin.publish(&relay.name("intake.acme"), "", &[0xff, 0], properties).await;
    let mut owned = relay.own(&Place::Intake).await;

    let delivery = take(&mut owned, 1).await.remove(0);

    assert_eq!(&delivery.message.body[..], [0xff, 0]);
    let headers = delivery.message.headers.clone();
    assert_eq!((headers.account.as_ref().map(AccountName::as_str), headers.attempts), (Some("acme"), 0));
    delivery.settle(Settle::Move(Place::Dead(Class::Malformed), Box::new(headers))).await.unwrap();
    let raw = relay.admin.peek(&relay.name("dead.malformed")).await;
    assert!(header_names(&raw).iter().all(|name| name.starts_with("x-relay-")), "{:?}", header_names(&raw));
    assert_eq!(raw.expiration(), &None);
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn what_the_broker_gave_up_on_at_the_intake_is_nobodys_whatever_it_claims() {
    let relay = Relay::start().await;
    let mut table = FieldTable::default();
    let text = |value: &str| AMQPValue::LongString(value.into());
    table.insert("x-relay-account".into(), text("victim"));
    table.insert("x-relay-reason".into(), text("ceo@example.com"));
    table.insert("x-first-death-exchange".into(), text(&relay.name("intake.victim")));
    table.insert("x-first-death-queue".into(), text(&relay.work_queue("acme")));
    // With this the broker believes that it has written the first death down already.
    table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(FieldTable::default())].into()));
    let forged = || BasicProperties::default().with_headers(table.clone());

    relay.admin.publish(&relay.name("intake.acme"), "", b"expires", forged().with_expiration("1".into())).await;
    relay.until_depth(&Place::Dead(Class::Poison), 1).await;
    relay.admin.unbind(&relay.name("intake"), &relay.name("intake.acme"), "").await;
    relay.admin.publish(&relay.name("intake.acme"), "", b"no queue", forged()).await;
    relay.until_depth(&Place::Dead(Class::Unrouted), 1).await;

    let (_, poison) = relay.browse(Class::Poison, EVERYTHING).await;
    let death = poison[0].message.headers.death.clone().unwrap();
    assert_eq!((poison[0].message.headers.account.clone(), death.reason.as_str()), (None, "expired"));
    let age = SystemTime::now().duration_since(death.dead_at.unwrap()).unwrap_or_default();
    assert!(age < Duration::from_mins(5), "the broker said when: {age:?}");
    let (_, unrouted) = relay.browse(Class::Unrouted, EVERYTHING).await;
    let headers = &unrouted[0].message.headers;
    let death = headers.death.as_ref().unwrap();
    assert_eq!((headers.account.as_ref().map(AccountName::as_str), death.reason.as_str()), (Some("acme"), "no_queue"));
    assert_eq!(death.dead_at, None, "nobody said when");
    let (_, again) = relay.browse(Class::Unrouted, EVERYTHING).await;
    assert_eq!(again[0].id, unrouted[0].id, "a letter keeps its id");
    relay.clean().await;
}

#[tokio::test]
async fn headers_of_strangers_that_fill_a_frame_of_the_broker_disturb_nobody() {
    let relay = Relay::start().await;
    let mut table = FieldTable::default();
    table.insert("x-large".into(), AMQPValue::LongString("x".repeat(100 * 1024).into()));
    let large = BasicProperties::default().with_headers(table);
    relay.admin.publish(&relay.name("intake.acme"), "", b"to the intake", large.clone()).await;
    relay.admin.publish("", &relay.work_queue("acme"), b"to the work queue", large.clone()).await;
    relay.admin.publish("", &relay.name("dead.rejected"), b"to the dead", large).await;

    let mut intake = relay.own(&Place::Intake).await;
    let mut owned = relay.own(&work()).await;
    let (first, second) = (take_one(&mut intake).await, take_one(&mut owned).await);
    assert_eq!(
        (body(&first.message), body(&second.message)),
        ("to the intake".to_owned(), "to the work queue".to_owned())
    );
    for delivery in [first, second] {
        let headers = Box::new(delivery.message.headers.clone());
        delivery.settle(Settle::Move(other_work(), headers)).await.unwrap();
    }
    let (_, letters) = relay.browse(Class::Rejected, EVERYTHING).await;
    assert_eq!(letters.iter().map(|letter| body(&letter.message)).collect::<Vec<_>>(), ["to the dead"]);
    let mut moved = relay.own(&other_work()).await;
    assert_eq!(take(&mut moved, 2).await.len(), 2);
    assert!(!intake.ended().is_cancelled() && !owned.ended().is_cancelled());

    intake.release().await;
    owned.release().await;
    moved.release().await;
    relay.clean().await;
}
