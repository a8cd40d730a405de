use crate::http::refusal::Refusal;

/// Which rows of a longer list to show.
pub(crate) struct Page {
    /// Counted from 1.
    number: usize,
    size: usize,
}

impl Page {
    /// Reads the page number a client sent as a string.
    pub(crate) fn new(number: Option<&str>, size: usize) -> Result<Self, Refusal> {
        Ok(Self { number: number.map_or(Ok(1), |text| positive("page", text))?, size: size.max(1) })
    }

    /// Picks the rows of this page; past the end there are none.
    pub(crate) fn pick<T>(&self, rows: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        rows.skip((self.number - 1).saturating_mul(self.size)).take(self.size)
    }

    /// Tells where this page stands among all pages, such as `1/3`.
    pub(crate) fn position(&self, rows: usize) -> String {
        format!("{}/{}", self.number, rows.div_ceil(self.size).max(1))
    }
}

/// Reads a number above zero that came as a string.
pub(crate) fn positive(field: &str, text: &str) -> Result<usize, Refusal> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| Refusal::bad_value(text, field))
}
