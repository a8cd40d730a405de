//! `enqueue`: events from a file into the queue.

mod format;
mod gunzip;
mod lines;
mod reader;
mod rejects;
mod tally;
mod window;

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use refersion_relay_ingest::{AccountDoor, Classified, Credential, Received};
use refersion_relay_model::{DeadReason, ParseError};
use refersion_relay_queue::{Backoff, BrokerState, Message, Place, Queue};
use refersion_relay_rate_limit::RateLimit;
use refersion_relay_telemetry::Metrics;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::EnqueueArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::output::progress::Progress;
use crate::output::words::{counted, form};
use crate::parts;
use crate::signals::Stop;
use lines::{Line, Lines, Text, Unusable};
use reader::{Chunk, Fault};
use rejects::{BadText, Rejects};
use tally::{Fate, LineCounts};
use window::{Batch, Window};

use super::up;

/// A guess at the length of a line, until some were read.
const BYTES_PER_LINE: u64 = 400;
const TOO_LONG: &str = "an event has at most 512 KiB, and this line is longer";

pub(super) async fn run(settings: &Settings, args: &EnqueueArgs) -> Result<(), Exit> {
    let account = account(settings, args)?;
    let name = name(args);
    let lines = Lines::open(&args.file, args.skip == 0).map_err(|error| unusable(args, error)).map_err(Exit::Failed)?;
    let rejects = Rejects::open(args.rejects.as_deref()).map_err(Exit::Failed)?;
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let metrics = Metrics::new();
    let queue = parts::queue(settings, &metrics, &stop.parts);
    tokio::select! {
        reached = up(queue.as_ref()) => reached?,
        () = stop.stop.cancelled() => return Err(stop.reason()),
    }

    let (size, keep) = (lines.size(), rejects.keeps());
    let mut enqueue = Enqueue {
        account,
        rejects,
        size,
        begin: Instant::now(),
        progress: Progress::start("enqueue", size.map(|size| size / BYTES_PER_LINE)).after(args.skip),
        said: None,
        tally: LineCounts::after(args.skip),
        is_cut_off: false,
    };
    // Small chunks keep a low rate even.
    let chunk_lines =
        args.rate.map_or(usize::MAX, |rate| usize::try_from(rate.get().div_ceil(10)).unwrap_or(usize::MAX));
    let chunks = reader::read(lines, args.skip, chunk_lines, keep);
    let failed = enqueue.all(chunks, RateLimit::even(args.rate), &queue, &stop.stop).await;
    let Enqueue { progress, tally, begin, .. } = enqueue;
    progress.end();
    queue.close().await;
    let stopped = stop.stop.is_cancelled();
    let complete = !stopped && failed.is_none();
    tell!("{}", tally.sentence(begin.elapsed()));
    let (durable, bad) = (tally.durable, tally.bad);
    if complete && durable == 0 {
        tell!("{name} is empty");
    }
    let ended = match failed {
        Some(Failure::Stored(error)) => {
            Err(Exit::Failed(error.context(format!("stopped; go on with --skip {durable}"))))
        }
        Some(Failure::Read(fault)) => Err(Exit::Failed(unread(args, fault, durable))),
        None if stopped => Err(Exit::Failed(anyhow!("interrupted; go on with --skip {durable}"))),
        None if 0 < bad => {
            let (lines, are) = (counted(bad, "line"), form(bad, "is no event", "are no events"));
            Err(Exit::Failed(anyhow!("{lines} {are}{}", kept(args))))
        }
        None => Ok(()),
    };
    let said = if args.json { say!("{}", json!({"complete": complete, "tally": tally})) } else { Ok(()) };
    // What became of the events is the more important of the two.
    ended.and(said)
}

fn name(args: &EnqueueArgs) -> String {
    if args.file.as_os_str() == "-" { "standard input".to_owned() } else { args.file.display().to_string() }
}

/// Why nothing of a file was read, and what to do.
fn unusable(args: &EnqueueArgs, why: Unusable) -> anyhow::Error {
    let name = name(args);
    match why {
        Unusable::Unreadable(error) => anyhow!(error).context(format!("cannot read {name}")),
        Unusable::Other(..) => anyhow!("{name} {why} (nothing was stored; enqueue reads one JSON event on each line)"),
    }
}

/// Why it ended early.
enum Failure {
    /// What was read could not be dealt with.
    Stored(anyhow::Error),
    /// No more could be read.
    Read(Fault),
}

/// Why a file was not read to its end, and what to do.
fn unread(args: &EnqueueArgs, fault: Fault, durable: u64) -> anyhow::Error {
    let (name, skip) = (name(args), args.skip);
    match fault {
        Fault::Short { lines } => {
            let (lines, skip) = (counted(lines, "line"), counted(skip, "line"));
            anyhow!("{name} has {lines}, so {skip} cannot be skipped")
        }
        Fault::Unread { after, why } if after < skip => {
            let skip = counted(skip, "line");
            anyhow!("cannot read {name} beyond line {after}, so {skip} cannot be skipped: {why}")
        }
        Fault::Unread { after, why } => anyhow!(
            "cannot read {name} beyond line {after}: {why}; what is before is stored, so mend the file and go on with --skip \
             {durable}"
        ),
    }
}

