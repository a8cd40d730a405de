use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use refersion_relay_model::Event;
use tempfile::TempDir;

use super::*;
use crate::KeyFile;

const HOUR: Duration = Duration::from_hours(1);

struct World {
    folder: TempDir,
    store: Store,
    now: SystemTime,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + 20_000 * 24 * HOUR;
        let keys = KeyFile::open(&folder.path().join("key")).unwrap().keys();
        let store = Store::open(&folder.path().join("directory.db"), keys, now).unwrap();
        Self { folder, store, now }
    }

    fn reopened(self) -> Self {
        let Self { folder, store, now } = self;
        drop(store);
        let keys = KeyFile::open(&folder.path().join("key")).unwrap().keys();
        let store = Store::open(&folder.path().join("directory.db"), keys, now).unwrap();
        Self { folder, store, now }
    }

    fn learn(&self, account: &str, id: &str, address: &str) -> Learnt {
        self.store.learn(&named(account), &PersonId::user(id), &email(address), self.now, self.now).unwrap()
    }

    fn known(&self, account: &str, id: &str) -> Vec<String> {
        match self.store.look_up(&named(account), &PersonId::user(id), self.now).unwrap() {
            LookedUp::Addresses(addresses) => addresses.iter().map(|address| address.expose().to_owned()).collect(),
            LookedUp::Uncertain(doubt) => vec![format!("{doubt:?}")],
            LookedUp::Erased => vec!["erased".to_owned()],
            LookedUp::Unknown { .. } => Vec::new(),
        }
    }

    fn erase(&self, address: &str) {
        self.store.erase(&named("acme"), &email(address), self.now, self.now).unwrap();
    }
}

fn named(account: &str) -> AccountName {
    AccountName::try_from(account).unwrap()
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

#[test]
fn a_person_is_known_by_the_id_and_in_the_account_that_was_learnt() {
    let world = World::new();
    assert_eq!(world.learn("acme", "1", "Peter@example.com"), Learnt::New);
    assert_eq!(world.learn("acme", "1", "peter@Example.com"), Learnt::Known, "one address in two spellings");
    let world = world.reopened();
    assert_eq!(world.known("acme", "1"), ["Peter@example.com"]);
    assert_eq!(world.known("acme", "2"), [""; 0]);
    assert_eq!(world.known("other", "1"), [""; 0], "the same id in another account");
}

#[test]
fn who_changes_the_address_has_both_and_the_last_one_first() {
    let mut world = World::new();
    world.learn("acme", "1", "old@example.com");
    assert_eq!(world.learn("acme", "1", "new@example.com"), Learnt::Another);
    assert_eq!(world.known("acme", "1"), ["new@example.com", "old@example.com"]);
    world.now += 24 * HOUR;
    assert_eq!(world.learn("acme", "1", "old@example.com"), Learnt::Known);
    assert_eq!(world.known("acme", "1"), ["old@example.com", "new@example.com"]);
    for n in 0..100 {
        world.learn("acme", "1", &format!("a{n}@example.com"));
    }
    assert_eq!(world.known("acme", "1").len(), ADDRESSES, "nobody fills the disk with one person");
}

#[test]
fn a_delete_forgets_the_address_whoever_has_it_and_remembers_that() {
    let world = World::new();
    world.learn("acme", "1", "peter@example.com");
    world.learn("acme", "browser", "peter@example.com");
    assert_eq!(world.known("acme", "1"), ["Shared"], "of two people nobody knows who is meant");
    world.learn("acme", "2", "milton@example.com");
    world.learn("other", "1", "peter@example.com");
    world.erase("PETER@example.com");
    assert_eq!(
        (world.known("acme", "1"), world.known("acme", "browser")),
        (vec!["erased".into()], vec!["erased".into()])
    );
    assert_eq!(world.known("acme", "2"), ["milton@example.com"]);
    assert_eq!(world.known("other", "1"), ["peter@example.com"], "in another account");
    world.erase("bill@example.com");
    assert_eq!(world.known("acme", "3"), [""; 0], "who was never learnt may have another address");
}

#[test]
fn who_has_another_address_left_is_not_gone() {
    let world = World::new();
    world.learn("acme", "1", "old@example.com");
    world.learn("acme", "1", "new@example.com");
    world.erase("old@example.com");
    assert_eq!(world.known("acme", "1"), ["new@example.com"]);
    world.erase("new@example.com");
    assert_eq!(world.known("acme", "1"), ["erased"]);
}

#[test]
fn a_delete_that_is_told_once_more_forgets_nothing_of_after_it() {
    let mut world = World::new();
    world.learn("acme", "1", "peter@example.com");
    let accepted = world.now;
    world.now += HOUR;
    world.store.erase(&named("acme"), &email("peter@example.com"), accepted, accepted).unwrap();
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::New);
    world.store.erase(&named("acme"), &email("peter@example.com"), accepted, accepted).unwrap();
    assert_eq!(world.known("acme", "1"), ["peter@example.com"]);
}

