//! What somebody can do to the doors who means no good, and what honest senders notice of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::join_all;
use refersion_relay_tests::{Config, Refersion, Relay, eventually, gzip, http_client, identify, program};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;
/// `write_1`, as the user of Basic authentication.
const WRITE_KEY: (&str, &str) = ("authorization", "Basic d3JpdGVfMTo=");

/// With 64 MiB for bodies: those, as much once more that was given back and is kept by the allocator, and the program itself.
const PEAK_MIB: u64 = 2 * 64 + 96;
/// What is lent to bodies.
const IN_USE: &str = "refersion_relay_ingest_body_bytes";

/// Two accounts as always; the first takes webhooks without a signature, so that nothing stands before its door.
fn config(refersion: &Refersion, lines: &str) -> Config {
    let config = Config::embedded(refersion.url(), &[("ingest", lines), ("log", "")]);
    config.edit("name = \"acme\"\n", "name = \"acme\"\nwebhook_unsigned = true\n");
    config.edit("filter = \"debug\"", "filter = \"info\"");
    config
}

/// Sends the head of a request byte by byte, or the body of one that will never be whole, again and again.
async fn dribble(door: SocketAddr, head: &'static str) {
    let (head, tail) = head.split_once('~').expect("a place where it becomes slow");
    loop {
        let Ok(mut stream) = TcpStream::connect(door).await else { continue };
        let mut fine = stream.write_all(head.as_bytes()).await.is_ok();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for byte in tail.bytes().cycle() {
            ticks.tick().await;
            fine &= stream.write_all(&[byte]).await.is_ok();
            if !fine {
                break;
            }
        }
    }
}

const SLOW_HEADERS: &str = "POST /v1/batch HTTP/1.1\r\nhost: relay\r\n~x-a: b\r\n";
const SLOW_BODY: &str = "POST /v1/batch HTTP/1.1\r\nhost: relay\r\ncontent-length: 1000000\r\n\r\n~{\"batch\":[";

#[tokio::test]
async fn connections_to_metrics_and_health_use_up_no_files_of_the_doors() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, "max_connections = 20");
    // A limit that cannot be raised, so that few connections would be enough.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 400 && exec \"$@\"", "sh"]).arg(program());
    command.arg("--config").arg(config.path()).arg("ingest");
    let relay = Relay::launch_as(command);
    relay.until_ready().await;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", relay.pid())).expect("it runs").count();
    let before = files();
    let mut attackers = JoinSet::new();
    for _ in 0..350 {
        attackers.spawn(dribble(relay.ops_door(), SLOW_HEADERS));
    }
    eventually("as many as may be are there", || async { before + 60 <= files() }).await;

    for number in 0..20 {
        assert_eq!(relay.post(1, identify(&format!("jo-{number}@example.com"))).await.status, 202);
        let files = files();
        // Those that make room are closed a moment later, and as many attackers come back at once.
        assert!(files < before + 64 + 150, "{files} files, and {before} before");
    }
    eventually("who asks now and then is answered as well", || relay.is_ready()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_slow_connections_hinder_nobody_else() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, "");
    let relay = Relay::start("ingest", &config).await;
    let mut attackers = JoinSet::new();
    for _ in 0..250 {
        attackers.spawn(dribble(relay.door(), SLOW_HEADERS));
        attackers.spawn(dribble(relay.door(), SLOW_BODY));
    }
    let open = "refersion_relay_ingest_connections";
    eventually("all are there", || async { 450 <= relay.metric(open).await }).await;

    let elsewhere: IpAddr = [127, 0, 0, 2].into();
    let honest = http_client().local_address(elsewhere).build().expect("a client");
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let url = format!("http://{}/v1/destination", relay.door());
        let event = identify(&format!("honest{n}@example.com"));
        let began = Instant::now();
        let answer = honest.post(url).basic_auth("pub_1.sec_1", Some("")).body(event).send().await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(answer.expect("an answer").status().as_u16(), 202);
    }
    let peak = relay.peak_mib();
    println!("500 slow connections: slowest honest answer {slowest:?}, peak {peak} MiB");
    assert!(peak < 128, "{peak} MiB");
    attackers.shutdown().await;
}

