/// The steps of every histogram, in seconds: from what a local queue takes to the timeout of a call.
pub(crate) const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
