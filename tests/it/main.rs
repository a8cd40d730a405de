//! The program as its users meet it: real processes, a real broker, real HTTP, a simulated Refersion.

/// Events come in: every door, what it answers, and what nobody can do to it.
mod doors;
/// Events of one person: their order, copies, updates, and how fast they go.
mod order;
/// Something breaks or goes away, and comes back.
mod faults;
/// What a person does with a relay that runs: look, reload, enqueue, replay.
mod operators;
/// Which addresses belong to whom: deletes that name only an id, and who may teach.
mod directory;
/// What somebody sees who watches relays: alerts, dashboards, where an event is.
mod sre;
/// What a person does before: configure, try the demo and the simulator.
mod setup;
/// The papers and Segment's libraries, followed to the letter.
mod docs;
