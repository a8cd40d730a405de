use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};
use refersion_relay_model::{AccountName, Class, DeadReason, Ignored, OmittedField};

use crate::directory::DirectoryMetrics;
use crate::last_at_doors::LastAtDoors;
use crate::refersion::RefersionMetrics;
use crate::register::Register;

mod flow;
mod key_use;
mod order;
mod conservation;
mod promptness;
mod process;

pub use conservation::MoveTo;
pub use flow::Flow;
pub use key_use::{DoorKey, LastUse};
pub use order::{OrderGivenUp, Parked};
pub use process::{ReloadState, Reloaded, Role};

use conservation::WholeMetrics;
use key_use::KeyMetrics;
use order::OrderMetrics;
use process::ProcessMetrics;
use promptness::PromptnessMetrics;

/// Every metric the relay exports; `docs/metrics.md` has the table of them. Cheap to clone: every request does.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

/// The families of metrics in the registry.
#[derive(Debug)]
pub struct Families {
    registry: Registry,
    ingest_requests: IntCounterVec,
    ingest_seconds: HistogramVec,
    accepted: IntCounterVec,
    refused: IntCounterVec,
    ingest_connections: IntGauge,
    ingest_connections_refused: IntCounterVec,
    ingest_body_bytes: IntGauge,
    ignored: IntCounterVec,
    published: IntCounterVec,
    publish_seconds: Histogram,
    publish_in_flight: IntGauge,
    connected: IntGaugeVec,
    connections_lost: IntCounterVec,
    blocked: IntGauge,
    ready: IntGaugeVec,
    dead_letters: IntGaugeVec,
    retrying: IntGaugeVec,
    deliveries: IntCounter,
    redeliveries: IntCounter,
    delivered: IntCounterVec,
    dead_lettered: IntCounterVec,
    ended: IntCounter,
    retries: IntCounterVec,
    failures: IntCounterVec,
    account_held: IntGaugeVec,
    account_paused: IntGaugeVec,
    in_hand: IntGauge,
    lanes: IntGauge,
    owned: IntGaugeVec,
    unsettled: IntCounter,
    copies: IntCounter,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    pub(crate) refersion: RefersionMetrics,
    pub(crate) directory: DirectoryMetrics,
    omitted: IntCounterVec,
    replayed: IntCounter,
    whole: WholeMetrics,
    order: OrderMetrics,
    keys: KeyMetrics,
    promptness: PromptnessMetrics,
    pub(crate) last_at_doors: LastAtDoors,
    process: ProcessMetrics,
}

/// The ways an event can reach the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// `POST /v1/destination`: Segment's Direct Destination.
    Destination,
    /// `POST /v1/webhook/ACCOUNT`: Segment's Webhooks destination.
    Webhook,
    /// `POST /v1/batch`, `/v1/identify` and so on: Segment's Tracking API, its pixel included.
    Tracking,
    /// The queue that pipelines publish plain events to.
    Intake,
}

/// Why a door refused a request or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Larger than an event may be.
    TooLarge,
    /// No key, or one that no account has.
    Unauthorized,
    /// Not an event.
    Malformed,
    /// A type that Refersion has nothing for.
    UnsupportedType,
    /// Lacks what Refersion needs.
    Incomplete,
    /// The body did not arrive in time.
    Slow,
    /// More requests in a second than there may be.
    OverLimit,
    /// There was no memory for it, or its client had too many requests in progress.
    Busy,
    /// The queue could not confirm it.
    Unavailable,
}

/// Why a connection to the doors was closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionRefused {
    /// There were as many as there may be, and none was idle.
    Full,
    /// Its client had as many as it may have, and none was idle.
    PerClient,
    /// An idle one made room for a new one.
    Displaced,
    /// No TLS was agreed on in time.
    Handshake,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// Durable.
    Confirmed,
    /// Certainly not stored.
    Refused,
    /// Perhaps stored.
    Unknown,
}

/// What a connection to the queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connection {
    /// Everything that is written.
    Publish,
    /// Everything that is read.
    Consume,
}

