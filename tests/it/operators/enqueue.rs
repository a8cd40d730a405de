use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_tests::{
    Admin, Config, Output, Refersion, Relay, delete, eventually, gzip, identify, shared_broker,
};
use serde_json::Value;
use tempfile::TempDir;

/// So many identifies of different people, a line each.
fn events(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| [identify(&format!("person{n}@example.com")), b"\n".to_vec()].concat()).collect()
}

/// A file in a folder of its own.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("events");
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

/// What a command printed as JSON.
#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("one JSON document: {output:?}"))
}

/// How far a command says the file is durable: the last thing it said about it.
fn durable(said: &str) -> u64 {
    let (_, rest) = said.rsplit_once("durable up to line ").expect("it says so");
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

#[tokio::test]
async fn events_of_a_file_are_worked_and_bad_lines_are_named_and_kept() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("worker", &config).await;
    let too_long = format!(r#"{{"type":"identify","note":"{}"}}"#, "x".repeat(600 * 1024));
    let lines = [
        identify("first@example.com"),
        b"{\"type\":\"identify\", oops".to_vec(),
        Vec::new(),
        br#"{"type":"track","event":"x"}"#.to_vec(),
        too_long.clone().into_bytes(),
        br#"{"type":"identify","traits":{"email":"noname@example.com"}}"#.to_vec(),
        b"\xff\xfe".to_vec(),
        delete("first@example.com"),
        identify("last@example.com"),
    ];
    let (folder, path) = file(&lines.join(&b'\n'));
    let rejects = folder.path().join("rejects");
    let (path, rejects_path) = (path.to_str().expect("UTF-8"), rejects.to_str().expect("UTF-8"));

    let enqueue = ["enqueue", path, "--account", "acme", "--rejects", rejects_path, "--json"];
    let output = config.command(&enqueue).await;

    assert_eq!(output.code, Some(1), "{output:?}");
    for named in ["line 2: not valid JSON", "line 5: an event has at most 512 KiB", "line 7: not valid JSON"] {
        assert!(output.stderr.contains(named), "{named}: {}", output.stderr);
    }
    assert!(!output.stderr.contains("example.com") && !output.stdout.contains("example.com"), "{output:?}");
    let done = json(&output);
    let tally = &done["tally"];
    let numbers = ["durable", "stored", "incomplete", "bad", "blank"].map(|key| tally[key].as_u64().expect(key));
    assert_eq!((numbers, &tally["ignored"]["unsupported_type"]), ([9, 4, 1, 3, 1], &Value::from(1)), "{done}");
    let kept: Vec<_> = std::fs::read(&rejects).expect("kept").split(|c| *c == b'\n').map(<[u8]>::to_vec).collect();
    let expected = [lines[1].clone(), lines[4].clone(), lines[6].clone(), Vec::new()];
    assert!(kept == expected, "bad lines are kept as they are, in their order");
    eventually("all are worked", || async { relay.metric("refersion_relay_worker_ended_total").await >= 3 }).await;
    assert_eq!(refersion.statuses("first@example.com"), ["DISABLED"]);
    assert_eq!(refersion.statuses("last@example.com"), ["PENDING"]);
    let letters = config.dead_letters().await;
    assert_eq!((letters.len(), letters[0]["class"].as_str()), (1, Some("invalid")));
}

#[tokio::test]
async fn packed_files_and_standard_input_are_read_too() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let (_folder, packed) = file(&gzip(&events(300)));

    let from_file = config.command(&["enqueue", packed.to_str().expect("UTF-8"), "--account", "acme"]).await;
    let plain = config.command_with_input(&["enqueue", "-", "--account", "other"], &events(200)).await;
    let from_pipe = config.command_with_input(&["enqueue", "-", "--account", "other"], &gzip(&events(100))).await;

    for (output, count) in [(&from_file, 300), (&plain, 200), (&from_pipe, 100)] {
        assert_eq!((output.code, durable(&output.stderr)), (Some(0), count), "{output:?}");
    }
    assert_eq!(admin.drain_work().await.values().sum::<usize>(), 600);
}

