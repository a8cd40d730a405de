use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::FutureExt;
use refersion_relay_model::{AccountName, Command, Fingerprint, KeyPair, MissingLastName};
use refersion_relay_refersion::{Applied, CallResult, Calls, Existing, NewAffiliateDefaults, Operation};
use tokio_util::sync::DropGuard;

use super::*;
use crate::Account;

/// How a Refersion behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Answers,
    Refuses,
    /// As long as the timeout of a call is.
    Hangs,
    /// Nothing can be sent with the account's keys.
    Unsendable,
    /// Its answer is more than the relay can bear.
    Panics,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Answers probes by its mood, and notes when they came and whose they were.
struct FakeRefersion {
    mood: Mutex<Mood>,
    probes: Mutex<Vec<(Instant, String)>>,
}

#[async_trait]
impl RefersionApi for FakeRefersion {
    async fn apply(&self, _: &Account, _: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        unreachable!("the tests make their attempts themselves")
    }

    async fn check_keys(&self, account: &Account, calls: Arc<dyn Calls>) -> Result<(), Failure> {
        let mood = *self.mood.lock().unwrap();
        if mood == Mood::Unsendable {
            return Err(Failure::Unauthorized { status: 401 });
        }
        assert_ne!(mood, Mood::Panics);
        calls.begin().await;
        self.probes.lock().unwrap().push((Instant::now(), account.name.to_string()));
        if mood == Mood::Answers {
            calls.ended(CallResult { operation: Operation::List, took: Duration::ZERO, proper: true, failure: None });
            return Ok(());
        }
        if mood == Mood::Hangs {
            tokio::time::sleep(TIMEOUT).await;
        }
        let failure = Failure::Transport { what: "no answer" };
        calls.ended(CallResult { operation: Operation::List, took: TIMEOUT, proper: false, failure: Some(&failure) });
        Err(failure)
    }
}

/// A monitor that runs, for two accounts with four calls each.
struct Scene {
    monitor: Arc<OutageMonitor>,
    refersion: Arc<FakeRefersion>,
    accounts: Arc<Accounts>,
    metrics: Metrics,
    _stop: DropGuard,
}

