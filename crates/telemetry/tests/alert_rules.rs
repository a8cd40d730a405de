//! The alert rules, and the queries in the metrics page and the runbooks, use only what the program exposes.
//!
//! What it exposes is read from the tables of the metrics page, which another test keeps equal to it. The queries are
//! read as text, token by token: enough to find names, labels and values, and no YAML or `PromQL` library is needed.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/runbooks.md");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/rules.yml");

/// Labels that Prometheus adds to every sample it scrapes.
/// `relay` tells installations apart.
const TARGET_LABELS: [&str; 3] = ["job", "instance", "relay"];

/// The labels of each metric with their values; none where the values are not a fixed set.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

#[test]
fn every_rule_uses_metrics_labels_and_values_that_exist() {
    let known = known();
    let rules = read(RULES);
    let expressions = expressions(&rules);
    let count = |what: &str| rules.matches(what).count();
    assert_eq!(expressions.len(), count("- alert:") + count("- record:"), "an expression for each rule");
    for expression in expressions {
        assert_eq!(complaints(&expression, &known), Vec::<String>::new(), "in {expression}");
    }
    for name in names(&rules) {
        assert!(known.contains_key(&name), "no metric is called {name}");
    }
}

#[test]
fn every_query_on_the_metrics_page_uses_metrics_labels_and_values_that_exist() {
    let (known, page) = (known(), read(PAGE));
    let queries: Vec<_> =
        page.split("```promql").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(!queries.is_empty());
    for query in queries {
        assert_eq!(complaints(query, &known), Vec::<String>::new(), "in {query}");
    }
}

#[test]
fn the_templates_of_a_rule_use_only_labels_its_alert_has() {
    let known = known();
    for rule in read(RULES).split("- alert:").skip(1) {
        let labels: BTreeSet<_> = rule.split("$labels.").skip(1).map(word).collect();
        let expression = expressions(rule).swap_remove(0);
        // Without an aggregation an alert keeps the labels of its samples, the target's among them.
        let aggregated = ["sum by", "max by", "count by"].iter().any(|by| expression.trim_start().starts_with(by));
        let of_samples: BTreeSet<_> =
            names(&expression).iter().filter_map(|name| known.get(name)).flat_map(BTreeMap::keys).cloned().collect();
        for label in labels {
            let kept = grouped(&expression).contains(&label.to_owned());
            let sampled = !aggregated && (TARGET_LABELS.contains(&label) || of_samples.contains(label));
            assert!(kept || sampled, "{label} in {rule}");
        }
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert() {
    let rules = read(RULES);
    let mut alerts = Vec::new();
    for rule in rules.split("- alert: RefersionRelay").skip(1) {
        let name = word(rule);
        let url = format!("runbook_url: docs/runbooks.md#{}", name.to_lowercase());
        assert!(rule.contains(&format!("{url}\n")), "{name}: {url}");
        alerts.push(name.to_owned());
    }
    let runbooks = read(RUNBOOKS);
    let sections = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).filter(|title| !title.contains(' '));
    assert_eq!(sections.collect::<Vec<_>>(), alerts, "in the order of the rules");
}

#[test]
fn every_query_of_the_runbooks_uses_metrics_that_exist() {
    let known = known();
    for name in names(&read(RUNBOOKS)) {
        assert!(known.contains_key(&name), "no metric is called {name}");
    }
}

#[test]
fn what_does_not_exist_is_noticed() {
    let known = known();
    let wrong = [
        "refersion_relay_nothing_total > 0",
        "refersion_relay_dead_letters{queue=\"invalid\"}",
        "refersion_relay_dead_letters{class=\"dropped\"}",
        "refersion_relay_refersion_calls_total{outcome=~\"unclear|unclaer\"}",
        "max by (reason) (refersion_relay_dead_letters)",
        "rate(refersion_relay_dead_letters_bucket[5m])",
    ];
    for query in wrong {
        assert_eq!(complaints(query, &known).len(), 1, "{query}: {:?}", complaints(query, &known));
    }
    let right = "histogram_quantile(0.9, sum by (le, door) (rate(refersion_relay_ingest_request_seconds_bucket[5m])))";
    assert_eq!(complaints(right, &known), Vec::<String>::new());
}

/// Everything a query names that does not exist.
fn complaints(query: &str, known: &Known) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut labels: BTreeSet<&str> = BTreeSet::from(TARGET_LABELS);
    for name in names(query) {
        match known.get(&name) {
            Some(of_metric) => labels.extend(of_metric.keys().map(String::as_str)),
            None => complaints.push(format!("no metric is called {name}")),
        }
    }
    for (name, matchers) in selectors(query) {
        let Some(of_metric) = known.get(&name) else { continue };
        for (label, value) in matchers {
            match of_metric.get(&label) {
                None if TARGET_LABELS.contains(&label.as_str()) => {}
                None => complaints.push(format!("{name} has no label {label}")),
                Some(values) if values.is_empty() => {}
                Some(values) => {
                    let strangers = value.split('|').filter(|value| !values.contains(*value));
                    complaints.extend(strangers.map(|value| format!("{name} never has {label}={value}")));
                }
            }
        }
    }
    let strangers = grouped(query).into_iter().filter(|label| !labels.contains(label.as_str()));
    complaints.extend(strangers.map(|label| format!("nothing here has a label {label}")));
    complaints
}

