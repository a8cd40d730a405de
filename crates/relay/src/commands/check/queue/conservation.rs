use std::time::Duration;

use refersion_relay_queue::{Conservation, Queue, QueueError, RabbitMq, Sqlite};
use serde_json::{Value, json};

use crate::commands::check::finding::Finding;

const WHAT: &str = "conservation";
/// How long nothing may move until every process has stored what it counted, and the broker's counts are of one moment.
const STILLNESS: Duration = Duration::from_secs(11);

/// The sum of an embedded queue, whose own line among the findings says whether it is right.
pub(crate) async fn exact(queue: &Sqlite) -> Option<Value> {
    queue.conservation().await.ok().map(|sum| document(&sum))
}

/// The sum on a broker, looked at twice.
pub(crate) async fn still(queue: &RabbitMq, new_baseline: bool) -> (Finding, Option<Value>) {
    match look_twice(queue, new_baseline).await {
        Ok(sum) => (judge(&sum), Some(document(&sum))),
        Err(error) => (Finding::failed(WHAT, format!("could not be added up: {error}")).following("queue"), None),
    }
}

async fn look_twice(queue: &RabbitMq, new_baseline: bool) -> Result<Conservation, QueueError> {
    let before = queue.conservation().await?;
    tokio::time::sleep(STILLNESS).await;
    let after = queue.conservation().await?.moving_since(&before);
    if !new_baseline {
        return Ok(after);
    }
    queue.set_baseline().await?;
    let moving = after.tolerance.moving;
    let mut sum = queue.conservation().await?;
    // What was moving when the baseline was taken is in it for ever.
    sum.tolerance.moving = moving;
    Ok(sum)
}

fn judge(sum: &Conservation) -> Finding {
    let (moves, tolerates) = (0 < sum.tolerance.moving, 0 < sum.tolerance.events());
    match (sum.holds(), moves, sum.difference()) {
        (false, _, _) => Finding::failed(WHAT, format!("{sum}: it does not add up")),
        (true, true, _) => Finding::ok(WHAT, format!("{sum}; exact only while nothing moves")),
        (true, false, 0) if tolerates => {
            Finding::ok(WHAT, format!("{sum}; it adds up while nothing moves: --new-baseline ends the tolerance"))
        }
        (true, false, 0) => Finding::ok(WHAT, sum.to_string()),
        (true, false, _) => Finding::warning(
            WHAT,
            format!(
                "{sum}: within the tolerance, but nothing moves; when it is explained, --new-baseline takes it for right"
            ),
        ),
    }
}

fn document(sum: &Conservation) -> Value {
    let difference = i64::try_from(sum.difference()).unwrap_or(i64::MAX);
    json!({
        "holds": sum.holds(),
        "difference": difference,
        "tolerance": sum.tolerance.events(),
        "dead": sum.dead(),
        "waiting": sum.waiting(),
        "sum": sum,
    })
}
