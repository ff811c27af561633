//! What the server, and others on the way, may read of a text: its body. Everything else that people write is in the payload, which
//! stays opaque. A body is a list of *parts*, each a kind (u8), a length (u16) and so many bytes, in rising order of kinds; one that is not known is
//! carried.

use alloc::vec::Vec;

use super::Users;
use crate::{
    error::WireError,
    limits::{CLEAR_MAX, KIND_MAX, MEDIA_REFERENCE_MAX, MEDIA_TYPE_MAX, MENTIONS_MAX},
};

/// Kinds of parts.
mod part {
    pub(super) const MENTIONS: u8 = 1;
    pub(super) const FORWARDED: u8 = 2;
    pub(super) const MEDIA: u8 = 3;
    pub(super) const KIND: u8 = 4;
}

/// Something larger than a message that is stored elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    /// Its bytes.
    pub size: u64,
    /// A digest of the key that opens it, or of the whole where it is not encrypted; the server does not look at it.
    pub key_digest: [u8; 32],
    /// What it is, as in MIME.
    pub media_type: &'a [u8],
    /// Where it is.
    pub reference: &'a [u8],
}

/// The clear part of a text, in place. [`Clear::read`] and [`Clear::write`] are each other's inverse but for parts that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clear<'a> {
    /// Who is to notice it, even where the conversation is muted.
    pub mentions: Users<'a>,
    /// How often it was passed on; 0: its sender wrote it.
    pub forwarded: u8,
    /// What goes with it.
    pub media: Option<Media<'a>>,
    /// What the payload is, for applications; empty: what their users type.
    pub kind: &'a [u8],
}

impl<'a> Clear<'a> {
    /// What a body says.
    ///
    /// # Errors
    /// [`WireError::Body`] if it is not a list of parts in rising order, one is not what its kind says, or something is over its limit.
    pub fn read(mut body: &'a [u8]) -> Result<Self, WireError> {
        let mut clear = Self::default();
        let mut last = 0;
        if body.len() > CLEAR_MAX {
            return Err(WireError::Body);
        }
        while !body.is_empty() {
            let [kind, low, high] = *body.split_off(..3).and_then(|head| head.as_array()).ok_or(WireError::Body)?;
            let bytes = body.split_off(..usize::from(u16::from_le_bytes([low, high]))).ok_or(WireError::Body)?;
            if kind <= last {
                return Err(WireError::Body);
            }
            last = kind;
            let fits = match kind {
                part::MENTIONS => {
                    clear.mentions = Users::read(bytes)?;
                    (1..=MENTIONS_MAX).contains(&clear.mentions.len())
                }
                part::FORWARDED => {
                    clear.forwarded = *bytes.first().ok_or(WireError::Body)?;
                    bytes.len() == 1 && clear.forwarded > 0
                }
                part::MEDIA => {
                    clear.media = Some(media(bytes)?);
                    true
                }
                part::KIND => {
                    clear.kind = bytes;
                    (1..=KIND_MAX).contains(&bytes.len())
                }
                _ => true,
            };
            if !fits {
                return Err(WireError::Body);
            }
        }
        Ok(clear)
    }

    /// Appends it to `body`: nothing, if it says nothing.
    ///
    /// # Panics
    /// If something is over its limit.
    pub fn write(&self, body: &mut Vec<u8>) {
        let mut put = |kind: u8, bytes: &[&[u8]]| {
            let len: usize = bytes.iter().map(|bytes| bytes.len()).sum();
            body.push(kind);
            body.extend_from_slice(&u16::try_from(len).expect("limits are below 2^16").to_le_bytes());
            bytes.iter().for_each(|bytes| body.extend_from_slice(bytes));
        };
        assert!(self.mentions.len() <= MENTIONS_MAX && self.kind.len() <= KIND_MAX, "over a limit");
        if !self.mentions.is_empty() {
            put(part::MENTIONS, &[self.mentions.bytes()]);
        }
        if self.forwarded > 0 {
            put(part::FORWARDED, &[&[self.forwarded]]);
        }
        if let Some(Media { size, key_digest, media_type, reference }) = &self.media {
            assert!(media_type.len() <= MEDIA_TYPE_MAX && reference.len() <= MEDIA_REFERENCE_MAX, "over a limit");
            let type_len = [u8::try_from(media_type.len()).expect("asserted above")];
            put(part::MEDIA, &[&size.to_le_bytes(), key_digest, &type_len, media_type, reference]);
        }
        if !self.kind.is_empty() {
            put(part::KIND, &[self.kind]);
        }
    }
}

fn media(mut bytes: &[u8]) -> Result<Media<'_>, WireError> {
    let mut take = |len| bytes.split_off(..len).ok_or(WireError::Body);
    let size = u64::from_le_bytes(take(8)?.try_into().map_err(|_| WireError::Body)?);
    let key_digest = take(32)?.try_into().map_err(|_| WireError::Body)?;
    let type_len = usize::from(take(1)?[0]);
    let (media_type, reference) = (take(type_len)?, bytes);
    let fits = (1..=MEDIA_TYPE_MAX).contains(&type_len) && (1..=MEDIA_REFERENCE_MAX).contains(&reference.len());
    if fits { Ok(Media { size, key_digest, media_type, reference }) } else { Err(WireError::Body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clear_part_of_a_text_reads_as_it_was_written() {
        let ids = [[1; 16], [2; 16]];
        let media = Media { size: 5 << 30, key_digest: [7; 32], media_type: b"image/png", reference: b"store/17" };
        let whole = Clear { mentions: Users::new(&ids), forwarded: 3, media: Some(media), kind: b"poll" };
        for clear in [whole, Clear::default(), Clear { kind: b"", ..whole }, Clear { media: None, ..whole }] {
            let mut body = Vec::new();
            clear.write(&mut body);
            assert_eq!(Clear::read(&body), Ok(clear));
        }
        let mut body = Vec::new();
        whole.write(&mut body);
        // What a later version adds is passed over.
        body.extend_from_slice(&[9, 2, 0, 1, 2]);
        assert_eq!(Clear::read(&body), Ok(whole));
        for cut in 1..body.len() {
            let read = Clear::read(&body[..cut]);
            assert!(read.is_err() || read != Ok(whole) || cut == body.len() - 5, "{cut} bytes read as all of it");
        }
    }

    #[test]
    fn nonsense_in_the_clear_part_is_refused() {
        let of = |kind: u8, bytes: &[u8]| {
            let mut body = alloc::vec![kind];
            body.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_le_bytes());
            body.extend_from_slice(bytes);
            body
        };
        let twice = [of(2, &[1]), of(2, &[1])].concat();
        let falling = [of(4, b"x"), of(2, &[1])].concat();
        let nonsense = [
            of(1, &[]),
            of(1, &[1; 15]),
            of(1, &[1; (MENTIONS_MAX + 1) * 16]),
            of(2, &[0]),
            of(2, &[1, 1]),
            of(3, &[0; 41]),
            of(3, &[0xff; 50]),
            of(4, &[]),
            of(4, &[b'k'; KIND_MAX + 1]),
            of(200, &[0; CLEAR_MAX]),
            of(0, &[]),
            alloc::vec![1, 0],
            twice,
            falling,
        ];
        for body in nonsense {
            assert_eq!(Clear::read(&body), Err(WireError::Body), "{:?}", &body[..body.len().min(8)]);
        }
    }
}
