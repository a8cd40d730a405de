pub(crate) mod readme;
pub(crate) mod senders;
pub(crate) mod amqp;
pub(crate) mod papers;
pub(crate) mod seed;
pub(crate) mod sdks;
