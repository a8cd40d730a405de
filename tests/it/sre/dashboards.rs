//! What the dashboards of `deploy/grafana/dashboards/` have on them. Grafana's JSON is made from this, and never edited.

use serde_json::{Value, json};

/// A dashboard, as a person reads it.
pub(crate) struct Dashboard {
    pub(crate) file: &'static str,
    title: &'static str,
    description: &'static str,
    /// Variables beside the data source and the installation: a label of a metric each.
    variables: &'static [(&'static str, &'static str)],
    rows: &'static [Row],
}

struct Row {
    title: &'static str,
    /// How high its panels are, in Grafana's units.
    height: u32,
    panels: &'static [Panel],
}

struct Panel {
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    queries: &'static [Query],
}

/// A query and the legend of its series. `$of` stands for the matchers of the installation, which each selector has.
type Query = (&'static str, &'static str);

#[derive(Clone, Copy)]
enum Look {
    /// One number, green up to the limit and red from there on.
    BadFrom(f64),
    /// One number, red below the limit.
    BadBelow(f64),
    /// Lines over time.
    Lines,
    /// The same, one on top of the other.
    Stacked,
}

pub(crate) const DASHBOARDS: [Dashboard; 2] = [IS_IT_FINE, DIG];

const IS_IT_FINE: Dashboard = Dashboard {
    file: "is-it-fine.json",
    title: "refersion-relay: Is it fine?",
    description: "One screen: do events flow, does anything wait for a person, is anything missing? docs/runbooks.md says what to do.",
    variables: &[],
    rows: &[
        Row {
            title: "Now",
            height: 4,
            panels: &[
                Panel {
                    title: "Alerts",
                    description: "Alerts of this relay that fire. docs/runbooks.md has a section for each.",
                    look: Look::BadFrom(1.0),
                    unit: "none",
                    queries: &[(
                        r#"count(ALERTS{alertstate="firing",alertname=~"RefersionRelay.*"}) or vector(0)"#,
                        "firing",
                    )],
                },
                Panel {
                    title: "Processes ready",
                    description: "Share of the processes whose /health/ready says yes.",
                    look: Look::BadBelow(1.0),
                    unit: "percentunit",
                    queries: &[("avg(refersion_relay_ready{$of})", "ready")],
                },
                Panel {
                    title: "Accounts held",
                    description: "Refersion refuses their keys, so nobody reads their queues.",
                    look: Look::BadFrom(1.0),
                    unit: "none",
                    queries: &[("sum(max by (relay, account) (refersion_relay_account_held{$of}))", "held")],
                },
                Panel {
                    title: "Refersion is out",
                    description: "1 while a worker gets no proper answer from Refersion. Events wait; work goes on by itself.",
                    look: Look::BadFrom(1.0),
                    unit: "none",
                    queries: &[(r#"max(refersion_relay_refersion_state{state="outage",$of})"#, "out")],
                },
                Panel {
                    title: "Dead letters",
                    description: "Events that wait for a person: refersion-relay dlq list.",
                    look: Look::BadFrom(1.0),
                    unit: "none",
                    queries: &[("sum(max by (relay, class) (refersion_relay_dead_letters{$of}))", "letters")],
                },
                Panel {
                    title: "Events unaccounted for",
                    description: "By how much the sum of all events is off, beyond what motion and breaks explain.",
                    look: Look::BadFrom(1.0),
                    unit: "none",
                    queries: &[(
                        "max(clamp_min(abs(refersion_relay_conservation_difference{$of}) - refersion_relay_conservation_tolerance{$of}, 0))",
                        "events",
                    )],
                },
            ],
        },
        Row {
            title: "Flow",
            height: 8,
            panels: &[
                Panel {
                    title: "Events a second",
                    description: "Accepted at the doors, and done with by workers. Over a day both are the same.",
                    look: Look::Lines,
                    unit: "eps",
                    queries: &[
                        ("sum(rate(refersion_relay_events_accepted_total{$of}[$__rate_interval]))", "accepted"),
                        ("sum(rate(refersion_relay_worker_ended_total{$of}[$__rate_interval]))", "ended"),
                    ],
                },
                Panel {
                    title: "Backlog",
                    description: "Events that wait in work queues, by account, and in retry queues.",
                    look: Look::Stacked,
                    unit: "none",
                    queries: &[
                        (
                            "topk(10, max by (relay, account) (refersion_relay_queue_messages_ready{$of}))",
                            "{{account}}",
                        ),
                        ("sum(max by (relay, delay) (refersion_relay_retry_events{$of}))", "in retry queues"),
                    ],
                },
                Panel {
                    title: "Age of events at their end",
                    description: "From acceptance to the end. The objective is that 99 of 100 end within 5 minutes.",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[
                        (
                            "histogram_quantile(0.5, sum by (le) (rate(refersion_relay_event_age_seconds_bucket{$of}[$__rate_interval])))",
                            "half of them",
                        ),
                        (
                            "histogram_quantile(0.99, sum by (le) (rate(refersion_relay_event_age_seconds_bucket{$of}[$__rate_interval])))",
                            "99 of 100",
                        ),
                    ],
                },
            ],
        },
        Row {
            title: "Trouble",
            height: 8,
            panels: &[
                Panel {
                    title: "Requests that fail, events that are late",
                    description: "The shares whose objectives are at the top of the alert rules: 0.1 % and 1 %.",
                    look: Look::Lines,
                    unit: "percentunit",
                    queries: &[
                        ("max(refersion_relay:requests_failed:ratio_rate5m)", "requests that fail"),
                        ("max(refersion_relay:events_late:ratio_rate5m)", "events that end late"),
                    ],
                },
                Panel {
                    title: "Dead letters by class",
                    description: "docs/dead-letters.md says what each class asks of a person.",
                    look: Look::Stacked,
                    unit: "none",
                    queries: &[("max by (relay, class) (refersion_relay_dead_letters{$of})", "{{class}}")],
                },
                Panel {
                    title: "Calls of Refersion",
                    description: "ok, taken and not_found are proper answers.",
                    look: Look::Stacked,
                    unit: "reqps",
                    queries: &[(
                        "sum by (outcome) (rate(refersion_relay_refersion_calls_total{$of}[$__rate_interval]))",
                        "{{outcome}}",
                    )],
                },
            ],
        },
    ],
};

const DIG: Dashboard = Dashboard {
    file: "dig.json",
    title: "refersion-relay: Dig",
    description: "By door, account, operation and process, for when something is wrong. docs/metrics.md has each metric.",
    variables: &[
        ("door", "refersion_relay_events_accepted_total"),
        ("account", "refersion_relay_queue_messages_ready"),
        ("operation", "refersion_relay_refersion_calls_total"),
    ],
    rows: &[
        Row {
            title: "Doors",
            height: 7,
            panels: &[
                Panel {
                    title: "Requests by status",
                    description: "",
                    look: Look::Stacked,
                    unit: "reqps",
                    queries: &[(
                        r#"sum by (door, status) (rate(refersion_relay_ingest_requests_total{door=~"$door",$of}[$__rate_interval]))"#,
                        "{{door}} {{status}}",
                    )],
                },
                Panel {
                    title: "Time to answer, 99 of 100",
                    description: "",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        r#"histogram_quantile(0.99, sum by (le, door) (rate(refersion_relay_ingest_request_seconds_bucket{door=~"$door",$of}[$__rate_interval])))"#,
                        "{{door}}",
                    )],
                },
                Panel {
                    title: "Refused, by reason",
                    description: "unavailable and busy are the relay's, the others the sender's.",
                    look: Look::Stacked,
                    unit: "eps",
                    queries: &[(
                        r#"sum by (reason) (rate(refersion_relay_events_refused_total{door=~"$door",$of}[$__rate_interval]))"#,
                        "{{reason}}",
                    )],
                },
                Panel {
                    title: "Silent for",
                    description: "How long ago each door last accepted an event.",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        r#"time() - (max by (door) (refersion_relay_events_last_accepted_timestamp_seconds{door=~"$door",$of}) > 0)"#,
                        "{{door}}",
                    )],
                },
                Panel {
                    title: "Connections, and memory of bodies",
                    description: "Of ingest.max_connections and ingest.max_body_memory.",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        ("sum(refersion_relay_ingest_connections{$of})", "connections"),
                        ("sum(refersion_relay_ingest_body_bytes{$of}) / 1048576", "MiB of bodies"),
                    ],
                },
                Panel {
                    title: "Ignored, by reason",
                    description: "Events that are not for Refersion.",
                    look: Look::Stacked,
                    unit: "eps",
                    queries: &[(
                        "sum by (at, reason) (rate(refersion_relay_events_ignored_total{$of}[$__rate_interval]))",
                        "{{at}} {{reason}}",
                    )],
                },
            ],
        },
        Row {
            title: "Accounts",
            height: 7,
            panels: &[
                Panel {
                    title: "Waiting",
                    description: "",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[(
                        r#"max by (relay, account) (refersion_relay_queue_messages_ready{account=~"$account",$of})"#,
                        "{{account}}",
                    )],
                },
                Panel {
                    title: "Age of the first event",
                    description: "Embedded queue only.",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        r#"(time() - max by (relay, account) (refersion_relay_queue_oldest_timestamp_seconds{account=~"$account",$of})) * (max by (relay, account) (refersion_relay_queue_oldest_timestamp_seconds{account=~"$account",$of}) > bool 0)"#,
                        "{{account}}",
                    )],
                },
                Panel {
                    title: "Held, paused",
                    description: "",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        (
                            r#"max by (relay, account) (refersion_relay_account_held{account=~"$account",$of})"#,
                            "{{account}} held",
                        ),
                        (
                            r#"max by (relay, account) (refersion_relay_account_paused{account=~"$account",$of})"#,
                            "{{account}} paused",
                        ),
                    ],
                },
                Panel {
                    title: "Calls in flight, and their limit",
                    description: "A limit far below worker.concurrency: Refersion's pace is what limits.",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        (
                            r#"max by (relay, account) (refersion_relay_refersion_call_limit{account=~"$account",$of})"#,
                            "{{account}} limit",
                        ),
                        (
                            r#"sum by (relay, account) (refersion_relay_refersion_calls_in_flight{account=~"$account",$of})"#,
                            "{{account}}",
                        ),
                    ],
                },
            ],
        },
        Row {
            title: "Work",
            height: 7,
            panels: &[
                Panel {
                    title: "Calls by operation and outcome",
                    description: "",
                    look: Look::Stacked,
                    unit: "reqps",
                    queries: &[(
                        r#"sum by (operation, outcome) (rate(refersion_relay_refersion_calls_total{operation=~"$operation",$of}[$__rate_interval]))"#,
                        "{{operation}} {{outcome}}",
                    )],
                },
                Panel {
                    title: "Time of a call, 99 of 100",
                    description: "",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        r#"histogram_quantile(0.99, sum by (le, operation) (rate(refersion_relay_refersion_call_seconds_bucket{operation=~"$operation",$of}[$__rate_interval])))"#,
                        "{{operation}}",
                    )],
                },
                Panel {
                    title: "Delivered, by how",
                    description: "",
                    look: Look::Stacked,
                    unit: "eps",
                    queries: &[(
                        "sum by (how) (rate(refersion_relay_events_delivered_total{$of}[$__rate_interval]))",
                        "{{how}}",
                    )],
                },
                Panel {
                    title: "Failed attempts, retries, copies",
                    description: "",
                    look: Look::Lines,
                    unit: "eps",
                    queries: &[
                        (
                            "sum by (failure) (rate(refersion_relay_attempts_failed_total{$of}[$__rate_interval]))",
                            "{{failure}}",
                        ),
                        (
                            "sum by (wait) (rate(refersion_relay_retries_total{$of}[$__rate_interval]))",
                            "retry {{wait}}",
                        ),
                        ("sum(rate(refersion_relay_events_copies_total{$of}[$__rate_interval]))", "copies"),
                    ],
                },
                Panel {
                    title: "In hand, and lanes",
                    description: "",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        ("sum(refersion_relay_worker_in_hand{$of})", "in hand"),
                        ("sum(refersion_relay_worker_lanes{$of})", "lanes"),
                        ("sum(refersion_relay_order_entries{$of})", "away, in order"),
                    ],
                },
                Panel {
                    title: "Order given up, order broken",
                    description: "",
                    look: Look::Lines,
                    unit: "eps",
                    queries: &[
                        (
                            "sum by (reason) (rate(refersion_relay_order_given_up_total{$of}[$__rate_interval]))",
                            "given up: {{reason}}",
                        ),
                        ("sum(rate(refersion_relay_order_violations_total{$of}[$__rate_interval]))", "broken"),
                    ],
                },
            ],
        },
        Row {
            title: "Queue",
            height: 7,
            panels: &[
                Panel {
                    title: "Publishes by outcome",
                    description: "",
                    look: Look::Stacked,
                    unit: "eps",
                    queries: &[(
                        "sum by (outcome) (rate(refersion_relay_queue_publishes_total{$of}[$__rate_interval]))",
                        "{{outcome}}",
                    )],
                },
                Panel {
                    title: "Time to the confirm, 99 of 100",
                    description: "Rises first when the disks behind the queue are slow.",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        "histogram_quantile(0.99, sum by (le) (rate(refersion_relay_queue_publish_seconds_bucket{$of}[$__rate_interval])))",
                        "confirm",
                    )],
                },
                Panel {
                    title: "Connections, blocked, stuck",
                    description: "",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        ("sum by (connection) (refersion_relay_queue_connections{$of})", "{{connection}}"),
                        ("max(refersion_relay_queue_blocked{$of})", "blocked"),
                        ("sum by (to) (refersion_relay_queue_moves_stuck{$of})", "stuck: {{to}}"),
                    ],
                },
                Panel {
                    title: "Embedded queue",
                    description: "Its files, and what is free on their disk.",
                    look: Look::Lines,
                    unit: "bytes",
                    queries: &[
                        ("max by (relay, instance, file) (refersion_relay_queue_file_bytes{$of})", "{{file}}"),
                        ("min(refersion_relay_queue_free_bytes{$of})", "free"),
                    ],
                },
                Panel {
                    title: "The sum of all events",
                    description: "Below zero, events are missing.",
                    look: Look::Lines,
                    unit: "none",
                    queries: &[
                        ("max(refersion_relay_conservation_difference{$of})", "difference"),
                        ("max(refersion_relay_conservation_tolerance{$of})", "tolerance"),
                        ("max(refersion_relay_conservation_moving{$of})", "in motion"),
                    ],
                },
            ],
        },
        Row {
            title: "Processes",
            height: 7,
            panels: &[
                Panel {
                    title: "Memory",
                    description: "",
                    look: Look::Lines,
                    unit: "bytes",
                    queries: &[(r#"process_resident_memory_bytes{job=~"refersion-relay.*",$of}"#, "{{instance}}")],
                },
                Panel {
                    title: "CPU",
                    description: "",
                    look: Look::Lines,
                    unit: "percentunit",
                    queries: &[(
                        r#"rate(process_cpu_seconds_total{job=~"refersion-relay.*",$of}[$__rate_interval])"#,
                        "{{instance}}",
                    )],
                },
                Panel {
                    title: "Open files, of those there may be",
                    description: "",
                    look: Look::Lines,
                    unit: "percentunit",
                    queries: &[(
                        r#"process_open_fds{job=~"refersion-relay.*",$of} / process_max_fds{job=~"refersion-relay.*",$of}"#,
                        "{{instance}}",
                    )],
                },
                Panel {
                    title: "Running for",
                    description: "",
                    look: Look::Lines,
                    unit: "s",
                    queries: &[(
                        r#"time() - process_start_time_seconds{job=~"refersion-relay.*",$of}"#,
                        "{{instance}}",
                    )],
                },
            ],
        },
    ],
};

