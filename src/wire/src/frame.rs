//! A whole frame: finding it in a stream of bytes, reading its parts, building one.

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};

use crate::{
    archive::{self, Archived},
    error::WireError,
    header::{HEADER_LEN, Header, Kind},
};

/// Where variable bytes are in a frame, counted from the frame's first byte.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset from the frame's start.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The fixed part of one kind of frame.
pub trait FixedPart: Archived {
    /// The kind that it belongs to.
    const KIND: Kind;
}

/// A frame in place: a checked header over borrowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    header: Header,
    bytes: &'a [u8],
}

/// Finds the first frame in `stream`: `None` if it is not whole yet.
///
/// # Errors
/// If the bytes at hand cannot become a frame; [`Header::decode`] says when. The body is not looked at.
pub fn split(stream: &[u8], frame_max: u32) -> Result<Option<Frame<'_>>, WireError> {
    let Some(header) = Header::decode(stream, frame_max)? else { return Ok(None) };
    Ok(stream.get(..header.len as usize).map(|bytes| Frame { header, bytes }))
}

impl<'a> Frame<'a> {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Every byte of the frame.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The kind.
    ///
    /// # Errors
    /// [`WireError::UnknownKind`]: the frame may be skipped.
    pub fn kind(&self) -> Result<Kind, WireError> {
        Kind::from_u8(self.header.kind).ok_or(WireError::UnknownKind)
    }

    /// The fixed part's bytes, as they came.
    pub fn fixed_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..HEADER_LEN + self.header.fixed_len as usize]
    }

    /// The fixed part, validated.
    ///
    /// # Errors
    /// [`WireError::Body`].
    pub fn fixed<T: FixedPart>(&self) -> Result<T, WireError> {
        debug_assert_eq!(self.header.kind, T::KIND as u8);
        archive::read(self.fixed_bytes())
    }

    /// The variable bytes at `span`.
    ///
    /// # Errors
    /// [`WireError::Body`] if they are not behind the fixed part and inside the frame.
    pub fn var(&self, span: Span) -> Result<&'a [u8], WireError> {
        if span.len == 0 {
            return Ok(&[]);
        }
        let start = span.offset as usize;
        if start < HEADER_LEN + self.header.fixed_len as usize {
            return Err(WireError::Body);
        }
        let end = start.checked_add(span.len as usize).ok_or(WireError::Body)?;
        self.bytes.get(start..end).ok_or(WireError::Body)
    }
}

/// Appends one frame to `out`: space for header and fixed part first, then variable bytes, then the two are filled
/// in. Everything stays in the caller's buffer; nothing is allocated beyond its growth.
#[derive(Debug)]
#[must_use = "a frame is only complete after finish()"]
pub struct FrameBuilder<'a, T: FixedPart> {
    out: &'a mut Vec<u8>,
    start: usize,
    part: core::marker::PhantomData<T>,
}

impl<'a, T: FixedPart> FrameBuilder<'a, T> {
    /// Begins a frame at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + HEADER_LEN + T::LEN, 0);
        Self { out, start, part: core::marker::PhantomData }
    }

    /// Appends variable bytes and says where they are.
    ///
    /// # Panics
    /// If the frame passes 4 GiB.
    pub fn var(&mut self, bytes: &[u8]) -> Span {
        let offset = u32::try_from(self.out.len() - self.start).expect("a frame is below 4 GiB");
        self.out.extend_from_slice(bytes);
        Span { offset, len: u32::try_from(bytes.len()).expect("a frame is below 4 GiB") }
    }

    /// Fills in fixed part and header.
    ///
    /// # Panics
    /// If the frame passes 4 GiB.
    #[inline(always)]
    pub fn finish(self, request_id: u64, fixed: &T) {
        let frame = &mut self.out[self.start..];
        archive::write(fixed, &mut frame[HEADER_LEN..]);
        let header = Header {
            len: u32::try_from(frame.len()).expect("a frame is below 4 GiB"),
            kind: T::KIND as u8,
            flags: 0,
            class: T::KIND.class() as u8,
            fixed_len: u16::try_from(T::LEN).expect("a fixed part is below FIXED_MAX"),
            request_id,
        };
        header.encode(frame);
    }
}

/// Appends a frame without variable bytes to `out`.
pub fn append<T: FixedPart>(out: &mut Vec<u8>, request_id: u64, fixed: &T) {
    FrameBuilder::<T>::new(out).finish(request_id, fixed);
}