impl Scene {
    fn set(mood: Mood) -> Self {
        let metrics = Metrics::new();
        let accounts = Arc::new(Accounts::new(vec![account("a"), account("b")], 4, metrics.clone()));
        let monitor = Arc::new(OutageMonitor::new(OutageSettings::default(), accounts.clone(), metrics.clone()));
        let refersion = Arc::new(FakeRefersion { mood: Mutex::new(mood), probes: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(monitor.clone().run(refersion.clone(), stop.clone()));
        Self { monitor, refersion, accounts, metrics, _stop: stop.drop_guard() }
    }

    fn become_(&self, mood: Mood) {
        *self.refersion.mood.lock().unwrap() = mood;
    }

    /// What is found out about an attempt that failed just now.
    async fn fail(&self) -> Known {
        let now = Instant::now();
        self.monitor.judge(now, now).await
    }

    /// An outage that lasts.
    async fn out(mood: Mood) -> Self {
        let scene = Self::set(mood);
        assert_eq!(scene.fail().await, Known::Out);
        scene
    }

    fn probes(&self) -> Vec<(Instant, String)> {
        self.refersion.probes.lock().unwrap().clone()
    }

    fn shows(&self, series: &str) -> bool {
        self.metrics.render().lines().any(|line| line == format!("refersion_relay_{series}"))
    }
}

fn account(name: &str) -> Account {
    let keys = KeyPair::new(format!("pub_{name}"), "sec");
    Account {
        name: AccountName::try_from(name).unwrap(),
        fingerprint: Fingerprint::new(&keys),
        keys,
        defaults: NewAffiliateDefaults::default(),
        existing: Existing::Keep,
        missing_last_name: MissingLastName::Refuse,
        has_directory: false,
        max_calls_per_second: None,
    }
}

#[tokio::test(start_paused = true)]
async fn one_event_that_fails_is_charged_or_begins_an_outage_by_a_probe() {
    let scene = Scene::set(Mood::Answers);
    assert_eq!(scene.fail().await, Known::Up);
    assert!(!scene.monitor.is_out() && scene.probes().len() == 1);

    scene.become_(Mood::Refuses);
    assert_eq!(scene.fail().await, Known::Out);
    assert!(scene.monitor.is_out());
    let standing = scene.monitor.standing();
    assert_eq!((standing.state, standing.trouble), (RefersionState::Outage, Some(Trouble::NoAnswer)));
    assert!(scene.shows(r#"refersion_state{state="outage"} 1"#) && scene.shows(r#"refersion_state{state="up"} 0"#));
    assert!(scene.shows(r#"refersion_outages_total{trouble="no_answer"} 1"#));
    assert!(scene.shows(r#"refersion_probes_total{result="answered"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_ends_the_lookout() {
    let refersion = Arc::new(FakeRefersion { mood: Mutex::new(Mood::Panics), probes: Mutex::default() });
    let accounts = Arc::new(Accounts::new(vec![account("a")], 4, Metrics::new()));
    let monitor = Arc::new(OutageMonitor::new(OutageSettings::default(), accounts, Metrics::new()));
    let running = tokio::spawn(monitor.clone().run(refersion, CancellationToken::new()));
    let now = Instant::now();
    tokio::select! {
        ended = running => assert!(ended.expect_err("it does not return").is_panic()),
        _ = monitor.judge(now, now) => unreachable!("nothing is found out"),
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_fail_at_the_same_time_share_a_probe() {
    let scene = Scene::set(Mood::Answers);
    let failures = (0..100).map(|_| scene.fail());
    assert!(futures_util::future::join_all(failures).await.iter().all(|known| *known == Known::Up));
    assert_eq!(scene.probes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_refersion_is_probed_all_the_time_by_each_account_in_turn() {
    let scene = Scene::out(Mood::Hangs).await;
    tokio::time::sleep(120 * SECOND).await;

    let probes = scene.probes();
    let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (SECOND..=3 * SECOND).contains(gap)), "{gaps:?}");
    assert!(probes.windows(2).all(|pair| pair[0].1 != pair[1].1), "{probes:?}");

    scene.become_(Mood::Answers);
    let back = Instant::now();
    scene.monitor.until_back().await;
    assert!(back.elapsed() <= 3 * SECOND, "the probes that still hang delay nothing: {:?}", back.elapsed());
    let standing = scene.monitor.standing();
    assert_eq!((standing.state, standing.trouble), (RefersionState::Up, None));
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_each_account_begins_with_one_call_at_a_time() {
    let scene = Scene::out(Mood::Refuses).await;
    scene.become_(Mood::Answers);
    scene.monitor.until_back().await;
    for account_state in scene.accounts.account_states() {
        let _first = account_state.limiter.enter().await;
        assert!(account_state.limiter.enter().now_or_never().is_none(), "{}", account_state.name);
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends_after_two_minutes_and_only_in_an_outage() {
    let scene = Scene::out(Mood::Refuses).await;
    let began = Instant::now();
    scene.monitor.until_patience_ends().await;
    let waited = began.elapsed().as_secs_f64();
    assert!((119.0..=120.0).contains(&waited), "since the first failure: {waited}");

    scene.become_(Mood::Answers);
    scene.monitor.until_back().await;
    let ended = tokio::time::timeout(600 * SECOND, scene.monitor.until_patience_ends()).await;
    assert!(ended.is_err());
    scene.monitor.count();
    let line = scene.metrics.render().lines().find_map(|line| {
        line.strip_prefix("refersion_relay_refersion_outage_seconds_total ").and_then(|value| value.parse::<u64>().ok())
    });
    assert!(line.is_some_and(|seconds| (120..=124).contains(&seconds)), "{line:?}");
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_paused_or_gone_are_not_probed_with() {
    let scene = Scene::set(Mood::Answers);
    scene.accounts.replace(vec![account("a")]);
    let a = scene.accounts.account_state(&account("a").name).unwrap();
    a.gate.pause(60 * SECOND);
    let began = Instant::now();

    assert_eq!(scene.fail().await, Known::Up);

    let waited = began.elapsed().as_secs_f64();
    assert!((60.0..=63.5).contains(&waited), "{waited}");
    assert_eq!(scene.probes().iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_sent_are_no_sign_of_an_outage() {
    let scene = Scene::set(Mood::Unsendable);
    let switch = async {
        tokio::time::sleep(20 * SECOND).await;
        assert!(!scene.monitor.is_out());
        scene.become_(Mood::Answers);
    };
    let (known, ()) = tokio::join!(scene.fail(), switch);
    assert_eq!(known, Known::Up);
}
