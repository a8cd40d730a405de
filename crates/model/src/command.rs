use crate::{Email, Personal};

/// What Refersion is to be told. Built by [`crate::judge`], so whatever Refersion insists on is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create the affiliate, or take notice that it exists.
    Create(Box<NewAffiliate>),
    /// Deactivate every affiliate with exactly this address. Refersion has no delete.
    Deactivate(Email),
}

/// The kind of a [`Command`], for labels and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// See [`Command::Create`].
    Create,
    /// See [`Command::Deactivate`].
    Deactivate,
}

/// An affiliate as Refersion's create operation takes it, without what the account adds (status, welcome, password).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewAffiliate {
    /// Identifies the affiliate.
    pub email: Email,
    /// Required by Refersion.
    pub first_name: Personal,
    /// Required by Refersion.
    pub last_name: Personal,
    /// Where they work.
    pub company: Option<Personal>,
    /// As written.
    pub phone: Option<Personal>,
    /// Street and number.
    pub address1: Option<Personal>,
    /// City.
    pub city: Option<Personal>,
    /// State or province, as written.
    pub state: Option<Personal>,
    /// Postal code.
    pub zip: Option<Personal>,
    /// One of the codes Refersion takes.
    pub country: Option<&'static str>,
    /// The merchant's own id of this person; letters and digits only.
    pub unique_merchant_id: Option<Personal>,
    /// What the event had and could not be used.
    pub omitted: Vec<OmittedField>,
}

/// A field that was left out because Refersion would refuse the whole affiliate for it, or because it could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OmittedField {
    /// Names no country that Refersion lists.
    Country,
    /// `userId` has characters other than letters and digits.
    UniqueMerchantId,
    /// Is not two or three letters, which an update wants and a creation does not.
    State,
    /// All of it or a part is no text, or is several addresses.
    Address,
    /// Is no text.
    Phone,
    /// Is neither a text nor an object with a name.
    Company,
}

impl NewAffiliate {
    /// The state, if an update may send it: Refersion's edit operation wants two or three letters.
    #[must_use]
    pub fn editable_state(&self) -> Option<&Personal> {
        let fits = |state: &&Personal| {
            let state = state.expose();
            (2..=3).contains(&state.len()) && state.chars().all(|c| c.is_ascii_alphabetic())
        };
        self.state.as_ref().filter(fits)
    }

    /// What the event had and an update leaves out, beyond [`NewAffiliate::omitted`].
    #[must_use]
    pub fn omitted_by_update(&self) -> Option<OmittedField> {
        (self.state.is_some() && self.editable_state().is_none()).then_some(OmittedField::State)
    }
}

impl Command {
    /// Which kind of command this is.
    #[must_use]
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::Create(_) => CommandKind::Create,
            Self::Deactivate(_) => CommandKind::Deactivate,
        }
    }

    /// Whom the command is about.
    #[must_use]
    pub fn email(&self) -> &Email {
        match self {
            Self::Create(affiliate) => &affiliate.email,
            Self::Deactivate(email) => email,
        }
    }
}

impl CommandKind {
    /// The word in labels and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Deactivate => "deactivate",
        }
    }
}

impl OmittedField {
    /// Every field that can be left out.
    pub const ALL: [Self; 6] =
        [Self::Country, Self::UniqueMerchantId, Self::State, Self::Address, Self::Phone, Self::Company];

    /// Refersion's name of the field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::UniqueMerchantId => "unique_merchant_id",
            Self::State => "state",
            Self::Address => "address",
            Self::Phone => "phone",
            Self::Company => "company",
        }
    }
}
