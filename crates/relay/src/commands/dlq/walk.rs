use std::time::SystemTime;

use anyhow::anyhow;
use refersion_relay_deadletter::{
    DeadLetters, LetterOperation, LetterStats, Selection, SweepError, SweepOptions, SweepReport, WhenBusy,
};
use refersion_relay_model::MAX_EVENT_BYTES;
use serde_json::{Value, json};

use super::plan;
use crate::cli::{ActArgs, WalkArgs};
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::output::progress::Progress;
use crate::output::words::{counted, form};
use crate::signals::Stop;

/// The words for an operation.
#[derive(Clone, Copy)]
struct Words {
    /// The command, and the key of its number in JSON.
    verb: &'static str,
    acted: &'static str,
    /// What happens to the letters.
    done: &'static str,
}

pub(super) async fn replay(letters: &DeadLetters, args: &ActArgs) -> Result<(), Exit> {
    let words = Words { verb: "replay", acted: "replayed", done: "sent again" };
    let selection = args.filter.selection_to_send(SystemTime::now());
    act(letters, LetterOperation::Replay, words, args, selection).await
}

pub(super) async fn drop(letters: &DeadLetters, args: &ActArgs) -> Result<(), Exit> {
    let words = Words { verb: "drop", acted: "dropped", done: "deleted" };
    act(letters, LetterOperation::Drop, words, args, args.filter.selection(SystemTime::now())).await
}

async fn act(
    letters: &DeadLetters,
    operation: LetterOperation<'_>,
    words: Words,
    args: &ActArgs,
    selection: Selection,
) -> Result<(), Exit> {
    let plan = letters.stats(&selection, args.scan.scan(), WhenBusy::Fail).await.map_err(Exit::failed)?;
    if !args.yes || !args.json {
        if args.json {
            say!("{}", json!({"plan": plan, "done": null}))?;
        } else {
            plan::print(&plan, words.done)?;
        }
    }
    if !args.yes {
        tell!("nothing is done without --yes");
        return Ok(());
    }
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let options = options(&args.walk, &stop);
    let mut progress = Progress::start(words.verb, Some(plan.total));
    let mut watch = |done: &SweepReport| progress.at(done.seen, || format!("{} {}", done.acted, words.done));
    let walked = run(letters.walk(operation, &selection, &options, &mut watch), &stop).await?;
    progress.end();
    let (done, _) = &walked;
    let printed = print_done(&plan, done, words, args.json);
    if printed.is_err() {
        // It is done, and has to be known.
        tell!("{} {} {}", counted(done.acted, "dead letter"), form(done.acted, "was", "were"), words.done);
    }
    ended(walked, &stop)?.all_found()?;
    printed
}

/// The first signal ends a walk in good order. The second one does not wait for that.
pub(super) async fn run<T>(walk: impl Future<Output = T>, stop: &Stop) -> Result<T, Exit> {
    tokio::select! {
        walked = walk => Ok(walked),
        () = stop.abort.cancelled() => {
            Err(Exit::Failed(anyhow!("aborted: what was in hand is where it was, and perhaps there twice")))
        }
    }
}

pub(super) fn options(walk: &WalkArgs, stop: &Stop) -> SweepOptions {
    SweepOptions { in_flight: walk.in_flight, rate: walk.rate, stop: stop.stop.clone() }
}

/// Everything was looked at, or why not.
pub(super) fn ended((done, result): (SweepReport, Result<(), SweepError>), stop: &Stop) -> Result<Complete, Exit> {
    result.map_err(Exit::failed)?;
    if stop.stop.is_cancelled() {
        return Err(Exit::Failed(anyhow!("interrupted: what was not looked at is where it was")));
    }
    if done.seen < done.total {
        let SweepReport { seen, total, .. } = done;
        let (letters, were) = (counted(total, "letter"), form(seen, "was", "were"));
        return Err(Exit::Failed(anyhow!("only {seen} of {letters} {were} looked at: try again")));
    }
    Ok(Complete(done))
}

/// A walk that passed over everything.
pub(super) struct Complete(SweepReport);

impl Complete {
    /// Every id that was asked for was done with.
    pub(super) fn all_found(self) -> Result<(), Exit> {
        if self.0.not_found.is_empty() {
            return Ok(());
        }
        let missing = self.0.not_found.join(", ");
        Err(Exit::Failed(anyhow!("these letters were not there, or cannot be taken: {missing}")))
    }
}

fn print_done(plan: &LetterStats, done: &SweepReport, words: Words, json: bool) -> Result<(), Exit> {
    if json {
        let mut numbers = json!(done);
        if let Value::Object(numbers) = &mut numbers {
            let acted = numbers.remove("acted").unwrap_or_default();
            numbers.insert(words.acted.to_owned(), acted);
            numbers.remove("not_json");
            numbers.remove("misleading");
        }
        return say!("{}", json!({"plan": plan, "done": numbers}));
    }
    let SweepReport { acted, seen, total, without_account, too_large, left_out, .. } = done;
    let (letters, were, looked) =
        (counted(*acted, "dead letter"), form(*acted, "was", "were"), form(*seen, "was", "were"));
    say!("{letters} {were} {}, {seen} of {total} {looked} looked at", words.done)?;
    if 0 < *left_out {
        say!("{left_out} unverified {} left out and stayed", form(*left_out, "one was", "ones were"))?;
    }
    if 0 < *without_account {
        say!("{without_account} {} no account and stayed", form(*without_account, "names", "name"))?;
    }
    if 0 < *too_large {
        let are = form(*too_large, "is", "are");
        say!("{too_large} {are} larger than {} KiB and stayed", MAX_EVENT_BYTES / 1024)?;
    }
    Ok(())
}