/// Where an event waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// In its lane, unacknowledged.
    InHand,
    /// In a retry queue.
    Tier,
}

impl Metrics {
    /// Registers everything. The closed sets appear with zeros, so that a rate over them works from the first event.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let add = Register(&registry);
        let families = Families {
            ingest_requests: add.counters(
                "ingest_requests_total",
                "HTTP requests answered, by door and status.",
                &["door", "status"],
            ),
            ingest_seconds: add.seconds_by("ingest_request_seconds", "Time to answer a request.", &["door"]),
            accepted: add.counters("events_accepted_total", "Events that were durable before the 2xx.", &["door"]),
            refused: add.counters("events_refused_total", "Requests not accepted, by reason.", &["door", "reason"]),
            ingest_connections: add.gauge("ingest_connections", "Open connections to the doors."),
            ingest_connections_refused: add.counters(
                "ingest_connections_refused_total",
                "Connections to the doors that were closed without an answer, by reason.",
                &["reason"],
            ),
            ingest_body_bytes: add.gauge("ingest_body_bytes", "Memory lent to bodies and what becomes of them."),
            ignored: add.counters(
                "events_ignored_total",
                "Events that are not for Refersion, by where that was noticed and why.",
                &["at", "reason"],
            ),
            published: add.counters("queue_publishes_total", "Publishes to the queue, by outcome.", &["outcome"]),
            publish_seconds: add.seconds("queue_publish_seconds", "Time from publishing to the confirm."),
            publish_in_flight: add.gauge("queue_publishes_in_flight", "Publishes that wait for their confirm."),
            connected: add.gauges("queue_connections", "Open connections to the queue, by purpose.", &["connection"]),
            connections_lost: add.counters(
                "queue_connections_lost_total",
                "Connections to the queue that broke.",
                &["connection"],
            ),
            blocked: add.gauge("queue_blocked", "1 while the broker has blocked publishing (memory or disk alarm)."),
            ready: add.gauges("queue_messages_ready", "Events waiting in work queues, by account.", &["account"]),
            dead_letters: add.gauges("dead_letters", "Dead letters that wait for a person, by class.", &["class"]),
            retrying: add.gauges("retry_events", "Events waiting in retry queues, by delay.", &["delay"]),
            deliveries: add.counter("worker_deliveries_total", "Events taken from work queues."),
            redeliveries: add
                .counter("worker_redeliveries_total", "Of those, the ones the queue had delivered before."),
            delivered: add.counters("events_delivered_total", "Events whose effect has happened, by how.", &["how"]),
            dead_lettered: add.counters(
                "events_dead_lettered_total",
                "Events that became dead letters, by class and reason.",
                &["class", "reason"],
            ),
            ended: add.counter(
                "worker_ended_total",
                "Events that were delivered, ignored, became dead letters, or were copies.",
            ),
            retries: add.counters("retries_total", "Waits for another attempt, by where.", &["wait"]),
            failures: add.counters("attempts_failed_total", "Attempts that failed, by failure.", &["failure"]),
            account_held: add.gauges(
                "account_held",
                "1 while an account's keys are refused, by account.",
                &["account"],
            ),
            account_paused: add.gauges(
                "account_paused",
                "1 while an account pauses because Refersion asked for fewer calls, by account.",
                &["account"],
            ),
            in_hand: add.gauge("worker_in_hand", "Events taken and not yet settled."),
            lanes: add.gauge("worker_lanes", "Subjects being worked."),
            owned: add.gauges(
                "worker_owned",
                "Whether this worker consumes an account's work queue or stands by for it, by account.",
                &["account"],
            ),
            unsettled: add.counter(
                "worker_unsettled_total",
                "Events that were worked and could not be settled because the queue went away; they come again.",
            ),
            copies: add.counter("events_copies_total", "Copies of events that had ended, which cost no call."),
            calls: add.counters(
                "refersion_calls_total",
                "Calls of Refersion's API, by operation and outcome.",
                &["operation", "outcome"],
            ),
            call_seconds: add.seconds_by("refersion_call_seconds", "Time of one call.", &["operation"]),
            refersion: RefersionMetrics::new(&add),
            directory: DirectoryMetrics::new(&add),
            omitted: add.counters(
                "fields_omitted_total",
                "Fields left out because Refersion would refuse them or they could not be read, by field.",
                &["field"],
            ),
            replayed: add
                .counter("dead_letters_replayed_total", "Dead letters that were sent again and came back to a worker."),
            whole: WholeMetrics::new(&add),
            order: OrderMetrics::new(&add),
            keys: KeyMetrics::new(&add),
            promptness: PromptnessMetrics::new(&add),
            last_at_doors: LastAtDoors::default(),
            process: ProcessMetrics::new(&add),
            registry: registry.clone(),
        };
        let metrics = Self(Arc::new(families));
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for door in Door::ALL {
            self.accepted.with_label_values(&[door.as_str()]);
            for reason in Ignored::REASONS {
                self.ignored.with_label_values(&[door.as_str(), reason]);
            }
        }
        // The intake refuses nothing, and some reasons are one door's own.
        for reason in Refused::ALL {
            self.refused.with_label_values(&[Door::Destination.as_str(), reason.as_str()]);
        }
        for reason in Refused::ALL.into_iter().filter(|reason| reason.is_about_requests()) {
            self.refused.with_label_values(&[Door::Webhook.as_str(), reason.as_str()]);
            self.refused.with_label_values(&[Door::Tracking.as_str(), reason.as_str()]);
        }
        for reason in ConnectionRefused::ALL {
            self.ingest_connections_refused.with_label_values(&[reason.as_str()]);
        }
        for reason in Ignored::REASONS {
            self.ignored.with_label_values(&["worker", reason]);
        }
        for outcome in PublishOutcome::ALL {
            self.published.with_label_values(&[outcome.as_str()]);
        }
        for connection in [Connection::Publish, Connection::Consume] {
            self.connected.with_label_values(&[connection.as_str()]);
            self.connections_lost.with_label_values(&[connection.as_str()]);
        }
        for reason in DeadReason::ALL {
            self.dead_lettered.with_label_values(&[reason.class().as_str(), reason.as_str()]);
        }
        for wait in [Wait::InHand, Wait::Tier] {
            self.retries.with_label_values(&[wait.as_str()]);
        }
        for field in OmittedField::ALL {
            self.omitted.with_label_values(&[field.as_str()]);
        }
    }

    /// Declares what the worker counts by account.
    pub fn declare_account(&self, account: &AccountName) {
        self.account_held.with_label_values(&[account.as_str()]);
        self.owned.with_label_values(&[account.as_str()]);
        self.account_paused.with_label_values(&[account.as_str()]);
        self.refersion.declare(account);
    }

    /// The page Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page).expect("a Vec takes everything");
        String::from_utf8(page).expect("the text format is UTF-8")
    }

    /// A request was answered.
    pub fn answered(&self, door: Door, status: u16, took: Duration) {
        self.ingest_requests.with_label_values(&[door.as_str(), &status.to_string()]).inc();
        self.ingest_seconds.with_label_values(&[door.as_str()]).observe(took.as_secs_f64());
    }

    /// So many events are durable, and their sender hears so.
    pub fn accepted(&self, door: Door, events: u64) {
        self.accepted.with_label_values(&[door.as_str()]).inc_by(events);
        if 0 < events {
            self.promptness.accepted(door);
            self.last_at_doors.change(door, |last| last.accepted = Some(SystemTime::now()));
        }
    }

    /// A door refused an event.
    pub fn refused(&self, door: Door, reason: Refused) {
        self.refused.with_label_values(&[door.as_str(), reason.as_str()]).inc();
        self.last_at_doors.change(door, |last| last.refused = Some((SystemTime::now(), reason)));
    }

    /// A connection to the doors was opened; dropping the guard closes it.
    #[must_use]
    pub fn connection_open(&self) -> Counted {
        Counted::up(&self.ingest_connections)
    }

    /// A connection to the doors was closed without an answer.
    pub fn connection_refused(&self, reason: ConnectionRefused) {
        self.ingest_connections_refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// So many bytes were lent to a body.
    pub fn body_memory_lent(&self, bytes: usize) {
        self.ingest_body_bytes.add(gauge(bytes as u64));
    }

    /// So many bytes came back.
    pub fn body_memory_freed(&self, bytes: usize) {
        self.ingest_body_bytes.sub(gauge(bytes as u64));
    }

    /// A door ignored an event.
    pub fn ignored_at_door(&self, door: Door, why: Ignored) {
        self.ignored.with_label_values(&[door.as_str(), why.as_str()]).inc();
    }

    /// A worker ignored an event.
    pub fn ignored_by_worker(&self, why: Ignored) {
        self.ignored.with_label_values(&["worker", why.as_str()]).inc();
        self.ended.inc();
    }

    /// A publish left for the broker; dropping the guard ends it.
    #[must_use]
    pub fn publishing(&self) -> Counted {
        Counted::up(&self.publish_in_flight)
    }

    /// How many publishes wait for their confirm.
    #[must_use]
    pub fn publishes_in_flight(&self) -> i64 {
        self.publish_in_flight.get()
    }

    /// A publish ended.
    pub fn published(&self, outcome: PublishOutcome, took: Duration) {
        self.published.with_label_values(&[outcome.as_str()]).inc();
        if outcome == PublishOutcome::Confirmed {
            self.publish_seconds.observe(took.as_secs_f64());
        }
    }

    /// A connection opened; dropping the guard closes it.
    #[must_use]
    pub fn connected(&self, connection: Connection) -> Counted {
        Counted::up(&self.connected.with_label_values(&[connection.as_str()]))
    }

    /// A connection broke.
    pub fn connection_lost(&self, connection: Connection) {
        self.connections_lost.with_label_values(&[connection.as_str()]).inc();
    }

    /// How many connections broke.
    #[must_use]
    pub fn connections_lost(&self, connection: Connection) -> u64 {
        self.connections_lost.with_label_values(&[connection.as_str()]).get()
    }

    /// Whether the broker has blocked publishing.
    pub fn blocked(&self, blocked: bool) {
        self.blocked.set(i64::from(blocked));
    }

    /// Events waiting in an account's work queue.
    pub fn ready(&self, account: &AccountName, count: u64) {
        self.ready.with_label_values(&[account.as_str()]).set(gauge(count));
    }

    /// An account's work queue is not worked any more.
    pub fn ready_is_gone(&self, account: &AccountName) {
        // What never was there needs not go.
        let _ = self.ready.remove_label_values(&[account.as_str()]);
        self.oldest_is_gone(account);
    }

    /// Dead letters of a class.
    pub fn dead_letters(&self, class: Class, count: u64) {
        self.dead_letters.with_label_values(&[class.as_str()]).set(gauge(count));
    }

    /// So many events wait in the retry queue with this delay.
    pub fn retrying(&self, delay: &str, count: u64) {
        self.retrying.with_label_values(&[delay]).set(gauge(count));
    }

    /// A worker took an event; dropping the guard says that it was settled, or lost to another worker.
    #[must_use]
    pub fn taken(&self, redelivered: bool) -> Counted {
        self.deliveries.inc();
        if redelivered {
            self.redeliveries.inc();
        }
        Counted::up(&self.in_hand)
    }

    /// A lane opened; dropping the guard closes it.
    #[must_use]
    pub fn lane(&self) -> Counted {
        Counted::up(&self.lanes)
    }

    /// A worker consumes an account's work queue, or stands by for it; dropping the guard gives it up.
    #[must_use]
    pub fn owning(&self, account: &AccountName) -> Counted {
        Counted::up(&self.owned.with_label_values(&[account.as_str()]))
    }

    /// An event's effect has happened. `how` is one of a closed set.
    pub fn delivered(&self, how: &'static str) {
        self.delivered.with_label_values(&[how]).inc();
        self.ended.inc();
    }

    /// Events that workers of this process delivered, ignored or made dead letters of.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// An event became a dead letter.
    pub fn dead_lettered(&self, reason: DeadReason) {
        self.dead_lettered.with_label_values(&[reason.class().as_str(), reason.as_str()]).inc();
        self.ended.inc();
    }

    /// An event was accepted as a dead letter: it could not even be given to a worker.
    pub fn dead_lettered_at_door(&self, reason: DeadReason) {
        self.dead_lettered.with_label_values(&[reason.class().as_str(), reason.as_str()]).inc();
    }

    /// An event waits for another attempt.
    pub fn retried(&self, wait: Wait) {
        self.retries.with_label_values(&[wait.as_str()]).inc();
    }

    /// An attempt failed. `failure` is one of a closed set.
    pub fn attempt_failed(&self, failure: &'static str) {
        self.failures.with_label_values(&[failure]).inc();
    }

    /// Whether an account's keys are refused.
    pub fn account_held(&self, account: &AccountName, held: bool) {
        self.account_held.with_label_values(&[account.as_str()]).set(i64::from(held));
    }

    /// Whether Refersion asked to leave an account alone for a while.
    pub fn account_paused(&self, account: &AccountName, paused: bool) {
        self.account_paused.with_label_values(&[account.as_str()]).set(i64::from(paused));
    }

    /// A worker met a copy of an event that had ended delivered or ignored.
    pub fn copy(&self) {
        self.copies.inc();
        self.ended.inc();
    }

    /// An event was worked, and the queue was gone before that could be said.
    pub fn unsettled(&self) {
        self.unsettled.inc();
    }

    /// A call of Refersion's API ended. Both words are from closed sets.
    pub fn called(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.calls.with_label_values(&[operation, outcome]).inc();
        self.call_seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
    }

    /// A field was left out.
    pub fn omitted(&self, field: OmittedField) {
        self.omitted.with_label_values(&[field.as_str()]).inc();
    }

    /// A dead letter that was sent again is back.
    pub fn replayed(&self) {
        self.replayed.inc();
    }
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One on a gauge for as long as it lives.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    pub(crate) fn up(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 4] = [Self::Destination, Self::Webhook, Self::Tracking, Self::Intake];

    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Webhook => "webhook",
            Self::Tracking => "tracking",
            Self::Intake => "intake",
        }
    }
}

