use std::collections::BTreeSet;

use refersion_relay_model::{Email, KeyPair};
use serde_json::{Map, Value};

use crate::answers::classify::Answer;
use crate::answers::failure::Unreadable;
use crate::operations::affiliates::DISABLED;
use crate::operations::request;
use crate::{Client, Failure, Operation, Rejection};

/// How many pages of one search are read before it is called inconclusive. At ten rows a page that is 5,000 affiliates
/// whose addresses all contain the wanted one.
const MAX_PAGES: u32 = 500;

/// One affiliate, pinned down: this is the id that edit and status change take, and its owner has the wanted address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: u64,
    pub(crate) status: String,
}

impl Found {
    /// Whether somebody deactivated it.
    pub(crate) fn is_disabled(&self) -> bool {
        is_disabled(&self.status)
    }
}

/// What one walk through the pages of a search saw.
struct Walk {
    /// The ids of rows with exactly the wanted address.
    hits: Vec<Value>,
    /// Every row's id, to notice repeated pages and rows that moved.
    seen: BTreeSet<String>,
    /// Whether as many rows were seen as Refersion says there are.
    complete: bool,
}

impl Client {
    /// Finds the affiliates whose address is exactly `email`. Refersion's search matches any part of an address, in
    /// pages without a documented order or size, so nothing but an exact match counts.
    pub(crate) async fn find(&self, keys: &KeyPair, email: &Email) -> Result<Vec<Found>, Failure> {
        let mut rows = self.search(keys, email, email.expose()).await?;
        let folded = email.folded();
        if folded != email.expose() {
            // Whether the search minds capitals is not published. If it does, either spelling may have somebody.
            for row in self.search(keys, email, &folded).await? {
                if !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
        let mut found: Vec<Found> = Vec::new();
        let every = 1 < rows.len();
        for row in rows {
            for affiliate in self.pin_down(keys, email, &row, every).await? {
                if found.iter().all(|other| other.id != affiliate.id) {
                    found.push(affiliate);
                }
            }
        }
        Ok(found)
    }

    async fn search(&self, keys: &KeyPair, email: &Email, keyword: &str) -> Result<Vec<Value>, Failure> {
        let first = self.walk(keys, email, keyword).await?;
        if !first.hits.is_empty() || first.complete {
            return Ok(first.hits);
        }
        // Fewer rows than announced: one may have moved to a page that had been read. If a second walk sees the same
        // rows, the announcement is at fault; if not, "not found" would be a guess.
        let second = self.walk(keys, email, keyword).await?;
        if second.hits.is_empty() && !second.complete && first.seen != second.seen {
            return Err(unclear(Unreadable::Inconclusive));
        }
        Ok(second.hits)
    }

    async fn walk(&self, keys: &KeyPair, email: &Email, keyword: &str) -> Result<Walk, Failure> {
        let mut seen = BTreeSet::new();
        let mut total = None;
        for page in 1..=MAX_PAGES {
            let answer = match self.call(keys, Operation::Search, &request::search(keyword, page)).await {
                Answer::Success(answer) => answer,
                Answer::NotFound => break,
                other => return Err(failure(other)),
            };
            total = answer.get("total").and_then(number).or(total);
            let rows = match answer.get("results") {
                Some(Value::Array(rows)) => rows.as_slice(),
                // Rows that cannot be read are not the same as no rows.
                None if total == Some(0) => &[],
                _ => return Err(unclear(Unreadable::NoSuccessKeys)),
            };
            let hits: Vec<Value> = rows
                .iter()
                .filter(|row| is_of(row, email))
                .map(|row| row.get("id").cloned().unwrap_or_default())
                .collect();
            if !hits.is_empty() {
                return Ok(Walk { hits, seen, complete: true });
            }
            let before = seen.len();
            seen.extend(rows.iter().filter_map(|row| row.get("id")).map(Value::to_string));
            // An empty page, or one that brings nothing new because `page` was ignored, is the end.
            if seen.len() == before || is_last(&answer) {
                break;
            }
            if page == MAX_PAGES {
                return Err(unclear(Unreadable::Inconclusive));
            }
        }
        let complete = total.is_none_or(|total| total <= seen.len() as u64);
        Ok(Walk { hits: Vec::new(), seen, complete })
    }

    /// Turns a row's `id`, which is documented as the code and was seen as the number, into the numeric id. An answer is
    /// believed only if it has the wanted address and, when asked for by number, that number.
    ///
    /// Digits may be the one kind or the other. For one affiliate the first reading that fits is enough; where `every`
    /// is set, because several share the address, both readings count, so that none of them is passed over.
    async fn pin_down(&self, keys: &KeyPair, email: &Email, id: &Value, every: bool) -> Result<Vec<Found>, Failure> {
        let (number, code) = (number(id), id.as_str().map(str::trim).filter(|code| !code.is_empty()));
        let by_number = number.map(|number| (Some(number), request::get_by_id(number)));
        let by_code = code.map(|code| (None, request::get_by_code(code)));
        let mut found = Vec::new();
        for (asked, request) in by_number.into_iter().chain(by_code) {
            let affiliate = match self.call(keys, Operation::Get, &request).await {
                Answer::Success(affiliate) if is_of_map(&affiliate, email) => affiliate,
                Answer::Success(_) | Answer::NotFound => continue,
                other => return Err(failure(other)),
            };
            let Some(id) = affiliate.get("id").and_then(self::number) else { continue };
            if asked.is_some_and(|asked| asked != id) {
                continue;
            }
            let status = affiliate.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
            found.push(Found { id, status });
            if !every {
                break;
            }
        }
        if found.is_empty() { Err(Failure::Rejected(Rejection::NotIdentified)) } else { Ok(found) }
    }
}

/// Whether Refersion's word is the one for whoever was deactivated. Everybody asks here, so that nobody is disabled for one
/// and active for another.
pub(crate) fn is_disabled(status: &str) -> bool {
    status.trim().eq_ignore_ascii_case(DISABLED)
}

/// Reads an id or a count that may be a number or digits in a string.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_of(row: &Value, email: &Email) -> bool {
    row.as_object().is_some_and(|row| is_of_map(row, email))
}

pub(crate) fn is_of_map(row: &Map<String, Value>, email: &Email) -> bool {
    row.get("email").and_then(Value::as_str).is_some_and(|text| email.is(text))
}

/// An answer may have `page` as `"2/3"`.
fn is_last(answer: &Map<String, Value>) -> bool {
    let page = answer.get("page").and_then(Value::as_str).and_then(|page| page.split_once('/'));
    page.is_some_and(|(current, last)| current.trim() == last.trim())
}

pub(crate) fn unclear(why: Unreadable) -> Failure {
    Failure::Unclear { status: 200, bytes: 0, why }
}

/// An answer that is no success where only a success makes sense.
pub(crate) fn failure(answer: Answer) -> Failure {
    match answer {
        Answer::Failed(failure) => failure,
        Answer::Taken | Answer::NotFound | Answer::Success(_) => Failure::Rejected(Rejection::NotDone),
    }
}