fn kept(args: &EnqueueArgs) -> String {
    match &args.rejects {
        Some(path) => format!("; see {}", path.display()),
        None => "; --rejects FILE keeps what is none".to_owned(),
    }
}

/// Whose the events are: the one account there is, or the one that is named.
fn account(settings: &Settings, args: &EnqueueArgs) -> Result<Arc<AccountDoor>, Exit> {
    let names = parts::names(&settings.accounts);
    let name = match (&args.account, names.as_slice()) {
        (Some(name), _) => names.iter().find(|known| known.as_str() == name),
        (None, [name]) => Some(name),
        (None, _) => None,
    };
    let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
    let listed = listed.join(", ");
    let name = name.ok_or_else(|| match &args.account {
        Some(name) => Exit::Usage(anyhow!("there is no account {name} (there are {listed})")),
        None => Exit::Usage(anyhow!("--account has to say whose the events are ({listed})")),
    })?;
    let access = parts::access(&settings.accounts, settings.directory.enabled, &Metrics::new());
    Ok(access.by_name(name).expect("it is configured").clone())
}

struct Enqueue {
    account: Arc<AccountDoor>,
    rejects: Rejects,
    size: Option<u64>,
    begin: Instant,
    progress: Progress,
    /// What the queue was last said to be, until it is up.
    said: Option<Discriminant<BrokerState>>,
    tally: LineCounts,
    /// Whether a line is not durable and never will be: nothing behind it counts.
    is_cut_off: bool,
}

/// What is known of a chunk beside its events.
struct Sifted {
    fates: Vec<(u64, Fate)>,
    /// The last of its lines.
    last: Option<u64>,
    read: u64,
}

/// What happens to the queue while something is stored.
enum News {
    /// It takes nothing.
    Down(BrokerState),
    /// It has taken what it had not taken before.
    Up,
}

impl Enqueue {
    /// Stores what comes, at this rate, until there is no more, it fails or it is stopped.
    async fn all(
        &mut self,
        mut chunks: mpsc::Receiver<Result<Chunk, Fault>>,
        mut rate: RateLimit,
        queue: &Arc<dyn Queue>,
        stop: &CancellationToken,
    ) -> Option<Failure> {
        let (tell, mut news) = mpsc::unbounded_channel();
        let mut window = Window::new();
        let (mut next, mut due): (Option<(Sifted, Batch)>, _) = (None, None);
        let (mut all_read, mut fault, mut failed) = (false, None, None);
        while !(all_read && next.is_none() && window.is_empty()) {
            if let Some((_, batch)) = &next
                && due.is_none()
                && window.has_room()
            {
                let now = Instant::now();
                due = Some(now + rate.reserve(now.into_std(), u32::try_from(batch.len()).unwrap_or(u32::MAX)));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(news) = news.recv() => self.hear(&news),
                Some((chunk, left)) = window.next(), if !window.is_empty() => {
                    if let Err(error) = self.end(chunk, &left) {
                        failed = Some(Failure::Stored(error));
                        break;
                    }
                }
                () = at(due), if due.is_some() => {
                    due = None;
                    if let Some((chunk, batch)) = next.take() {
                        let (queue, stop, tell) = (queue.clone(), stop.clone(), tell.clone());
                        window.begin(chunk, batch, move |batch| {
                            store(queue.clone(), batch, stop.clone(), tell.clone())
                        });
                    }
                }
                chunk = chunks.recv(), if next.is_none() && !all_read => match chunk {
                    Some(Ok(chunk)) => next = Some(self.classify_all(chunk)),
                    Some(Err(unread)) => (all_read, fault) = (true, Some(unread)),
                    None => all_read = true,
                },
            }
        }
        // What was handed to the queue is waited for, so that it counts and nobody sends it again.
        while let Some((chunk, left)) = window.next().await {
            if failed.is_none() {
                failed = self.end(chunk, &left).err().map(Failure::Stored);
            }
        }
        while let Ok(news) = news.try_recv() {
            self.hear(&news);
        }
        // After a stop there may be something before it that is not stored.
        let reached = all_read && next.is_none() && !self.is_cut_off;
        failed.or_else(|| fault.filter(|_| reached).map(Failure::Read))
    }

    /// Says what becomes of some lines, and what has to be stored for that.
    fn classify_all(&self, chunk: Chunk) -> (Sifted, Batch) {
        let received = Received::now();
        let (mut batch, mut fates) = (Vec::with_capacity(chunk.lines.len()), Vec::with_capacity(chunk.lines.len()));
        let last = chunk.lines.last().map(|line| line.number);
        for Line { number, text } in chunk.lines {
            let (fate, message) = self.classify(text, &received);
            fates.push((number, fate));
            batch.extend(message.map(|message| (number, message)));
        }
        (Sifted { fates, last, read: chunk.read }, batch)
    }

