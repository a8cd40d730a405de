use std::collections::{BTreeMap, HashMap, HashSet};

use crate::affiliates::affiliate::{Affiliate, email_key};

/// The affiliates of one merchant, findable by either id and by e-mail address.
#[derive(Default)]
pub(crate) struct Merchant {
    /// Numeric ids rise, so this is the order of creation.
    affiliates: BTreeMap<u64, Affiliate>,
    /// Several ids stand under one address only where a seed put them there.
    ids_by_email: HashMap<String, HashSet<u64>>,
    ids_by_code: HashMap<String, u64>,
}

impl Merchant {
    pub(crate) fn by_id(&self, id: u64) -> Option<&Affiliate> {
        self.affiliates.get(&id)
    }

    pub(crate) fn by_code(&self, code: &str) -> Option<&Affiliate> {
        self.by_id(*self.ids_by_code.get(code)?)
    }

    /// Returns all affiliates in order of creation.
    pub(crate) fn affiliates(&self) -> impl Iterator<Item = &Affiliate> {
        self.affiliates.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.affiliates.len()
    }

    /// Whether somebody, whatever their status, has this address already.
    pub(crate) fn has_email(&self, email: &str) -> bool {
        self.ids_by_email.contains_key(&email_key(email))
    }

    /// Whether somebody other than `id` has this address.
    pub(crate) fn email_belongs_to_another(&self, email: &str, id: u64) -> bool {
        self.ids_by_email.get(&email_key(email)).is_some_and(|ids| ids.iter().any(|other| *other != id))
    }

    /// Puts an affiliate in, in place of the one with the same numeric id if there is one.
    pub(crate) fn put(&mut self, affiliate: Affiliate) {
        if let Some(before) = self.affiliates.remove(&affiliate.id) {
            self.ids_by_code.remove(&before.code);
            self.release_email(&before);
        }
        self.ids_by_email.entry(affiliate.email_key()).or_default().insert(affiliate.id);
        self.ids_by_code.insert(affiliate.code.clone(), affiliate.id);
        self.affiliates.insert(affiliate.id, affiliate);
    }

    fn release_email(&mut self, affiliate: &Affiliate) {
        let key = affiliate.email_key();
        if let Some(ids) = self.ids_by_email.get_mut(&key) {
            ids.remove(&affiliate.id);
            if ids.is_empty() {
                self.ids_by_email.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affiliates::affiliate::NewAffiliate;

    fn someone(id: u64, email: &str) -> Affiliate {
        let affiliate = NewAffiliate { email: email.into(), ..NewAffiliate::default() };
        affiliate.enrol("pub_1", id, format!("c{id}"), id)
    }

    #[test]
    fn a_changed_email_frees_the_old_one() {
        let mut merchant = Merchant::default();
        merchant.put(someone(1, "Old@x.co"));

        merchant.put(someone(1, "new@x.co"));

        assert!(!merchant.has_email("old@x.co"));
        assert!(merchant.has_email("NEW@x.co"));
        assert_eq!(merchant.len(), 1);
    }

    #[test]
    fn ones_own_email_does_not_belong_to_another() {
        let mut merchant = Merchant::default();
        merchant.put(someone(1, "jo@x.co"));

        assert!(!merchant.email_belongs_to_another("JO@x.co", 1));
        assert!(merchant.email_belongs_to_another("JO@x.co", 2));
    }
}
