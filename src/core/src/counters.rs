//! Counts of what happened on a reactor since it started. Plain numbers here; the reactor shows them to others.

use tidings_wire::ErrorCode;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

counters! {
    /// Sessions that were let in.
    SessionsOpened, "sessions_opened";
    /// Sessions that ended.
    SessionsClosed, "sessions_closed";
    /// Frames that sessions sent.
    FramesIn, "frames_in";
    /// Times that an administrator asked for another user's devices, or revoked them.
    Administered, "devices_administered";
    /// Messages that got a number.
    Proposed, "messages_proposed";
    /// Messages committed.
    Committed, "messages_committed";
    /// SENDs that were repeats.
    Repeats, "sends_repeated";
    /// Messages withheld from who blocked their sender.
    Withheld, "messages_withheld";
    /// MESSAGE frames pushed to sessions.
    Pushed, "messages_pushed";
    /// MESSAGE frames that answered FETCH.
    Fetched, "messages_fetched";
    /// Receipt records committed.
    Receipts, "receipts_committed";
    /// Times a session was pushed to again, since it had not acknowledged.
    PushedAgain, "sessions_pushed_again";
    /// Times a session fell behind.
    Behind, "sessions_behind";
    /// Sessions closed since they did not read their answers.
    SlowConsumers, "slow_consumers";
    /// Head updates and receipts for which a lane had no room.
    HeadUpdatesDropped, "head_updates_dropped";
    /// What may be lost and was: a lane had no room, an entity was not in memory, or a device does not read.
    EphemeralDropped, "ephemeral_dropped";
    /// TYPING and PRESENCE written to sessions.
    EphemeralTold, "ephemeral_told";
    /// Times that somebody typed and that was shed, at any hop.
    ShedTyping, "shed_typing";
    /// The same of who is there, and of what messages say that are being written.
    ShedPresence, "shed_presence";
    /// Receipts that were shed.
    ShedReceipts, "shed_receipts";
    /// RESUMEs that waited for a later turn.
    ResumesHeld, "resumes_held";
    /// Fragments of messages that are being written that were taken.
    Fragments, "fragments";
    /// Messages whose writer fell silent, and that were ended for it.
    StreamsAborted, "streams_aborted";
    /// Messages of large groups that a reactor was not told, and is owed the head.
    PostsOwed, "posts_owed";
    /// Head updates told again: after a start, or since they were dropped.
    HeadUpdatesRepeated, "head_updates_repeated";
    /// Answers that waited for a lane.
    AnswersHeld, "answers_held";
    /// State records appended again before their segment was dropped.
    Evacuated, "states_evacuated";
    /// Messages written again before their segment was dropped, since somebody has not received them.
    UndeliveredKept, "undelivered_kept";
    /// Messages that somebody has not received and that go with their segment: there were too many, there was no time, or they could not be read. Of the log of another reactor they are
    /// counted each time that there is no room for them.
    UndeliveredDropped, "undelivered_dropped";
    /// Stored messages that could not be read back.
    UnreadableMessages, "messages_unreadable";
    /// Proposals that were dropped before their batch was sealed.
    ProposalsDropped, "proposals_dropped";
    /// Connections that the reactor accepted.
    Accepted, "connections_accepted";
    /// Connections that began TLS.
    TlsBegun, "tls_begun";
    /// Connections that became WebSockets.
    WebSockets, "websockets_opened";
    /// Connections that did not get as far as HELLO: what they spoke was wrong, or is not spoken here.
    DoorRefused, "connections_refused_at_the_door";
    /// Requests of browsers for pages.
    PagesServed, "pages_served";
    /// Connections handed to their home's reactor.
    HandedOver, "connections_handed_over";
    /// Connections whose peer vanished in the middle of a frame.
    CutFrames, "frames_cut";
    /// Receives that ended since no buffer was free.
    ReceiveStarved, "receives_starved";
    /// Multishot operations that ended early and were armed again.
    Rearmed, "multishots_rearmed";
    /// Turns.
    Turns, "turns";
    /// Times the reactor slept.
    Sleeps, "sleeps";
    /// System calls of the ring. Connections take others when they come and go; messages take none.
    RingCalls, "ring_calls";
    /// Durable writes of the log.
    Batches, "log_batches";
    /// Bytes of them.
    BatchBytes, "log_bytes";
    /// Bytes of them that are padding.
    BatchPadding, "log_padding";
    /// Times a batch waited for a prepared segment.
    SegmentWaits, "log_segment_waits";
    /// Segments dropped by retention.
    SegmentsDropped, "log_segments_dropped";
    /// Writes that prepare segments and failed.
    PrepareFailures, "log_prepare_failures";
}

/// The counts.
#[derive(Clone, Debug)]
pub struct Counters {
    counts: [u64; Counter::ALL.len()],
    errors: [u64; ErrorCode::ALL.len()],
}

/// How many numbers [`Counters::all`] gives.
pub const COUNTERS: usize = Counter::ALL.len() + ErrorCode::ALL.len();

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [0; Counter::ALL.len()], errors: [0; ErrorCode::ALL.len()] }
    }
}

impl Counters {
    /// One more.
    pub fn count(&mut self, counter: Counter) {
        self.counts[counter as usize] += 1;
    }

    /// `more` more.
    pub fn add(&mut self, counter: Counter, more: u64) {
        self.counts[counter as usize] += more;
    }

    /// A total that somebody else counts.
    pub fn set(&mut self, counter: Counter, total: u64) {
        self.counts[counter as usize] = total;
    }

    /// One more error told to a peer.
    pub fn error(&mut self, code: ErrorCode) {
        let index = ErrorCode::ALL.iter().position(|known| *known == code).expect("ALL has every code");
        self.errors[index] += 1;
    }

    /// A count.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Every number: the counters in their order, then the errors in theirs.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().chain(&self.errors).copied()
    }

    /// The names of what [`Self::all`] gives.
    pub fn names() -> impl Iterator<Item = (&'static str, Option<ErrorCode>)> {
        let counters = Counter::ALL.iter().map(|counter| (counter.name(), None));
        counters.chain(ErrorCode::ALL.iter().map(|code| (code.name(), Some(*code))))
    }
}
