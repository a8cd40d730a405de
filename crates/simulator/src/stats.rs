use std::collections::BTreeMap;

use serde::Serialize;

use crate::operation::Operation;

/// What the simulator has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Every operation is in here, called or not.
    pub calls: BTreeMap<Operation, OperationStats>,
    /// How many affiliates there are now, over all merchants.
    pub affiliates: u64,
    /// The most calls that were ever under way at once.
    pub max_in_flight: u64,
    /// How many calls are under way now.
    pub in_flight: u64,
}

/// What became of the calls of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OperationStats {
    /// All that arrived, including those that are under way or never got an answer.
    pub total: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
}
