use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{connect, say_address};

#[derive(Clone)]
struct Door {
    channel: Channel,
    queue: String,
}

pub(super) async fn run(url: &str, queue: &str) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let door = Door { channel, queue: queue.to_owned() };
    let router = Router::new().route("/v1/destination", post(accept)).with_state(door);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say_address(listener.local_addr()?)?;
    Ok(axum::serve(listener, router).await?)
}

async fn accept(State(door): State<Door>, body: Bytes) -> StatusCode {
    if serde_json::from_slice::<Value>(&body).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    match door.publish(&body).await {
        Ok(true) => StatusCode::ACCEPTED,
        Ok(false) | Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Door {
    /// Whether it is confirmed.
    async fn publish(&self, body: &[u8]) -> lapin::Result<bool> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default().with_delivery_mode(2));
        let sent = self.channel.basic_publish("".into(), self.queue.as_str().into(), options, body, properties);
        Ok(sent.await?.await?.is_ack())
    }
}
