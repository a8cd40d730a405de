use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use refersion_relay_deadletter::{Bodies, Entry, Filter, Selection};
use refersion_relay_model::Class;
use refersion_relay_queue::{Ledger, Letter, Queue as _, Scan};
use reqwest::{Client, RequestBuilder};
use tokio::time::{Instant, sleep, timeout};

use super::observed::{Affiliate, Answer, Observed};
use super::page::Page;
use super::script::{Batch, Direct, Encoding, Script};
use super::stage::{Stage, joined, write_key};
use crate::config::AccountSettings;
use crate::exit::Exit;
use crate::output::progress::Progress;
use crate::output::words::counted;
use crate::parts;

/// How long each stage may take before the demo goes on without.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether something has happened.
const OFTEN: Duration = Duration::from_millis(25);
/// How often a line says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// Plays the script and watches what comes of it.
pub(super) struct Play<'a> {
    stage: &'a Stage,
    script: &'a Script,
    http: Client,
}

impl<'a> Play<'a> {
    pub(super) fn new(stage: &'a Stage, script: &'a Script) -> Result<Self, Exit> {
        #[expect(clippy::disallowed_methods, reason = "beside no_proxy()")]
        let http = Client::builder().no_proxy().timeout(PATIENCE).build().map_err(Exit::failed)?;
        Ok(Self { stage, script, http })
    }

    pub(super) async fn perform(&self) -> Result<Observed, Exit> {
        let started = Instant::now();
        self.until_ready().await?;
        let answers = self.send().await?;
        let (ledger, ended) = self.until_ended().await?;
        let took = started.elapsed();
        let page = self.settled_page().await?;
        let mut letters = Vec::new();
        let mut visit = |letter: Letter| letters.push(Entry::new(&letter, Bodies::Hidden));
        let selection = Selection { classes: Class::ALL.to_vec(), filter: Filter::default(), spares_unverified: false };
        let all = parts::dead_letters(&self.stage.settings, self.stage.queue.clone());
        all.list(&selection, Scan { letters: 1_000 }, &mut visit).await.map_err(Exit::failed)?;
        Ok(Observed {
            took,
            answers,
            ended,
            ledger,
            metrics_url: self.ops("/metrics"),
            names_somebody: page.contains('@'),
            page: Page::read(&page),
            calls: self.stage.simulator.calls().len() as u64,
            affiliates: self.affiliates(),
            letters,
        })
    }

    /// Until the relay says of itself that it can do everything.
    async fn until_ready(&self) -> Result<(), Exit> {
        let url = self.ops("/health/ready");
        let ready = async {
            while !matches!(self.http.get(&url).send().await, Ok(answer) if answer.status().is_success()) {
                sleep(OFTEN).await;
            }
        };
        if timeout(PATIENCE, ready).await.is_ok() {
            return Ok(());
        }
        let state = self.stage.queue.state().borrow().to_string();
        Err(Exit::Failed(anyhow!("the relay did not become ready; {state}")))
    }

    /// Sends everything, one request after the other, as a sender who waits for each answer.
    async fn send(&self) -> Result<Vec<Answer>, Exit> {
        let Script { direct, batches, .. } = self.script;
        let events = self.script.events();
        let progress = Progress::start("sent", Some(events as u64));
        progress.line(&format!("sending {events} events to http://{}", self.stage.door));
        let (mut answers, mut sent) = (Vec::new(), 0);
        for direct in direct {
            let answer = self.answer(self.direct(direct)?, &direct.what, 1, direct.answer).await?;
            sent += 1;
            progress.step(sent, &format!("  {}  {}", answer.status, answer.what));
            answers.push(answer);
        }
        for batch in batches {
            let answer = self.answer(self.batch(batch)?, &batch.what, batch.len() as u64, batch.answer).await?;
            sent += answer.events;
            progress.step(sent, &format!("  {}  {}: {}", answer.status, answer.what, counted(answer.events, "event")));
            answers.push(Answer { door: "/v1/batch", ..answer });
        }
        progress.end();
        Ok(answers)
    }

