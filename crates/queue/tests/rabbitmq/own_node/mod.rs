//! Each of these has a broker to itself. The runner starts only a few of them at a time.

mod alarm;
mod arguments;
mod cluster;
mod crash;
mod frozen;
mod full;
mod limits;
mod poison;
mod quiet;
mod rights;
mod sweeping;
mod unfinished;

use refersion_relay_private_broker::PrivateBroker;

async fn node() -> PrivateBroker {
    PrivateBroker::start().await.expect("RabbitMQ is installed")
}
