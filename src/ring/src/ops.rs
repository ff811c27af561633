//! Operations in flight that own a buffer. The buffer comes back with the completion, whatever happened.

/// An operation in flight.
#[derive(Debug)]
pub(crate) enum Op {
    /// Bytes on their way to a socket.
    Send { token: u64, buffer: Vec<u8> },
    /// Bytes on their way to a file; they begin at `start` in the buffer.
    Write { token: u64, buffer: Vec<u8>, start: usize },
    /// The same with an fdatasync behind it, and how the write itself went, once it has ended.
    SyncedWrite { token: u64, buffer: Vec<u8>, start: usize, written: Option<std::io::Result<usize>> },
    /// Room for bytes from a file.
    Read { token: u64, buffer: Vec<u8> },
    /// The counter of a waker.
    Wake(#[expect(dead_code, reason = "the kernel writes here")] Box<[u8; 8]>),
}

/// The operations in flight, by the number that their completion carries.
#[derive(Debug, Default)]
pub(crate) struct Ops {
    ops: Vec<Option<Op>>,
    free: Vec<u32>,
}

impl Ops {
    pub(crate) fn insert(&mut self, op: Op) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.ops.push(None);
            u32::try_from(self.ops.len() - 1).expect("fewer than 2^32 operations")
        });
        self.ops[at as usize] = Some(op);
        at
    }

    /// # Panics
    /// If the kernel completes what was never submitted: nothing can be trusted then.
    pub(crate) fn remove(&mut self, at: u32) -> Op {
        let op = self.ops.get_mut(at as usize).and_then(Option::take).expect("completions belong to operations");
        self.free.push(at);
        op
    }

    /// # Panics
    /// See [`Self::remove`].
    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Op {
        self.ops.get_mut(at as usize).and_then(Option::as_mut).expect("completions belong to operations")
    }

    pub(crate) fn len(&self) -> usize {
        self.ops.len() - self.free.len()
    }
}
