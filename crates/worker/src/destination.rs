use async_trait::async_trait;
use refersion_relay_model::Command;
use refersion_relay_refersion::{Applied, Client, Failure};

use crate::Account;

/// What the worker needs of Refersion.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Makes a command come true, with as many calls as it takes.
    async fn apply(&self, account: &Account, command: &Command) -> Result<Applied, Failure>;
    /// Asks whether an account's keys work.
    async fn check_keys(&self, account: &Account) -> Result<(), Failure>;
}

#[async_trait]
impl Destination for Client {
    async fn apply(&self, account: &Account, command: &Command) -> Result<Applied, Failure> {
        match command {
            Command::Create(affiliate) => {
                self.create(&account.keys, affiliate, account.defaults, account.existing).await
            }
            Command::Deactivate(email) => self.deactivate(&account.keys, email).await,
        }
    }

    async fn check_keys(&self, account: &Account) -> Result<(), Failure> {
        Client::check_keys(self, &account.keys).await
    }
}
