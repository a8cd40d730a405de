use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lru::LruCache;
use refersion_relay_directory::{AddressKey, DirectoryError, Keys, LookedUp, PersonKey, Request};
use refersion_relay_model::{AccountName, Email, PersonId};
use refersion_relay_queue::{Mailbox, MailboxError};

use super::{Taught, Whose};

/// Lessons that are not sent again within the hour.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("above zero");

/// A directory that another process keeps, which reads the mailbox.
pub struct RemoteDirectory {
    mailbox: Arc<Mailbox>,
    keys: Keys,
    sent: Mutex<Sent>,
}

/// What need not be sent again.
struct Sent {
    /// When a lesson was sent, and when the event was accepted that said so.
    lessons: LruCache<Lesson, (SystemTime, SystemTime)>,
    /// For each account the time without another owner, and when that began or an address was erased last. A lesson of an event that was
    /// accepted before then may have come too late to be believed: the person was deleted meanwhile, perhaps by another owner.
    since: HashMap<AccountName, (u64, SystemTime)>,
}

#[derive(PartialEq, Eq, Hash)]
enum Lesson {
    /// Somebody has an address.
    Has(PersonKey, AddressKey),
    /// Somebody is there.
    Is(PersonKey),
}

impl RemoteDirectory {
    /// Asks whoever reads this mailbox. They have the same keys, since its name is that of the keys.
    #[must_use]
    pub fn new(mailbox: Arc<Mailbox>, keys: Keys) -> Self {
        Self { mailbox, keys, sent: Mutex::new(Sent::default()) }
    }

    pub(super) async fn learn(
        &self,
        whose: Whose<'_>,
        person: &PersonId,
        email: &Email,
        accepted: SystemTime,
    ) -> Result<Taught, DirectoryError> {
        let account = whose.account;
        let lesson = Lesson::Has(self.keys.person(account, person), self.keys.address(account, email));
        let (account, person, email) = (account.clone(), person.clone(), email.clone());
        let is_new = self.once(whose, lesson, accepted, || Request::Learn { account, person, email, accepted }).await?;
        Ok(if is_new { Taught::Sent } else { Taught::Known })
    }

    pub(super) async fn notice(
        &self,
        whose: Whose<'_>,
        person: &PersonId,
        accepted: SystemTime,
    ) -> Result<(), DirectoryError> {
        let lesson = Lesson::Is(self.keys.person(whose.account, person));
        let (account, person) = (whose.account.clone(), person.clone());
        self.once(whose, lesson, accepted, || Request::Notice { account, person, accepted }).await.map(drop)
    }

    pub(super) async fn erase(
        &self,
        whose: Whose<'_>,
        email: &Email,
        accepted: SystemTime,
        done: SystemTime,
    ) -> Result<(), DirectoryError> {
        let request = Request::Erase { account: whose.account.clone(), email: email.clone(), accepted, done };
        self.tell(&request).await?;
        self.sent().begin(whose, SystemTime::now());
        Ok(())
    }

    pub(super) async fn look_up(
        &self,
        account: &AccountName,
        person: &PersonId,
        until: SystemTime,
    ) -> Result<LookedUp, DirectoryError> {
        let request = Request::LookUp { account: account.clone(), person: person.clone(), until };
        let request = Bytes::from(self.keys.seal_request(&request));
        let answer = self.mailbox.ask(request.clone()).await.map_err(|error| self.failed(&error))?;
        let opened = self.keys.open_answer(&request, &answer);
        opened.ok_or_else(|| DirectoryError::Unanswered("the answer of whoever keeps it cannot be read".to_owned()))
    }

    /// Sends a lesson, unless that need not be. Whether it was sent.
    async fn once(
        &self,
        whose: Whose<'_>,
        lesson: Lesson,
        accepted: SystemTime,
        request: impl FnOnce() -> Request,
    ) -> Result<bool, DirectoryError> {
        let now = SystemTime::now();
        if self.sent().is_known(whose, &lesson, accepted, now) {
            return Ok(false);
        }
        self.tell(&request()).await?;
        self.sent().put(lesson, accepted, now);
        Ok(true)
    }

    async fn tell(&self, request: &Request) -> Result<(), DirectoryError> {
        self.mailbox.tell(self.keys.seal_request(request)).await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &MailboxError) -> DirectoryError {
        match error {
            MailboxError::NotStored(why) => DirectoryError::Failed(why.clone()),
            MailboxError::Silent => DirectoryError::Unanswered(format!(
                "nobody who keeps it with the keys {} answers: the worker with directory.path does not run, or cannot use its file",
                self.keys.name()
            )),
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sent {
    fn default() -> Self {
        Self { lessons: LruCache::new(REMEMBERED), since: HashMap::new() }
    }
}

impl Sent {
    /// From now on it is known what becomes of the account's people.
    fn begin(&mut self, Whose { account, stay }: Whose<'_>, now: SystemTime) {
        self.since.insert(account.clone(), (stay, now));
    }

    /// Whether a lesson that says so was sent within the hour, and believed.
    fn is_known(&mut self, whose: Whose<'_>, lesson: &Lesson, accepted: SystemTime, now: SystemTime) -> bool {
        let since = match self.since.get(whose.account) {
            Some((stay, since)) if *stay == whose.stay => *since,
            _ => {
                self.begin(whose, now);
                now
            }
        };
        let sent = self.lessons.get(lesson);
        sent.is_some_and(|&(sent, first)| hour(sent) == hour(now) && since < sent && since < first && first <= accepted)
    }

    fn put(&mut self, lesson: Lesson, accepted: SystemTime, now: SystemTime) {
        self.lessons.put(lesson, (now, accepted));
    }
}

/// Hours since 1970.
fn hour(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / Duration::from_hours(1).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_is_sent_again_unless_it_was_certainly_believed() {
        let (keys, acme) = (Keys::random(), AccountName::try_from("acme").unwrap());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_hours(1) + Duration::from_secs(seconds);
        let peter = || Lesson::Is(keys.person(&acme, &PersonId::user("5678")));
        let whose = |stay| Whose { account: &acme, stay };
        let mut sent = Sent::default();
        assert!(!sent.is_known(whose(1), &peter(), at(10), at(100)));
        sent.put(peter(), at(10), at(100));
        assert!(!sent.is_known(whose(1), &peter(), at(20), at(101)), "somebody may have deleted him since");
        sent.put(peter(), at(110), at(111));
        assert!(sent.is_known(whose(1), &peter(), at(120), at(121)));
        assert!(!sent.is_known(whose(1), &peter(), at(109), at(121)), "it says so of earlier times");
        let other = Lesson::Is(keys.person(&acme, &PersonId::user("5679")));
        assert!(!sent.is_known(whose(1), &other, at(120), at(121)));
        assert!(!sent.is_known(whose(1), &peter(), at(3600), at(3600)), "in the next hour");
        assert!(!sent.is_known(whose(2), &peter(), at(120), at(122)), "another process may have had the queue");
        sent.put(peter(), at(130), at(131));
        assert!(sent.is_known(whose(2), &peter(), at(132), at(132)));
        sent.put(peter(), at(150), at(139));
        sent.begin(whose(2), at(140));
        assert!(
            !sent.is_known(whose(2), &peter(), at(151), at(141)),
            "it was sent before, whatever the door's clock says"
        );
        assert!(!sent.is_known(whose(2), &peter(), at(141), at(141)), "he may have been erased");
    }
}
