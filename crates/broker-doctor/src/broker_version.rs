use std::fmt;

/// What a broker calls its version, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerVersion(String);

impl BrokerVersion {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether the broker spreads the accounts over the workers by itself: from 4.0 on the single active consumer of a
    /// quorum queue is the one with the highest priority. `None`: the version is nothing that can be compared.
    #[must_use]
    pub fn spreads_accounts(&self) -> Option<bool> {
        let major: u32 = self.0.split('.').next()?.parse().ok()?;
        Some(4 <= major)
    }
}

impl fmt::Display for BrokerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_spread_accounts_from_four_on() {
        let spreads = |version: &str| BrokerVersion::new(version.to_owned()).spreads_accounts();
        for (version, expected) in [
            ("3.10.8", Some(false)),
            ("3.13.7", Some(false)),
            ("4.0.1", Some(true)),
            ("4.0.0+2", Some(true)),
            ("dev", None),
        ] {
            assert_eq!(spreads(version), expected, "{version}");
        }
    }
}
