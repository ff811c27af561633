//! The ring: operations in, completions out.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec},
};
use rustix::io::Errno;

use crate::{
    ops::{Op, Ops},
    pool::{Chunk, GROUP, Pool},
    probe::{self, SetupError},
    wake::Waker,
};

/// What a completion is about, in the words of whoever submitted: 56 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// How often the kernel is asked for what more is ready, so that a turn has enough to do.
const MORE_CALLS: usize = 16;
/// Completions that are enough to do.
const ENOUGH: usize = 256;

const KIND_SHIFT: u32 = 56;
const TOKEN_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// Kinds of operations, in the top byte of the number that a completion carries.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Accept = 1,
    Receive = 2,
    Buffered = 3,
    Cancel = 4,
    /// The first half of what has two: its operation goes on.
    Half = 5,
}

/// How large the ring is.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submissions that gather before they must be submitted; a power of two.
    pub submissions: u32,
    /// Completions that gather before the kernel has to keep them aside; a power of two.
    pub completions: u32,
    /// Receive buffers; a power of two.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_len: usize,
}

/// How a receive went.
#[derive(Debug)]
pub enum Received {
    /// Bytes.
    Bytes(Chunk),
    /// The peer closed.
    End,
    /// No buffer was free; arm again once one is.
    NoBuffer,
    /// The connection failed.
    Failed(io::Error),
}

/// What happened.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted; without `more` the listener must be armed again.
    Accepted {
        /// The listener's.
        token: Token,
        /// The connection.
        result: io::Result<OwnedFd>,
        /// More will come without being asked for.
        more: bool,
    },
    /// A receive ended or went on; without `more` it must be armed again.
    Received {
        /// The connection's.
        token: Token,
        /// How it went.
        result: Received,
        /// More will come without being asked for.
        more: bool,
    },
    /// A send ended.
    Sent {
        /// The connection's.
        token: Token,
        /// Its buffer.
        buffer: Vec<u8>,
        /// How many bytes went.
        result: io::Result<usize>,
    },
    /// A write ended.
    Written {
        /// The writer's.
        token: Token,
        /// Its buffer.
        buffer: Vec<u8>,
        /// Where in the buffer the bytes began.
        start: usize,
        /// How many bytes were written.
        result: io::Result<usize>,
    },
    /// A read ended.
    Read {
        /// The reader's.
        token: Token,
        /// Its buffer.
        buffer: Vec<u8>,
        /// How many bytes were read.
        result: io::Result<usize>,
    },
    /// Somebody used the [`Waker`].
    Woken,
}

/// How long to wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: submit, and fetch what is ready.
    Poll,
    /// Until something happens, or this time has passed.
    Upto(Duration),
    /// Until so many things happened, or this time has passed: fewer, larger turns.
    Gather {
        /// How many are enough.
        enough: usize,
        /// How long.
        time: Duration,
    },
}

/// One ring of one thread.
pub struct Ring {
    ring: IoUring,
    ops: Ops,
    /// Taken apart from the ring on drop if the kernel may still write to it.
    pool: Option<Pool>,
    waker: Waker,
    /// Operations whose last completion is outstanding.
    in_flight: usize,
    /// Writes whose flush is outstanding.
    synced: usize,
    /// Times the kernel was entered.
    calls: u64,
    not_send: PhantomData<*const ()>,
}