impl Dashboard {
    /// Each query with its panel, as Prometheus gets it when every variable is "all".
    pub(crate) fn queries(&self) -> Vec<(&'static str, String)> {
        let panels = self.rows.iter().flat_map(|row| row.panels);
        let queries =
            panels.flat_map(|panel| panel.queries.iter().map(|(query, _)| (panel.title, of_installation(query))));
        let filled = queries.map(|(panel, query)| {
            let mut query = query.replace("$__rate_interval", "1m").replace("$relay", ".*");
            for (variable, _) in self.variables {
                query = query.replace(&format!("${variable}"), ".*");
            }
            (panel, query)
        });
        filled.collect()
    }

    /// The file, as Grafana reads it.
    pub(crate) fn json(&self) -> String {
        let (mut panels, mut y) = (Vec::new(), 0);
        for row in self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
            }));
            y += 1;
            // As many side by side as fit, the same width each.
            let in_line = row.panels.len().min(if row.height < 7 {
                6
            } else if row.panels.len() % 3 == 0 {
                3
            } else {
                4
            });
            let width = 24 / u32::try_from(in_line).expect("a few");
            for (index, panel) in row.panels.iter().enumerate() {
                let (line, column) = (index / in_line, index % in_line);
                let at = |count: usize, size: u32| u32::try_from(count).expect("a few") * size;
                let place = json!({"h": row.height, "w": width, "x": at(column, width), "y": y + at(line, row.height)});
                panels.push(panel.json(panels.len() + 1, &place));
            }
            y += u32::try_from(row.panels.len().div_ceil(in_line)).expect("a few") * row.height;
        }
        let dashboard = json!({
            "uid": format!("refersion-relay-{}", self.file.trim_end_matches(".json")),
            "title": self.title,
            "description": self.description,
            "tags": ["refersion-relay"],
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "schemaVersion": 39,
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "links": [{"type": "dashboards", "tags": ["refersion-relay"], "title": "", "asDropdown": false, "includeVars": true, "keepTime": true}],
            "annotations": {"list": []},
            "templating": {"list": self.templating()},
            "panels": panels,
        });
        format!("{dashboard:#}\n")
    }

    fn templating(&self) -> Vec<Value> {
        let all_of = |name: &str, metric: &str| {
            json!({
                "name": name, "label": name, "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "query": {"query": format!("label_values({metric}, {name})"), "refId": "values"},
                "definition": format!("label_values({metric}, {name})"),
                "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*", "sort": 1,
                "current": {"text": "All", "value": "$__all"},
            })
        };
        let mut list = vec![
            json!({"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus", "current": {}}),
            all_of("relay", "refersion_relay_build_info"),
        ];
        list.extend(self.variables.iter().map(|(name, metric)| all_of(name, metric)));
        list
    }
}

