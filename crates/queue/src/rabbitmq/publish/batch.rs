use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::publisher::Publisher;
use crate::chains::chains;
use crate::{Group, Message, Place, PublishError};

/// Subjects of one batch whose events are handed over together: the first one of each, then the second ones, and so on.
const SIDE_BY_SIDE: usize = 100;
/// How many such groups are published side by side.
const GROUPS: usize = 5;

/// Publishes a batch: the events of one subject one at a time, in their order, and the subjects side by side. Returns what became
/// of each in the order of the batch. Goes on if the caller goes away meanwhile.
pub(crate) async fn publish(publisher: Arc<Publisher>, batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>> {
    let count = batch.len();
    // In a task of its own: a caller that goes away must not leave a publish half done, and lapin keeps the confirms
    // of publishes that nobody waits for.
    let task = tokio::spawn(async move {
        let (batch, publisher) = (&batch, &publisher);
        let subjects = batch.iter().map(|(_, message)| (&message.headers.account, &message.headers.subject));
        let chains = chains(subjects);
        let groups: Vec<_> = chains.chunks(SIDE_BY_SIDE).map(|group| publish_group(publisher, batch, group)).collect();
        // Not all at once: a large batch would keep everybody else waiting until it is through.
        let results = stream::iter(groups).buffer_unordered(GROUPS).collect::<Vec<_>>().await;
        let mut results: Vec<_> = results.into_iter().flatten().collect();
        results.sort_unstable_by_key(|(position, _)| *position);
        results.into_iter().map(|(_, result)| result).collect::<Vec<_>>()
    });
    let aborted = || PublishError::Unknown("publishing was aborted".to_owned());
    task.await.unwrap_or_else(|_| (0..count).map(|_| Err(aborted())).collect())
}

/// Publishes the events of some subjects, chains of positions in a batch: one of each subject at a time, in their order.
async fn publish_group(
    publisher: &Publisher,
    batch: &[(Place, Message)],
    chains: &[Vec<usize>],
) -> Vec<(usize, Result<(), PublishError>)> {
    let mut left: Vec<_> = chains.iter().map(|chain| chain.iter().copied()).collect();
    let mut results = Vec::with_capacity(left.iter().map(ExactSizeIterator::len).sum());
    while !left.is_empty() {
        let positions: Vec<_> = left.iter_mut().filter_map(Iterator::next).collect();
        let wave: Vec<_> = positions.iter().map(|position| &batch[*position]).map(|(to, what)| (to, what)).collect();
        let answers = publisher.publish_all(&wave).await;
        for ((chain, position), result) in left.iter_mut().zip(positions).zip(answers) {
            if let (Ok(()), Some(group)) = (&result, Group::of(&batch[position].0)) {
                publisher.tally.accepted(group);
            }
            if result.is_err() {
                let refused =
                    || PublishError::Refused("an earlier event of the same subject was not confirmed".to_owned());
                results.extend(chain.map(|position| (position, Err(refused()))));
            }
            results.push((position, result));
        }
        left.retain(|chain| chain.len() != 0);
    }
    results
}
