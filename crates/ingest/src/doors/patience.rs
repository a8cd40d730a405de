//! How long a door waits for the queue, before its sender hears that it is to send again.

use std::time::Duration;

/// Of Segment's Direct Destination.
pub(crate) const DESTINATION: Duration = Duration::from_secs(20);
/// Of Segment's libraries, which wait longer.
pub(crate) const TRACKING: Duration = Duration::from_secs(20);
/// Of a Webhooks destination: Segment waits 5 s for an answer.
pub(crate) const WEBHOOK: Duration = Duration::from_secs(4);
