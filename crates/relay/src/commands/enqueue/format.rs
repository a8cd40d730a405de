use refersion_relay_model::without_byte_order_mark;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Beyond it, something that is not whole yet is taken for what it looks like.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// What a file is instead of one JSON event on each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Utf16,
    Zstd,
    Bzip2,
    Xz,
    Zip,
    SevenZip,
    Lz4,
    Gzip,
    Tar,
    Parquet,
    Avro,
    Nul,
    Binary,
    Array,
    Batch,
    Pretty,
    Joined,
    Commas,
    Sequence,
    OldMac,
    Csv,
    Markup,
}

/// What the beginning of a file says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is something else.
    Other(Format),
    /// It has lines.
    Lines,
    /// More of it has to be seen.
    Unclear,
}

impl Format {
    /// What it looks like, and what to do about it.
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Utf16 => {
                "UTF-16 or UTF-32: `iconv -f UTF-16 -t UTF-8 FILE | refersion-relay enqueue -` reads the former"
            }
            Self::Zstd => "zstd: unpack it with `zstd -dc FILE | refersion-relay enqueue -`",
            Self::Bzip2 => "bzip2: unpack it with `bzip2 -dc FILE | refersion-relay enqueue -`",
            Self::Xz => "xz: unpack it with `xz -dc FILE | refersion-relay enqueue -`",
            Self::Zip => "a zip archive: unpack it with `unzip -p FILE | refersion-relay enqueue -`",
            Self::SevenZip => "a 7z archive: unpack it with `7z x -so FILE | refersion-relay enqueue -`",
            Self::Lz4 => "lz4: unpack it with `lz4 -dc FILE | refersion-relay enqueue -`",
            Self::Gzip => "gzip in gzip: unpack it once with `gzip -dc FILE | refersion-relay enqueue -`",
            Self::Tar => "a tar archive: unpack it with `tar -xOf FILE | refersion-relay enqueue -`",
            Self::Parquet => "Parquet: write it as JSON, one event on each line",
            Self::Avro => "Avro: write it as JSON, one event on each line",
            Self::Nul => {
                "text with NUL bytes in it: find out what wrote them; `tr -d '\\000' <FILE | refersion-relay enqueue -` leaves them out"
            }
            Self::Binary => "binary data: unpack it, or write it as JSON, one event on each line",
            Self::Array => "a JSON array: `jq -c '.[]' FILE | refersion-relay enqueue -` reads what is in it",
            Self::Batch => {
                "a batch of Segment's API: `jq -c '.batch[]' FILE | refersion-relay enqueue -` reads what is in it"
            }
            Self::Pretty => {
                "JSON over several lines: `jq -c . FILE | refersion-relay enqueue -` puts each event on one"
            }
            Self::Joined => {
                "several JSON documents on one line: `jq -c . FILE | refersion-relay enqueue -` puts each on its own"
            }
            Self::Commas => {
                "events with commas between them: `sed 's/,[[:space:]]*$//' FILE | refersion-relay enqueue -` leaves them out"
            }
            Self::Sequence => {
                "a sequence of JSON texts: `jq -c --seq . FILE | tr -d '\\036' | refersion-relay enqueue -` reads it"
            }
            Self::OldMac => {
                "text with line ends of an old Mac (CR): `tr '\\r' '\\n' <FILE | refersion-relay enqueue -` reads them"
            }
            Self::Csv => {
                "CSV: make one line of JSON of each row, such as {\"type\":\"identify\",\"traits\":{\"email\":…,\"firstName\":…,\"lastName\":…}}"
            }
            Self::Markup => "XML or HTML, perhaps an error page: see what was downloaded",
        }
    }
}

/// Looks at the bytes that a file begins with, for what no text begins with. A few are enough.
pub(super) fn magic(head: &[u8]) -> Option<Format> {
    let utf16 = match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..] => true,
        // Without a byte order mark: every other byte of ASCII is zero.
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => *first != 0 && *second != 0,
        _ => false,
    };
    if utf16 {
        return Some(Format::Utf16);
    }
    let known: [(&[u8], Format); 10] = [
        (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
        (b"BZh", Format::Bzip2),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Format::Xz),
        (b"PK\x03\x04", Format::Zip),
        (&[b'7', b'z', 0xbc, 0xaf], Format::SevenZip),
        (&[0x04, 0x22, 0x4d, 0x18], Format::Lz4),
        (&super::gunzip::MAGIC, Format::Gzip),
        (b"PAR1", Format::Parquet),
        (b"Obj\x01", Format::Avro),
        (b"%PDF", Format::Binary),
    ];
    let is_tar = head.get(257..262).is_some_and(|mark| mark == b"ustar");
    let found = known.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, format)| format);
    found.or(is_tar.then_some(Format::Tar))
}

