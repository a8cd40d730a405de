use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, shared_broker, with_id};

/// What must be nowhere: an address, names, a street, a phone number, an id that is an address, all keys, old and new.
const SECRETS: [&str; 12] = [
    "peter.secret@",
    "Petronius",
    "Gibbonius",
    "Elm Street",
    "5550199",
    "sec_1",
    "sec_new",
    "pub_1",
    "write_1",
    "write_new",
    "guest:guest",
    "secret%40",
];

const EVENT: &str = r#"{"type":"identify","messageId":"peter.secret@example.com","userId":"peter.secret",
    "traits":{"firstName":"Petronius","lastName":"Gibbonius","email":"peter.secret@example.com","phone":5550199,
    "address":{"street":"13 Elm Street"}}}"#;

/// Nobody can be made of it, though it says much.
const INCOMPLETE: &str = r#"{"type":"identify","messageId":"peter.secret@example.com","userId":"peter.secret",
    "traits":{"email":"peter.secret@example.com","company":"Petronius and Gibbonius","phone":5550199}}"#;

/// No JSON.
const BROKEN: &str = r#"{"type":"identify","messageId":"peter.secret@example.com","Petronius":Gibbonius"#;

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} has {secret:?}:\n{text}");
    }
}

#[tokio::test]
async fn no_log_metric_or_header_has_personal_data_or_a_key() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    // Every kind of end: retried, delivered, deactivated, rejected, refused at the door, held and released.
    refersion.fail(Operation::New, "", Some(1), Fault::Reset);
    assert_eq!(relay.post(1, EVENT).await.status, 202);
    assert_eq!(relay.post(1, delete("peter.secret@example.com")).await.status, 202);
    let taken = r#"{"errors":["peter.secret@example.com is not a allowed value for field email Petronius"]}"#;
    eventually("both have ended", || async { relay.metric("refersion_relay_worker_ended_total").await >= 2 }).await;
    refersion.fail(Operation::New, "", Some(1), Fault::status(422, Some(taken)));
    assert_eq!(relay.post(1, again(1)).await.status, 202);
    eventually("one is dead", || async { relay.metric("refersion_relay_worker_ended_total").await >= 3 }).await;
    let refused = relay.post(1, r#"{"type":"identify","traits":{"email":"peter.secret@example.com"}}"#).await;
    assert_eq!(refused.status, 400);
    let unauthorized = relay.try_post("pub_1.sec_wrong", EVENT.as_bytes().to_vec()).await.expect("an answer");
    refersion.simulator.set_keys_valid("pub_1", false);
    assert_eq!(relay.post(1, again(2)).await.status, 202);
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("it is held", || async { relay.metric(held).await > 0 }).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("it is delivered", || async { relay.metric("refersion_relay_worker_ended_total").await >= 4 }).await;

    assert!(relay.log().contains("DEBUG"), "the log is at debug level");
    assert_clean("the log", &relay.log());
    assert_clean("the metrics", &relay.ops("/metrics").await.expect("metrics").1);
    assert_clean("an answer", &refused.body);
    assert_clean("an answer", &unauthorized.body);
    for command in [&["dlq", "list", "--json"][..], &["dlq", "list"], &["check"], &["check", "--json"]] {
        let output = config.command(command).await;
        assert_clean(&command.join(" "), &format!("{}{}", output.stdout, output.stderr));
    }
    assert_clean("the headers of a dead letter", &headers_of_a_dead_letter(&config.prefix, "rejected").await);
}

#[tokio::test]
async fn no_other_door_and_no_reload_tells_personal_data_or_a_key() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let connection = Connection::connect(&shared_broker(), ConnectionProperties::default()).await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    // By each way one that is good, one that is incomplete, and one that cannot be read.
    let batch = format!(r#"{{"batch":[{EVENT},{INCOMPLETE}]}}"#);
    let mut answers = vec![relay.post_batch("write_1", batch).await];
    answers.push(relay.post_batch("write_1", format!(r#"{{"batch":[{EVENT},"#)).await);
    answers.push(relay.post_batch("write_1x", EVENT).await);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 400, 401]);
    let exchange = format!("{}.intake.acme", config.prefix);
    for body in [&again(1)[..], INCOMPLETE.as_bytes(), BROKEN.as_bytes()] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let properties = properties.with_message_id("peter.secret@example.com".into());
        channel.basic_publish(exchange.as_str().into(), "".into(), options, body, properties).await.expect("sent");
    }
    let lines = [&again(2)[..], INCOMPLETE.replace('\n', "").as_bytes(), BROKEN.as_bytes()].join(&b'\n');
    let enqueue = ["enqueue", "-", "--account", "acme"];
    let enqueued = config.command_with_input(&enqueue, &lines).await;
    assert_eq!(enqueued.code, Some(1), "{enqueued:?}");
    config.edit("write_key = \"write_1\"", "write_key = \"write_new\" oops");
    eventually("a mistake is said", || async { relay.log().contains("was not reloaded") }).await;
    config.edit("write_key = \"write_new\" oops", "write_key = \"write_new\"");
    config.edit("secret_key = \"sec_1\"", "secret_key = \"sec_new\"");
    eventually("the new keys are taken", || async { relay.log().contains("the account has changed") }).await;
    eventually("the good ones end", || async { relay.metric("refersion_relay_worker_ended_total").await >= 3 }).await;
    eventually("the bad ones are dead", || async { config.dead_letters().await.len() >= 3 }).await;

    assert_clean("the log", &relay.log());
    assert_clean("the metrics", &relay.ops("/metrics").await.expect("metrics").1);
    for answer in &answers {
        assert_clean("an answer", &answer.body);
    }
    assert_clean("enqueue", &format!("{}{}", enqueued.stdout, enqueued.stderr));
    for command in [&["dlq", "list", "--json"][..], &["dlq", "stats"], &["dlq", "replay", "--class", "invalid"]] {
        let output = config.command(command).await;
        assert_clean(&command.join(" "), &format!("{}{}", output.stdout, output.stderr));
    }
    for class in ["invalid", "malformed"] {
        assert_clean("the headers of a dead letter", &headers_of_a_dead_letter(&config.prefix, class).await);
    }
    connection.close(200, "done".into()).await.expect("closed");
}

/// The event once more, under an id that is as personal.
fn again(n: u8) -> Vec<u8> {
    with_id(EVENT.as_bytes(), &format!("peter.secret{n}@example.com"))
}

async fn headers_of_a_dead_letter(prefix: &str, class: &str) -> String {
    let connection = Connection::connect(&shared_broker(), ConnectionProperties::default()).await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    let queue = format!("{prefix}.dead.{class}");
    let letter = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.expect("a queue");
    let letter = letter.expect("a dead letter");
    let shown = format!("{:?}", letter.delivery.properties);
    assert!(
        String::from_utf8_lossy(&letter.delivery.data).contains("Petronius"),
        "the body is the event as it was sent"
    );
    let has_hashed_id = class == "malformed" || shown.contains("hashed-");
    assert!(shown.contains("x-relay-account") && has_hashed_id, "{shown}");
    channel.close(200, "done".into()).await.expect("closed");
    connection.close(200, "done".into()).await.expect("closed");
    shown
}
