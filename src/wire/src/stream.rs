//! A stream of frames that comes in pieces: joining a piece to what was kept of the ones before it, and cutting whole frames off its
//! front. Server, client and bench all read their streams by this. A piece that ends with a whole frame, as most do, is never copied.

use alloc::vec::Vec;

use crate::{
    error::WireError,
    frame::{Frame, split},
};

/// A piece of a stream, after what was kept of the ones before it.
#[derive(Debug)]
pub enum Stretch<'a> {
    /// Nothing was kept: the piece as it came.
    Fresh(&'a [u8]),
    /// Both, in the buffer of what was kept.
    Joined(Vec<u8>),
}

impl<'a> Stretch<'a> {
    /// `piece` after `kept`.
    pub fn join(mut kept: Vec<u8>, piece: &'a [u8]) -> Self {
        if kept.is_empty() {
            return Self::Fresh(piece);
        }
        kept.extend_from_slice(piece);
        Self::Joined(kept)
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Fresh(piece) => piece,
            Self::Joined(all) => all,
        }
    }

    /// What is to be kept once the first `used` bytes are done with, in the buffer that it is in or in an empty one from `spare`. Empty if
    /// all of it was used.
    pub fn keep(self, used: usize, spare: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        match self {
            Self::Fresh(piece) if used == piece.len() => Vec::new(),
            Self::Fresh(piece) => {
                let mut kept = spare();
                kept.extend_from_slice(&piece[used..]);
                kept
            }
            Self::Joined(mut all) => {
                all.drain(..used);
                all
            }
        }
    }
}

/// The whole frames at the front of some bytes.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    used: usize,
}

impl<'a> Frames<'a> {
    /// Those of `bytes`.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// The next one, of at most `longest` bytes; `None` if it is not whole.
    ///
    /// # Errors
    /// As [`split`].
    pub fn next(&mut self, longest: u32) -> Result<Option<Frame<'a>>, WireError> {
        let frame = split(self.rest(), longest)?;
        self.used += frame.map_or(0, |frame| frame.bytes().len());
        Ok(frame)
    }

    /// A frame that was taken last is taken back: it comes again.
    pub fn put_back(&mut self, frame: &Frame<'a>) {
        self.used -= frame.bytes().len();
    }

    /// Bytes of the frames that were taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// What is after them.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.used..]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{frame, frames::Ping, limits::FRAME_MAX};

    fn pings(count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        (1..=count).for_each(|id| frame::append(&mut bytes, id, &Ping { opaque: id }));
        bytes
    }

    #[test]
    fn every_frame_comes_once_and_in_order_wherever_the_stream_is_cut() {
        let stream = pings(5);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (mut kept, mut seen) = (Vec::new(), vec![]);
                for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    let stretch = Stretch::join(kept, piece);
                    let mut frames = Frames::of(stretch.bytes());
                    while let Some(frame) = frames.next(FRAME_MAX).unwrap() {
                        seen.push(frame.header().request_id);
                    }
                    let used = frames.used();
                    kept = stretch.keep(used, Vec::new);
                }
                assert_eq!((seen, kept), (vec![1, 2, 3, 4, 5], vec![]), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_was_put_back_comes_again_and_a_whole_piece_needs_no_buffer() {
        let stream = pings(2);
        let stretch = Stretch::join(Vec::new(), &stream);
        let mut frames = Frames::of(stretch.bytes());
        let first = frames.next(FRAME_MAX).unwrap().unwrap();
        frames.put_back(&first);
        let ids = [(); 2].map(|()| frames.next(FRAME_MAX).unwrap().unwrap().header().request_id);
        assert_eq!((ids, frames.rest()), ([1, 2], &[][..]));
        assert_eq!(frames.next(8), Ok(None));
        let used = frames.used();
        assert!(stretch.keep(used, || unreachable!("nothing is left")).is_empty());
    }
}