#[test]
fn what_was_accepted_before_the_delete_teaches_nothing_and_what_comes_after_it_does() {
    let mut world = World::new();
    world.learn("acme", "1", "peter@example.com");
    world.erase("peter@example.com");
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::Erased, "it came out of a retry queue, say");
    assert_eq!(world.learn("acme", "1", "other@example.com"), Learnt::New, "the delete was not about this address");
    assert_eq!(world.known("acme", "1"), ["other@example.com"]);
    world.now += HOUR;
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::Another);
    assert_eq!(world.known("acme", "1").len(), 2);
}

#[test]
fn a_delete_means_nobody_who_was_identified_after_it() {
    let mut world = World::new();
    let delete_accepted = world.now;
    world.now += HOUR;
    world.learn("acme", "1", "peter@example.com");
    let until = |until| world.store.look_up(&named("acme"), &PersonId::user("1"), until).unwrap();
    assert_eq!(until(delete_accepted), LookedUp::Unknown { since: delete_accepted });
    assert_eq!(until(world.now), LookedUp::Addresses(vec![email("peter@example.com")]));
    // An identify of before, which was in a retry queue meanwhile.
    let (acme, person, peter) = (named("acme"), PersonId::user("1"), email("peter@example.com"));
    world.store.learn(&acme, &person, &peter, delete_accepted, world.now).unwrap();
    assert_eq!(until(delete_accepted), LookedUp::Addresses(vec![peter]));
}

#[test]
fn a_browser_with_several_people_is_nobody() {
    let world = World::new();
    let browser = Event::parse(br#"{"type":"delete","anonymousId":"browser"}"#).unwrap();
    let browser = PersonId::of(&browser).unwrap();
    let learn = |address| world.store.learn(&named("acme"), &browser, &email(address), world.now, world.now).unwrap();
    let look_up = || world.store.look_up(&named("acme"), &browser, world.now).unwrap();
    learn("peter@example.com");
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::New);
    assert_eq!(look_up(), LookedUp::Addresses(vec![email("peter@example.com")]), "that is how somebody signs in");
    assert_eq!(world.known("acme", "1"), ["peter@example.com"]);
    learn("milton@example.com");
    assert_eq!(look_up(), LookedUp::Uncertain(Doubt::Several));
    world.erase("peter@example.com");
    assert_eq!(look_up(), LookedUp::Uncertain(Doubt::Several), "who is left is not who was meant");
    world.erase("milton@example.com");
    let later = world.now + HOUR;
    world.store.learn(&named("acme"), &browser, &email("bill@example.com"), later, later).unwrap();
    let look_up = world.store.look_up(&named("acme"), &browser, later).unwrap();
    assert_eq!(look_up, LookedUp::Uncertain(Doubt::Several), "nor who came after them");
    // Who comes back with the address of before is the same person.
    let alone = Event::parse(br#"{"type":"delete","anonymousId":"alone"}"#).unwrap();
    let alone = PersonId::of(&alone).unwrap();
    for at in [world.now, later] {
        world.store.learn(&named("acme"), &alone, &email("dom@example.com"), at, at).unwrap();
        let look_up = world.store.look_up(&named("acme"), &alone, at).unwrap();
        assert_eq!(look_up, LookedUp::Addresses(vec![email("dom@example.com")]));
        world.erase("dom@example.com");
    }
}

#[test]
fn who_is_there_again_is_not_gone() {
    let mut world = World::new();
    world.learn("acme", "1", "peter@example.com");
    world.now += HOUR;
    world.erase("peter@example.com");
    assert_eq!(world.known("acme", "1"), ["erased"]);
    let notice = |world: &World, accepted| world.store.notice(&named("acme"), &PersonId::user("1"), accepted).unwrap();
    notice(&world, world.now - HOUR);
    assert_eq!(world.known("acme", "1"), ["erased"], "that was accepted before the delete");
    notice(&world, world.now + HOUR);
    assert_eq!(world.known("acme", "1"), [""; 0], "what becomes of the next delete is not known then");
    // What it was before teaches no more, whoever is back.
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::Erased);
    world.now += 2 * HOUR;
    world.learn("acme", "1", "peter@example.com");
    world.erase("peter@example.com");
    assert_eq!(world.known("acme", "1"), ["erased"], "and deleted again");
}

