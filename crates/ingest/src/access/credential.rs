use refersion_relay_model::CommandKind;

/// What showed who sent an event. The one rule of what that permits is `Credential::rights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The account's Refersion keys, which only the merchant and Segment have.
    KeyPair,
    /// A signature of the account's Webhooks destination that covers the event.
    Signed,
    /// The event came to the account's webhook, and no signature covers it.
    Unsigned,
    /// The account's write key, which stands in every page that sends events.
    WriteKey,
    /// The account's exchange on RabbitMQ, to which only those can publish whom the broker lets.
    Exchange,
    /// An operator at the command line.
    Operator,
}

/// What an account trusts beyond what is safe for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Whether webhook elements that no signature covers count as signed.
    pub unsigned: bool,
    /// What the write key may do.
    pub write_key: Rights,
}

/// What an event may do. Whoever is let in may create; by default that is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Deactivate an affiliate.
    pub delete: bool,
    /// Change an affiliate that exists.
    pub update: bool,
    /// Say which address belongs to an id. Whoever may, decides whom a delete by that id is about.
    pub teach: bool,
}

impl Credential {
    /// The rule of who may do what: every credential at every door is judged here and nowhere else.
    pub(crate) fn rights(self, trust: Trust) -> Rights {
        match self {
            Self::KeyPair | Self::Signed | Self::Exchange | Self::Operator => {
                Rights { delete: true, update: true, teach: true }
            }
            Self::Unsigned => Rights { delete: trust.unsigned, update: trust.unsigned, teach: trust.unsigned },
            Self::WriteKey => trust.write_key,
        }
    }

    /// Why a delete to which it gives no right is a dead letter.
    pub(crate) fn objection(self) -> &'static str {
        match self {
            Self::Unsigned => {
                "the signature does not cover this delete, so anybody can have sent it; replay it if it is meant, or let \
                 the account trust batches"
            }
            Self::WriteKey => {
                "this delete came with a write key, which may be public, so anybody can have sent it; replay it if it is \
                 meant, or set write_key_may_delete for the account"
            }
            Self::KeyPair | Self::Signed | Self::Exchange | Self::Operator => "its sender may not delete",
        }
    }
}

impl Rights {
    /// Whether a command may be carried out at all.
    pub(crate) fn permit(self, command: CommandKind) -> bool {
        match command {
            CommandKind::Create => true,
            CommandKind::Deactivate => self.delete,
        }
    }

    /// Whether a command may create and change nothing.
    pub(crate) fn only_creates(self, command: CommandKind) -> bool {
        match command {
            CommandKind::Create => !self.update,
            CommandKind::Deactivate => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Rights = Rights { delete: false, update: false, teach: false };
    const ALL: Rights = Rights { delete: true, update: true, teach: true };

    /// What a credential may do where nothing is trusted, and with this trust.
    #[track_caller]
    fn check(credential: Credential, trust: Trust, untrusted: Rights, trusted: Rights) {
        assert_eq!(credential.rights(Trust::default()), untrusted, "{credential:?}");
        assert_eq!(credential.rights(trust), trusted, "{credential:?} {trust:?}");
    }

    #[test]
    fn what_anybody_can_have_sent_only_creates_unless_its_account_says_otherwise() {
        let everything = Trust { unsigned: true, write_key: ALL };
        for credential in [Credential::KeyPair, Credential::Signed, Credential::Exchange, Credential::Operator] {
            check(credential, everything, ALL, ALL);
        }
        check(Credential::Unsigned, everything, NONE, ALL);
        check(Credential::Unsigned, Trust { unsigned: false, ..everything }, NONE, NONE);
        for rights in [Rights { delete: true, ..NONE }, Rights { update: true, ..NONE }, Rights { teach: true, ..NONE }]
        {
            check(Credential::WriteKey, Trust { write_key: rights, ..Trust::default() }, NONE, rights);
        }
        check(Credential::WriteKey, Trust { unsigned: true, ..Trust::default() }, NONE, NONE);
    }

    #[test]
    fn whoever_is_let_in_may_create() {
        let none = Credential::WriteKey.rights(Trust::default());
        assert!(none.permit(CommandKind::Create) && none.only_creates(CommandKind::Create));
        assert!(!none.permit(CommandKind::Deactivate));
        assert!(!Credential::KeyPair.rights(Trust::default()).only_creates(CommandKind::Create));
    }
}
