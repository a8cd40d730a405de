use tempfile::TempDir;

use super::*;

fn settings(folder: &TempDir) -> DirectorySettings {
    DirectorySettings {
        path: folder.path().join("directory.db"),
        key_file: folder.path().join("directory.key"),
        keep: Duration::from_hours(400 * 24),
    }
}

fn opened(folder: &TempDir) -> (Directory, std::thread::JoinHandle<()>) {
    let (directory, writer) = Directory::open(&settings(folder)).unwrap();
    let runtime = tokio::runtime::Handle::current();
    (directory, std::thread::spawn(move || writer.run(&runtime)))
}

fn acme() -> AccountName {
    AccountName::try_from("acme").unwrap()
}

fn email(n: u32) -> Email {
    Email::parse(&format!("person{n}@example.com")).unwrap()
}

fn person(n: u32) -> PersonId {
    PersonId::user(n.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_is_on_the_disk_and_who_is_known_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, thread) = opened(&folder);
    let now = SystemTime::now();
    for (n, expected) in [(1, Some(Learnt::New)), (2, Some(Learnt::New)), (1, None)] {
        assert_eq!(directory.learn(&acme(), &person(n), &email(n), now).await, Ok(expected));
    }
    // One that was accepted before is not only the same again: a delete in between means them, too.
    let before = now - Duration::from_secs(1);
    assert_eq!(directory.learn(&acme(), &person(1), &email(1), before).await, Ok(Some(Learnt::Known)));
    assert_eq!(directory.look_up(&acme(), &person(1), before).await, Ok(LookedUp::Addresses(vec![email(1)])));
    // As another process sees it.
    let keys = KeyFile::open(&settings(&folder).key_file).unwrap().keys();
    let store = Store::open(&settings(&folder).path, keys, now).unwrap();
    assert_eq!(store.look_up(&acme(), &person(1), now), Ok(LookedUp::Addresses(vec![email(1)])));
    drop(directory);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lessons_at_once_are_all_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, thread) = opened(&folder);
    let (directory, now) = (Arc::new(directory), SystemTime::now());
    let lessons: Vec<_> = (0..5_000)
        .map(|n| {
            let directory = directory.clone();
            tokio::spawn(async move { directory.learn(&acme(), &person(n), &email(n), now).await })
        })
        .collect();
    for lesson in lessons {
        assert_eq!(lesson.await.unwrap(), Ok(Some(Learnt::New)));
    }
    for n in [0, 2_500, 4_999] {
        assert_eq!(directory.look_up(&acme(), &person(n), now).await, Ok(LookedUp::Addresses(vec![email(n)])));
    }
    drop(directory);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_forgotten_by_another_process_is_learnt_again() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, thread) = opened(&folder);
    let now = SystemTime::now();
    directory.learn(&acme(), &person(1), &email(1), now).await.unwrap();
    let known_as = (directory.keys.person(&acme(), &person(1)), directory.keys.address(&acme(), &email(1)));
    assert!(directory.remembered.is(known_as, day(now), now));
    let keys = KeyFile::open(&settings(&folder).key_file).unwrap().keys();
    Store::open(&settings(&folder).path, keys, now).unwrap().forget(&acme(), &person(1)).unwrap();
    while directory.remembered.is(known_as, day(now), now) {
        tokio::task::yield_now().await;
    }
    assert_eq!(directory.learn(&acme(), &person(1), &email(1), now).await, Ok(Some(Learnt::New)));
    drop(directory);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_erases_and_what_comes_later_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, thread) = opened(&folder);
    let now = SystemTime::now();
    directory.learn(&acme(), &person(1), &email(1), now).await.unwrap();
    directory.erase(&acme(), &email(1), now, now).await.unwrap();
    assert_eq!(directory.look_up(&acme(), &person(1), now).await, Ok(LookedUp::Erased));
    assert_eq!(directory.learn(&acme(), &person(1), &email(1), now).await, Ok(Some(Learnt::Erased)));
    // Nor does the log have it for long.
    let log = folder.path().join("directory.db-wal");
    while 0 < std::fs::metadata(&log).unwrap().len() {
        tokio::task::yield_now().await;
    }
    let later = now + Duration::from_secs(1);
    assert_eq!(directory.learn(&acme(), &person(1), &email(1), later).await, Ok(Some(Learnt::New)));
    drop(directory);
    thread.join().unwrap();
}
