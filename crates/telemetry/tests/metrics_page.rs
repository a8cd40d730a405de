//! `docs/metrics.md` and the program name the same metrics, with the same types, labels and label values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use refersion_relay_model::{AccountName, Class, DeadReason, EventType, Ignored, OmittedField};
use refersion_relay_telemetry::{
    Connection, ConnectionRefused, Door, DoorKey, Metrics, MoveTo, OrderGivenUp, Parked, PublishOutcome,
    RefersionState, Refused, Reloaded, Role, Wait,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

/// One metric. A label without values is one whose values depend on the configuration or the traffic.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

type Families = BTreeMap<String, Family>;

#[test]
fn the_page_names_every_metric_as_it_is_exposed_and_no_other() {
    let metrics = Metrics::new();
    exercise(&metrics);

    let documented = documented(&std::fs::read_to_string(PAGE).expect("the page is in the repository"));
    let mut exposed = exposed(&metrics.render());
    leave_open_values_out(&mut exposed, &documented);

    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&documented), names(&exposed));
    for (name, family) in &documented {
        assert_eq!(family, &exposed[name], "{name}: the page (left) and the program (right) differ");
    }
}

#[test]
fn every_metric_keeps_to_the_conventions() {
    let metrics = Metrics::new();
    exercise(&metrics);
    // The library's own metrics of a process keep their usual names.
    for (name, family) in exposed(&metrics.render()).into_iter().filter(|(name, _)| !name.starts_with("process_")) {
        assert!(name.starts_with("refersion_relay_"), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name} is a {}", family.kind);
        // A point in time is no duration.
        let is_duration = name.ends_with("_seconds") && !name.ends_with("_timestamp_seconds");
        assert_eq!(family.kind == "histogram", is_duration, "{name} is a {}", family.kind);
    }
}

/// Has everything happen once, because a label without a value shows nothing. The words that other crates choose are
/// repeated here: this crate takes them as they come.
fn exercise(metrics: &Metrics) {
    let account = AccountName::try_from("acme").expect("a name");
    let (door, took) = (Door::Destination, Duration::from_millis(5));
    metrics.declare_account(&account);
    metrics.answered(door, 202, took);
    metrics.answered(Door::Webhook, 200, took);
    metrics.answered(Door::Tracking, 200, took);
    metrics.accepted(door, 1);
    metrics.dead_lettered_at_door(DeadReason::Incomplete);
    metrics.copy();
    metrics.refused(door, Refused::Unavailable);
    drop(metrics.connection_open());
    for kind in [DoorKey::KeyPair, DoorKey::WriteKey, DoorKey::WebhookSecret] {
        metrics.key_last_use(&account, kind, "0123abcd").now();
    }
    metrics.connection_refused(ConnectionRefused::Full);
    metrics.body_memory_lent(2);
    metrics.body_memory_freed(1);
    metrics.ignored_at_door(door, Ignored::Anonymous);
    metrics.ignored_by_worker(Ignored::UnsupportedType(EventType::Track));
    metrics.published(PublishOutcome::Confirmed, took);
    drop((metrics.publishing(), metrics.connected(Connection::Publish)));
    metrics.connection_lost(Connection::Consume);
    metrics.blocked(true);
    for role in [Role::Run, Role::Ingest, Role::Worker] {
        metrics.role(role);
    }
    metrics.is_ready(true);
    for what in [Reloaded::Configuration, Reloaded::Certificate] {
        metrics.reload_state(what).set(false);
    }
    metrics.certificate_expires(SystemTime::now());
    metrics.queue_files(1, 1, 1);
    metrics.oldest(&account, None);
    metrics.ended_at_age(took);
    drop(metrics.stuck_on_the_way_to(MoveTo::Dead));
    metrics.declared_again(1);
    for kind in ["account", "tier", "prefix", "place"] {
        metrics.left_behind(kind, 1);
    }
    metrics.ready(&account, 1);
    metrics.retrying("1m", 1);
    drop((metrics.taken(true), metrics.lane(), metrics.owning(&account)));
    metrics.retried(Wait::Tier);
    metrics.account_held(&account, true);
    metrics.account_paused(&account, true);
    metrics.unsettled();
    metrics.order_remembered(1, 1);
    metrics.parked(Parked::Tier);
    metrics.order_given_up(OrderGivenUp::Full, 1);
    metrics.order_violated();
    for reason in DeadReason::ALL {
        metrics.dead_lettered(reason);
    }
    for field in OmittedField::ALL {
        metrics.omitted(field);
    }
    for class in Class::ALL {
        metrics.dead_letters(class, 1);
        metrics.replayed();
    }
    let existing = ["existing", "updated", "unchanged", "left_inactive"];
    for how in ["created", "deactivated", "already_inactive", "not_found", "known"].into_iter().chain(existing) {
        metrics.delivered(how);
    }
    let failures = ["no_answer", "unavailable", "limited", "unclear", "unauthorized", "rejected"];
    for failure in failures.into_iter().chain(["unfinished"]) {
        metrics.attempt_failed(failure);
    }
    drop(metrics.calling(&account));
    metrics.call_limit(&account, 4);
    metrics.refersion_is(RefersionState::Up);
    for trouble in ["no_answer", "unavailable", "unclear"] {
        metrics.outage_began(trouble);
    }
    metrics.outage_lasted(1);
    metrics.probed(true);
    metrics.attempt_charged();
    metrics.attempt_spared();
    for operation in ["new", "edit", "search", "get", "status_change", "list"] {
        for outcome in ["ok", "taken", "not_found"].into_iter().chain(failures) {
            metrics.called(operation, outcome, took);
        }
    }
}