#[tokio::test]
async fn an_interrupted_file_goes_on_where_it_said_and_no_event_is_there_twice() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let (_folder, path) = file(&gzip(&events(20_000)));
    let path = path.to_str().expect("UTF-8");

    let mut skip = 0;
    for _ in 0..2 {
        let queued = admin.replayed().await;
        let running = config.begin(&["enqueue", path, "--account", "acme", "--skip", &skip.to_string()]);
        eventually("some are there", || async { admin.replayed().await > queued }).await;
        running.signal("INT").await;
        let output = running.output().await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(skip < durable(&output.stderr) && durable(&output.stderr) < 20_000, "{output:?}");
        skip = durable(&output.stderr);
        assert!(output.stderr.contains(&format!("--skip {skip}")), "{output:?}");
    }
    let output = config.command(&["enqueue", path, "--account", "acme", "--skip", &skip.to_string()]).await;

    assert_eq!((output.code, durable(&output.stderr)), (Some(0), 20_000), "{output:?}");
    let queued = admin.drain_work().await;
    assert_eq!((queued.len(), queued.values().max()), (20_000, Some(&1)), "each once");
    let beyond = config.command(&["enqueue", path, "--account", "acme", "--skip", "20001"]).await;
    assert!(beyond.code == Some(1) && beyond.stderr.contains("20000 lines"), "{beyond:?}");
}

#[tokio::test]
async fn a_bad_line_is_kept_once_however_often_the_file_is_interrupted() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let bad = [b"oops\n".to_vec(), vec![b'x'; 600 * 1024], b"\noops again\n".to_vec()].concat();
    let (folder, path) = file(&[events(10), bad.clone(), events(1)].concat());
    let rejects = folder.path().join("rejects");
    let (path, rejects_path) = (path.to_str().expect("UTF-8"), rejects.to_str().expect("UTF-8"));
    let enqueue = ["enqueue", path, "--account", "acme", "--rejects", rejects_path];

    // One line at a time, while the next ones are read already.
    let running = config.begin(&[&enqueue[..], &["--rate", "1"]].concat());
    eventually("one is there", || async { 0 < admin.replayed().await }).await;
    running.signal("INT").await;
    let output = running.output().await;
    let skip = durable(&output.stderr);
    assert!((1..=10).contains(&skip), "{output:?}");
    assert_eq!(std::fs::read(&rejects).expect("there").len(), 0, "nothing was dealt with that is bad");
    let output = config.command(&[&enqueue[..], &["--skip", &skip.to_string()]].concat()).await;

    assert_eq!((output.code, durable(&output.stderr)), (Some(1), 14), "{output:?}");
    assert!(std::fs::read(&rejects).expect("there") == bad, "each once, and whole");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let begin = Instant::now();

    let input = events(120);
    let output = config.command_with_input(&["enqueue", "-", "--account", "acme", "--rate", "100"], &input).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(begin.elapsed() >= Duration::from_millis(1_100), "it took {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_rate_is_kept_after_a_pause_too() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
    assert!(made.success());
    let path = path.to_str().expect("UTF-8").to_owned();
    let running = config.begin(&["enqueue", &path, "--account", "acme", "--rate", "100"]);
    let opening = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(path));
    let mut pipe = opening.await.expect("no panic").expect("it is read");
    pipe.write_all(&events(10)).expect("it is read");
    eventually("they are there", || async { 0 < admin.replayed().await }).await;
    let idle = Instant::now();
    eventually("the pause is over", || async { Duration::from_secs(2) < idle.elapsed() }).await;

    let begin = Instant::now();
    pipe.write_all(&events(120)).expect("it is read");
    drop(pipe);
    let output = running.output().await;

    assert_eq!((output.code, durable(&output.stderr)), (Some(0), 130), "{output:?}");
    assert!(begin.elapsed() >= Duration::from_millis(1_050), "120 events took {:?}", begin.elapsed());
}

