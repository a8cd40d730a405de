/// Whether an id can be shown as its sender wrote it, because it has a form in which nobody writes what is personal: a
/// UUID, one of those that Segment and its libraries make, 16 to 64 digits of hexadecimal, or a short number. Everything
/// else may be an address, a name or a phone number, in whatever way it is written.
pub(crate) fn may_be_shown(id: &str) -> bool {
    is_short_number(id) || is_uuid(id) || is_hex(id) || is_of_segment(id)
}

/// Up to five digits, which is too short for the number of a phone, with one letter before them or without.
fn is_short_number(id: &str) -> bool {
    let digits = id.strip_prefix(|c: char| c.is_ascii_alphabetic()).unwrap_or(id);
    is_number(digits) && digits.len() <= 5
}

/// A UUID as RFC 9562 has it, with a version and a variant. What only looks like one may be a number made as long: hardly one
/// in a thousand has so few letters.
fn is_uuid(id: &str) -> bool {
    let mut parts = id.split('-');
    let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
    let (Some(_), Some(_), Some(version), Some(variant), Some(_), None) =
        (part(8), part(4), part(4), part(4), part(12), parts.next())
    else {
        return false;
    };
    3 < id.chars().filter(char::is_ascii_alphabetic).count()
        && version.starts_with(|c| matches!(c, '1'..='8'))
        && variant.starts_with(['8', '9', 'a', 'b', 'A', 'B'])
        && bytes_of_hex(&id.replace('-', "")).is_some_and(|bytes| !is_text(&bytes))
}

/// As ids of traces, of documents and digests are written. A word such as `deadbeef` is too short, a number has no letter,
/// and a text that somebody wrote as hexadecimal can be read again.
fn is_hex(id: &str) -> bool {
    let letters = id.chars().filter(char::is_ascii_alphabetic).count();
    let is_mixed = id.len() / 8 <= letters && id.len() / 8 <= id.len() - letters;
    matches!(id.len(), 16 | 24 | 32 | 40 | 64) && is_mixed && bytes_of_hex(id).is_some_and(|bytes| !is_text(&bytes))
}

/// What Segment's libraries and Segment itself make: analytics.js, Node, the Tracking API and deletions.
fn is_of_segment(id: &str) -> bool {
    let prefixes = ["ajs-next-", "node-next-", "ajs-", "node-", "delete-"];
    if let Some(rest) = prefixes.iter().find_map(|prefix| id.strip_prefix(prefix)) {
        return is_made(rest) || is_regulation(id);
    }
    id.strip_prefix("api-").is_some_and(|rest| is_made(rest) || is_ksuid(rest))
}

/// A digest or a UUID, or both, behind a time in milliseconds or without one.
fn is_made(rest: &str) -> bool {
    let is_time = |part: &str| part.len() == 13 && part.starts_with('1') && is_number(part);
    let is_digest = |part: &str| part.len() == 32 && is_hex(part);
    let rest = rest.split_once('-').filter(|(time, _)| is_time(time)).map_or(rest, |(_, rest)| rest);
    let behind_digest = rest.split_once('-').filter(|(digest, _)| is_digest(digest)).map(|(_, rest)| rest);
    is_digest(rest) || is_uuid(behind_digest.unwrap_or(rest))
}

/// `delete-reg-6543321::job-2-P0OJ3CTID1`: a deletion that somebody asked Segment for.
fn is_regulation(id: &str) -> bool {
    let parts = id.strip_prefix("delete-reg-").and_then(|rest| rest.split_once("::job-"));
    let parts = parts.and_then(|(regulation, job)| Some((regulation, job.split_once('-')?)));
    parts.is_some_and(|(regulation, (job, token))| {
        let digits = token.chars().filter(char::is_ascii_digit).count();
        // A word with a number behind it, or before it, changes from one to the other only once.
        let is_digit = |c: &u8| c.is_ascii_digit();
        let changes = token.as_bytes().windows(2).filter(|two| is_digit(&two[0]) != is_digit(&two[1])).count();
        let is_mixed = token.len() == 10 && token.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        let is_token = is_mixed && 2 <= changes;
        let are_numbers = is_number(regulation) && regulation.len() <= 7 && is_number(job) && job.len() <= 6;
        are_numbers && is_token && (2..10).contains(&digits)
    })
}

