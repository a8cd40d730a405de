//! A large directory: how long a lesson, a look-up and a deletion take, and how much disk it needs.

use std::time::{Duration, Instant, SystemTime};

use refersion_relay_directory::{Keys, Store};
use refersion_relay_model::{AccountName, Email, PersonId};

const PEOPLE: u32 = 1_000_000;
/// In one transaction, as under load.
const TOGETHER: u32 = 1_000;
const LOOKED_UP: u32 = 10_000;

fn main() {
    // Runners of tests start it too when they are asked for all targets.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("people: not measured, this is not `cargo bench`");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("directory.db");
    let now = SystemTime::now();
    let mut store = Store::open(&path, Keys::random(), now).expect("a new directory");
    let account = AccountName::try_from("acme".to_owned()).expect("a name");
    let person = |n: u32| PersonId::user(format!("97980cfea{n:07}"));
    let email = |n: u32| Email::parse(&format!("first.last{n}@example.com")).expect("an address");

    let began = Instant::now();
    for first in (0..PEOPLE).step_by(TOGETHER as usize) {
        let lessons: Vec<_> = (first..first + TOGETHER).map(|n| (person(n), email(n))).collect();
        store.learn_all(&account, &lessons, now, now).expect("it is written");
    }
    let took = began.elapsed();
    println!(
        "{PEOPLE} people learnt in {:.1} s, {:.0} a second",
        took.as_secs_f64(),
        f64::from(PEOPLE) / took.as_secs_f64()
    );
    let size: u64 = std::fs::read_dir(folder.path())
        .expect("ours")
        .flatten()
        .map(|file| file.metadata().expect("there").len())
        .sum();
    println!("{} MiB on disk, its log included", size >> 20);

    // Spread over all of them.
    let mut took: Vec<_> = (0..LOOKED_UP)
        .map(|n| {
            let began = Instant::now();
            store.look_up(&account, &person(n * 97 % PEOPLE), now).expect("it is read");
            began.elapsed()
        })
        .collect();
    show("a look-up", &mut took);
    let mut took: Vec<_> = (0..1_000)
        .map(|n| {
            let began = Instant::now();
            store.erase(&account, &email(n), now, now).expect("it is written");
            began.elapsed()
        })
        .collect();
    show("a deletion, each in a transaction of its own", &mut took);
}

fn show(what: &str, took: &mut [Duration]) {
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{what}: median {:?}, 99 % {:?}, most {:?}", at(50), at(99), at(100));
}