#[tokio::test]
async fn whose_the_events_are_has_to_be_clear() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let cases: [(&[&str], i32, &str); 5] = [
        (&["enqueue", "-"], 2, "--account"),
        (&["enqueue", "-", "--account", "nobody"], 2, "acme, other"),
        (&["enqueue", "-", "--account", "acme", "--rate", "0"], 2, "--rate"),
        (&["enqueue", "/nowhere/at/all", "--account", "acme"], 1, "/nowhere/at/all"),
        (&["enqueue", "/", "--account", "acme"], 1, "directory"),
    ];
    for (arguments, code, part) in cases {
        let output = config.command(arguments).await;
        assert_eq!(output.code, Some(code), "{arguments:?}: {output:?}");
        let is_one_line = output.stderr.lines().count() == 1 || output.stderr.starts_with("error: "); // clap says more
        assert!(is_one_line && output.stderr.contains(part), "{output:?}");
    }
}

#[tokio::test]
async fn a_broker_that_goes_away_is_waited_for_own_node() {
    let (mut broker, refersion) = (PrivateBroker::start().await.expect("a broker"), Refersion::start().await);
    let config = Config::new(&broker.url(), refersion.url(), &[("queue", "confirm_timeout = \"1s\"")]);
    let admin = Admin::of(&broker.url(), &config).await;
    let (_folder, path) = file(&events(12_000));
    let running = config.begin(&["enqueue", path.to_str().expect("UTF-8"), "--account", "acme"]);
    eventually("some are there", || async { admin.replayed().await > 0 }).await;

    broker.kill().await;
    broker.restart().await.expect("it starts again");

    let output = running.output().await;
    assert_eq!((output.code, durable(&output.stderr)), (Some(0), 12_000), "{output:?}");
    for (said, part) in [("the queue is away", "durable up to line"), ("the queue is up", "going on")] {
        let lines: Vec<_> = output.stderr.lines().filter(|line| line.contains(said)).collect();
        assert!(lines.len() == 1 && lines[0].contains(part), "{said}: {output:?}");
    }
    let admin = Admin::of(&broker.url(), &config).await;
    assert_eq!(admin.drain_work().await.len(), 12_000, "every one is there, if some twice");
}

#[tokio::test]
async fn an_interrupted_run_counts_exactly_the_lines_that_need_not_be_repeated() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    let pair =
        |n| [identify(&format!("person{n}@example.com")), br#"{"type":"track"}"#.to_vec(), Vec::new()].join(&b'\n');
    let (_folder, path) = file(&(0..1_000).flat_map(pair).collect::<Vec<_>>());
    // Two lines are published together, and most of the time it waits for its next turn.
    let arguments = ["enqueue", path.to_str().expect("UTF-8"), "--account", "acme", "--rate", "20", "--json"];
    let running = config.begin(&arguments);
    eventually("some are there", || async { admin.replayed().await > 2 }).await;

    running.signal("INT").await;

    let output = running.output().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let done = json(&output);
    let count = |key: &str| done["tally"][key].as_u64().expect("a number");
    let ignored = done["tally"]["ignored"]["unsupported_type"].as_u64().unwrap_or(0);
    assert_eq!(count("durable"), count("stored") + ignored, "{done}");
    assert!(done["complete"] == false && 0 < ignored, "{done}");
}

/// What an embedded queue has stored of a file, and what the command said.
async fn stored(config: &Config, bytes: &[u8], more: &[&str]) -> (u64, Output) {
    let before = config.ledger().await["accepted"].as_u64().expect("a number");
    let (_folder, path) = file(bytes);
    let arguments = ["enqueue", path.to_str().expect("UTF-8"), "--account", "acme"];
    let output = config.command(&[&arguments, more].concat()).await;
    (config.ledger().await["accepted"].as_u64().expect("a number") - before, output)
}

