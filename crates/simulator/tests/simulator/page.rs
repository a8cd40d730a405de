use std::collections::BTreeSet;

use refersion_relay_simulator::{Fault, FaultRule, Shape};
use serde_json::{Value, json};

use crate::harness::Harness;

const PAGE: &str = include_str!("../../../../docs/simulator.md");

/// Every example of a rule, under the heading it stands under.
fn examples() -> Vec<(String, Value)> {
    let mut examples = Vec::new();
    for section in PAGE.split("\n## ").flat_map(|part| part.split("\n### ")) {
        let heading = section.lines().next().unwrap_or_default().trim_matches('`').to_owned();
        for block in section.split("```json\n").skip(1) {
            let (text, _) = block.split_once("\n```").expect("a block has an end");
            let rule = serde_json::from_str(text).unwrap_or_else(|error| panic!("{heading}: {error}"));
            examples.push((heading.clone(), rule));
        }
    }
    examples
}

/// The names that this JSON can have in place of the wrong one, as the program itself lists them.
fn known_names<T: serde::de::DeserializeOwned>(wrong: &str) -> BTreeSet<String> {
    let Err(error) = serde_json::from_str::<T>(wrong) else { panic!("{wrong} is fine") };
    let text = error.to_string();
    let (_, names) = text.split_once("expected one of ").expect("a list");
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn every_example_on_the_page_is_a_rule_and_says_all_there_is_to_say() {
    let refersion = Harness::start().await;
    for (heading, example) in examples() {
        assert_eq!(refersion.control("DELETE", "faults", "").await.status, 204);
        let reply = refersion.control("POST", "faults", &example.to_string()).await;

        assert_eq!(reply.status, 200, "{heading}: {}", reply.body);
        let listed = reply.json().as_array_mut().unwrap().remove(0);
        assert_eq!(listed["fault"], example["fault"], "{heading}: a field of the fault is left to its default");
    }
}

#[test]
fn every_fault_has_its_section_and_every_section_its_fault() {
    let kinds = known_names::<Fault>(r#"{"kind":"?"}"#);

    let shown: Vec<_> = examples().into_iter().filter(|(heading, _)| heading != "Rules").collect();

    for (heading, example) in &shown {
        assert_eq!(example["fault"]["kind"], *heading);
    }
    let headings: Vec<_> = shown.iter().map(|(heading, _)| heading.clone()).collect();
    assert_eq!(headings.iter().cloned().collect::<BTreeSet<_>>(), kinds);
    assert_eq!(headings.len(), kinds.len(), "one section each");
    let shapes = known_names::<Shape>(r#""?""#);
    assert!(shapes.iter().all(|shape| PAGE.contains(&format!("`{shape}`"))), "{shapes:?}");
}

#[test]
fn the_rules_show_and_explain_every_condition() {
    let (_, rule) = examples().into_iter().find(|(heading, _)| heading == "Rules").expect("the page shows one");
    let fields = known_names::<FaultRule>(r#"{"?":1}"#);

    assert_eq!(keys(&rule), fields);
    for field in fields.iter().filter(|field| *field != "fault") {
        assert!(PAGE.contains(&format!("| `{field}` |")), "{field} is not explained");
    }
    assert_eq!(keys(&rule["chance"]), keys(&json!({ "probability": 0, "seed": 0 })));
}
