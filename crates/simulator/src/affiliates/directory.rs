use std::collections::BTreeMap;

use rand::RngExt as _;

use crate::affiliates::affiliate::{Affiliate, NewAffiliate};
use crate::affiliates::merchant::Merchant;
use crate::settings::CodeStyle;

/// All merchants, and the counter their numeric ids come from.
pub(crate) struct Directory {
    merchants: BTreeMap<String, Merchant>,
    created: u64,
    code_style: CodeStyle,
}

/// The affiliate created first has the id after this one.
const IDS_START_AFTER: u64 = 37_569_296;

impl Directory {
    pub(crate) fn new(code_style: CodeStyle) -> Self {
        Self { merchants: BTreeMap::new(), created: 0, code_style }
    }

    /// Returns the merchant of this public key, who comes into being when first asked for.
    pub(crate) fn merchant(&mut self, public_key: &str) -> &mut Merchant {
        self.merchants.entry(public_key.to_owned()).or_default()
    }

    /// Adds an affiliate without a question asked, not even whether the e-mail address is taken.
    pub(crate) fn create(&mut self, public_key: &str, affiliate: NewAffiliate) -> Affiliate {
        self.created += 1;
        let id = IDS_START_AFTER + self.created;
        let created_at = self.created;
        let code = match self.code_style {
            CodeStyle::AllDigits => (id + 1).to_string(),
            CodeStyle::Alphanumeric => self.free_code(public_key),
        };
        let affiliate = affiliate.enrol(public_key, id, code, created_at);
        self.merchant(public_key).put(affiliate.clone());
        affiliate
    }

    /// Returns every affiliate of every merchant in order of creation.
    pub(crate) fn affiliates(&self) -> Vec<Affiliate> {
        let mut all: Vec<_> = self.merchants.values().flat_map(Merchant::affiliates).cloned().collect();
        all.sort_by_key(|affiliate| affiliate.created_at);
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.merchants.values().map(Merchant::len).sum()
    }

    fn free_code(&mut self, public_key: &str) -> String {
        let merchant = self.merchant(public_key);
        loop {
            let code = draw_code();
            if merchant.by_code(&code).is_none() {
                return code;
            }
        }
    }
}

/// Draws a letter and four more characters: enough for a million affiliates to find a free code quickly.
fn draw_code() -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    [26, 36, 36, 36, 36].into_iter().map(|choices| char::from(CHARACTERS[random.random_range(0..choices)])).collect()
}