/// Finds out whether this kernel has what a ring needs, on any thread and before anything else is started.
///
/// # Errors
/// What it lacks, and what to do about it.
pub fn probe_kernel() -> Result<(), SetupError> {
    let waker = Waker::new().map_err(|error| SetupError::Other { step: "making an eventfd", error })?;
    Ring::new(&RingConfig { submissions: 8, completions: 16, buffers: 2, buffer_len: 64 }, waker).map(drop)
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring of the calling thread, which alone may use it, and its waker.
    ///
    /// # Errors
    /// What this kernel lacks.
    pub fn new(config: &RingConfig, waker: Waker) -> Result<Self, SetupError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(SetupError::of_setup)?;
        probe::check(&ring)?;
        let pool = Pool::register(&ring, config.buffers, config.buffer_len)
            .map_err(|error| SetupError::Other { step: "registering its receive buffers", error })?;
        let (ops, pool) = (Ops::default(), Some(pool));
        let mut this = Self { ring, ops, pool, waker, in_flight: 0, synced: 0, calls: 0, not_send: PhantomData };
        this.listen_for_wakes();
        Ok(this)
    }

    /// Accepts connections until told otherwise.
    pub fn accept(&mut self, listener: impl AsFd, token: Token) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_fd().as_raw_fd())).build();
        self.push(entry.user_data(user_data(Tag::Accept, token.0)));
    }

    /// Stops accepting: the accept ends with an error.
    pub fn cancel_accept(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(user_data(Tag::Accept, token.0)).build();
        self.push(entry.user_data(user_data(Tag::Cancel, 0)));
    }

    /// Receives until told otherwise.
    pub fn receive(&mut self, socket: impl AsFd, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_fd().as_raw_fd()), GROUP).build();
        self.push(entry.user_data(user_data(Tag::Receive, token.0)));
    }

    /// Receives once.
    pub fn receive_once(&mut self, socket: impl AsFd, token: Token) {
        let entry = opcode::Recv::new(Fd(socket.as_fd().as_raw_fd()), std::ptr::null_mut(), 0).buf_group(GROUP).build();
        let entry = entry.flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry.user_data(user_data(Tag::Receive, token.0)));
    }

    /// Sends all of `buffer` from `from` on; comes back short only if the connection fails.
    pub fn send(&mut self, socket: impl AsFd, token: Token, buffer: Vec<u8>, from: usize) {
        let bytes = &buffer[from..];
        let len = u32::try_from(bytes.len()).expect("an output buffer is below 4 GiB");
        let entry = opcode::Send::new(Fd(socket.as_fd().as_raw_fd()), bytes.as_ptr(), len)
            .flags(rustix::net::SendFlags::NOSIGNAL.bits().cast_signed() | MSG_WAITALL);
        self.push_op(entry.build(), Op::Send { token: token.0, buffer });
    }

    /// Writes `buffer` from `start` on to `file` at `offset`.
    pub fn write(&mut self, file: impl AsFd, token: Token, offset: u64, buffer: Vec<u8>, start: usize) {
        let bytes = &buffer[start..];
        let len = u32::try_from(bytes.len()).expect("a batch is below 4 GiB");
        let entry = opcode::Write::new(Fd(file.as_fd().as_raw_fd()), bytes.as_ptr(), len).offset(offset);
        self.push_op(entry.build(), Op::Write { token: token.0, buffer, start });
    }

    /// Writes as [`Self::write`] does, and has `file` fdatasync it: completes when that has ended, too. The kernel looks the descriptor up again when the write has
    /// ended: `file` is to stay open until the completion.
    pub fn write_and_sync(&mut self, file: impl AsFd, token: Token, offset: u64, buffer: Vec<u8>, start: usize) {
        let (bytes, fd) = (&buffer[start..], Fd(file.as_fd().as_raw_fd()));
        let len = u32::try_from(bytes.len()).expect("a batch is below 4 GiB");
        let write = opcode::Write::new(fd, bytes.as_ptr(), len).offset(offset).build().flags(squeue::Flags::IO_LINK);
        let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
        // A link does not reach beyond what is submitted together.
        while !self.has_room_for_two() {
            self.submit();
        }
        let at = u64::from(self.ops.insert(Op::SyncedWrite { token: token.0, buffer, start, written: None }));
        self.synced += 1;
        self.push(write.user_data(user_data(Tag::Half, at)));
        self.push(sync.user_data(user_data(Tag::Buffered, at)));
    }

    /// Fills `buffer` from `file` at `offset`.
    pub fn read(&mut self, file: impl AsFd, token: Token, offset: u64, mut buffer: Vec<u8>) {
        let len = u32::try_from(buffer.len()).expect("a read is below 4 GiB");
        let entry = opcode::Read::new(Fd(file.as_fd().as_raw_fd()), buffer.as_mut_ptr(), len).offset(offset);
        self.push_op(entry.build(), Op::Read { token: token.0, buffer });
    }

    fn listen_for_wakes(&mut self) {
        let mut counter = Box::new([0; 8]);
        let entry = opcode::Read::new(Fd(self.waker.fd().as_raw_fd()), counter.as_mut_ptr(), 8);
        self.push_op(entry.build(), Op::Wake(counter));
    }

    fn push_op(&mut self, entry: squeue::Entry, op: Op) {
        let at = self.ops.insert(op);
        self.push(entry.user_data(user_data(Tag::Buffered, u64::from(at))));
    }

    fn has_room_for_two(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.len() + 2 <= queue.capacity()
    }

    #[expect(clippy::needless_pass_by_value, reason = "an entry is pushed once")]
    fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        loop {
            // SAFETY: what the entry points at is owned by `ops` (heap memory of a Vec or Box that is not touched before
            // its completion), or by the pool, or is nothing.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.submit();
        }
    }

    /// Hands what gathered to the kernel, without waiting.
    fn submit(&mut self) {
        self.calls += 1;
        let queued = self.ring.submission().len();
        match self.ring.submit() {
            Ok(taken) => self.assert_whole(taken, queued),
            // The completion queue is full: the caller must take completions first. Submissions stay queued.
            Err(error) if is_transient(&error) => {}
            Err(error) => panic!("io_uring does not take submissions: {error}"),
        }
    }

    /// Submits what gathered, waits as told, and appends what happened to `into`, at most what its capacity holds (but at
    /// least one).
    pub fn turn(&mut self, wait: Wait, into: &mut Vec<Completion>) {
        if let Some(pool) = &mut self.pool {
            pool.publish();
        }
        match wait {
            Wait::Poll => {
                let queue = self.ring.submission();
                let (queued, work) = (queue.len(), queue.taskrun() || queue.cq_overflow());
                drop(queue);
                if queued > 0 || work {
                    self.enter(0, None);
                }
            }
            Wait::Upto(time) => self.enter(1, Some(time)),
            Wait::Gather { enough, time } => self.enter(enough, Some(time)),
        }
        // The kernel completes no more than twenty receives in one call, unless it is told to wait for more.
        for _ in 0..MORE_CALLS {
            if !self.ring.submission().taskrun() || self.ring.completion().len() >= ENOUGH {
                break;
            }
            self.enter(0, None);
        }
        let most = into.capacity().max(into.len() + 1) - into.len();
        for _ in 0..most {
            let Some(entry) = self.ring.completion().next() else { break };
            if let Some(completion) = self.complete(&entry) {
                into.push(completion);
            }
        }
    }

    /// The kernel took all that was queued, or nothing was in it that must stay together: a flush that is submitted apart from its write may begin before that has
    /// ended, and says nothing then.
    fn assert_whole(&self, taken: usize, queued: usize) {
        assert!(
            taken >= queued || self.synced == 0,
            "the kernel took {taken} of {queued} submissions: a write lost its flush"
        );
    }

    fn enter(&mut self, min_complete: usize, time: Option<Duration>) {
        self.calls += 1;
        let gathered = self.ring.submission().len();
        let timespec = Timespec::from(time.unwrap_or_default());
        let result = if time.is_some() {
            let args = SubmitArgs::new().timespec(&timespec);
            self.ring.submitter().submit_with_args(min_complete, &args)
        } else {
            let queued = self.ring.submission().len() as u32;
            const GETEVENTS: u32 = 1;
            // SAFETY: the queued entries are sound (push), and no argument is passed.
            unsafe { self.ring.submitter().enter::<()>(queued, 0, GETEVENTS, None) }
        };
        match result {
            Ok(taken) => self.assert_whole(taken, gathered),
            Err(error) if is_transient(&error) => {}
            Err(error) => panic!("io_uring does not take submissions: {error}"),
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let (kind, low) = (entry.user_data() >> KIND_SHIFT, entry.user_data() & TOKEN_MASK);
        let more = cqueue::more(entry.flags());
        if !more {
            self.in_flight -= 1;
        }
        let result = i32_result(entry.result());
        let token = Token(low);
        match kind {
            kind if kind == Tag::Accept as u64 => {
                // SAFETY: a successful accept gives a new descriptor that nobody else owns.
                let result = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                Some(Completion::Accepted { token, result, more })
            }
            kind if kind == Tag::Receive as u64 => {
                let result = self.received(result, cqueue::buffer_select(entry.flags()));
                Some(Completion::Received { token, result, more })
            }
            kind if kind == Tag::Buffered as u64 => self.complete_op(low as u32, result),
            kind if kind == Tag::Half as u64 => {
                let Op::SyncedWrite { written, .. } = self.ops.get_mut(low as u32) else { panic!("half of no chain") };
                *written = Some(result);
                None
            }
            _ => None,
        }
    }

    fn received(&mut self, result: io::Result<usize>, buffer: Option<u16>) -> Received {
        let pool = self.pool.as_mut().expect("the pool lives as long as the ring");
        match (result, buffer) {
            (Ok(0), buffer) => {
                if let Some(buffer) = buffer {
                    let empty = pool.take(buffer, 0);
                    pool.give_back(empty);
                }
                Received::End
            }
            (Ok(len), Some(buffer)) => Received::Bytes(pool.take(buffer, len as u32)),
            (Ok(_), None) => panic!("received bytes are in a buffer of the pool"),
            (Err(error), _) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                Received::NoBuffer
            }
            (Err(error), _) => Received::Failed(error),
        }
    }

    fn complete_op(&mut self, at: u32, result: io::Result<usize>) -> Option<Completion> {
        // The buffer is the kernel's until both have ended.
        if let Op::SyncedWrite { written, .. } = self.ops.get_mut(at) {
            assert!(written.is_some(), "the first of a chain ends before the second");
            self.synced -= 1;
        }
        Some(match self.ops.remove(at) {
            Op::Send { token, buffer } => Completion::Sent { token: Token(token), buffer, result },
            Op::Write { token, buffer, start } => Completion::Written { token: Token(token), buffer, start, result },
            Op::SyncedWrite { token, buffer, start, written } => {
                let (whole, written) = (buffer.len() - start, written.expect("it was looked at"));
                let result = match written {
                    Ok(len) if len == whole => result.map(|_| len),
                    failed_or_short => {
                        // It cancels the rest of its chain, and says more than that.
                        let canceled = |error: io::Error| error.raw_os_error() == Some(Errno::CANCELED.raw_os_error());
                        assert!(result.is_err_and(canceled), "a flush that went on behind a write that did not");
                        failed_or_short
                    }
                };
                Completion::Written { token: Token(token), buffer, start, result }
            }
            Op::Read { token, buffer } => Completion::Read { token: Token(token), buffer, result },
            Op::Wake(_) => {
                self.listen_for_wakes();
                Completion::Woken
            }
        })
    }

    /// The bytes of a chunk.
    ///
    /// # Panics
    /// If it is another ring's.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.pool.as_ref().expect("the pool lives as long as the ring").bytes(chunk)
    }

    /// The bytes of a chunk, to be changed where they are.
    pub fn bytes_mut(&mut self, chunk: &mut Chunk) -> &mut [u8] {
        self.pool.as_mut().expect("the pool lives as long as the ring").bytes_mut(chunk)
    }

    /// Gives a chunk's buffer back to the pool. The kernel sees it with the next [`Self::turn`].
    pub fn give_back(&mut self, chunk: Chunk) {
        self.pool.as_mut().expect("the pool lives as long as the ring").give_back(chunk);
    }

    /// Receive buffers that are free.
    pub fn free_buffers(&self) -> u16 {
        self.pool.as_ref().map_or(0, |pool| pool.size() - pool.taken())
    }

    /// System calls so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Sends, writes and reads in flight.
    pub fn buffered_ops(&self) -> usize {
        self.ops.len()
    }
}

