use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const BUILT_BY: &str = "built by";
/// An operation may cost a twentieth more or less than its figure.
const TOLERANCE: u64 = 20;

/// How many instructions operations need, and what has built them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) built_by: String,
    pub(crate) counts: BTreeMap<String, u64>,
}

/// Whether figures can be compared with what was built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The same compilers built both.
    Same,
    /// Something else built this, which is nobody's mistake.
    Other,
    /// The figures are not those that are to be kept: they could be compared nowhere.
    Outdated,
}

impl Figures {
    /// Reads what [`fmt::Display`] writes. A line that cannot be read is no figure.
    pub(crate) fn parse(text: &str) -> Self {
        let mut figures = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.rsplit_once(": ")) {
            if name == BUILT_BY {
                value.clone_into(&mut figures.built_by);
            } else if let Ok(count) = value.parse() {
                figures.counts.insert(name.to_owned(), count);
            }
        }
        figures
    }

    /// `least`: how the name of the compiler begins whose figures are kept.
    pub(crate) fn basis(&self, built_by: &str, least: &str) -> Basis {
        if !self.built_by.starts_with(least) {
            Basis::Outdated
        } else if self.built_by == built_by {
            Basis::Same
        } else {
            Basis::Other
        }
    }

    /// What is to be written down once this was counted. What holds stays as it is, or many small rises would never be noticed.
    pub(crate) fn renewed(&self, counted: Self) -> Self {
        let mut renewed = counted;
        if self.built_by == renewed.built_by {
            for (name, count) in &mut renewed.counts {
                let figure = self.counts.get(name);
                *count = *figure.filter(|_| objection(name, figure, Some(count)).is_none()).unwrap_or(count);
            }
        }
        renewed
    }

    /// What has to be said of what was counted. What costs less is no reason to be glad and silent: with a figure that is too high
    /// the cost could come back, and nobody reads what a test says that passes.
    pub(crate) fn objections(&self, counted: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.counts.keys().chain(counted.counts.keys()).collect();
        names.into_iter().filter_map(|name| objection(name, self.counts.get(name), counted.counts.get(name))).collect()
    }
}

fn objection(name: &str, figure: Option<&u64>, counted: Option<&u64>) -> Option<String> {
    let (figure, counted) = match (figure, counted) {
        (Some(figure), Some(counted)) => (*figure, *counted),
        (None, Some(counted)) => {
            return Some(format!("{name}: there is no figure, and it needs {counted} instructions"));
        }
        (_, None) => return Some(format!("{name}: there is a figure, and no such operation")),
    };
    let difference = figure.abs_diff(counted);
    let thousandths = difference.saturating_mul(1_000) / figure.max(1);
    let (percent, tenth) = (thousandths / 10, thousandths % 10);
    let more = if figure < counted { "more" } else { "less" };
    (figure < difference.saturating_mul(TOLERANCE))
        .then(|| format!("{name}: {percent}.{tenth} % {more}, {counted} instructions where the figure is {figure}"))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions of one operation each. docs/design/tests.md says how they are counted and written."
        )?;
        writeln!(f, "{BUILT_BY}: {}", self.built_by)?;
        self.counts.iter().try_for_each(|(name, count)| writeln!(f, "{name}: {count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "rustc 1.95.0 ";
    const HERE: &str = "rustc 1.95.0 (59807616e 2026-04-14) for x86_64-unknown-linux-gnu at opt-level 0";

    fn figures(counts: &[(&str, u64)]) -> Figures {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Figures { built_by: HERE.to_owned(), counts }
    }

    #[track_caller]
    fn check(counted: &[(&str, u64)], expected: &[&str]) {
        assert_eq!(figures(&[("parse", 1_000), ("settle", 2_000)]).objections(&figures(counted)), expected);
    }

    #[test]
    fn a_twentieth_more_or_less_is_no_difference() {
        for parse in [950, 1_000, 1_050] {
            check(&[("parse", parse), ("settle", 2_000)], &[]);
        }
    }

    #[test]
    fn what_costs_more_or_less_is_named_with_both_figures() {
        check(
            &[("parse", 1_051), ("settle", 1_800)],
            &[
                "parse: 5.1 % more, 1051 instructions where the figure is 1000",
                "settle: 10.0 % less, 1800 instructions where the figure is 2000",
            ],
        );
        check(&[("parse", 0), ("settle", 2_000)], &["parse: 100.0 % less, 0 instructions where the figure is 1000"]);
    }

    #[test]
    fn every_operation_has_a_figure_and_every_figure_an_operation() {
        check(
            &[("parse", 1_000), ("take", 7)],
            &[
                "settle: there is a figure, and no such operation",
                "take: there is no figure, and it needs 7 instructions",
            ],
        );
    }

    #[test]
    fn what_another_compiler_built_is_not_compared() {
        let kept = figures(&[]);
        assert_eq!(kept.basis(HERE, LEAST), Basis::Same);
        for other in
            ["rustc 1.99.0 (0 2027-01-01) for x86_64-unknown-linux-gnu at opt-level 0", &format!("{HERE}, cc 14")]
        {
            assert_eq!(kept.basis(other, LEAST), Basis::Other, "{other}");
        }
    }

    #[test]
    fn figures_of_another_compiler_than_that_of_ci_are_worth_nothing_anywhere() {
        for here in [HERE, "rustc 1.96.0 (0 2026-06-01) for x86_64-unknown-linux-gnu at opt-level 0"] {
            assert_eq!(figures(&[]).basis(here, "rustc 1.96.0 "), Basis::Outdated, "{here}");
            assert_eq!(Figures::parse("").basis(here, LEAST), Basis::Outdated, "{here}");
        }
    }

    #[test]
    fn a_figure_that_holds_is_not_written_anew() {
        let kept = figures(&[("parse", 1_000), ("settle", 2_000), ("gone", 3)]);
        let counted = figures(&[("parse", 1_049), ("settle", 1_800), ("take", 7)]);
        let expected = figures(&[("parse", 1_000), ("settle", 1_800), ("take", 7)]);
        assert_eq!(kept.renewed(counted.clone()), expected);
        assert_eq!(Figures { built_by: "rustc 1.94.0 ".to_owned(), ..kept }.renewed(counted.clone()), counted);
    }

    #[test]
    fn figures_survive_their_file() {
        let figures = figures(&[("parse: an identify", 1_000), ("settle", 2_000)]);
        assert_eq!(Figures::parse(&figures.to_string()), figures);
    }
}
