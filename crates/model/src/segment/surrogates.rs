//! JavaScript writes half of a pair as an escape of its own where a text was cut in the middle of an emoji, and JSON's
//! grammar allows it. No Rust string can hold it.

/// The same JSON with U+FFFD for each half of a pair that stands alone; `None` if there is none.
pub(crate) fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended = json.to_vec();
    let (mut position, mut found) = (0, false);
    // A backslash stands in strings only, and takes what is behind it with it.
    while let Some(offset) = json.get(position..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        position += offset;
        match (unit(json, position), unit(json, position + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => position += 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                mended[position..position + ESCAPE].copy_from_slice(b"\\ufffd");
                (position, found) = (position + ESCAPE, true);
            }
            _ => position += 2,
        }
    }
    found.then_some(mended)
}

/// How long an escape of a UTF-16 unit is.
const ESCAPE: usize = 6;

/// The UTF-16 unit that is written as an escape here.
fn unit(json: &[u8], position: usize) -> Option<u16> {
    let digits = json.get(position..position + ESCAPE)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Option<&str>) {
        assert_eq!(mended(json.as_bytes()).as_deref(), expected.map(str::as_bytes), "{json}");
    }

    #[test]
    fn half_a_pair_is_replaced_and_nothing_else() {
        check(r#"{"a":"cut \ud83c"}"#, Some(r#"{"a":"cut \ufffd"}"#));
        check(r#"["\uDE00x\uD83D"]"#, Some(r#"["\ufffdx\ufffd"]"#));
        check(r#"["\ud83d\ud83d\ude00"]"#, Some(r#"["\ufffd\ud83d\ude00"]"#));
        check(r#"["\\\\\ud83d"]"#, Some(r#"["\\\\\ufffd"]"#));
        for whole in
            [r#"["\ud83c\udf89"]"#, r#"["\\ud83d"]"#, r#"["\u0041\n"]"#, "{}", "", r#"["\ud8"#, "\\", r#"["\u+d83"]"#]
        {
            check(whole, None);
        }
    }
}
