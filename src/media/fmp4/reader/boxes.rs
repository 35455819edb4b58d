//! Boxes of ISO/IEC 14496-12 in bytes that are whole: headers, children, contents. Must not know what they are for.

use bytes::Bytes;
use mp4_atom::FourCC;

use super::Error;

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: FourCC,
    /// Of the header itself.
    pub(super) length: usize,
    /// With the header.
    pub(super) total: u64,
}

/// The box header at the front of `bytes` (§4.2), or `None` until it is whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let kind = FourCC::new(&[head[4], head[5], head[6], head[7]]);
    match size {
        0 => Err(missing("box", "a box without an end cannot be read from a stream")),
        1 => {
            let Some(large) = rest.first_chunk::<8>() else { return Ok(None) };
            let total = u64::from_be_bytes(*large);
            if total < 16 {
                return Err(missing("box", "size smaller than its header"));
            }
            Ok(Some(Header { kind, length: 16, total }))
        }
        2..8 => Err(missing("box", "size smaller than its header")),
        _ => Ok(Some(Header { kind, length: 8, total: u64::from(size) })),
    }
}

/// The child boxes of `body`: kind, whole box, body.
pub(super) fn boxes<'a>(
    body: &'a Bytes,
    parent: &'static str,
) -> impl Iterator<Item = Result<(FourCC, Bytes, Bytes), Error>> + use<'a> {
    let mut rest = body.clone();
    std::iter::from_fn(move || {
        // QuickTime writers leave up to seven bytes of padding behind the last child.
        if rest.len() < 8 {
            return None;
        }
        let head = match header(&rest) {
            Ok(Some(head)) if head.total <= rest.len() as u64 => head,
            Ok(_) => {
                rest.clear();
                return Some(Err(missing(parent, "a child reaches beyond its parent")));
            }
            Err(error) => {
                rest.clear();
                return Some(Err(error));
            }
        };
        let whole = rest.split_to(usize::try_from(head.total).unwrap_or(rest.len()));
        let inner = whole.slice(head.length..);
        Some(Ok((head.kind, whole, inner)))
    })
}

/// The body of the first child of that kind.
pub(super) fn child(body: &Bytes, kind: FourCC, parent: &'static str) -> Result<Option<Bytes>, Error> {
    for found in boxes(body, parent) {
        let (found, _, inner) = found?;
        if found == kind {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}

pub(super) fn path(body: &Bytes, kinds: &[(&'static str, FourCC)]) -> Result<Option<Bytes>, Error> {
    let mut inner = body.clone();
    let mut parent = "trak";
    for (name, kind) in kinds {
        let Some(found) = child(&inner, *kind, parent)? else { return Ok(None) };
        inner = found;
        parent = name;
    }
    Ok(Some(inner))
}

pub(super) fn decode<T: mp4_atom::Atom>(kind: &'static str, code: FourCC, body: &[u8]) -> Result<T, Error> {
    debug_assert_eq!(T::KIND, code);
    T::decode_body(&mut &*body).map_err(|error| Error::Malformed { kind, what: error.to_string() })
}

pub(super) fn missing(kind: &'static str, what: &str) -> Error {
    Error::Malformed { kind, what: what.to_owned() }
}
