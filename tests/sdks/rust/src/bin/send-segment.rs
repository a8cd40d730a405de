//! Makes one of each call with the library `segment`, and stops with what it complains about.
//!
//! send-segment HOST EMAIL single|batch

use std::error::Error;

use rust_sdks::{alone, calls};
use segment::{AutoBatcher, Batcher, Client, HttpClient};

const KEY: &str = "write_1";

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(send())
}

async fn send() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [host, email, strategy] = arguments.as_slice() else { return Err("three arguments, please".into()) };
    let client = HttpClient::new(reqwest_0_12::Client::new(), host.clone());
    let calls = calls!(segment::message, email);
    if strategy == "batch" {
        let mut batcher = AutoBatcher::new(client, Batcher::new(None), KEY.to_owned());
        for call in calls {
            batcher.push(call).await?;
        }
        batcher.flush().await?;
    } else {
        for call in calls {
            client.send(KEY.to_owned(), alone!(segment::message, call)).await?;
        }
    }
    Ok(())
}
