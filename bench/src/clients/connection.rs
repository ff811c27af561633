//! One client connection on a ring: bytes in pieces, frames out.

use std::os::fd::OwnedFd;

use tidings_wire::{
    DeviceId, Frame, Frames, Lineage, Stretch, UserId, Uv, WireError, frame,
    frame::{FrameBuilder, Span},
    frames::{Hello, Resume},
    limits,
};

use super::{
    Member,
    way::{Caller, Way},
};
use crate::Failure;

/// The cursor of somebody who knows nothing.
pub const NOTHING_KNOWN: Resume =
    Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 };

/// A connection of the load.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub socket: OwnedFd,
    partial: Vec<u8>,
    /// What is between it and its frames.
    caller: Option<Box<Caller>>,
    /// What came of the stream, if something is.
    opened: Vec<u8>,
    /// Output that gathers for the end of the turn.
    pub pending: Vec<u8>,
    /// A send is in flight.
    pub sending: bool,
}

impl Connection {
    /// Around a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, partial: Vec::new(), caller: None, opened: Vec::new(), pending: Vec::new(), sending: false }
    }

    /// Around a connected socket, over which the server is spoken to in some way.
    ///
    /// # Errors
    /// If there is no client of TLS to be had.
    pub fn by(socket: OwnedFd, way: &Way) -> Result<Self, Failure> {
        Ok(Self { caller: way.caller()?, ..Self::new(socket) })
    }

    /// True if something is to be sent.
    pub fn has_output(&self) -> bool {
        !self.pending.is_empty() || self.caller.as_ref().is_some_and(|caller| caller.wants_to_speak())
    }

    /// What is to be sent; `spare` is an empty buffer.
    ///
    /// # Errors
    /// If TLS is over.
    pub fn take_output(&mut self, mut spare: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let Some(caller) = &mut self.caller else { return Ok(std::mem::replace(&mut self.pending, spare)) };
        caller.wrap(&mut self.pending, &mut spare)?;
        Ok(spare)
    }

    /// Something to stand in this connection's place for a moment: the same socket, and nothing else.
    ///
    /// # Panics
    /// If the process is out of file descriptors.
    pub fn stand_in(&self) -> Self {
        Self::new(self.socket.try_clone().expect("one more file descriptor"))
    }

    /// Says HELLO and RESUME.
    pub fn greet(&mut self, member: &Member, resume: &Resume) {
        let mut hello = FrameBuilder::<Hello>::new(&mut self.pending);
        let (token, device, user) = (hello.var(member.token.as_bytes()), DeviceId(member.device), UserId::NONE);
        hello.finish(
            1,
            &Hello {
                version_min: 1,
                version_max: 1,
                device,
                user,
                capabilities: 0,
                token,
                connection_number: 0,
                device_name: Span::default(),
            },
        );
        frame::append(&mut self.pending, 2, resume);
    }

    /// Calls `on_frame` for every frame that is whole now.
    ///
    /// # Errors
    /// If the peer does not send frames, or not as it should.
    pub fn received(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(&Frame<'_>, &mut Vec<u8>),
    ) -> Result<(), Failure> {
        let Some(caller) = &mut self.caller else { return Ok(self.cut(bytes, on_frame)?) };
        let mut opened = std::mem::take(&mut self.opened);
        caller.open(bytes, &mut opened)?;
        self.cut(&opened, &mut on_frame)?;
        opened.clear();
        self.opened = opened;
        Ok(())
    }

    fn cut(&mut self, bytes: &[u8], mut on_frame: impl FnMut(&Frame<'_>, &mut Vec<u8>)) -> Result<(), WireError> {
        let stretch = Stretch::join(std::mem::take(&mut self.partial), bytes);
        let mut frames = Frames::of(stretch.bytes());
        while let Some(frame) = frames.next(limits::FRAME_MAX)? {
            on_frame(&frame, &mut self.pending);
        }
        let used = frames.used();
        self.partial = stretch.keep(used, Vec::new);
        Ok(())
    }
}
