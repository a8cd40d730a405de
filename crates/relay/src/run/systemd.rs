use std::time::Duration;

use sd_notify::NotifyState;

/// Says to systemd that the process takes requests now, and from then on, as often as it asks for, that it is alive. Does nothing
/// where nobody asked.
///
/// It does not wait for the queue: a broker that is away is waited for by the process, and a restart would change nothing.
pub(crate) fn started(doing: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(doing)]);
    let mut microseconds = 0;
    if sd_notify::watchdog_enabled(false, &mut microseconds) {
        tokio::spawn(watchdog(Duration::from_micros(microseconds) / 2));
    }
}

/// Says that the process finishes what is in flight.
pub(crate) fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Nothing comes from a process whose tasks do not run any more.
async fn watchdog(every: Duration) {
    loop {
        say(&[NotifyState::Watchdog]);
        tokio::time::sleep(every).await;
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