/// Reads the tables of the metrics page; a histogram has its three series, of which one has the bucket's bound.
fn known() -> Known {
    let mut known = Known::new();
    for row in read(PAGE).lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (name, labels) = (cells[0].trim_matches('`'), cells[2]);
        let mut of_metric = BTreeMap::new();
        for (label, values) in labels.split(';').filter_map(|label| label.split_once(':')) {
            let values: Vec<_> = values.split(',').map(str::trim).collect();
            let set = values.iter().all(|value| value.starts_with('`') && value.ends_with('`'));
            let values = values.into_iter().filter(|_| set).map(|value| value.trim_matches('`').to_owned());
            of_metric.insert(label.trim().trim_matches('`').to_owned(), values.collect());
        }
        if cells[1] == "histogram" {
            for series in ["sum", "count"] {
                known.insert(format!("{name}_{series}"), of_metric.clone());
            }
            of_metric.insert("le".to_owned(), BTreeSet::new());
            known.insert(format!("{name}_bucket"), of_metric);
        } else {
            known.insert(name.to_owned(), of_metric);
        }
    }
    assert!(!known.is_empty());
    known
}

/// The expression of each rule: what follows `expr:`, up to the next key, rule or group.
fn expressions(rules: &str) -> Vec<String> {
    let ends = ["\n        for:", "\n        labels:", "\n      -", "\n      #", "\n\n"];
    let rest = rules.split("expr:").skip(1);
    rest.map(|rest| {
        let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        rest[..end].to_owned()
    })
    .collect()
}

fn names(text: &str) -> BTreeSet<String> {
    let found = text.match_indices("refersion_relay_").map(|(at, _)| word(&text[at..]).to_owned());
    found.collect()
}

/// The label matchers behind each metric's name: label and value.
fn selectors(query: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut selectors = Vec::new();
    for (at, _) in query.match_indices("refersion_relay_") {
        let name = word(&query[at..]);
        let Some(matchers) = query[at + name.len()..].strip_prefix('{') else { continue };
        let matchers = matchers.split_once('}').expect("closed braces").0;
        let matchers = matchers.split(',').map(|matcher| {
            let label = word(matcher.trim());
            let value = matcher.split('"').nth(1).expect("a quoted value");
            (label.to_owned(), value.to_owned())
        });
        selectors.push((name.to_owned(), matchers.collect()));
    }
    selectors
}

/// The labels between the brackets of `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
fn grouped(query: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for (at, _) in query.match_indices('(') {
        let keyword = query[..at].trim_end().rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&keyword) {
            let list = query[at + 1..].split_once(')').expect("closed brackets").0;
            labels.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
        }
    }
    labels
}

/// What `text` begins with, as far as it can be a name.
fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !is_word(c)).unwrap_or(text.len())]
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).expect("the file is in the repository")
}
