//! Makes one of each call with the library `analytics`, Segment's own, and stops with what it complains about.
//!
//! send-analytics HOST EMAIL single|batch

use std::error::Error;

use analytics::batcher::Batcher;
use analytics::client::Client;
use analytics::http::HttpClient;
use rust_sdks::{alone, calls};

const KEY: &str = "write_1";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [host, email, strategy] = arguments.as_slice() else { return Err("three arguments, please".into()) };
    let client = HttpClient::new(reqwest_0_9::Client::new(), host.clone());
    let calls = calls!(analytics::message, email);
    if strategy == "batch" {
        let mut batcher = Batcher::new(None);
        for call in calls {
            if batcher.push(call)?.is_some() {
                return Err("six calls fit into one batch".into());
            }
        }
        client.send(KEY, &batcher.into_message())?;
    } else {
        for call in calls {
            client.send(KEY, &alone!(analytics::message, call))?;
        }
    }
    Ok(())
}
