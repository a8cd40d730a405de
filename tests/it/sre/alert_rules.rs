//! Every alert fires when it should, by itself, and a relay that is well fires none: `promtool` evaluates the rules over series
//! that are made up here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/rules.yml");
/// Minutes in which everything is well, in each case.
const WELL: u32 = 30;
/// Minutes that follow.
const THEN: u32 = 300;

/// Something that goes wrong, and the alert that it is to be.
struct Case {
    what: &'static str,
    /// From then on the series that begin like this have other values. One that begins with `+` is new.
    breaks: &'static [(&'static str, &'static str)],
    when: When,
    /// Every alert that fires then.
    fires: &'static [&'static str],
}

/// So many evaluations after the first one that sees it.
#[derive(Clone, Copy)]
enum When {
    /// Before that nothing has fired.
    First(u32),
    /// It may have fired before.
    Later(u32),
    /// From then to then.
    Throughout(u32, u32),
}

use When::{First, Later, Throughout};

/// A busy relay that is well, 100 events a second: one process with doors, and a worker.
///
/// Values: `=n` stays at n, `+n` and `-n` rise and fall by n each minute, `~` goes up and down, `_` is no sample. `… for m then …`: for
/// m minutes, and then something else; without that, it is well again.
const HEALTHY: &[(&str, &str)] = &[
    (r#"up{job="refersion-relay",instance="i"}"#, "=1"),
    (r#"up{job="refersion-relay",instance="w"}"#, "=1"),
    (r#"refersion_relay_build_info{job="refersion-relay",instance="i",role="ingest",version="1"}"#, "=1"),
    (r#"refersion_relay_build_info{job="refersion-relay",instance="w",role="worker",version="1"}"#, "=1"),
    (r#"refersion_relay_ready{job="refersion-relay",instance="i"}"#, "=1"),
    (r#"refersion_relay_ready{job="refersion-relay",instance="w"}"#, "=1"),
    (r#"process_start_time_seconds{job="refersion-relay",instance="w"}"#, "=1"),
    (r#"refersion_relay_config_last_reload_successful{job="refersion-relay",instance="i",what="configuration"}"#, "=1"),
    (
        r#"refersion_relay_ingest_certificate_expiry_timestamp_seconds{job="refersion-relay",instance="i"}"#,
        "=4000000000",
    ),
    (r#"refersion_relay_queue_connections{job="refersion-relay",instance="i",connection="publish"}"#, "=1"),
    (r#"refersion_relay_queue_connections{job="refersion-relay",instance="w",connection="publish"}"#, "=1"),
    (r#"refersion_relay_queue_blocked{job="refersion-relay",instance="i"}"#, "=0"),
    (r#"refersion_relay_queue_free_bytes{job="refersion-relay",instance="i"}"#, "=50000000000"),
    (r#"refersion_relay_queue_moves_stuck{job="refersion-relay",instance="w",to="dead"}"#, "=0"),
    (r#"refersion_relay_queue_declared_again_total{job="refersion-relay",instance="w"}"#, "=0"),
    (r#"refersion_relay_directory_waiting{job="refersion-relay",instance="w"}"#, "=0"),
    (r#"refersion_relay_directory_failures_total{job="refersion-relay",instance="w"}"#, "=0"),
    (r#"refersion_relay_conservation_difference{job="refersion-relay",instance="w"}"#, "=-20"),
    (r#"refersion_relay_conservation_tolerance{job="refersion-relay",instance="w"}"#, "=60"),
    (r#"refersion_relay_conservation_moving{job="refersion-relay",instance="w"}"#, "=60"),
    (r#"refersion_relay_left_behind_events{job="refersion-relay",instance="w",kind="account"}"#, "=0"),
    (
        r#"refersion_relay_ingest_requests_total{job="refersion-relay",instance="i",door="destination",status="202"}"#,
        "+6000",
    ),
    (r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"}"#, "=0"),
    (r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="slow"}"#, "+600"),
    (r#"refersion_relay_dead_letters_replayed_total{job="refersion-relay",instance="w"}"#, "=0"),
    (
        r#"refersion_relay_ingest_requests_total{job="refersion-relay",instance="i",door="destination",status="501"}"#,
        "+500",
    ),
    (r#"refersion_relay_events_accepted_total{job="refersion-relay",instance="i",door="destination"}"#, "+6000"),
    (r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="over_limit"}"#, "+1"),
    (r#"refersion_relay_ingest_connections_refused_total{job="refersion-relay",instance="i",reason="full"}"#, "=0"),
    (r#"refersion_relay_queue_messages_ready{job="refersion-relay",instance="i",account="acme"}"#, "~"),
    (r#"refersion_relay_queue_messages_ready{job="refersion-relay",instance="w",account="acme"}"#, "~"),
    (r#"refersion_relay_worker_in_hand{job="refersion-relay",instance="w"}"#, "=60"),
    (r#"refersion_relay_worker_ended_total{job="refersion-relay",instance="w"}"#, "+6000"),
    (r#"refersion_relay_event_age_seconds_bucket{job="refersion-relay",instance="w",le="300"}"#, "+5990"),
    (r#"refersion_relay_event_age_seconds_count{job="refersion-relay",instance="w"}"#, "+6000"),
    (r#"refersion_relay_account_held{job="refersion-relay",instance="w",account="acme"}"#, "=0"),
    (r#"refersion_relay_account_paused{job="refersion-relay",instance="w",account="acme"}"#, "=0"),
    (r#"refersion_relay_refersion_state{job="refersion-relay",instance="w",state="outage"}"#, "=0"),
    (r#"refersion_relay_refersion_calls_total{job="refersion-relay",instance="w",outcome="ok"}"#, "+12000"),
    (r#"refersion_relay_refersion_calls_total{job="refersion-relay",instance="w",outcome="no_answer"}"#, "+60"),
    (r#"refersion_relay_order_violations_total{job="refersion-relay",instance="w"}"#, "=0"),
    (r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="rejected"}"#, "=0"),
    (r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="unverified"}"#, "=0"),
    (r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="unrouted"}"#, "=0"),
    (r#"refersion_relay_events_dead_lettered_total{job="refersion-relay",instance="w",reason="refused"}"#, "=0"),
];

/// The only worker is gone.
const GONE: &[(&str, &str)] = &[
    (r#"up{job="refersion-relay",instance="w"#, "=0"),
    ("refersion_relay_build_info{job=\"refersion-relay\",instance=\"w", "_"),
    ("refersion_relay_ready{job=\"refersion-relay\",instance=\"w", "_"),
    ("refersion_relay_worker_ended_total", "_"),
    ("refersion_relay_event_age", "_"),
    ("refersion_relay_queue_messages_ready", "+6000"),
];

/// The queue is away: nobody takes or works anything.
const AWAY: &[(&str, &str)] = &[
    ("refersion_relay_queue_connections", "=0"),
    ("refersion_relay_ready", "=0"),
    (
        r#"refersion_relay_ingest_requests_total{job="refersion-relay",instance="i",door="destination",status="202"#,
        "+0",
    ),
    (r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"#, "+6000"),
    ("refersion_relay_events_accepted_total", "+0"),
    ("refersion_relay_worker_ended_total", "+0"),
    ("refersion_relay_event_age", "+0"),
];

/// Refersion is out, and events go on coming.
const OUT: &[(&str, &str)] = &[
    ("refersion_relay_refersion_state", "=1"),
    ("refersion_relay_queue_messages_ready", "+6000"),
    ("refersion_relay_worker_ended_total", "+0"),
    ("refersion_relay_event_age", "+0"),
    (r#"refersion_relay_refersion_calls_total{job="refersion-relay",instance="w",outcome="ok"#, "+0"),
];

/// A queue was deleted with 1,000 events in it.
const DELETED: &[(&str, &str)] = &[
    ("refersion_relay_queue_declared_again_total", "=1"),
    ("refersion_relay_conservation_difference", "=-1000"),
    (r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="unrouted"#, "=7"),
];

const CASES: &[Case] = &[
    Case { what: "a busy relay that is well", breaks: &[], when: Later(240), fires: &[] },
    Case { what: "a process is gone", breaks: GONE, when: First(1), fires: &["ProcessGone"] },
    Case { what: "the only worker is gone, an hour later", breaks: GONE, when: Later(60), fires: &["ProcessGone"] },
    Case {
        what: "every process is gone, and its targets with it",
        breaks: &[("", "_")],
        when: First(6), // after 5 minutes a series without samples is no more
        fires: &["Absent"],
    },
    Case {
        what: "there is no worker, nor a target for one",
        breaks: &[
            ("up{job=\"refersion-relay\",instance=\"w", "_"),
            ("refersion_relay_build_info{job=\"refersion-relay\",instance=\"w", "_"),
        ],
        when: First(6),
        fires: &["NoWorker"],
    },
    Case {
        what: "there is nobody with doors",
        breaks: &[
            ("up{job=\"refersion-relay\",instance=\"i", "_"),
            ("refersion_relay_build_info{job=\"refersion-relay\",instance=\"i", "_"),
        ],
        when: First(6),
        fires: &["NoIngest"],
    },
    Case {
        what: "a worker never gets ready",
        breaks: &[("refersion_relay_ready", "=0")],
        when: First(5),
        fires: &["NotReady"],
    },
    Case {
        what: "a crash loop",
        breaks: &[("process_start_time_seconds", "+1")],
        when: First(2),
        fires: &["Restarts"],
    },
    Case {
        what: "a rollout is stuck",
        breaks: &[(
            r#"+refersion_relay_build_info{job="refersion-relay",instance="x",role="worker",version="2"}"#,
            "=1",
        )],
        when: First(60),
        fires: &["VersionsDiffer"],
    },
    Case {
        what: "a changed configuration cannot be used",
        breaks: &[("refersion_relay_config_last_reload_successful", "=0")],
        when: First(1),
        fires: &["ReloadFailed"],
    },
    Case {
        what: "a certificate runs out",
        breaks: &[("refersion_relay_ingest_certificate_expiry", "=1000000")],
        when: First(1),
        fires: &["CertificateExpires"],
    },
    Case { what: "the queue is away, and senders hear 503", breaks: AWAY, when: First(1), fires: &["QueueAway"] },
    Case { what: "the queue is away, an hour later", breaks: AWAY, when: Later(60), fires: &["QueueAway"] },
    Case {
        what: "the queue was away for a while and is back, and what waited is late",
        breaks: &[
            ("refersion_relay_queue_connections", "=0 for 15"),
            (
                r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"#,
                "+6000 for 15",
            ),
            ("refersion_relay_event_age_seconds_bucket", "+0 for 15 then +1000"),
            ("refersion_relay_event_age_seconds_count", "+0 for 15 then +6000"),
        ],
        when: Throughout(15, 50),
        fires: &[],
    },
    Case {
        what: "Refersion was out for half an hour and is back, and what waited is late",
        breaks: &[
            ("refersion_relay_refersion_state", "=1 for 30"),
            ("refersion_relay_event_age_seconds_bucket", "+0 for 30 then +1000"),
            ("refersion_relay_event_age_seconds_count", "+0 for 30 then +6000"),
        ],
        when: Throughout(30, 60),
        fires: &[],
    },
    Case {
        what: "Refersion limited an account for twenty minutes, and what waited is late",
        breaks: &[
            ("refersion_relay_account_paused", "=1 for 20"),
            ("refersion_relay_event_age_seconds_bucket", "+0 for 20 then +1000"),
            ("refersion_relay_event_age_seconds_count", "+0 for 20 then +6000"),
        ],
        when: Throughout(20, 60),
        fires: &[],
    },
    Case {
        what: "an account was held for half an hour, and what waited is late",
        breaks: &[
            ("refersion_relay_account_held", "=1 for 30"),
            ("refersion_relay_event_age_seconds_bucket", "+0 for 30 then +1000"),
            ("refersion_relay_event_age_seconds_count", "+0 for 30 then +6000"),
        ],
        when: Throughout(30, 60),
        fires: &[],
    },
    Case {
        what: "the disk is full",
        breaks: &[
            ("refersion_relay_queue_blocked", "=1"),
            ("refersion_relay_queue_free_bytes", "=0"),
            (r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"#, "+6000"),
        ],
        when: First(1),
        fires: &["QueueBlocked"],
    },
    Case {
        what: "the disk will be full in three hours",
        breaks: &[("refersion_relay_queue_free_bytes", "-250000000")],
        when: First(48),
        fires: &["DiskFills"],
    },
    Case {
        what: "a queue takes no copies",
        breaks: &[("refersion_relay_queue_moves_stuck", "=5")],
        when: First(1),
        fires: &["MovesStuck"],
    },
    Case {
        what: "nobody keeps the directory",
        breaks: &[("refersion_relay_directory_waiting", "=3")],
        when: First(15),
        fires: &["DirectoryUnusable"],
    },
    Case {
        what: "the directory's disk is full",
        breaks: &[("refersion_relay_directory_failures_total", "+5")],
        when: First(10),
        fires: &["DirectoryUnusable"],
    },
    Case {
        what: "a queue was deleted with 1,000 events, and some came meanwhile",
        breaks: DELETED,
        when: First(0),
        fires: &["QueuesDeleted"],
    },
    Case {
        what: "a queue was deleted, when the missing events have been noticed",
        breaks: DELETED,
        when: Later(12),
        fires: &["QueuesDeleted"],
    },
    Case {
        what: "events found no queue",
        breaks: &[(r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="unrouted"#, "=7")],
        when: First(1),
        fires: &["Unrouted"],
    },
    Case {
        what: "1,000 events vanish",
        breaks: &[("refersion_relay_conservation_difference", "=-1000")],
        when: First(10),
        fires: &["EventsMissing"],
    },
    Case {
        what: "1,000 events vanish within a tolerance that kills have widened",
        breaks: &[
            ("refersion_relay_conservation_difference", "=-1000"),
            ("refersion_relay_conservation_tolerance", "=2000"),
        ],
        when: First(30),
        fires: &["EventsUncertain"],
    },
    Case {
        what: "an account was removed too early",
        breaks: &[("refersion_relay_left_behind", "=3")],
        when: First(5),
        fires: &["LeftBehind"],
    },
    Case {
        what: "every tenth request fails",
        breaks: &[(
            r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"#,
            "+660",
        )],
        when: First(7),
        fires: &["AcceptedFast"],
    },
    Case {
        what: "one request of a hundred fails for hours",
        breaks: &[(
            r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="unavailable"#,
            "+66",
        )],
        when: First(59),
        fires: &["AcceptedSlow"],
    },
    Case {
        what: "half of the events end late",
        breaks: &[("refersion_relay_event_age_seconds_bucket", "+3000")],
        when: First(12),
        fires: &["LateFast"],
    },
    Case {
        what: "a tenth of the events ends late for hours",
        breaks: &[("refersion_relay_event_age_seconds_bucket", "+5400")],
        when: First(60),
        fires: &["LateSlow"],
    },
    Case {
        what: "a sender is far over its limit",
        breaks: &[(
            r#"refersion_relay_events_refused_total{job="refersion-relay",instance="i",reason="over_limit"#,
            "+60",
        )],
        when: First(10),
        fires: &["RequestsTurnedAway"],
    },
    Case {
        what: "the doors are full",
        breaks: &[("refersion_relay_ingest_connections_refused_total", "+60")],
        when: First(10),
        fires: &["ConnectionsTurnedAway"],
    },
    Case {
        what: "an account's keys are refused, and its events wait",
        breaks: &[
            ("refersion_relay_account_held", "=1"),
            ("refersion_relay_queue_messages_ready", "+6000"),
            ("refersion_relay_worker_ended_total", "+0"),
            ("refersion_relay_event_age", "+0"),
        ],
        when: First(1),
        fires: &["AccountHeld"],
    },
    Case {
        what: "Refersion limits an account for an hour",
        breaks: &[
            ("refersion_relay_account_paused", "=1"),
            // A worker that stands by does not pause.
            (r#"+refersion_relay_account_paused{job="refersion-relay",instance="x",account="acme"}"#, "=0"),
        ],
        when: First(40),
        fires: &["AccountPaused"],
    },
    Case { what: "Refersion is out", breaks: OUT, when: First(1), fires: &["RefersionOut"] },
    Case { what: "Refersion is out, an hour later", breaks: OUT, when: Later(60), fires: &["RefersionOut"] },
    Case {
        what: "a third of the calls fails",
        breaks: &[(
            r#"refersion_relay_refersion_calls_total{job="refersion-relay",instance="w",outcome="no_answer"#,
            "+6000",
        )],
        when: First(12),
        fires: &["CallsFail"],
    },
    Case {
        what: "nothing is done any more",
        breaks: &[
            ("refersion_relay_worker_ended_total", "+0"),
            ("refersion_relay_event_age", "+0"),
            ("refersion_relay_queue_messages_ready", "+6000"),
        ],
        when: First(11),
        fires: &["NothingDelivered"],
    },
    Case {
        what: "the backlog grows by 1,000 a minute for four hours",
        breaks: &[("refersion_relay_queue_messages_ready", "+1000"), ("refersion_relay_worker_ended_total", "+6000")],
        when: Later(240),
        fires: &["Backlog"],
    },
    Case {
        what: "a million events came at once",
        breaks: &[("refersion_relay_queue_messages_ready", "=1000000")],
        when: First(15),
        fires: &["Backlog"],
    },
    Case {
        what: "order was broken",
        breaks: &[("refersion_relay_order_violations_total", "=1")],
        when: First(1),
        fires: &["OrderBroken"],
    },
    Case {
        what: "seven dead letters lie for hours",
        breaks: &[(r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="rejected"#, "=7")],
        when: Later(240),
        fires: &["DeadLetters"],
    },
    Case {
        what: "somebody sends deletes without a right to",
        breaks: &[(r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="unverified"#, "=1")],
        when: First(1),
        fires: &["Unverified"],
    },
    Case {
        what: "most of what comes is refused by Refersion",
        breaks: &[
            ("refersion_relay_events_dead_lettered_total", "+5000"),
            (r#"refersion_relay_dead_letters{job="refersion-relay",instance="w",class="rejected"#, "+5000"),
        ],
        when: Later(4),
        fires: &["DeadLettersFlood"],
    },
];

#[test]
fn each_alert_fires_when_it_should_and_alone_and_none_while_all_is_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Prometheus evaluates groups side by side, so one may see what another recorded an evaluation later.
    let order = ["objectives", "processes", "queue", "work", "senders", "dead-letters"];
    let order: Vec<_> = order.iter().map(|group| format!("refersion-relay-{group}")).collect();
    let order = order.join(", ");
    let mut file = format!("rule_files: [{RULES}]\nevaluation_interval: 1m\ngroup_eval_order: [{order}]\ntests:\n");
    for case in CASES {
        file.push_str(&case.as_promtool_has_it());
    }
    let path = folder.path().join("alerts.yml");
    std::fs::write(&path, file).expect("the folder is ours");

    let checked =
        Command::new("promtool").args(["test", "rules"]).arg(path).output().expect("tests/run installs promtool");

    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{said}");
}

#[test]
fn every_alert_has_a_case() {
    let rules = std::fs::read_to_string(RULES).expect("the file is in the repository");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: RefersionRelay")).collect();
    let tried: BTreeSet<_> = CASES.iter().flat_map(|case| case.fires).copied().collect();
    assert_eq!(alerts, tried);
}

#[test]
fn the_rules_are_valid() {
    let checked = Command::new("promtool").args(["check", "rules"]).arg(PathBuf::from(RULES)).output();
    let checked = checked.expect("tests/run installs promtool");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

impl Case {
    fn as_promtool_has_it(&self) -> String {
        let mut series: BTreeMap<&str, String> =
            HEALTHY.iter().map(|(name, healthy)| (*name, samples(healthy, healthy))).collect();
        for (prefix, values) in self.breaks {
            if let Some(new) = prefix.strip_prefix('+') {
                series.insert(new, samples("_", values));
                continue;
            }
            let broken: Vec<_> = HEALTHY.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
            assert!(!broken.is_empty(), "{}: no series begins with {prefix}", self.what);
            for (name, healthy) in broken {
                series.insert(name, samples(healthy, values));
            }
        }
        let mut test = format!("  - name: {}\n    interval: 1m\n    input_series:\n", self.what);
        let mut add = |text: String| test.push_str(&text);
        for (name, values) in series {
            add(format!("      - {{series: '{name}', values: '{values}'}}\n"));
        }
        add("    promql_expr_test:\n".to_owned());
        let none: &[&str] = &[];
        let expected: Vec<_> = match self.when {
            First(after) => vec![(WELL + after, none), (WELL + 1 + after, self.fires)],
            Later(after) => vec![(WELL, none), (WELL + 1 + after, self.fires)],
            Throughout(from, to) => (from..=to).map(|minute| (WELL + 1 + minute, self.fires)).collect(),
        };
        for (minute, alerts) in expected {
            let sample = |alert: &&str| format!("{{labels: '{{alertname=\"RefersionRelay{alert}\"}}', value: 0}}");
            let samples = alerts.iter().map(sample).collect::<Vec<_>>().join(", ");
            add("      - expr: 'count by (alertname) (ALERTS{alertstate=\"firing\"}) * 0'\n".to_owned());
            add(format!("        eval_time: {minute}m\n        exp_samples: [{samples}]\n"));
        }
        test
    }
}

/// Every sample of a series: until [`WELL`] as it is well, then as it is broken.
fn samples(healthy: &str, broken: &str) -> String {
    let mut at = 0;
    let mut samples = run(healthy, WELL + 1, &mut at);
    let (broken, minutes, rest) = match broken.split_once(" for ") {
        Some((broken, rest)) => {
            let (minutes, rest) = rest.split_once(" then ").unwrap_or((rest, healthy));
            (broken, minutes.parse().expect("minutes"), rest)
        }
        None => (broken, THEN, broken),
    };
    samples.extend(run(broken, minutes, &mut at));
    samples.extend(run(rest, THEN - minutes, &mut at));
    samples.join(" ")
}

/// So many samples, from the value `at` on, which is the last one then.
fn run(values: &str, minutes: u32, at: &mut i64) -> Vec<String> {
    let number = |value: &str| value.parse::<i64>().expect("a number");
    let sample = |minute: u32| {
        match values.split_at(1) {
            ("=", value) => *at = number(value),
            ("+", step) => *at += number(step),
            ("-", step) => *at -= number(step),
            ("~", "") => *at = if minute.is_multiple_of(2) { 150 } else { 250 },
            ("_", "") => return "_".to_owned(),
            _ => panic!("{values} is no way to be"),
        }
        at.to_string()
    };
    (0..minutes).map(sample).collect()
}