#[tokio::test]
async fn what_was_read_before_a_fault_is_stored_and_where_to_go_on_is_said() {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let (one, other) = (gzip(&events(2)), gzip(&events(3)));

    let (padded, output) = stored(&config, &[&one[..], &[0; 700], &other, &[0; 512]].concat(), &[]).await;
    assert_eq!((padded, output.code, durable(&output.stderr)), (5, Some(0), 5), "{output:?}");

    let followed = [&one[..], b"no gzip"].concat();
    let cut_off = [&one[..], &other[..other.len() - 9]].concat();
    let in_the_middle = [events(2), identify("third@example.com")[..20].to_vec()].concat();
    for (bytes, least, part) in [(followed, 2, "no gzip data"), (cut_off, 2, "cut off"), (in_the_middle, 2, "middle")] {
        let (there, output) = stored(&config, &bytes, &[]).await;
        assert!(least <= there && durable(&output.stderr) == there, "{output:?}");
        assert_eq!(output.code, Some(1), "{output:?}");
        for part in [part, &format!("beyond line {there}: "), &format!("go on with --skip {there}")] {
            assert!(output.stderr.contains(part), "{part}: {output:?}");
        }
    }
    let mended = [events(2), identify("third@example.com")].concat();
    let (rest, output) = stored(&config, &mended, &["--skip", "2"]).await;
    assert_eq!((rest, output.code), (1, Some(0)), "{output:?}");
    let (none, output) = stored(&config, &cut_off_at_once(&one), &["--skip", "7"]).await;
    assert_eq!((none, output.code), (0, Some(1)), "{output:?}");
    assert!(output.stderr.contains("7 lines cannot be skipped") && !output.stderr.contains("go on"), "{output:?}");
}

fn cut_off_at_once(packed: &[u8]) -> Vec<u8> {
    packed[..packed.len() / 2].to_vec()
}

#[tokio::test]
async fn a_file_of_another_format_is_named_once_with_what_to_do_and_nothing_is_stored() {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let event = String::from_utf8(identify("one@example.com")).expect("text");
    let utf16: Vec<_> = "\u{feff}".chars().chain(event.chars()).flat_map(|c| (c as u16).to_le_bytes()).collect();
    for (bytes, part) in [
        (utf16, "UTF-16"),
        (b"\x28\xb5\x2f\xfd\x04\0".to_vec(), "zstd -dc"),
        (format!("[{event},\n{event}]\n").into_bytes(), "jq -c '.[]'"),
        (gzip(format!("[{event},\n{event}]\n").as_bytes()), "jq -c '.[]'"),
        (event.replace(',', ",\n").repeat(2).into_bytes(), "jq -c ."),
        (format!("{event}\r{event}\r").into_bytes(), "old Mac"),
        (b"email,name\none@example.com,One\n".to_vec(), "CSV"),
    ] {
        let (there, output) = stored(&config, &bytes, &[]).await;
        assert_eq!((there, output.code, output.stdout.as_str()), (0, Some(1), ""), "{output:?}");
        assert!(output.stderr.lines().count() == 1 && output.stderr.contains(part), "{part}: {output:?}");
        assert!(!output.stderr.contains("example.com"), "{output:?}");
    }
    let (there, output) = stored(&config, format!("\u{feff}{event}\r\n{event}\r\n").as_bytes(), &[]).await;
    assert_eq!((there, output.code), (2, Some(0)), "a byte order mark and CRLF are fine: {output:?}");
    let (there, output) = stored(&config, b"", &[]).await;
    assert!(there == 0 && output.code == Some(0) && output.stderr.contains("is empty"), "{output:?}");
}

#[tokio::test]
async fn rejected_lines_are_for_their_owner_only() {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let rejects = config.folder().join("rejects");
    std::fs::write(&rejects, "before\n").expect("written");
    std::fs::set_permissions(&rejects, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let bytes = [&events(1)[..], b"oops\n"].concat();

    let (_, output) = stored(&config, &bytes, &["--rejects", rejects.to_str().expect("UTF-8")]).await;

    assert!(output.code == Some(1) && output.stderr.contains("1 line is no event"), "{output:?}");
    assert!(output.stderr.contains("was open to others (644)"), "{output:?}");
    assert_eq!(rejects.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&rejects).expect("there"), "before\noops\n");
}