/// Gzip of zeros that nobody has ever had in one piece: the same packed MiB, so many times.
fn bomb(mib: usize) -> Vec<u8> {
    let zeros = vec![0; MIB];
    let mut deflate = Compress::new(Compression::best(), false);
    let mut pack = || {
        let mut packed = Vec::with_capacity(64 * 1024);
        deflate.compress_vec(&zeros, &mut packed, FlushCompress::Full).expect("it packs");
        packed
    };
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let one = pack();
    [header.as_slice(), &one.repeat(mib)].concat()
}

#[tokio::test]
async fn a_small_body_that_would_unpack_to_ten_gigabytes_is_too_large() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, "max_body_memory = \"64 MiB\"");
    let relay = Relay::start("ingest", &config).await;
    let ten_gigabytes = bomb(10_000);
    assert!(ten_gigabytes.len() < 16 * MIB, "{}", ten_gigabytes.len());
    let for_batches = ten_gigabytes[..4 * MIB].to_vec();
    // Further members make a body longer than one decoder would see.
    let member = gzip(&vec![b' '; 8 * MIB]);
    let members = member.repeat(50);
    let bombs = [
        ("/v1/webhook/acme", ("x-none", ""), ten_gigabytes, 400),
        ("/v1/webhook/acme", ("x-none", ""), members.clone(), 400),
        ("/v1/batch", WRITE_KEY, for_batches.clone(), 400),
        ("/v1/batch", WRITE_KEY, members.clone(), 400),
        ("/v1/identify", WRITE_KEY, members[..members.len().min(MIB / 2)].to_vec(), 400),
        ("/v1/destination", ("authorization", "Basic cHViXzEuc2VjXzE6"), for_batches, 413),
    ];
    let mut slowest = Duration::ZERO;
    for (path, header, bomb, status) in &bombs {
        let began = Instant::now();
        let answer = relay.request("POST", path, &[*header, ("content-encoding", "gzip")], bomb.clone()).await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(answer.status, *status, "{path} {answer:?}");
        assert!(answer.message().contains("larger than"), "{path} {answer:?}");
    }
    // All at once: refused all the same, for their size or for want of memory.
    let all = bombs.iter().cycle().take(24).map(|(path, header, bomb, status)| {
        let (relay, headers) = (&relay, [*header, ("content-encoding", "gzip")]);
        async move {
            let answer = relay.request("POST", path, &headers, bomb.clone()).await;
            assert!([*status, 503].contains(&answer.status), "{path} {answer:?}");
        }
    });
    join_all(all).await;

    assert_eq!(relay.post(1, identify("after@example.com")).await.status, 202);
    let peak = relay.peak_mib();
    println!("bombs: slowest refusal {slowest:?}, peak {peak} MiB");
    assert!(peak < PEAK_MIB, "{peak} MiB");
}

