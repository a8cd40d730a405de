use refersion_relay_queue::{Gate, Place, Queue, QueueError};

use super::finding::Finding;
use crate::config::Settings;
use crate::parts;
use crate::words::{counted, form};

const WHAT: &str = "drain";

/// How far each older set of shards is with being given up.
pub(super) async fn look(queue: &dyn Queue, settings: &Settings) -> Vec<Finding> {
    let sets = queue.shards().borrow().clone();
    let mut findings = Vec::new();
    for set in sets.sets().iter().filter(|set| settings.drain.contains(&set.count)) {
        let count = set.count;
        let shards = counted(count.into(), "shard");
        findings.push(match set.gate {
            Gate::Closed => Finding::ok(
                WHAT,
                format!("nothing is left on the {shards}, if ever there was: queue.drain need not name them any more"),
            ),
            Gate::Open | Gate::Closing => match left(queue, settings, count).await {
                Ok(left) => Finding::ok(WHAT, format!("draining {shards}: {left}")),
                Err(error) => {
                    Finding::failed(WHAT, format!("the {shards} could not be looked at: {error}")).following("queue")
                }
            },
        });
    }
    findings
}

/// What the change waits for.
async fn left(queue: &dyn Queue, settings: &Settings, count: u16) -> Result<String, QueueError> {
    let (mut on_shards, mut in_tiers, mut held) = (0_u64, 0_u64, 0_u64);
    for shard in refersion_relay_model::Shard::all(count) {
        on_shards = events(queue, &Place::Shard(shard)).await?.saturating_add(on_shards);
    }
    for tier in &settings.retry.tiers {
        // A tier has the events of all shards.
        let shard = refersion_relay_model::Shard::of(0, count);
        in_tiers = events(queue, &Place::Later(shard, *tier)).await?.saturating_add(in_tiers);
    }
    for account in parts::names(&settings.accounts) {
        held = events(queue, &Place::Held(account)).await?.saturating_add(held);
    }
    let (events, wait) = (counted(on_shards, "event"), form(on_shards, "waits", "wait"));
    Ok(format!("{events} {wait} on them, {in_tiers} in tiers, {held} behind held accounts"))
}

async fn events(queue: &dyn Queue, place: &Place) -> Result<u64, QueueError> {
    let depth = queue.depth(place).await?;
    Ok(depth.ready.saturating_add(depth.in_hand))
}