/// Looks at the first lines of a file. `whole`: there is nothing more, or nothing more that is looked at.
pub(super) fn shape(head: &[u8], whole: bool) -> Look {
    let whole = whole || HEAD_BYTES <= head.len();
    let text = without_byte_order_mark(head).trim_ascii_start();
    let Some(first) = text.first() else { return if whole { Look::Lines } else { Look::Unclear } };
    let mut lines = text.splitn(3, |byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let second = lines.next();
    match first {
        b'[' => Look::Other(Format::Array),
        b'<' => Look::Other(Format::Markup),
        0x1e => Look::Other(Format::Sequence),
        _ if second.is_none() && !whole => Look::Unclear,
        _ if line.contains(&0) => Look::Other(Format::Nul),
        b'{' => object(text, line, second.is_some(), whole),
        _ if line.iter().any(|byte| byte.is_ascii_control() && !b"\t\r\x0c".contains(byte)) => {
            Look::Other(Format::Binary)
        }
        _ => other(line, second, lines.next().is_some() || whole),
    }
}

/// A first line that begins an object.
fn object(text: &[u8], line: &[u8], has_more_lines: bool, whole: bool) -> Look {
    match documents(line) {
        Documents::One if is_batch(line) => Look::Other(Format::Batch),
        Documents::One if line.trim_ascii_end().ends_with(b",") => Look::Other(Format::Commas),
        Documents::Several { between } if between.contains(&b'\r') => Look::Other(Format::OldMac),
        Documents::Several { .. } => Look::Other(Format::Joined),
        Documents::Unfinished if has_more_lines => match documents(text) {
            Documents::One | Documents::Several { .. } => Look::Other(Format::Pretty),
            Documents::Unfinished if whole => Look::Other(Format::Pretty),
            Documents::Unfinished => Look::Unclear,
            Documents::None => Look::Lines,
        },
        Documents::One | Documents::Unfinished | Documents::None => Look::Lines,
    }
}

/// A first line that begins with something else. A single bad line does not make a table.
fn other(line: &[u8], second: Option<&[u8]>, second_is_whole: bool) -> Look {
    let has_columns = line.iter().any(|byte| b",;\t".contains(byte));
    let is_json = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    if !has_columns || is_json || std::str::from_utf8(line).is_err() {
        return Look::Lines;
    }
    match second {
        Some(second) if second.trim_ascii_start().starts_with(b"{") => Look::Lines,
        Some(second) if second.trim_ascii().is_empty() && !second_is_whole => Look::Unclear,
        _ => Look::Other(Format::Csv),
    }
}

/// What JSON a text begins with.
enum Documents<'a> {
    One,
    /// One, and after these bytes the next one begins.
    Several {
        between: &'a [u8],
    },
    /// One that would go on.
    Unfinished,
    None,
}

fn documents(text: &[u8]) -> Documents<'_> {
    let mut documents = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match documents.next() {
        Some(Ok(_)) => {
            let rest = &text[documents.byte_offset()..];
            let blank = rest.len() - rest.trim_ascii_start().len();
            if rest[blank..].starts_with(b"{") {
                Documents::Several { between: &rest[..blank] }
            } else {
                Documents::One
            }
        }
        Some(Err(error)) if error.is_eof() => Documents::Unfinished,
        Some(Err(_)) | None => Documents::None,
    }
}