/// So deep that whoever follows it falls.
fn deep(levels: usize) -> String {
    format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn a_body_of_a_million_levels_is_refused_or_a_dead_letter_at_every_door() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, "");
    let relay = Relay::start("run", &config).await;
    let keys = ("authorization", "Basic cHViXzEuc2VjXzE6");
    let mut dead = 0;
    // The second is small enough to be an event.
    for levels in [1_000_000, 200_000] {
        let event = format!(r#"{{"type":"identify","writeKey":"write_1","traits":{}}}"#, deep(levels));
        let batch = format!(r#"{{"writeKey":"write_1","batch":[{event}]}}"#);
        let objects = format!("{}1{}", "{\"a\":".repeat(levels / 2), "}".repeat(levels / 2));
        for body in [&event, &batch, &deep(levels), &objects] {
            for (path, header) in [
                ("/v1/destination", keys),
                ("/v1/identify", WRITE_KEY),
                ("/v1/batch", WRITE_KEY),
                ("/v1/webhook/acme", keys),
            ] {
                let answer = relay.request("POST", path, &[header], body.clone()).await;
                let counted = relay.metric(r#"refersion_relay_events_accepted_total{door="webhook"}"#).await
                    + relay.metric(r#"refersion_relay_events_accepted_total{door="tracking"}"#).await
                    + relay.metric(r#"refersion_relay_events_accepted_total{door="destination"}"#).await;
                let is_new = dead < counted;
                dead = counted;
                let is_refused = (400..500).contains(&answer.status);
                assert!(is_refused || is_new || answer.status == 202, "{path} {}", answer.status);
                assert_ne!(answer.status, 500, "{path}");
            }
        }
    }
    let data = STANDARD.encode(format!(r#"{{"writeKey":"write_1","traits":{}}}"#, deep(20_000)));
    let answer = relay.request("GET", &format!("/v1/pixel/identify?data={data}"), &[], "").await;
    assert!((400..500).contains(&answer.status), "{answer:?}");

    assert_eq!(relay.post(1, identify("after@example.com")).await.status, 202);
    eventually("it is delivered", || async { refersion.with_email("after@example.com").len() == 1 }).await;
    let letters = config.dead_letters().await;
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter["class"] == "malformed"), "{letters:?}");
}

/// A batch of almost 4 MiB, of events that are nothing to Refersion but a dead letter each.
fn large_batch(number: usize) -> String {
    let filler = "x".repeat(400 * 1024);
    let event = |n: usize| json!({"type": "identify", "messageId": format!("{number}-{n}"), "email": "a@example.com", "filler": filler});
    json!({"batch": (0..10).map(event).collect::<Vec<_>>()}).to_string()
}

/// Sends a batch as a library does: again after a while, until it is taken. Returns how often it was to be sent again.
async fn until_taken(relay: &Relay, sender: &reqwest::Client, number: usize) -> usize {
    let (url, body) = (format!("http://{}/v1/batch", relay.door()), large_batch(number));
    let mut refused = 0;
    loop {
        let answer = sender.post(&url).basic_auth("write_1", Some("")).body(body.clone()).send().await;
        match answer.map(|answer| (answer.status().as_u16(), answer.headers().contains_key("retry-after"))) {
            Ok((200, _)) => return refused,
            Ok((503, true)) => refused += 1,
            // On a machine with much to do a body may take longer than it may, and its connection is closed then.
            Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
        eventually("there is room", || async { relay.metric(IN_USE).await < 40 << 20 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_beyond_the_memory_are_to_be_sent_again_and_all_are_stored_in_the_end() {
    const BATCHES: usize = 16;
    let refersion = Refersion::start().await;
    let config = config(&refersion, "max_body_memory = \"64 MiB\"");
    let relay = Relay::start("ingest", &config).await;
    let batches: Vec<_> = (0..3).map(large_batch).collect();
    // As much as there is, promised and not sent.
    let mut promised = Vec::new();
    for _ in 0..14 {
        let mut stream = TcpStream::connect(relay.door()).await.expect("the door is open");
        let (name, value) = WRITE_KEY;
        let head =
            format!("POST /v1/batch HTTP/1.1\r\nhost: relay\r\n{name}: {value}\r\ncontent-length: {}\r\n\r\n", 4 * MIB);
        stream.write_all(head.as_bytes()).await.expect("sent");
        promised.push(stream);
    }
    eventually("all of it is lent", || async { relay.metric(IN_USE).await == 14 * 4 * MIB as u64 }).await;
    let all = batches.into_iter().map(|batch| relay.request("POST", "/v1/batch", &[WRITE_KEY], batch));
    for answer in join_all(all).await {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    }
    let answer = relay.post(2, identify("small@example.com")).await;
    assert_eq!(answer.status, 202, "a small event is taken meanwhile: {answer:?}");
    let busy = r#"refersion_relay_events_refused_total{door="tracking",reason="busy"}"#;
    assert_eq!(relay.metric(busy).await, 3);
    drop(promised);

    let began = Instant::now();
    let sender = http_client().build().expect("a client");
    let refused = join_all((0..BATCHES).map(|number| until_taken(&relay, &sender, number))).await;
    let accepted = relay.metric(r#"refersion_relay_events_accepted_total{door="tracking"}"#).await;
    assert!(BATCHES as u64 * 10 <= accepted, "{accepted}");
    let (refused, peak): (usize, _) = (refused.iter().sum(), relay.peak_mib());
    println!("{BATCHES} batches of 4 MiB: {refused} sent again, {:?}, peak {peak} MiB", began.elapsed());
    assert!(peak < PEAK_MIB, "{peak} MiB");
    eventually("everything is given back", || async { relay.metric(IN_USE).await == 0 }).await;
}