impl Refused {
    const ALL: [Self; 9] = [
        Self::TooLarge,
        Self::Unauthorized,
        Self::Malformed,
        Self::UnsupportedType,
        Self::Incomplete,
        Self::Slow,
        Self::OverLimit,
        Self::Busy,
        Self::Unavailable,
    ];

    /// Whether the batch door refuses for it as well: a single item of a batch is never refused.
    fn is_about_requests(self) -> bool {
        match self {
            Self::TooLarge
            | Self::Unauthorized
            | Self::Malformed
            | Self::Slow
            | Self::OverLimit
            | Self::Busy
            | Self::Unavailable => true,
            Self::UnsupportedType | Self::Incomplete => false,
        }
    }

    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::UnsupportedType => "unsupported_type",
            Self::Incomplete => "incomplete",
            Self::Slow => "slow",
            Self::OverLimit => "over_limit",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }
}

impl ConnectionRefused {
    const ALL: [Self; 4] = [Self::Full, Self::PerClient, Self::Displaced, Self::Handshake];

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::PerClient => "per_client",
            Self::Displaced => "displaced",
            Self::Handshake => "handshake",
        }
    }
}

impl PublishOutcome {
    const ALL: [Self; 3] = [Self::Confirmed, Self::Refused, Self::Unknown];

    fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl Connection {
    fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }
}

impl Wait {
    fn as_str(self) -> &'static str {
        match self {
            Self::InHand => "in_hand",
            Self::Tier => "tier",
        }
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