#[test]
fn an_address_that_does_not_open_is_nobodys_until_it_is_learnt_again() {
    let world = World::new();
    world.learn("acme", "1", "peter@example.com");
    world.store.connection.execute("UPDATE person SET sealed = zeroblob(60)", []).unwrap();
    assert_eq!(world.known("acme", "1"), [""; 0]);
    assert_eq!(world.learn("acme", "1", "peter@example.com"), Learnt::Known);
    assert_eq!(world.known("acme", "1"), ["peter@example.com"]);
}

#[test]
fn of_several_in_a_transaction_the_one_that_fails_leaves_nothing() {
    let mut world = World::new();
    let (acme, now) = (named("acme"), world.now);
    let learn = |store: &Store, id: &str| store.learn(&acme, &PersonId::user(id), &email("a@example.com"), now, now);
    let failure = || DirectoryError::Failed("for a test".to_owned());
    let done = world.store.whole(|store| {
        let failed = store.one_of_several(|store| learn(store, "1").and(Err::<(), _>(failure())));
        Ok((failed, store.one_of_several(|store| learn(store, "2"))))
    });
    assert_eq!(done, Ok((Err(failure()), Ok(Learnt::New))));
    assert_eq!((world.known("acme", "1"), world.known("acme", "2")), (vec![], vec!["a@example.com".to_owned()]));
}

#[test]
fn nobody_comes_back_by_a_file_of_before() {
    let mut world = World::new();
    world.learn("acme", "1", "peter@example.com");
    world.erase("peter@example.com");
    let person = PersonId::user("1");
    let lessons = [(person.clone(), email("other@example.com")), (person, email("peter@example.com"))];
    let learnt = world.store.learn_all(&named("acme"), &lessons, SystemTime::UNIX_EPOCH, world.now).unwrap();
    assert_eq!(learnt, [Learnt::New, Learnt::Erased]);
    assert_eq!(world.known("acme", "1"), ["other@example.com"]);
}

#[test]
fn the_log_is_cleared_and_says_so_if_it_was_not() {
    let world = World::new();
    world.learn("acme", "1", "peter@example.com");
    let path = world.folder.path().join("directory.db");
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM person").unwrap();
    world.erase("peter@example.com");
    assert!(world.store.clear_log().is_err(), "somebody reads what was there before");
    reader.execute_batch("COMMIT").unwrap();
    world.store.clear_log().unwrap();
    assert_eq!(std::fs::metadata(world.folder.path().join("directory.db-wal")).unwrap().len(), 0);
}

#[test]
fn people_and_deletions_are_forgotten_by_the_clock() {
    let mut world = World::new();
    let keep = 400 * 24 * HOUR;
    world.learn("acme", "1", "peter@example.com");
    world.learn("acme", "2", "milton@example.com");
    world.learn("acme", "3", "bill@example.com");
    world.erase("bill@example.com");
    for (days, left) in [(30, (2, 1)), (1, (2, 0)), (369, (2, 0)), (1, (1, 0))] {
        world.now += days * 24 * HOUR;
        if days == 369 {
            world.learn("acme", "2", "milton@example.com");
        }
        world.store.expire(keep, world.now).unwrap();
        let rows = world.store.rows().unwrap();
        assert_eq!((rows.addresses, rows.erased), left, "after {days} days more");
    }
    assert_eq!(world.known("acme", "2"), ["milton@example.com"]);
}