/// 27 digits of base 62, of which the first one says in which four years, from 2021 to 2036. Base64 without its signs can look the
/// same.
fn is_ksuid(id: &str) -> bool {
    let has = |is: fn(&char) -> bool| id.chars().filter(is).nth(1).is_some();
    let is_mixed = has(char::is_ascii_digit) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let in_these_years = id.starts_with(|c| matches!(c, '2'..='5'));
    id.len() == 27
        && id.chars().all(|c| c.is_ascii_alphanumeric())
        && is_mixed
        && in_these_years
        && !is_text(&bytes_of_base64(&id[..24]))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// Whether somebody could read these bytes, as UTF-8 or one of the other encodings that begin with ASCII. Few bytes that a
/// machine made are like that, and those are hashed.
fn is_text(bytes: &[u8]) -> bool {
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text),
        // The last letter may be cut off.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let readable = bytes.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ').count();
    3 * bytes.len() <= 4 * readable || text.is_some_and(|text| !text.contains(char::is_control))
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Of letters and digits, a multiple of four.
fn bytes_of_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        _ => c.wrapping_sub(b'0').wrapping_add(52) & 63,
    };
    let bits = |four: &[u8]| four.iter().fold(0_u32, |bits, c| bits << 6 | u32::from(value(*c)));
    text.as_bytes().chunks(4).flat_map(|four| bits(four).to_be_bytes().into_iter().skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_make_is_shown() {
        for id in [
            "022bb90c-bbac-11e4-8dfc-aa07a5b093db",
            "9E1F8F4C-7D5B-4C0A-8A3E-2F6B1D0C9E8F",
            "ajs-next-1767225600000-9e1f8f4c-7d5b-4c0a-8a3e-2f6b1d0c9e8f",
            "ajs-next-9e107d9d372bb6826bd81d3542a419d6",
            "ajs-9e107d9d372bb6826bd81d3542a419d6",
            "node-next-1767225600000-9e1f8f4c-7d5b-4c0a-8a3e-2f6b1d0c9e8f",
            "node-9e107d9d372bb6826bd81d3542a419d6-9e1f8f4c-7d5b-4c0a-8a3e-2f6b1d0c9e8f",
            "api-2yVxJ1tq0C7RzD3mKfW9LbN5aPe",
            "delete-022bb90c-bbac-11e4-8dfc-aa07a5b093db",
            "delete-reg-6543321::job-2-P0OJ3CTID1",
            "00f067aa0ba902b7",
            "507f1f77bcf86cd799439011",
            "9e107d9d372bb6826bd81d3542a419d6",
            "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "0",
            "42",
            "12345",
            "m1",
        ] {
            assert!(may_be_shown(id), "{id}");
        }
    }

    #[test]
    fn whatever_else_may_be_personal() {
        for id in [
            "",
            // Addresses, written as they are, out and in codes.
            "peter@example.com",
            "peter%40example.com",
            "peter.gibbons-at-example.com",
            "peter_at_example_dot_com",
            "cGV0ZXJAZXhhbXBsZS5jb20",
            "cGV0ZXJAZXhhbXBsZS5jb20=",
            "api-cGV0ZXJAZXhhbXBsZS5jb20x1Aa",
            "api-0J/QtdGC0YDQnNCw0YDQuNGP0JA",
            "api-0JDQvdC90LAg0J7QsNC90L3QsBb",
            "616e6e406578616d706c652e636f6d21",
            "616E6E40",
            "616e6e4065782e63",
            "6a00f6007200670040006500780061006d0070006c006500",
            "616e6e40-6578-416d-806c-652e636f6d21",
            "616e6e40-6578-616d-706c-652e636f6d21",
            // Names.
            "peter",
            "Peter-Gibbons",
            "peter-1",
            "identify-peter",
            "test-message-miller",
            "delete-peter",
            "delete-reg-1::job-1-ANNEMILLER",
            "ajs-next-peter",
            "deadbeef",
            "adafade",
            "ada",
            "facade",
            "feedbeefdeadbabe",
            "pëter",
            // Numbers of phones, cards and people.
            "123456",
            "a850412",
            "1234567",
            "15551234-5678-4000-8000-000000000000",
            "delete-reg-1::job-1-PETERSON85",
            "api-0AnnFordBirthday12031985abc",
            "5551234567",
            "15551234567",
            "+15551234567",
            "555-123-4567",
            "p5551234567",
            "4111111111111111",
            "00000000-0000-0000-0000-005551234567",
            "00000000000000000000005551234567",
            "delete-reg-5551234567::job-2-P0OJ3CTID1",
            "ajs-next-5551234567000-peter",
        ] {
            assert!(!may_be_shown(id), "{id}");
        }
    }
}
