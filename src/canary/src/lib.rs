//! Small, deliberate bugs, to prove that the simulator would find them.
//!
//! The product asks `canary::is(...)` at the places where such a bug would sit. In every build but the one with the feature
//! `armed` the answer is a constant `false`, and nothing is left of the question.
#![no_std]
#![forbid(unsafe_code)]

macro_rules! canaries {
    ($($(#[doc = $doc:literal])+ $name:ident, $text:literal;)*) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Canary {
            /// None: everything works.
            None,
            $($(#[doc = $doc])+ $name,)*
        }

        impl Canary {
            /// All bugs.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name for the command line.
            pub fn name(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

canaries! {
    /// SENT leaves when the record is appended, before it is durable.
    AckBeforeDurable, "ack-before-durable";
    /// Recovery forgets which attempts were made.
    IdempotencyForgotten, "idempotency-not-restored";
    /// After a torn tail the log goes on over its last good batch.
    WrongHead, "wrong-head-after-torn-tail";
    /// A batch that a later one vouches for is missing, and that is taken for a torn tail.
    DamageTakenForTorn, "damage-taken-for-torn-tail";
    /// What a recycled file held before is believed.
    RecycledBelieved, "recycled-blocks-believed";
    /// After a crash homes are not told again what conversations know.
    HeadUpdatesForgotten, "head-updates-forgotten-at-crash";
    /// A device saves its cursor before its application was given the messages.
    CursorBeforeMessage, "cursor-before-message";
    /// A lane takes one value more than it has slots.
    SlotReusedEarly, "lane-slot-reused-early";
    /// The list of what changed lacks its first conversation.
    ResumeSkipsOne, "resume-skips-one";
    /// A FETCH that ended still counts as under way.
    CreditsLeaked, "fetch-credits-leaked";
    /// A repeat is answered with the newest message's number.
    RepeatAnsweredWithHead, "repeat-answered-with-head";
    /// A receipt claims everything that is there.
    ReceiptOfEverything, "receipt-of-everything";
    /// Everybody may fill as much of the log as there is.
    BudgetForgotten, "budget-forgotten";
    /// Conversations begin however much of the log is state.
    StateUnbounded, "state-unbounded";
    /// A write that ended after a part of it is taken for whole.
    ShortWriteBelieved, "short-write-believed";
    /// Accepting is not armed again after the kernel ended it.
    AcceptNotRearmed, "accept-not-rearmed";
    /// Nobody is woken for what was put into a lane.
    WakeForgotten, "wake-forgotten";
    /// RECEIPT_OK leaves when the record is appended, before it is durable.
    ReceiptOkBeforeDurable, "receipt-ok-before-durable";
    /// Anybody may FETCH.
    MembersUnchecked, "members-unchecked";
    /// A message's time is the clock's, even if that went back.
    TimeGoesBack, "time-goes-back";
    /// A device is given a cursor that a crash may take back.
    UndurableCursor, "undurable-cursor";
    /// Segments are dropped without writing again the state in them.
    EvacuationForgotten, "evacuation-forgotten";
    /// Messages that somebody has not received go with their segment.
    UndeliveredForgotten, "undelivered-forgotten";
    /// FETCH begins with the message after the one that was asked for.
    FetchSkipsFirst, "fetch-skips-first";
    /// An attempt that is only proposed is remembered as if it were committed.
    JudgeChangesState, "judge-changes-state";
    /// What was proposed stays although it was dropped.
    OverlaySurvives, "overlay-survives";
    /// A message that is committed takes effect twice.
    AppliedTwice, "applied-twice";
    /// Some records of a shard have no number.
    IndexSkipped, "index-skipped";
    /// A start does not look whether what is known of the logs is there.
    MissingUnnoticed, "missing-unnoticed";
    /// A page that does not hold all that was asked for lacks the end that was asked for.
    PageCutAtWrongEnd, "page-cut-at-wrong-end";
    /// Homes claim to have what they were told before it is in the log.
    ClaimedEarly, "claimed-early";
    /// A head update for which a lane had no room is not told again.
    DroppedHeadForgotten, "dropped-head-update-forgotten";
    /// Who writes has not seen what was there.
    OwnUnread, "own-message-unread";
    /// What is older than a membership counts as unread.
    JoinedUnread, "older-counts-as-unread";
    /// The first frame of a connection that waited for a load is forgotten.
    ParkedLost, "parked-frame-lost";
    /// The frame after one that waits for a load is taken before it.
    ParkedPassed, "parked-frame-passed";
    /// The last of those who are told of a group's message is left out.
    FanoutSkipsOne, "fanout-skips-one";
    /// Who was removed from a group is still told of its messages.
    FormerTold, "former-member-told";
    /// Who was removed from a group still reads all of it.
    StayIgnored, "former-member-reads";
    /// Everybody in a group may do everything.
    RightsUnchecked, "rights-unchecked";
    /// State that is written again does not say who is in a group.
    MembershipForgotten, "membership-forgotten";
    /// New members read what came before them, whatever the group says.
    HistoryShown, "history-shown";
    /// Who is only being removed may still write.
    ProposedUnseen, "proposed-membership-unseen";
    /// Who was a member once is never let in again.
    ArrivalsOnly, "former-member-kept-out";
    /// Whoever tries joins a group that has no link, or whose link it does not know.
    LinkUnchecked, "link-unchecked";
    /// A device that was revoked is let in.
    RevokedLetIn, "revoked-device-let-in";
    /// Everybody lists and revokes the devices of everybody.
    AnybodyAdministers, "anybody-administers";
    /// What somebody reads in private is shown to others.
    PrivateShown, "private-read-shown";
    /// A message of a large group that a reactor was not told is not told there later, either.
    OwedPostForgotten, "owed-post-forgotten";
    /// Who comes back is not told where its large groups are.
    HeadsUnasked, "heads-unasked";
    /// Recovery forgets that a group is large.
    SizeForgotten, "size-forgotten";
    /// A reactor that listens to a large group is not told of its messages.
    DeafReactor, "deaf-reactor";
    /// Who is told that there is something in a large group does not hear it.
    BellUnheard, "bell-unheard";
    /// Members edit what others wrote.
    EditByStranger, "edit-by-stranger";
    /// What was withdrawn is served.
    ErasedServed, "erased-served";
    /// What replaced or answered something that was withdrawn is served.
    EditOutlives, "edit-outlives-erasure";
    /// What has disappeared is served.
    ExpiredServed, "expired-served";
    /// Whoever names a conversation is heard typing in it.
    StrangerTypes, "stranger-types";
    /// Who is there is told to those from whom it is hidden.
    HiddenPresenceTold, "hidden-presence-told";
    /// Who left is not told of.
    LeavingUntold, "leaving-untold";
    /// What came while nobody looked at a device is not listed once somebody does.
    DozedForgotten, "dozed-forgotten";
    /// Whoever blocked somebody gets what it writes.
    BlockedShown, "blocked-shown";
    /// Whoever is blocked is told how far the other one is.
    BlockedTold, "blocked-told";
    /// Recovery forgets who blocks whom.
    BlockForgotten, "block-forgotten";
    /// Whoever is not blocked any more is not told what it was not shown meanwhile.
    BlockedForEver, "blocked-for-ever";
    /// What a user does not want to see any more is served to it.
    ForgottenShown, "forgotten-shown";
    /// Recovery forgets what users do not want to see any more.
    ForgottenForgotten, "forgotten-forgotten";
    /// What whoever writes has packed is told to devices that do not unpack.
    PackedToAll, "packed-to-all";
    /// END says something else than what was shown of the message.
    EndDiffers, "end-differs";
    /// A message that has ended is served as it was opened.
    EndForgotten, "end-forgotten";
    /// A message whose writer is gone is never ended.
    StreamNeverEnds, "stream-never-ends";
    /// Who was removed from a group is shown what is being written in it.
    FragmentsLeak, "fragments-leak";
    /// Who was removed from a group while a message was written is told how it ended.
    EndToldToAll, "end-told-to-all";
    /// As soon as anything is shed, SENDs are.
    SendsShedFirst, "sends-shed-first";
    /// A connection that moves to another reactor leaves its TLS and its WebSocket behind.
    DoorLeftBehind, "door-left-behind";
    /// The rest of a WebSocket's payload is unmasked as if it began there.
    MaskBeginsAnew, "mask-begins-anew";
    /// What was read from the disk is served as it is.
    DamageServed, "damage-served";
    /// Everybody is told that a message was written on its sender's first device.
    FirstDeviceTold, "first-device-told";
    /// A message that the server ends for its writer has nobody's name.
    EndNameless, "end-nameless";
    /// Whoever says so has received what is not there yet.
    FutureReceived, "future-received";
    /// Every member writes at what one of them is writing.
    AnybodyWritesOn, "anybody-writes-on";
    /// A turn looks at all conversations where it should look at some.
    EndlessTurn, "endless-turn";
    /// What changes while a list is told that takes more than a page is not told after it.
    MovedForgotten, "moved-forgotten";
}

impl Canary {
    /// The bug of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|canary| canary.name() == name)
    }
}

#[cfg(feature = "armed")]
mod armed {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Canary;

    static LET_IN: AtomicU8 = AtomicU8::new(0);

    /// Lets a bug into this process.
    pub fn let_in(canary: Canary) {
        LET_IN.store(canary as u8, Ordering::Relaxed);
    }

    /// True if this bug was let in.
    pub fn is(canary: Canary) -> bool {
        LET_IN.load(Ordering::Relaxed) == canary as u8
    }
}

#[cfg(feature = "armed")]
pub use armed::{is, let_in};

/// True if this bug was let in: never, in this build.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub const fn is(_: Canary) -> bool {
    false
}
