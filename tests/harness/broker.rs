/// The URL of the broker that `tests/run` has started for everybody.
///
/// # Panics
/// When there is none: the tests need it, and skipping them would look like passing.
#[must_use]
pub fn shared_broker() -> String {
    std::env::var("RELAY_TEST_AMQP_URL").expect("RELAY_TEST_AMQP_URL is not set: run the tests with tests/run")
}

/// A prefix that no other test uses on the shared broker.
#[must_use]
pub fn unique_prefix() -> String {
    format!("it-{:016x}", rand::random::<u64>())
}
