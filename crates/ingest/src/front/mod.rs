pub(crate) mod serve;
pub(crate) mod certificate;
pub(crate) mod head;
pub(crate) mod deadlines;
pub(crate) mod connections;
pub(crate) mod client;
pub(crate) mod protection;
pub(crate) mod proxies;
/// Bodies: read at a least rate, unpacked, and the memory that is lent for them.
pub(crate) mod bodies;