#[test]
fn who_is_forgotten_was_never_there() {
    let world = World::new();
    world.learn("acme", "1", "peter@example.com");
    assert_eq!(world.store.forget(&named("acme"), &PersonId::user("1")).unwrap(), 1);
    assert_eq!(
        world.store.look_up(&named("acme"), &PersonId::user("1"), world.now).unwrap(),
        LookedUp::Unknown { since: world.now }
    );
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let world = World::new();
    let path = world.folder.path().join("directory.db");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let opened = Store::open(&path, Keys::random(), world.now).map(drop).unwrap_err().to_string();
    assert!(opened.contains("other keys"), "{opened}");

    let foreign = world.folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let opened = Store::open(&foreign, Keys::random(), world.now).map(drop).unwrap_err().to_string();
    assert!(opened.contains("another database"), "{opened}");

    std::fs::write(&foreign, "no database at all, but long enough to be taken for one: ".repeat(20)).unwrap();
    let opened = Store::open(&foreign, Keys::random(), world.now).map(drop).unwrap_err().to_string();
    assert!(opened.contains("damaged"), "{opened}");
}

#[test]
fn every_address_can_be_sealed_anew() {
    let World { folder, store, now } = World::new();
    for n in 0..30 {
        store.learn(&named("acme"), &PersonId::user(n.to_string()), &email("peter@example.com"), now, now).unwrap();
    }
    drop(store);
    let mut file = KeyFile::open_alone(&folder.path().join("key")).unwrap();
    file.add_seal().unwrap();
    let mut store = Store::open(&folder.path().join("directory.db"), file.keys(), now).unwrap();
    assert!(store.reseal().unwrap());
    assert!(!store.reseal().unwrap(), "none is left");
    drop(store);
    file.retire_seals().unwrap();
    let store = Store::open(&folder.path().join("directory.db"), file.keys(), now).unwrap();
    assert_eq!(store.show(&named("acme"), &PersonId::user("7")).unwrap(), (vec![email("peter@example.com")], false));
}

#[test]
fn nothing_personal_stands_in_the_file() {
    let world = World::new();
    world.learn("acme", "user-of-peter", "peter.gibbons@example.com");
    world.learn("acme", "user-of-milton", "milton.waddams@example.com");
    world.erase("milton.waddams@example.com");
    let files = std::fs::read_dir(world.folder.path()).unwrap().flatten();
    let mut found = 0;
    for file in files {
        let bytes = std::fs::read(file.path()).unwrap();
        found += bytes.len();
        for personal in ["peter", "gibbons", "milton", "waddams", "user-of", "example.com"] {
            let is_there = bytes.windows(personal.len()).any(|part| part.eq_ignore_ascii_case(personal.as_bytes()));
            assert!(!is_there, "{personal} in {}", file.path().display());
        }
    }
    assert!(10_000 < found, "it was looked at");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    /// Against a map, over few accounts, ids and addresses: an answer is what was learnt of exactly that id in that account.
    #[test]
    fn nobody_is_taken_for_somebody_else(
        steps in prop::collection::vec((0..2_usize, 0..4_u8, 0..3_u8, any::<bool>()), 1..40)
    ) {
        let (mut world, accounts) = (World::new(), ["acme", "other"]);
        let mut model = std::collections::BTreeMap::<(usize, u8), Vec<String>>::new();
        for (account, id, address, erases) in steps {
            let (address, person) = (format!("a{address}@example.com"), PersonId::user(id.to_string()));
            // Whoever comes after a delete is not meant by it.
            world.now += Duration::from_secs(1);
            let (name, now) = (named(accounts[account]), world.now);
            if erases {
                world.store.erase(&name, &email(&address), now, now).unwrap();
                model.iter_mut().filter(|((of, _), _)| *of == account).for_each(|(_, known)| known.retain(|known| *known != address));
            } else {
                world.store.learn(&name, &person, &email(&address), now, now).unwrap();
                let known = model.entry((account, id)).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        }
        for (account, name) in accounts.iter().enumerate() {
            for id in 0..4_u8 {
                let mut found = world.known(name, &id.to_string());
                found.retain(|found| found != "erased");
                found.sort();
                let mut expected = model.get(&(account, id)).cloned().unwrap_or_default();
                expected.sort();
                let is_shared = |address: &String| {
                    model.iter().any(|((of, other), known)| (*of, *other != id) == (account, true) && known.contains(address))
                };
                if expected.iter().any(is_shared) {
                    expected = vec!["Shared".to_owned()];
                }
                prop_assert_eq!(found, expected);
            }
        }
    }
}
