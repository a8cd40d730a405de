use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::events::batch_items::Items;

/// Whether a body is an array, as far as its first byte says.
pub(crate) fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// The first element of a body that is an array, as it was sent. Whatever stands behind it is not looked at.
pub(crate) fn first_element(body: &[u8]) -> Option<&[u8]> {
    let begin = body.iter().position(|byte| *byte == b'[')? + 1;
    let first = <&RawValue>::deserialize(&mut serde_json::Deserializer::from_slice(&body[begin..]));
    first.ok().map(|first| first.get().as_bytes())
}

/// Why a body has no elements.
#[derive(Debug)]
pub(crate) enum NoElements {
    /// It is no JSON.
    Malformed(serde_json::Error),
    /// More than a batch may have.
    TooMany,
}

/// The elements of a body that is an array, each as it was sent.
pub(crate) fn elements(body: &Bytes) -> Result<Vec<Bytes>, NoElements> {
    match serde_json::from_slice(body) {
        Ok(Items::Some(items)) => {
            Ok(items.iter().map(|item: &&RawValue| body.slice_ref(item.get().as_bytes())).collect())
        }
        Ok(Items::TooMany) => Err(NoElements::TooMany),
        Ok(Items::None) => Ok(Vec::new()),
        Err(error) => Err(NoElements::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_keeps_its_own_bytes_whatever_stands_behind_it() {
        for (body, first) in [(" [ {\"a\": 1.0 } ,5]", "{\"a\": 1.0 }"), ("[5]", "5"), ("[5,", "5"), ("[[1] x", "[1]")]
        {
            assert_eq!(first_element(body.as_bytes()), Some(first.as_bytes()), "{body}");
        }
        for body in ["[]", "[", "[{", "[x", "", "{}"] {
            assert_eq!(first_element(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn elements_keep_their_own_bytes() {
        let body = Bytes::from_static(b" [ {\"a\": 1.0 } ,5,\"x\" ]");
        assert!(is_array(&body));
        assert_eq!(elements(&body).unwrap(), [b"{\"a\": 1.0 }".as_slice(), b"5", b"\"x\""]);
        assert!(matches!(elements(&Bytes::from_static(b"[1")), Err(NoElements::Malformed(_))));
        assert!(!is_array(b"{}") && !is_array(b""));
    }
}