impl Drop for Ring {
    /// Cancels everything and waits for it, so that the kernel lets go of all memory. If it does not in time (a disk that
    /// hangs), the memory is leaked rather than freed under the kernel's hands.
    fn drop(&mut self) {
        for _ in 0..50 {
            if self.in_flight == 0 {
                return;
            }
            // Errors only say that there was nothing to cancel.
            let _none = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
            let timespec = Timespec::from(Duration::from_millis(20));
            let args = SubmitArgs::new().timespec(&timespec);
            let _timeout = self.ring.submitter().submit_with_args(1, &args);
            while let Some(entry) = self.ring.completion().next() {
                let accepted = entry.user_data() >> KIND_SHIFT == Tag::Accept as u64 && entry.result() >= 0;
                if accepted {
                    // SAFETY: as in complete(): a new descriptor, to be closed.
                    drop(unsafe { OwnedFd::from_raw_fd(entry.result()) });
                }
                if !cqueue::more(entry.flags()) {
                    self.in_flight -= 1;
                }
            }
        }
        std::mem::forget((self.pool.take(), std::mem::take(&mut self.ops)));
    }
}

/// Linux's `MSG_WAITALL`: a send goes on until everything is gone.
const MSG_WAITALL: i32 = 0x100;

fn user_data(tag: Tag, low: u64) -> u64 {
    assert!(low <= TOKEN_MASK, "a token has 56 bits");
    u64::from(tag as u8) << KIND_SHIFT | low
}

fn i32_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
}

/// Errors of entering the ring that say nothing about it: time is up, a signal came, completions must be taken first.
fn is_transient(error: &io::Error) -> bool {
    let transient = [Errno::TIME, Errno::INTR, Errno::BUSY, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| transient.contains(&errno))
}

#[cfg(test)]
mod tests;
