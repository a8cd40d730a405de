use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind};
use refersion_relay_model::Class;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::publisher::Publisher;
use super::url::BrokerUrl;
use super::{connection, consumer, properties};
use crate::{Action, Browsed, Depth, Letter, Place, PublishError, QueueError, Room, Scan, Settle, Sweeper, Swept};

/// AMQP's `ACCESS_REFUSED`: somebody else has the queue to themselves.
const ACCESS_REFUSED: u16 = 403;
/// AMQP's `NOT_FOUND`.
const NOT_FOUND: u16 = 404;
/// How long one answer of the broker may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Letters in hand during a sweep.
const SWEEP_ROOM: Room = Room { events: 100 };

/// Counts what is ready in a queue. The management plugin would know more, some seconds later, where it is installed.
pub(crate) async fn depth(connection: &Connection, queue: &str) -> Result<Depth, QueueError> {
    let counted = timeout(ANSWER_TIMEOUT, async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if declared.is_ok() {
            channel.close(200, "done".into()).await?;
        }
        declared
    });
    match counted.await {
        Ok(Ok(queue)) => Ok(Depth { ready: u64::from(queue.message_count()) }),
        Ok(Err(error)) if is(&error, NOT_FOUND) => Ok(Depth::default()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(QueueError::Away("the broker does not answer".to_owned())),
    }
}

/// Reads letters without settling them; closing the connection puts them back in order.
pub(crate) async fn browse(
    url: &BrokerUrl,
    publisher: &Publisher,
    class: Class,
    scan: Scan,
) -> Result<Browsed, QueueError> {
    let queue = publisher.topology.names.dead(class);
    let connection = connection::connect(url, "browse").await.map_err(|error| QueueError::Away(error.to_string()))?;
    let browsed = read(&connection, &queue, class, scan).await;
    connection::close(&connection).await;
    browsed
}

async fn read(connection: &Connection, queue: &str, class: Class, scan: Scan) -> Result<Browsed, QueueError> {
    let total = depth(connection, queue).await?.ready;
    let mut browsed = Browsed { letters: Vec::new(), total };
    let most = scan.letters.min(usize::try_from(total).unwrap_or(usize::MAX));
    if most == 0 {
        return Ok(browsed);
    }
    let channel = connection.create_channel().await?;
    while browsed.letters.len() < most {
        let got = timeout(ANSWER_TIMEOUT, channel.basic_get(queue.into(), BasicGetOptions::default())).await;
        match got.map_err(|_| QueueError::Away("the broker does not answer".to_owned()))? {
            Ok(Some(letter)) => {
                let message = properties::read(letter.delivery.data, &letter.delivery.properties, Some(class));
                browsed.letters.push(Letter::new(class, message));
            }
            Ok(None) => break,
            Err(error) => return Err(refused(error, class)),
        }
    }
    Ok(browsed)
}

/// Walks over the letters that are there now. One sweep of a class at a time: the broker itself keeps a second one out.
pub(crate) async fn sweep(
    url: &BrokerUrl,
    publisher: Arc<Publisher>,
    class: Class,
    mut sweeper: Sweeper,
    stop: CancellationToken,
) -> Result<Swept, QueueError> {
    let link = publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
    let queue = publisher.topology.names.dead(class);
    let mut swept = Swept { total: depth(&link.connection, &queue).await?.ready, ..Swept::default() };
    if swept.total == 0 {
        return Ok(swept);
    }
    let place = Place::Dead(class);
    let owned = consumer::own(url, publisher, &place, SWEEP_ROOM, true).await;
    let mut owned = owned.map_err(|error| refused(error, class))?;
    while swept.seen < swept.total && !stop.is_cancelled() {
        // Something else may have taken letters since they were counted, so an empty queue ends the sweep too.
        let Ok(Some(delivery)) = timeout(ANSWER_TIMEOUT, owned.next()).await else { break };
        let letter = Letter::new(class, delivery.message.clone());
        let (settle, acted) = match sweeper(&letter) {
            Action::Keep => (Settle::Move(place.clone(), Box::new(letter.message.headers)), 0),
            Action::Drop => (Settle::Done, 1),
            Action::Move(place, headers) => (Settle::Move(place, headers), 1),
        };
        if delivery.settle(settle).await.is_err() {
            owned.release().await;
            let lost = "the connection was lost; what was not finished is where it was".to_owned();
            return Err(QueueError::NotCopied(PublishError::Unknown(lost)));
        }
        swept.seen += 1;
        swept.acted += acted;
    }
    owned.release().await;
    Ok(swept)
}

fn refused(error: lapin::Error, class: Class) -> QueueError {
    if is(&error, ACCESS_REFUSED) { QueueError::Busy(class) } else { error.into() }
}

fn is(error: &lapin::Error, id: u16) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == id)
}
