use bytes::Bytes;
use serde_json::value::RawValue;

use crate::items::Items;

/// Whether a body is an array, as far as its first byte says.
pub(crate) fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
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
    fn elements_keep_their_own_bytes() {
        let body = Bytes::from_static(b" [ {\"a\": 1.0 } ,5,\"x\" ]");
        assert!(is_array(&body));
        assert_eq!(elements(&body).unwrap(), [b"{\"a\": 1.0 }".as_slice(), b"5", b"\"x\""]);
        assert!(matches!(elements(&Bytes::from_static(b"[1")), Err(NoElements::Malformed(_))));
        assert!(!is_array(b"{}") && !is_array(b""));
    }
}
