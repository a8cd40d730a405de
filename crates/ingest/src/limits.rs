//! How much one request may bring.

/// The largest body of a batch, in bytes, as it was sent and unpacked. Segment's libraries stay below 512 KiB.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The largest body of a webhook, in bytes. Segment sends up to 4,000 events at once.
pub const MAX_WEBHOOK_BYTES: usize = 16 * 1024 * 1024;
/// The most events in one batch: each of them may become a message of its own.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// The most secrets that one account's webhook may have: anybody can have each of them tried on a body of his.
pub const MAX_WEBHOOK_SECRETS: usize = 4;