impl Panel {
    fn json(&self, id: usize, place: &Value) -> Value {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        let letters = ('A'..).map(String::from);
        let targets: Vec<_> = letters
            .zip(self.queries)
            .map(|(letter, (query, legend))| {
                json!({"refId": letter, "datasource": source, "expr": of_installation(query), "legendFormat": legend})
            })
            .collect();
        let step = |color: &str, value: Option<f64>| json!({"color": color, "value": value});
        let (kind, steps, stacking) = match self.look {
            Look::BadFrom(limit) => ("stat", vec![step("green", None), step("red", Some(limit))], "none"),
            Look::BadBelow(limit) => ("stat", vec![step("red", None), step("green", Some(limit))], "none"),

            Look::Lines => ("timeseries", vec![step("green", None)], "none"),
            Look::Stacked => ("timeseries", vec![step("green", None)], "normal"),
        };
        let custom = match kind {
            "timeseries" => json!({
                "fillOpacity": if stacking == "normal" { 40 } else { 5 }, "lineWidth": 1, "showPoints": "never",
                "stacking": {"mode": stacking, "group": "A"},
            }),
            _ => json!({}),
        };
        let options = match kind {
            "stat" => json!({
                "colorMode": "background", "graphMode": "area", "textMode": "value",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            }),
            _ => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        };
        json!({
            "id": id, "type": kind, "title": self.title, "description": self.description, "datasource": source, "gridPos": place,
            "targets": targets, "options": options,
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}},
                "overrides": [],
            },
        })
    }
}

fn of_installation(query: &str) -> String {
    query.replace("$of", r#"relay=~"$relay""#)
}