fn is_batch(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Batch {
        #[serde(rename = "batch")]
        _batch: Vec<IgnoredAny>,
        #[serde(rename = "type")]
        kind: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Batch>(line).is_ok_and(|batch| batch.kind.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"type":"identify","traits":{"email":"a@example.com"}}"#;

    #[track_caller]
    fn check(head: &str, expected: Look) {
        assert_eq!(shape(head.as_bytes(), true), expected, "{head:?}");
    }

    #[test]
    fn what_is_packed_or_no_utf_8_is_known_by_its_first_bytes() {
        for (head, expected) in [
            (b"\xff\xfe{\0\"\0".as_slice(), Some(Format::Utf16)),
            (b"\xfe\xff\0{\0\"", Some(Format::Utf16)),
            (b"{\0\"\0", Some(Format::Utf16)),
            (b"\0{\0\"", Some(Format::Utf16)),
            (b"\0\0\0\0\0\0", None),
            (b"\x28\xb5\x2f\xfd..", Some(Format::Zstd)),
            (b"BZh91AY", Some(Format::Bzip2)),
            (b"\xfd7zXZ\0", Some(Format::Xz)),
            (b"PK\x03\x04", Some(Format::Zip)),
            (b"\x1f\x8b\x08", Some(Format::Gzip)),
            (b"{\"type\"", None),
            (b"\xef\xbb\xbf{", None),
            (b"", None),
        ] {
            assert_eq!(magic(head), expected, "{head:?}");
        }
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(magic(&tar), Some(Format::Tar));
    }

    #[test]
    fn json_that_is_not_one_event_a_line_is_named() {
        let pretty = EVENT.replace(',', ",\n  ");
        for (head, expected) in [
            (format!("[{EVENT},\n{EVENT}]"), Format::Array),
            (format!("\u{feff}  \n [\n{EVENT}"), Format::Array),
            (format!("{{\"batch\":[{EVENT}],\"writeKey\":\"x\"}}\n"), Format::Batch),
            (pretty.clone(), Format::Pretty),
            (format!("{pretty}\n{pretty}"), Format::Pretty),
            (pretty[..pretty.len() - 2].to_owned(), Format::Pretty),
            (format!("{EVENT}{EVENT}"), Format::Joined),
            (format!("{EVENT} {EVENT}\n"), Format::Joined),
            (format!("{EVENT},\n{EVENT},\n"), Format::Commas),
            (format!("{EVENT}\r{EVENT}\r"), Format::OldMac),
            (format!("\u{1e}{EVENT}\n"), Format::Sequence),
            (format!("\0\0\0{EVENT}\n"), Format::Nul),
            (format!("{EVENT}\0\n"), Format::Nul),
            ("email,first_name\na@example.com,Ann\n".to_owned(), Format::Csv),
            ("\"email\";\"name\"\n\"a@example.com\";\"Ann\"\n".to_owned(), Format::Csv),
            ("email\tname".to_owned(), Format::Csv),
            ("<!DOCTYPE html>".to_owned(), Format::Markup),
            ("\u{1f}\u{1d} compressed\n".to_owned(), Format::Binary),
        ] {
            check(&head, Look::Other(expected));
        }
    }

    #[test]
    fn a_bad_first_line_does_not_make_another_format() {
        for head in [
            String::new(),
            "\n \n".to_owned(),
            format!("{EVENT}\r\n{EVENT}\r\n"),
            format!("\u{feff}{EVENT}\n"),
            EVENT.to_owned(),
            EVENT[..30].to_owned(),
            format!("{}\n{EVENT}\n", &EVENT[..30]),
            format!("oops, this is no event\n{EVENT}\n"),
            format!("oops\n{EVENT}"),
            format!("{{oops}}\n{EVENT}"),
            format!("null\n{EVENT}"),
        ] {
            check(&head, Look::Lines);
        }
    }

    #[test]
    fn no_more_is_read_than_it_takes() {
        assert_eq!(shape(format!("{EVENT}\n").as_bytes(), false), Look::Lines);
        for head in ["", " ", "{\"type\":", "{\n", "{\n\"type\":", "email,name"] {
            assert_eq!(shape(head.as_bytes(), false), Look::Unclear, "{head:?}");
        }
        let long = "x".repeat(HEAD_BYTES);
        assert_eq!(shape(format!("{{\"a\":\"{long}").as_bytes(), false), Look::Lines, "one line, however long");
        assert_eq!(shape(format!("{{\n\"a\":\"{long}").as_bytes(), false), Look::Other(Format::Pretty));
    }
}