/// Reads the rows of the page's tables: name, type, labels as `name`: `value`, `value`; `name`: in words.
fn documented(page: &str) -> Families {
    let mut families = Families::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _meaning] = cells[..] else { panic!("not four cells: {row}") };
        let labels = labels.split(';').filter(|label| label.contains('`')).map(label).collect();
        let family = Family { kind: kind.to_owned(), labels };
        assert!(families.insert(name.trim_matches('`').to_owned(), family).is_none(), "twice on the page: {name}");
    }
    families
}

fn label(text: &str) -> (String, BTreeSet<String>) {
    let (name, values) = text.split_once(':').unwrap_or_else(|| panic!("no values, nor what they are: {text}"));
    // A set is written as values alone; a backtick among words is an example.
    let values: Vec<_> = values.split(',').map(str::trim).collect();
    let quoted = |value: &&str| value.starts_with('`') && value.ends_with('`');
    let set = if values.iter().all(quoted) { values } else { Vec::new() };
    (
        name.trim().trim_matches('`').to_owned(),
        set.into_iter().map(|value| value.trim_matches('`').to_owned()).collect(),
    )
}

/// Reads the text format.
fn exposed(page: &str) -> Families {
    let mut families = Families::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a name and a type");
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), ..Family::default() });
        } else if let Some((sample, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let suffixes = ["_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|suffix| sample.strip_suffix(suffix));
            let name = base.filter(|base| families.contains_key(*base)).unwrap_or(sample);
            let family = families.get_mut(name).unwrap_or_else(|| panic!("no type for {sample}"));
            let labels = labels.split_once('}').expect("closed braces").0;
            for label in labels.split(',') {
                let (name, value) = label.split_once('=').expect("a name and a value");
                // The buckets' bound belongs to the format.
                if name != "le" {
                    let values = family.labels.entry(name.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    families
}

/// Where the page says in words what the values are, there are none to compare.
fn leave_open_values_out(exposed: &mut Families, documented: &Families) {
    for (name, family) in exposed {
        for (label, values) in &mut family.labels {
            if documented.get(name).and_then(|family| family.labels.get(label)).is_some_and(BTreeSet::is_empty) {
                values.clear();
            }
        }
    }
}
