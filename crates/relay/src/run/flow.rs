use std::time::Duration;

use refersion_relay_telemetry::{Flow, Metrics};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::output::words::counted;

const MINUTE: Duration = Duration::from_mins(1);

/// What of the flow this process can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) doors: bool,
    pub(crate) worker: bool,
}

/// Says once a minute what flowed in it, and nothing where nothing did.
pub(crate) async fn every_minute(here: Here, metrics: Metrics, stop: CancellationToken, mut say: impl FnMut(&str)) {
    let mut minutes = interval(MINUTE);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    minutes.tick().await; // the first one is now
    let mut before = metrics.flow();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = minutes.tick() => {}
        }
        let now = metrics.flow();
        if let Some(line) = line(here, before, now) {
            say(&line);
        }
        before = now;
    }
}

/// What flowed between two readings. `None`: nothing did.
fn line(here: Here, before: Flow, now: Flow) -> Option<String> {
    let accepted = now.accepted.saturating_sub(before.accepted);
    let delivered = now.delivered.saturating_sub(before.delivered);
    let dead = now.dead.saturating_sub(before.dead);
    if accepted + delivered + dead == 0 {
        return None;
    }
    let mut parts = Vec::new();
    // What another process does is not said to be nothing.
    if here.doors {
        parts.push(format!("{accepted} accepted"));
    }
    if here.worker {
        parts.push(format!("{delivered} delivered"));
    }
    parts.push(counted(dead, "dead letter").to_string());
    Some(format!("in the last minute: {}; {} waiting", parts.join(", "), counted(now.waiting, "event")))
}

#[cfg(test)]
mod tests {
    use refersion_relay_telemetry::Door;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    const BOTH: Here = Here { doors: true, worker: true };

    #[test]
    fn a_line_says_what_flowed_and_what_waits_and_nothing_when_nothing_flowed() {
        let before = Flow { accepted: 100, delivered: 90, dead: 1, waiting: 9 };
        let now = Flow { accepted: 112, delivered: 101, dead: 2, waiting: 1 };
        let said = |here| line(here, before, now).unwrap();
        assert_eq!(said(BOTH), "in the last minute: 12 accepted, 11 delivered, 1 dead letter; 1 event waiting");
        let said_by_doors = said(Here { worker: false, ..BOTH });
        assert_eq!(said_by_doors, "in the last minute: 12 accepted, 1 dead letter; 1 event waiting");
        let said_by_worker = said(Here { doors: false, ..BOTH });
        assert_eq!(said_by_worker, "in the last minute: 11 delivered, 1 dead letter; 1 event waiting");
        assert_eq!(line(BOTH, now, Flow { waiting: 700, ..now }), None, "what only waits does not flow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_with_events_has_a_line_and_the_next_one_without_has_none() {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let (sender, mut lines) = unbounded_channel();
        let say = move |line: &str| sender.send(line.to_owned()).unwrap();
        let telling = tokio::spawn(every_minute(BOTH, metrics.clone(), stop.clone(), say));
        tokio::time::sleep(MINUTE / 2).await;

        metrics.accepted(Door::Webhook, 3);
        let line = lines.recv().await.unwrap();
        tokio::time::sleep(MINUTE * 5).await;
        metrics.delivered("created");
        let next = lines.recv().await.unwrap();

        assert!(line.contains("3 accepted, 0 delivered") && next.contains("0 accepted, 1 delivered"), "{line} {next}");
        stop.cancel();
        telling.await.unwrap();
        assert!(lines.recv().await.is_none(), "nothing was said of the minutes between");
    }
}
