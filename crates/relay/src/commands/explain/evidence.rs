use std::net::SocketAddr;

use refersion_relay_model::Class;
use refersion_relay_queue::{Found, Headers, Queue, Scan};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;

use crate::cli::ExplainArgs;
use crate::commands::ops_client::{ask, reachable};
use crate::commands::up;
use crate::config::{QueueUrl, Settings};
use crate::exit::Exit;
use crate::parts;
use crate::run::state::State;

/// The dead letters of each class that are read on RabbitMQ, from the oldest.
const LETTERS: usize = 65_535;

/// Everything that could be found out about one event.
pub(super) struct Evidence {
    /// As it was asked for.
    pub(super) message_id: String,
    pub(super) queue: InQueue,
    pub(super) processes: Vec<Process>,
}

/// What the queue itself says.
pub(super) enum InQueue {
    /// Each event with this id that is in the file.
    Embedded(Result<Vec<Found>, String>),
    /// The dead letters with this id. Nothing else can be asked for.
    Broker(Result<Letters, String>),
}

/// Dead letters on a broker.
pub(super) struct Letters {
    /// Those with this id, with their classes.
    pub(super) found: Vec<(Class, Headers)>,
    /// Whether all that there are were read.
    pub(super) all: bool,
}

/// A process that was asked.
pub(super) struct Process {
    pub(super) ops: SocketAddr,
    pub(super) answer: Result<State, String>,
}

impl Evidence {
    pub(super) async fn gather(settings: &Settings, args: &ExplainArgs, parts: &Parts) -> Result<Self, Exit> {
        let ids: Vec<_> = parts::known_as(settings, std::slice::from_ref(&args.message_id)).into_iter().collect();
        let addresses = if args.ops.is_empty() { vec![settings.ops_listen] } else { args.ops.clone() };
        let asking = addresses.into_iter().map(|ops| ask_process(ops, &ids));
        let asked = futures_util::future::join_all(asking);
        let (queue, processes) = tokio::join!(look(settings, &ids, parts), asked);
        Ok(Self { message_id: args.message_id.clone(), queue: queue?, processes })
    }
}

async fn look(settings: &Settings, ids: &[String], parts: &Parts) -> Result<InQueue, Exit> {
    let metrics = Metrics::new();
    match &settings.queue_url {
        QueueUrl::Sqlite(path) => {
            let queue = parts::sqlite(path, settings, &metrics, parts);
            let found = match up(&queue).await {
                Ok(()) => queue.find(ids.to_vec()).await.map_err(|error| error.to_string()),
                Err(_) => Err(queue.state().borrow().to_string()),
            };
            queue.close().await;
            Ok(InQueue::Embedded(found))
        }
        QueueUrl::RabbitMq(url) => {
            let queue = parts::rabbitmq(url, settings, None, &metrics, parts);
            let found = match up(&queue).await {
                Ok(()) => letters(&queue, ids).await,
                Err(_) => Err(queue.state().borrow().to_string()),
            };
            queue.close().await;
            Ok(InQueue::Broker(found))
        }
    }
}

async fn letters(queue: &dyn Queue, ids: &[String]) -> Result<Letters, String> {
    let (mut found, mut all) = (Vec::new(), true);
    for class in Class::ALL {
        let mut visit = |letter: refersion_relay_queue::Letter| {
            if ids.contains(&letter.message.headers.message_id) {
                found.push((letter.class, letter.message.headers));
            }
        };
        let browsed = queue.browse(class, Scan { letters: LETTERS }, &mut visit).await;
        let browsed = browsed.map_err(|error| error.to_string())?;
        all &= browsed.total <= browsed.seen;
    }
    Ok(Letters { found, all })
}

async fn ask_process(ops: SocketAddr, ids: &[String]) -> Process {
    let ops = reachable(ops);
    let query: Vec<_> = ids.iter().map(|id| ("message", id.as_str())).collect();
    let answer = match ask(ops, "/ops/state", &query).await {
        Ok((200, body)) => serde_json::from_slice(&body).map_err(|_| "its answer is none of this release".to_owned()),
        Ok((status, _)) => Err(format!("it answers {status}: another program, or another release")),
        Err(why) => Err(why),
    };
    Process { ops, answer }
}