    fn direct(&self, direct: &Direct) -> Result<RequestBuilder, Exit> {
        let account = self.account(&direct.account)?;
        let key = direct.key.clone().unwrap_or_else(|| joined(account));
        let request = self.http.post(format!("http://{}/v1/destination", self.stage.door));
        Ok(request.basic_auth(key, Some("")).body(direct.body()))
    }

    fn batch(&self, batch: &Batch) -> Result<RequestBuilder, Exit> {
        let key = write_key(self.account(&batch.account)?);
        let request = self.http.post(format!("http://{}/v1/batch", self.stage.door));
        Ok(match batch.encoding {
            Encoding::Plain => request.basic_auth(key, Some("")).body(batch.body(None)),
            Encoding::Gzip => request.header("content-encoding", "gzip").body(packed(&batch.body(Some(&key)))?),
        })
    }

    fn account(&self, name: &str) -> Result<&AccountSettings, Exit> {
        self.stage.account(name).with_context(|| format!("the demo has no account {name}")).map_err(Exit::Failed)
    }

    async fn answer(&self, request: RequestBuilder, what: &str, events: u64, expected: u16) -> Result<Answer, Exit> {
        let response = request.header("content-type", "application/json").send().await;
        let response = response.with_context(|| format!("no answer to: {what}")).map_err(Exit::Failed)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(Exit::failed)?;
        let body = serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default();
        let message = body["message"].as_str().unwrap_or_default().to_owned();
        Ok(Answer { what: what.to_owned(), door: "/v1/destination", events, status, expected, message })
    }

    /// Waits until nothing waits any more. Returns the ledger then, and whether it came to that in time.
    async fn until_ended(&self) -> Result<(Ledger, bool), Exit> {
        let (begin, mut said) = (Instant::now(), (0, Instant::now()));
        let mut progress = Progress::start("ended", Some(self.script.accepted()));
        progress.line("working: creations, deletes, and tries that Refersion fails");
        let ended = loop {
            let ledger = self.stage.queue.ledger().await.map_err(Exit::failed)?;
            let ended = ledger.delivered + ledger.ignored + ledger.dead;
            if ledger.waiting == 0 {
                progress.step(ended, &format!("  {ended} of {} accepted events have ended", ledger.accepted));
                break (ledger, true);
            }
            if PATIENCE <= begin.elapsed() {
                break (ledger, false);
            }
            progress.at(ended, || format!("{} to go", ledger.waiting));
            if ended != said.0 && SAY_EVERY <= said.1.elapsed() {
                said = (ended, Instant::now());
                let (accepted, waiting) = (ledger.accepted, ledger.waiting);
                progress.step(ended, &format!("  {ended} of {accepted} accepted events have ended, {waiting} wait"));
            }
            sleep(OFTEN).await;
        };
        progress.end();
        Ok(ended)
    }

    /// The page of metrics, once everything in hand was counted: that follows its settlement by a moment.
    async fn settled_page(&self) -> Result<String, Exit> {
        let begin = Instant::now();
        loop {
            let response = self.http.get(self.ops("/metrics")).send().await.map_err(Exit::failed)?;
            let page = response.text().await.map_err(Exit::failed)?;
            if Page::read(&page).sum("worker_in_hand") == 0 || PATIENCE <= begin.elapsed() {
                return Ok(page);
            }
            sleep(OFTEN).await;
        }
    }

    fn ops(&self, path: &str) -> String {
        format!("http://{}{path}", self.stage.ops)
    }

    fn affiliates(&self) -> Vec<Affiliate> {
        let account = |public_key: &str| {
            let mut accounts = self.stage.settings.accounts.iter();
            let found = accounts.find(|account| account.keys.expose_public() == public_key);
            found.map_or_else(String::new, |account| account.name.to_string())
        };
        let affiliates = self.stage.simulator.affiliates().into_iter();
        let affiliates = affiliates.map(|affiliate| Affiliate {
            account: account(&affiliate.public_key),
            status: affiliate.status.as_str(),
            email: affiliate.email,
            name: format!("{} {}", affiliate.first_name, affiliate.last_name),
            country: affiliate.country,
        });
        affiliates.collect()
    }
}

fn packed(bytes: &[u8]) -> Result<Bytes, Exit> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).map_err(Exit::failed)?;
    Ok(encoder.finish().map_err(Exit::failed)?.into())
}
