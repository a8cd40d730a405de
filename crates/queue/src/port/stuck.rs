use std::fmt;

/// Events in hand that wait, unsettled, because the place they have to go to takes no copy of them. They go on by
/// themselves when it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// What the place is called on the broker.
    pub to: String,
    /// How many events wait.
    pub events: usize,
    /// What the broker answered to the last copy.
    pub why: String,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, events, why } = self;
        let events = if *events == 1 { "1 event".to_owned() } else { format!("{events} events") };
        write!(f, "{events} cannot be moved to {to}: {why}")
    }
}
