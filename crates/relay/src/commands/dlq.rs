use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use refersion_relay_deadletter::{Bodies, DeadLetters, Entry, Plan, Replayed, Selection};
use refersion_relay_model::Class;
use refersion_relay_queue::{BrokerState, Queue, RabbitMq, Scan};
use refersion_relay_telemetry::Metrics;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::{DlqCommand, ListArgs, ReplayArgs, ShowArgs};
use crate::config::Settings;
use crate::exit::Exit;
use crate::parts;
use crate::signals::Stop;

use super::say;

/// How long the broker may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(settings: &Settings, command: DlqCommand) -> Result<(), Exit> {
    let metrics = Metrics::new();
    let queue = parts::queue(settings, &metrics);
    up(&queue).await?;
    let letters = parts::dead_letters(settings, queue.clone());
    let done = match command {
        DlqCommand::List(args) => list(&letters, &args).await,
        DlqCommand::Show(args) => show(&letters, &args).await,
        DlqCommand::Replay(args) => replay(&letters, args).await,
    };
    queue.close().await;
    done
}

async fn up(queue: &Arc<RabbitMq>) -> Result<(), Exit> {
    let mut state = queue.state();
    let settled = |state: &BrokerState| !matches!(state, BrokerState::Away { .. });
    let reached = timeout(PATIENCE, state.wait_for(settled)).await.is_ok_and(|state| state.is_ok());
    let state = queue.state().borrow().clone();
    if reached && !matches!(state, BrokerState::Mismatch { .. }) {
        Ok(())
    } else {
        Err(Exit::Failed(anyhow!("{state}")))
    }
}

fn classes(wanted: &[Class]) -> Vec<Class> {
    if wanted.is_empty() { Class::ALL.to_vec() } else { wanted.to_vec() }
}

fn bodies(shown: bool) -> Bodies {
    if shown { Bodies::Shown } else { Bodies::Hidden }
}

async fn list(letters: &DeadLetters, args: &ListArgs) -> Result<(), Exit> {
    let listing = letters.list(&classes(&args.class), Scan { letters: args.scan }).await.map_err(Exit::failed)?;
    let entries: Vec<_> = listing.letters.iter().map(|letter| Entry::new(letter, bodies(args.show_body))).collect();
    if args.json {
        say!("{}", json!(entries));
        return Ok(());
    }
    for entry in &entries {
        let account = entry.account.as_deref().unwrap_or("-");
        let (class, reason) = (entry.class, &entry.reason);
        say!(
            "{}  {class:<9} {reason:<15} {account:<12} {:<8} {}  {}",
            entry.id,
            entry.kind,
            entry.dead_at,
            entry.message_id
        );
        if let Some(body) = entry.body.as_ref().or(entry.body_base64.as_ref()) {
            say!("    {body}");
        }
    }
    eprintln!("{} of {} dead letters", entries.len(), listing.total);
    Ok(())
}

async fn show(letters: &DeadLetters, args: &ShowArgs) -> Result<(), Exit> {
    let scan = Scan { letters: args.scan };
    let found = letters.find(&args.id, &classes(&args.class), scan).await.map_err(Exit::failed)?;
    let Some(letter) = found else {
        let scanned = args.scan;
        return Err(Exit::Failed(anyhow!(
            "no dead letter {} among the first {scanned} of each class (--scan reads more)",
            args.id
        )));
    };
    let entry = Entry::new(&letter, bodies(args.show_body));
    let shown = if args.json { serde_json::to_string(&entry) } else { serde_json::to_string_pretty(&entry) };
    say!("{}", shown.map_err(Exit::failed)?);
    if !args.json && !args.show_body {
        eprintln!("--show-body shows the event itself, which is personal data");
    }
    Ok(())
}

async fn replay(letters: &DeadLetters, args: ReplayArgs) -> Result<(), Exit> {
    let ids: HashSet<_> = args.ids.iter().chain(&args.id).cloned().collect();
    let all = ids.is_empty();
    let ids = (!all).then_some(ids);
    let selection = Selection { classes: classes(&args.class), ids };
    let plan = letters.plan(&selection, Scan { letters: args.scan }).await.map_err(Exit::failed)?;
    if !args.yes {
        print_plan(&plan, args.json);
        eprintln!("nothing is done without --yes");
        return Ok(());
    }
    if !args.json {
        print_plan(&plan, false);
    }
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let done = letters.replay(&selection, &stop.stop).await.map_err(Exit::failed)?;
    print_done(&plan, &done, args.json);
    if stop.stop.is_cancelled() {
        return Err(Exit::Failed(anyhow!("interrupted: what was not looked at is where it was")));
    }
    if done.seen < done.total && all {
        return Err(Exit::Failed(anyhow!("only {} of {} letters were looked at: try again", done.seen, done.total)));
    }
    if !done.not_found.is_empty() {
        let missing = done.not_found.join(", ");
        return Err(Exit::Failed(anyhow!("these letters were not there, or name no account: {missing}")));
    }
    Ok(())
}

fn print_plan(plan: &Plan, json: bool) {
    if json {
        say!("{}", json!({"plan": plan, "done": null}));
        return;
    }
    say!("of {} dead letters, {} were looked at and {} would be sent again", plan.total, plan.scanned, plan.selected);
    for (what, counts) in
        [("class", &plan.by_class), ("account", &plan.by_account), ("type", &plan.by_type), ("reason", &plan.by_reason)]
    {
        let counts: Vec<_> = counts.iter().map(|(key, count)| format!("{key} {count}")).collect();
        say!("  by {what}: {}", if counts.is_empty() { "-".to_owned() } else { counts.join(", ") });
    }
    for id in &plan.not_found {
        say!("  {id} is not among the letters looked at (--scan looks at more)");
    }
}

fn print_done(plan: &Plan, done: &Replayed, json: bool) {
    if json {
        say!("{}", json!({"plan": plan, "done": done}));
        return;
    }
    say!("{} dead letters were sent again, {} of {} were looked at", done.replayed, done.seen, done.total);
    if 0 < done.without_account {
        say!("{} name no account and stayed", done.without_account);
    }
}
