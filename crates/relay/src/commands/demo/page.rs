use std::collections::BTreeMap;

/// The page of metrics, as numbers by series. What is no whole number, such as a time, is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(BTreeMap<String, u64>);

impl Page {
    /// How the name of each of our metrics begins.
    pub(super) const PREFIX: &'static str = "refersion_relay_";

    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let numbers = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(numbers.collect())
    }

    /// The whole series, labels and prefix included. What is not there is zero.
    pub(super) fn get(&self, series: &str) -> u64 {
        self.0.get(series).copied().unwrap_or(0)
    }

    /// A metric summed up over its labels. `metric`: its name without the prefix.
    pub(super) fn sum(&self, metric: &str) -> u64 {
        self.of(metric).map(|(_, count)| count).sum()
    }

    /// A metric summed up over all its labels but one, without zeros.
    pub(super) fn by(&self, metric: &str, label: &str) -> BTreeMap<String, u64> {
        let mut by = BTreeMap::new();
        for (labels, count) in self.of(metric).filter(|(_, count)| 0 < *count) {
            let found = labels.split(',').find_map(|pair| pair.strip_prefix(label)?.strip_prefix("=\""));
            let value = found.unwrap_or_default().trim_end_matches('"');
            *by.entry(value.to_owned()).or_default() += count;
        }
        by
    }

    /// The series of a metric with their numbers, without zeros.
    pub(super) fn series(&self, metric: &str) -> impl Iterator<Item = (&str, u64)> {
        let (name, labelled) = (format!("{}{metric}", Self::PREFIX), format!("{}{metric}{{", Self::PREFIX));
        let found = self.0.iter().filter(move |(series, _)| **series == name || series.starts_with(&labelled));
        found.map(|(series, count)| (series.as_str(), *count)).filter(|(_, count)| 0 < *count)
    }

    fn of(&self, metric: &str) -> impl Iterator<Item = (&str, u64)> {
        self.series(metric).map(|(series, count)| {
            let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            (labels, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_series_by_label_and_in_sum() {
        let page = Page::read(
            "# HELP refersion_relay_a_total A.\nrefersion_relay_a_total{x=\"1\",y=\"p\"} 2\n\
             refersion_relay_a_total{x=\"1\",y=\"q\"} 3\nrefersion_relay_a_total{x=\"2\",y=\"q\"} 0\n\
             refersion_relay_a_total_more 9\nrefersion_relay_b 0.5\nrefersion_relay_c 7\n",
        );
        assert_eq!(page.get("refersion_relay_a_total{x=\"1\",y=\"q\"}"), 3);
        assert_eq!(page.sum("a_total"), 5);
        assert_eq!(page.by("a_total", "x"), BTreeMap::from([("1".to_owned(), 5)]));
        assert_eq!(page.by("a_total", "y"), BTreeMap::from([("p".to_owned(), 2), ("q".to_owned(), 3)]));
        assert_eq!((page.sum("b"), page.sum("c"), page.sum("none")), (0, 7, 0));
    }
}
