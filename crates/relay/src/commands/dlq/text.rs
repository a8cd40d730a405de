//! Dead letters as a person reads them. Everything in them may be a stranger's.

use refersion_relay_deadletter::{Entry, visible};

/// Lines of columns, the header's first. What is empty is a dash; each cell stays on its line.
pub(super) fn table<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> impl IntoIterator<Item = String> {
    let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { visible(text).into_owned() };
    let header = std::iter::once(header.map(str::to_owned));
    let rows: Vec<_> = header.chain(rows).map(|row| row.map(|text| cell(&text))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = move |row: [String; N]| {
        let cells = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line)
}

/// The event, where it is to be seen: each of its lines further in than anything else, so that it cannot pass for more
/// letters.
pub(super) fn body(entry: &Entry) -> impl Iterator<Item = String> {
    let body = entry.body.as_ref().or(entry.body_base64.as_ref());
    body.into_iter().flat_map(|body| body.lines()).map(|line| format!("    {}", visible(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_stay_on_their_line() {
        let rows = [["a", "", "x\ny"], ["long\x1b", "b", ""]].map(|row| row.map(str::to_owned));
        let lines: Vec<_> = table(&["ID", "C", "ERROR"], rows.into_iter()).into_iter().collect();
        assert_eq!(lines, ["ID          C  ERROR", "a           -  x\\u000ay", "long\\u001b  b  -"]);
    }
}
