use std::sync::Arc;

use async_trait::async_trait;
use refersion_relay_model::Command;
use refersion_relay_refersion::{Applied, Calls, Client, Failure};

use crate::Account;

/// What the worker needs of Refersion. Each call has to ask `calls` before, and to report there after.
#[async_trait]
pub trait RefersionApi: Send + Sync {
    /// Makes a command come true, with as many calls as it takes.
    async fn apply(&self, account: &Account, command: &Command, calls: Arc<dyn Calls>) -> Result<Applied, Failure>;
    /// Asks whether an account's keys work.
    async fn check_keys(&self, account: &Account, calls: Arc<dyn Calls>) -> Result<(), Failure>;
}

#[async_trait]
impl RefersionApi for Client {
    async fn apply(&self, account: &Account, command: &Command, calls: Arc<dyn Calls>) -> Result<Applied, Failure> {
        let client = self.governed_by(calls);
        match command {
            Command::Create(affiliate) => {
                client.create(&account.keys, affiliate, account.defaults, account.existing).await
            }
            Command::Deactivate(email) => client.deactivate(&account.keys, email).await,
        }
    }

    async fn check_keys(&self, account: &Account, calls: Arc<dyn Calls>) -> Result<(), Failure> {
        Client::check_keys(&self.governed_by(calls), &account.keys).await
    }
}
