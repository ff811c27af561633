//! Limits of a node: token buckets, and the bounds of everything that could grow.

use tidings_wire::ErrorCode;

use crate::time::Mono;

/// Output that a session may have waiting before pushes are left out and it counts as *behind*.
pub const OUT_SOFT: usize = 256 * 1024;
/// Output that a session may have waiting at all: answers are never left out, so beyond this it is closed.
pub const OUT_HARD: usize = 1024 * 1024;
/// What it is told then.
pub const OUT_HARD_TEXT: &str = "more than 1 MiB of answers were not read";
/// Devices of a user of which it is remembered that they are let in no more.
pub const BARRED_MAX: usize = 64;
/// How far what is written down of when a device connected last may be behind, in seconds.
pub const SEEN_STALE_S: u32 = 3600;
/// Seconds in which a device acknowledges what is pushed to it, if it promised that; twice as long each time that it is pushed again.
pub const ACKNOWLEDGE_S: u32 = 10;
/// How often it is pushed again before the session ends: after 70 s in all.
pub const PUSHES_MAX: u8 = 2;
/// Live sessions of a user.
pub const SESSIONS_PER_USER: usize = 64;
/// Registered devices of one member that a conversation remembers attempts of.
pub const DEVICES_PER_MEMBER: usize = 32;
/// Guests of one member that a conversation remembers attempts of; the longest unused is forgotten first.
pub const GUESTS_PER_MEMBER: usize = 32;
/// Times that somebody was a member, of which it can read what it could then; older ones are forgotten.
pub const STAYS_MAX: usize = 16;
/// FETCHes of one session under way.
pub const FETCHES_PER_SESSION: u8 = 16;
/// FETCHes of one user under way, over its sessions.
pub const FETCHES_PER_USER: u32 = 32;
/// How long a FETCH whose asker does not read keeps its place once no other is free.
pub const FETCH_PLACE_MS: u64 = 1000;
/// FETCHes under way on a reactor.
pub const FETCHES: usize = 256;
/// Bytes of the log that one read for a FETCH covers, unless a single message is longer.
pub const READ_WINDOW: u64 = 64 * 1024;
/// How long after the bytes of a stored message were wrong they must be wrong again for the message to count as damaged.
pub const DAMAGED_AFTER_MS: u32 = 2000;
/// The same where the disk gives no bytes: storage may be away for a while.
pub const UNREAD_AFTER_MS: u64 = 60_000;
/// After that time without another one a read that failed is forgotten.
pub const FAILURE_FORGOTTEN_MS: u64 = 30_000;
/// Messages whose reads failed that are remembered.
pub const FAILURES_MAX: usize = 1024;
/// How long a receipt waits for a batch to ride in.
pub const RECEIPT_DELAY_MS: u64 = 20;
/// How long receipts of a group wait for company before those who wrote are told.
pub const GROUP_RECEIPTS_MS: u64 = 1000;
/// How long a member of a large group waits after a READ until the next is taken.
pub const GROUP_READ_MS: u64 = 30_000;
/// Members of a large group that are told again at once that they are, and how many steps that is worth: those of a small group are told all at once, for
/// as many steps a member.
pub const MEMBERS_PER_STEP: usize = 256;
/// See [`MEMBERS_PER_STEP`].
pub const STEPS_PER_MEMBERS: usize = 64;
/// Copies of messages of large groups that leave in one turn: half of the sends of one, so that what others wrote is sent with them.
pub const COPIES_PER_TURN: usize = 32;
/// Bytes of those.
pub const COPY_BYTES_PER_TURN: usize = 256 << 10;
/// Bytes of messages of large groups that wait on a reactor to be copied; beyond that devices are told to look.
pub const POSTS_BYTES: usize = 4 << 20;
/// How many of them wait.
pub const POSTS_MAX: usize = 1024;
/// How many of one group are copied at once to somebody who is removed; if more wait, it is told to look.
pub const COPY_REST_MAX: usize = 16;
/// Questions to large groups that are asked in one turn.
pub const QUESTIONS_PER_TURN: usize = 64;
/// Large groups whose head is told in one turn to reactors that are owed it.
pub const OWED_PER_TURN: usize = 64;
/// Bytes of receipts of a group that go to a reactor at once.
pub const GROUP_RECEIPTS_BYTES: usize = 16 * 1024;
/// How long changes of a home may stay undurable.
pub const HOME_FLUSH_MS: u64 = 1000;
/// Homes written in one turn when they are due.
pub const HOMES_PER_TURN: usize = 64;
/// Conversations of a home in one record.
pub const HOME_RECORD_ENTRIES: usize = 64;
/// Entities looked at in one turn when state is written again or heads are told again.
pub const ENTITIES_PER_TURN: usize = 256;
/// Questions of shards how far homes are, that wait for room to be answered: each shard of each reactor asks once.
pub const ASKED_MAX: usize = 1 << 16;
/// Output that a session may have waiting for what may be lost to be written to it.
pub const EPHEMERAL_OUT: usize = OUT_SOFT / 4;
/// What a user may say that is lost if need be.
pub const EPHEMERAL_RATE: Rate = Rate { per_second: 16, burst: 1024 };
/// The same of a service.
pub const SERVICE_EPHEMERAL_RATE: Rate = Rate { per_second: 8192, burst: 32_768 };
/// Pages of history that a user may ask for: each is up to a quarter of a megabyte.
pub const HISTORY_RATE: Rate = Rate { per_second: 200, burst: 2000 };
/// The same of a service.
pub const SERVICE_HISTORY_RATE: Rate = Rate { per_second: 2000, burst: 20_000 };
/// A SEND takes one more of its user's rate for so many bytes of payload: so what fits in one is written by one user at four megabytes a second at most, by default.
pub const LONG_SEND: usize = 4096;
/// SENDs of a service that count as one of its user's rate.
pub const SERVICE_SHARE: u32 = 10;
/// What it takes of that to say that somebody is typing: as many as hear of it in a group of ordinary size.
pub const TYPING_TOKENS: u32 = 32;
/// What it takes to write at a message that grows, a fragment.
pub const FRAGMENT_TOKENS: u32 = 8;
/// What it takes to ask what such a message says.
pub const MORE_TOKENS: u32 = 16;
/// After how long nobody writes any more at a message whose writer is silent.
pub const STREAM_SILENCE_MS: u64 = 60_000;
/// How long a message may grow.
pub const STREAM_LIFE_MS: u64 = 3_600_000;
/// When a message that should have ended is looked at again.
pub const STREAM_RETRY_MS: u64 = 1_000;
/// When a writer is asked again for what was lost on its way.
pub const STREAM_ASKED_MS: u64 = 1_000;
/// Bytes of what messages say that have not ended; what is more comes when they end.
pub const STREAM_BYTES_MAX: usize = 32 << 20;
/// What it takes to ask who of a group is there; of others it is one each.
pub const GROUP_WATCH_TOKENS: u32 = 200;
/// Users that messages on ephemeral lanes are about, in one turn: what is more waits, or is dropped.
pub const EPHEMERAL_USERS_PER_TURN: usize = 1024;
/// Leases that are looked at in one turn since they are over.
pub const LEASES_PER_TURN: usize = 64;
/// Conversations of which it is remembered that they rang at a device at which nobody looks.
pub const RUNG_MAX: usize = 256;
/// Sessions that watch one user.
pub const WATCHERS_PER_USER: usize = 1024;
/// Those who watch somebody on a reactor.
pub const WATCHERS_MAX: usize = 1 << 18;
/// How long a user must have been away until those who watch it are told.
pub const OFFLINE_AFTER_MS: u64 = 5_000;
/// How much longer that takes for some than for others, and to be told of who comes.
pub const PRESENCE_JITTER_MS: u64 = 1_000;
/// Sessions of one user that watch another one.
pub const WATCHES_OF_ONE: usize = 4;
/// Those who are told in one turn that somebody whom they watch came or went, about.
pub const PRESENCE_TOLD_PER_TURN: usize = 1024;
/// When a device that was not let in should come again.
pub const REFUSED_RETRY_MS: u32 = 1000;
/// How far the clock that a device numbers its attempts by may be ahead of the server's: a day, in microseconds.
pub const IDS_AHEAD_US: u64 = 24 * 3600 * 1_000_000;
/// When an attempt that was too far ahead may be made again.
pub const ID_AHEAD_RETRY_MS: u32 = 10_000;
/// What checking a token takes of its user's rate besides: it costs as much as some tens of messages.
pub const REAUTH_TOKENS: u64 = 19;
/// What a new device takes of its user's rate besides: all that the user keeps is written.
pub const REGISTERING_TOKENS: u64 = 9;
/// When a message may be sent again that was refused since the disk is full.
pub const STORAGE_RETRY_MS: u32 = 1000;
/// SENDs that a session may have in flight while they are shed.
pub const SHED_WINDOW: u16 = 8;
/// When what was shed may be asked for again.
pub const SHED_RETRY_MS: u32 = 200;
/// RESUMEs that are answered in one turn; more wait for the next.
pub const RESUMES_PER_TURN: usize = 16;
/// A user with fewer conversations may begin others also where the server has little room left: whoever invents users to write to has more soon.
pub const FEW_CONVERSATIONS: u32 = 64;
/// How much of a reactor's room for users is kept for those.
pub const ROOM_KEPT: u32 = 16;
/// How long a message that somebody has not received outlives its segment, in seconds: 30 days after it was written.
pub const KEPT_FOR_S: u64 = 30 * 24 * 3600;
/// Nor does one that is so many numbers behind the last of its conversation: the places of all after it are in memory as long as it is there.
pub const KEPT_REACH: u64 = 1 << 14;
/// One conversation has at most such a part of what is kept at a time.
pub const KEPT_SHARES: u64 = 8;
/// How many hundredths of what a log keeps may be state, and users who have many conversations still begin others; and any user.
pub const STATE_SCARCE: u8 = 50;
/// See [`STATE_SCARCE`].
pub const STATE_FULL: u8 = 75;
/// How many hundredths of the room for conversations, or homes, may be taken on the fullest reactor: the same as [`ROOM_KEPT`].
pub const ENTITIES_SCARCE: u8 = 94;
/// When something that found no room may be tried again: seldom, since room does not come back soon.
pub const NO_ROOM_RETRY_MS: u32 = 60_000;
/// What BUSY advises.
pub const BUSY_RETRY_MS: u32 = 10;

