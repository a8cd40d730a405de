use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::affiliates::status::Status;

/// Everything the simulator knows about one affiliate. There is no password in it: that is checked and forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affiliate {
    /// The merchant it belongs to.
    pub public_key: String,
    /// The numeric id, which edit and `status_change` want.
    pub id: u64,
    /// The short id, which ends the affiliate's link.
    pub code: String,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub status: Status,
    pub offer: u64,
    pub company: Option<String>,
    pub paypal_email: Option<String>,
    pub address1: Option<String>,
    pub address2: Option<String>,
    pub city: Option<String>,
    pub zip: Option<String>,
    pub state: Option<String>,
    pub country: Option<String>,
    pub phone: Option<String>,
    pub unique_merchant_id: Option<String>,
    /// Field id to value.
    pub custom_fields: BTreeMap<String, String>,
    /// 1 for the first affiliate of this simulator, 2 for the second, whoever they belong to.
    pub created_at: u64,
}

impl Affiliate {
    /// The page the affiliate sends customers to.
    pub(crate) fn link(&self) -> String {
        format!("https://site.refersion.com/c/{}", self.code)
    }

    /// E-mail addresses are unique under this key.
    pub(crate) fn email_key(&self) -> String {
        email_key(&self.email)
    }
}

/// Folds the case of an e-mail address away.
pub(crate) fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// An affiliate to be put in place, without the ids that the simulator gives out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewAffiliate {
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub status: Status,
    pub offer: u64,
    pub company: Option<String>,
    pub paypal_email: Option<String>,
    pub address1: Option<String>,
    pub address2: Option<String>,
    pub city: Option<String>,
    pub zip: Option<String>,
    pub state: Option<String>,
    pub country: Option<String>,
    pub phone: Option<String>,
    pub unique_merchant_id: Option<String>,
    pub custom_fields: BTreeMap<String, String>,
}

/// The offer of whoever names none.
pub(crate) const DEFAULT_OFFER: u64 = 1234;

/// An active affiliate of the default offer, nameless and without an e-mail address.
impl Default for NewAffiliate {
    fn default() -> Self {
        Self {
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            status: Status::Active,
            offer: DEFAULT_OFFER,
            company: None,
            paypal_email: None,
            address1: None,
            address2: None,
            city: None,
            zip: None,
            state: None,
            country: None,
            phone: None,
            unique_merchant_id: None,
            custom_fields: BTreeMap::new(),
        }
    }
}

impl NewAffiliate {
    /// Gives the affiliate its ids and its merchant.
    pub(crate) fn enrol(self, public_key: &str, id: u64, code: String, created_at: u64) -> Affiliate {
        Affiliate {
            public_key: public_key.to_owned(),
            id,
            code,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            status: self.status,
            offer: self.offer,
            company: self.company,
            paypal_email: self.paypal_email,
            address1: self.address1,
            address2: self.address2,
            city: self.city,
            zip: self.zip,
            state: self.state,
            country: self.country,
            phone: self.phone,
            unique_merchant_id: self.unique_merchant_id,
            custom_fields: self.custom_fields,
            created_at,
        }
    }
}
