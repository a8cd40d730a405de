use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use refersion_relay_tests::{Config, PATIENCE, Refersion, Relay, program};
use tokio::process::Command;

/// What systemd would read: one datagram, or nothing in time.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1_024];
    let length = socket.recv(&mut buffer).expect("something is said");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_it_listens_that_it_lives_and_that_it_stops() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let path = config.folder().join("notify");
    let socket = UnixDatagram::bind(&path).expect("the folder is ours");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // systemd says whom it watches, and that is known once the process is there.
    let mut command = Command::new("sh");
    command
        .args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"])
        .arg(program())
        .arg("--config")
        .arg(config.path())
        .arg("run");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut relay = Relay::launch_as(command);

    let (ready, socket) = tokio::task::spawn_blocking(move || (told(&socket), socket)).await.expect("no panic");
    assert!(ready.contains("READY=1") && ready.contains("STATUS=metrics and health at http://"), "{ready}");
    relay.until_ready().await;
    let began = std::time::Instant::now();
    let (alive, socket) =
        tokio::task::spawn_blocking(move || ((0..5).map(|_| told(&socket)).collect::<Vec<_>>(), socket))
            .await
            .expect("no panic");
    assert!(alive.iter().all(|said| said.contains("WATCHDOG=1")), "{alive:?}");
    assert!(Duration::from_millis(100) <= began.elapsed(), "as often as half of what is asked for");

    assert!(relay.terminate().await.success());
    let stopping =
        tokio::task::spawn_blocking(move || (0..100).map(|_| told(&socket)).find(|said| said.contains("STOPPING=1")));
    assert!(stopping.await.expect("no panic").is_some());
}