    /// Everything that can be done for a chunk is done, and so it is for those before it; `left` has its lines that are not
    /// durable all the same.
    fn end(&mut self, chunk: Sifted, left: &[u64]) -> anyhow::Result<()> {
        if self.is_cut_off {
            return Ok(());
        }
        self.is_cut_off = !left.is_empty();
        let durable = left.first().map_or(chunk.last.unwrap_or(self.tally.durable), |first| first - 1);
        // What is not dealt with now comes again; what is has to be kept before anybody skips it.
        for (number, fate) in chunk.fates.into_iter().take_while(|(number, _)| *number <= durable) {
            self.tally.count(&fate);
            if let Fate::Bad { why, text } = fate {
                self.rejects.keep(text).context("cannot keep a bad line")?;
                if let Some(line) = self.tally.report(number, &why) {
                    self.progress.line(&line);
                }
            }
        }
        self.tally.durable = durable;
        self.show(chunk.read);
        Ok(())
    }

    /// Says why the queue is not up: each kind of reason once after another.
    fn hear(&mut self, news: &News) {
        match news {
            News::Down(state) if self.said != Some(discriminant(state)) => {
                self.said = Some(discriminant(state));
                let durable = self.tally.durable;
                self.progress.line(&format!("{state}; waiting until it is up, durable up to line {durable}"));
            }
            News::Up if self.said.take().is_some() => self.progress.line("the queue is up: going on"),
            News::Down(_) | News::Up => {}
        }
    }

    /// Says what becomes of a line, and what has to be stored for that.
    fn classify(&self, text: Text, received: &Received) -> (Fate, Option<(Place, Message)>) {
        let text = match text {
            Text::Whole(text) if text.trim_ascii().is_empty() => return (Fate::Blank, None),
            Text::Whole(text) => text,
            Text::TooLong(spool) => {
                return (Fate::Bad { why: TOO_LONG.to_owned(), text: BadText::Spooled(spool) }, None);
            }
        };
        match self.account.classify(Credential::Operator, text.clone(), received) {
            Classified::Work(place, message) => (Fate::Stored, Some((place, message))),
            Classified::Dead(DeadReason::Incomplete, message) => {
                (Fate::StoredIncomplete, Some((Place::Dead(DeadReason::Incomplete.class()), message)))
            }
            Classified::Dead(..) => (Fate::Bad { why: why(&text), text: BadText::Whole(text) }, None),
            Classified::Ignored(why, _) => (Fate::Ignored(why), None),
        }
    }

    fn show(&mut self, read: u64) {
        let tally = &self.tally;
        if let Some(size) = self.size
            && 0 < read
        {
            let done = u128::from(tally.durable);
            let total = done * u128::from(size.max(read)) / u128::from(read);
            self.progress.expect(u64::try_from(total).unwrap_or(u64::MAX));
        }
        self.progress.at(tally.durable, || format!("durable up to line {}", tally.durable));
    }
}

/// Publishes until everything is durable, however often the queue goes away. Gives up only at the stop, and returns the
/// lines that are not durable then.
async fn store(
    queue: Arc<dyn Queue>,
    batch: Batch,
    stop: CancellationToken,
    tell: mpsc::UnboundedSender<News>,
) -> Vec<u64> {
    let (mut lines, mut batch): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut has_failed = false;
    while !lines.is_empty() {
        if has_failed {
            tokio::select! {
                () = stop.cancelled() => break,
                () = async {
                    tokio::time::sleep(backoff.next_wait()).await;
                    until_up(queue.as_ref(), &tell).await;
                } => {}
            }
        }
        let results = queue.publish(batch.clone()).await;
        let failed = || results.iter().map(Result::is_err);
        batch = batch.into_iter().zip(failed()).filter_map(|(message, failed)| failed.then_some(message)).collect();
        lines = lines.into_iter().zip(failed()).filter_map(|(line, failed)| failed.then_some(line)).collect();
        if lines.is_empty() && has_failed {
            // Whoever listens ends after this.
            let _ = tell.send(News::Up);
        }
        has_failed = true;
    }
    lines
}

/// Waits until the queue is up, and tells why it is not.
async fn until_up(queue: &dyn Queue, tell: &mpsc::UnboundedSender<News>) {
    let mut state = queue.state();
    loop {
        let now = state.borrow_and_update().clone();
        if now.is_up() || tell.send(News::Down(now)).is_err() || state.changed().await.is_err() {
            return;
        }
    }
}

/// Waits for a moment; for ever, if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Why a line is no event, as its line alone can say it.
fn why(text: &Bytes) -> String {
    match refersion_relay_model::Event::parse(text) {
        Err(ParseError::NotJson { .. }) if text.contains(&0) => "not valid JSON (NUL bytes)".to_owned(),
        Err(ParseError::NotJson { column, .. }) => format!("not valid JSON (column {column})"),
        Err(error) => error.to_string(),
        Ok(_) => TOO_LONG.to_owned(),
    }
}