/// When what was refused may come again, where the code alone says it; else 0.
pub(crate) fn retry_ms(code: ErrorCode) -> u32 {
    match code {
        ErrorCode::Busy => BUSY_RETRY_MS,
        ErrorCode::NoRoom => NO_ROOM_RETRY_MS,
        _ => 0,
    }
}

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: u32,
    /// Tokens saved up at most.
    pub burst: u32,
}

/// A token bucket: full at first, refilled with time. Counted in billionths of a token, so that nothing is rounded away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    used: u64,
    at: Mono,
}

const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// Milliseconds until there is one.
    pub fn take(&mut self, rate: Rate, now: Mono) -> Result<(), u32> {
        self.take_many(rate, now, 1)
    }

    /// Takes so many tokens at once, at most as many as can be saved up.
    ///
    /// # Errors
    /// Milliseconds until there are as many.
    #[inline]
    pub fn take_many(&mut self, rate: Rate, now: Mono, tokens: u32) -> Result<(), u32> {
        self.take_billionths(rate, now, u64::from(tokens.min(rate.burst)) * TOKEN)
    }

    #[inline]
    fn take_billionths(&mut self, rate: Rate, now: Mono, tokens: u64) -> Result<(), u32> {
        let refilled = now.since(self.at).saturating_mul(u64::from(rate.per_second));
        self.used = self.used.saturating_sub(refilled);
        self.at = self.at.max(now);
        let over = (self.used + tokens).saturating_sub(u64::from(rate.burst) * TOKEN);
        if over == 0 {
            self.used += tokens;
            return Ok(());
        }
        let wait_ns = over.div_ceil(u64::from(rate.per_second.max(1)));
        Err(u32::try_from(wait_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }

    /// Takes one of so many parts of a token.
    ///
    /// # Errors
    /// Milliseconds until there is one.
    #[inline]
    pub fn take_part(&mut self, rate: Rate, now: Mono, of: u32) -> Result<(), u32> {
        self.take_billionths(rate, now, TOKEN / u64::from(of))
    }

    /// Whether there is one to take.
    ///
    /// # Errors
    /// Milliseconds until there is one.
    pub fn check(&self, rate: Rate, now: Mono) -> Result<(), u32> {
        let mut copy = *self;
        copy.take(rate, now)
    }

    /// Takes tokens that are used up already: the next ones wait until they have come back.
    pub fn owe(&mut self, tokens: u64) {
        self.used = self.used.saturating_add(tokens.saturating_mul(TOKEN));
    }

    /// True if it is full again, so that forgetting it changes nothing.
    pub fn is_full(&self, rate: Rate, now: Mono) -> bool {
        now.since(self.at).saturating_mul(u64::from(rate.per_second)) >= self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_says_when() {
        let rate = Rate { per_second: 10, burst: 3 };
        let (mut bucket, mut now) = (Bucket::default(), Mono(5_000_000_000));
        for _ in 0..3 {
            bucket.take(rate, now).unwrap();
        }
        assert_eq!(bucket.take(rate, now), Err(100));
        now = now.plus_ms(99);
        assert_eq!(bucket.take(rate, now), Err(1));
        now = now.plus_ms(1);
        bucket.take(rate, now).unwrap();
        assert_eq!((bucket.take_many(rate, now, 2), bucket.take_many(rate, now, 4)), (Err(200), Err(300)));
        assert!(!bucket.is_full(rate, now) && bucket.is_full(rate, now.plus_ms(300)));
    }
}
