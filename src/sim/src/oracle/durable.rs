//! What is durable, read from every batch at the moment when its write completes.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::Watermarks;
use tidings_core::records::{KeptRecord, ReceiptRecord, RecordKind};
use tidings_log::{format::BatchHeader, records};
use tidings_turn::recover::FoundLog;
use tidings_wire::{
    ConversationId, Generation, LogId, Lsn, Seq, UserId, archive,
    frames::{Message, MessageFlags},
    limits::FRAME_MAX,
    split,
};

use super::{
    Follower, Line, Roster, SaidAbout, Shown,
    blocks::Blocks,
    forgotten::Forgotten,
    streamed::{END, OPEN, Streams},
};

/// Where a message is.
type Segment = (LogId, Generation);

/// The messages and watermarks that a crash now would leave.
#[derive(Debug)]
pub struct Durable {
    /// A node that applies all of it.
    pub follower: Follower,
    messages: BTreeMap<(ConversationId, Seq), (u64, Segment)>,
    /// Whom a message of a one-to-one conversation is for.
    readers: BTreeMap<(ConversationId, Seq), UserId>,
    /// By message, how many have content up to it.
    ordinals: BTreeMap<(ConversationId, Seq), u64>,
    /// By member, the last of its own messages that have content.
    written: BTreeMap<(ConversationId, UserId), Seq>,
    rosters: BTreeMap<ConversationId, Roster>,
    said: BTreeMap<ConversationId, SaidAbout>,
    /// Groups that are large: what a device has there is not kept.
    large: BTreeSet<ConversationId>,
    /// Where messages are that outlived their segment.
    kept: BTreeMap<(ConversationId, Seq), Segment>,
    /// Those that an END stands for.
    ended: BTreeSet<(ConversationId, Seq)>,
    /// The last message of each conversation that went with its segment, at any time: where the power goes before a file is gone for
    /// good, the segment is there again, and what devices were told of it before is not wrong for that.
    went: BTreeMap<ConversationId, Seq>,
    /// The oldest segment that retention left, by log.
    floors: BTreeMap<LogId, Generation>,
    /// Messages of one-to-one conversations that went in this run before whoever they were for had received them.
    lost_unreceived: u64,
    /// Who does what it may not.
    pub hostile: Option<UserId>,
    /// What users do not want to see any more.
    pub forgotten: Forgotten,
    /// Who blocks whom.
    pub blocks: Blocks,
    /// Messages that grow.
    pub streams: Streams,
    marks: BTreeMap<(ConversationId, UserId), (Seq, Seq)>,
    shown: BTreeMap<(ConversationId, UserId), Seq>,
    /// The next batch of each log, and those that are there before it.
    next: BTreeMap<LogId, Lsn>,
    early: BTreeMap<(LogId, Lsn), Vec<u8>>,
}

impl Durable {
    /// Nothing yet.
    pub fn new(follower: Follower) -> Self {
        Self {
            follower,
            messages: BTreeMap::new(),
            readers: BTreeMap::new(),
            ordinals: BTreeMap::new(),
            written: BTreeMap::new(),
            rosters: BTreeMap::new(),
            said: BTreeMap::new(),
            large: BTreeSet::new(),
            kept: BTreeMap::new(),
            ended: BTreeSet::new(),
            went: BTreeMap::new(),
            floors: BTreeMap::new(),
            lost_unreceived: 0,
            hostile: None,
            forgotten: Forgotten::default(),
            blocks: Blocks::default(),
            streams: Streams::default(),
            marks: BTreeMap::new(),
            shown: BTreeMap::new(),
            next: BTreeMap::new(),
            early: BTreeMap::new(),
        }
    }

    /// A node begins with these logs: what was written after their ends was cut off.
    pub fn begin(&mut self, logs: &BTreeMap<LogId, FoundLog>) {
        self.early.clear();
        self.lost_unreceived = 0;
        self.next = logs.iter().map(|(log, found)| (*log, found.tail.last.next())).collect();
    }

    /// Who is in a group, once it is made.
    pub fn roster(&self, conversation: ConversationId) -> Option<&Roster> {
        self.rosters.get(&conversation)
    }

    /// What was said about the messages of a conversation.
    pub fn said(&self, conversation: ConversationId) -> Option<&SaidAbout> {
        self.said.get(&conversation)
    }

    /// The tag of a durable message.
    pub fn tag(&self, conversation: ConversationId, seq: Seq) -> Option<u64> {
        self.messages.get(&(conversation, seq)).map(|(tag, _)| *tag)
    }

    /// The last durable message of a conversation.
    pub fn head(&self, conversation: ConversationId) -> Seq {
        let all = (conversation, Seq(0))..=(conversation, Seq(u64::MAX));
        self.messages.range(all).next_back().map_or(Seq(0), |((_, seq), _)| *seq)
    }

    /// True if a message is durable, under whatever number.
    pub fn has(&self, conversation: ConversationId, tag: u64) -> bool {
        let all = (conversation, Seq(0))..=(conversation, Seq(u64::MAX));
        self.messages.range(all).any(|(_, (found, _))| *found == tag)
    }

    /// Every durable message, with its tag.
    pub fn messages(&self) -> impl Iterator<Item = (ConversationId, Seq, u64)> {
        self.messages.iter().map(|((conversation, seq), (tag, _))| (*conversation, *seq, *tag))
    }

    /// Retention dropped the segments of a log below this one.
    pub fn drop_below(&mut self, log: LogId, oldest: Generation) {
        let before = self.floors.get(&log).copied().unwrap_or_default();
        if oldest <= before {
            return;
        }
        self.floors.insert(log, oldest);
        let goes = |(of, generation): Segment| of == log && (before..oldest).contains(&generation);
        let going = self.messages.iter().filter(|(at, _)| {
            let segment = self.segment(at.0, at.1);
            segment.is_some_and(goes) && !self.ended.contains(at)
        });
        let unreceived = going.filter(|((conversation, seq), _)| {
            let reader = self.readers.get(&(*conversation, *seq));
            reader.is_some_and(|reader| self.marks(*conversation, *reader).delivered < *seq)
        });
        self.lost_unreceived += unreceived.count() as u64;
        let is_gone =
            |(conversation, seq): &&(ConversationId, Seq)| self.segment(*conversation, *seq).is_some_and(goes);
        for (conversation, seq) in self.messages.keys().filter(is_gone).copied().collect::<Vec<_>>() {
            let last = self.went.entry(conversation).or_default();
            *last = seq.max(*last);
        }
    }

    /// Where a message is, in words.
    pub fn whereabouts(&self, conversation: ConversationId, seq: Seq) -> String {
        let at = (conversation, seq);
        let written = self.messages.get(&at).map(|(_, segment)| *segment);
        let (kept, ended, floors) = (self.kept.get(&at), self.ended.contains(&at), &self.floors);
        format!("(written in {written:?}, kept in {kept:?}, ended {ended}; the oldest segments are {floors:?})")
    }

    /// True if a message was gone at some time, or a later one.
    pub fn went_before(&self, conversation: ConversationId, seq: Seq) -> bool {
        self.went.get(&conversation).is_some_and(|last| *last >= seq)
    }

    /// True of a message that an END stands for, and that says nothing any more.
    pub fn is_ended_and_emptied(&self, conversation: ConversationId, seq: Seq) -> bool {
        let is_emptied = |said: &SaidAbout| said.shown(seq, None) != Shown::Whole;
        self.ended.contains(&(conversation, seq)) && self.said(conversation).is_some_and(is_emptied)
    }

    /// Messages that went in this run before whoever they were for had received them.
    pub fn lost_unreceived(&self) -> u64 {
        self.lost_unreceived
    }

    /// True if a message's segment was dropped.
    pub fn is_dropped(&self, conversation: ConversationId, seq: Seq) -> bool {
        let found = self.segment(conversation, seq);
        found.is_some_and(|(log, generation)| self.floors.get(&log).is_some_and(|oldest| generation < *oldest))
    }

    /// Where a message is. Of one that has ended it is where it began: where its END is it may not be any more after a start.
    fn segment(&self, conversation: ConversationId, seq: Seq) -> Option<Segment> {
        let at = (conversation, seq);
        let kept = self.kept.get(&at).filter(|_| !self.ended.contains(&at)).copied();
        kept.or_else(|| self.messages.get(&at).map(|(_, segment)| *segment))
    }

    /// True if a message's segment was dropped, or that of a later one: what is gone is always the beginning.
    pub fn is_dropped_before(&self, conversation: ConversationId, seq: Seq) -> bool {
        let later = self.messages.range((conversation, seq)..=(conversation, Seq(u64::MAX)));
        later.into_iter().any(|((_, later), _)| self.is_dropped(conversation, *later))
    }

    /// How far a member is, as the log says.
    pub fn marks(&self, conversation: ConversationId, member: UserId) -> Watermarks {
        let (delivered, read) = self.marks.get(&(conversation, member)).copied().unwrap_or_default();
        Watermarks { delivered, read, ordinal: 0 }
    }

    /// True if a member has written something.
    pub fn has_written(&self, conversation: ConversationId, member: UserId) -> bool {
        self.written.contains_key(&(conversation, member))
    }

    /// True of a large group.
    pub fn is_large(&self, conversation: ConversationId) -> bool {
        self.large.contains(&conversation)
    }

    /// How far a member has read, as others may know.
    pub fn shown(&self, conversation: ConversationId, member: UserId) -> Seq {
        self.shown.get(&(conversation, member)).copied().unwrap_or_default()
    }

    /// How many messages have content up to one.
    pub fn ordinal(&self, conversation: ConversationId, upto: Seq) -> u64 {
        let all = (conversation, Seq(0))..=(conversation, upto);
        self.ordinals.range(all).next_back().map_or(0, |(_, ordinal)| *ordinal)
    }

    /// How many messages with content up to `reach` a member has neither read nor written, and that came after it did.
    pub fn unread(&self, conversation: ConversationId, member: UserId, reach: Seq) -> u64 {
        let joined = self.rosters.get(&conversation).map_or(Seq(0), |roster| roster.joined(member));
        let written = self.written.get(&(conversation, member)).copied().unwrap_or_default();
        let seen = self.marks(conversation, member).read.max(written).max(joined);
        self.ordinal(conversation, reach) - self.ordinal(conversation, seen).min(self.ordinal(conversation, reach))
    }

    /// A batch is on the disk: it is durable once all before it are.
    ///
    /// # Errors
    /// What is wrong with what it says, in words.
    pub fn add(&mut self, log: LogId, batch: &[u8]) -> Result<(), String> {
        let header: BatchHeader = archive::read(batch).map_err(|error| format!("a batch without a header: {error}"))?;
        self.early.insert((log, header.name().lsn), batch.to_vec());
        loop {
            let next = *self.next.entry(log).or_insert(Lsn(1));
            let Some(batch) = self.early.remove(&(log, next)) else { return Ok(()) };
            self.next.insert(log, next.next());
            self.add_next(log, &batch)?;
        }
    }

    fn add_next(&mut self, log: LogId, batch: &[u8]) -> Result<(), String> {
        let header: BatchHeader = archive::read(batch).map_err(|error| format!("a batch without a header: {error}"))?;
        let segment = (log, header.name().generation);
        for record in records(&header, batch) {
            let record = record.map_err(|error| format!("a record that cannot be read: {error}"))?;
            self.follower.apply(log, segment.1, &record)?;
            match RecordKind::from_u8(record.header.kind) {
                Some(RecordKind::Message) => self.add_message(record.body, segment)?,
                Some(RecordKind::Kept) => self.move_message(record.body, segment)?,
                Some(RecordKind::Receipt) => self.add_receipt(record.body)?,
                Some(RecordKind::Forgotten) => self.forgotten.add(record.body)?,
                Some(RecordKind::Block) => {
                    let (marks, shown) = (&self.marks, &self.shown);
                    let of = |conversation, user| {
                        let delivered = marks.get(&(conversation, user)).map_or(Seq(0), |(delivered, _)| *delivered);
                        (delivered, shown.get(&(conversation, user)).copied().unwrap_or_default())
                    };
                    self.blocks.add(record.body, of)?;
                }
                Some(RecordKind::NoOp | RecordKind::HardState | RecordKind::Config) | None => {
                    return Err(format!("a record of kind {}", record.header.kind));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A message outlives its segment.
    fn move_message(&mut self, body: &[u8], segment: Segment) -> Result<(), String> {
        let frame = split(body, FRAME_MAX).ok().flatten().ok_or("a kept message that is no frame")?;
        let message: Message = frame.fixed().map_err(|error| error.to_string())?;
        let kept: KeptRecord = archive::read(&body[frame.bytes().len()..]).map_err(|error| error.to_string())?;
        let at = (message.conversation, kept.seq);
        if !self.messages.contains_key(&at) {
            return Err(format!("{:?} is kept and never was", kept.seq));
        }
        self.kept.insert(at, segment);
        Ok(())
    }

    fn add_message(&mut self, body: &[u8], segment: Segment) -> Result<(), String> {
        let frame = split(body, FRAME_MAX).ok().flatten().ok_or("a message that is no frame")?;
        let message: Message = frame.fixed().map_err(|error| error.to_string())?;
        let payload = frame.var(message.payload).map_err(|error| error.to_string())?;
        let tag = super::tag_of(&message, payload);
        match self.messages.insert((message.conversation, message.seq), (tag, segment)) {
            Some((before, _)) if before != tag => {
                return Err(format!("{:?} is logged as {before:x} and as {tag:x}", message.seq));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        // Nobody but the server says so, of what it is so.
        let Message { flags: MessageFlags(flags), client_msg_id, control, .. } = message;
        let is_large = flags & MessageFlags::LARGE > 0 && !message.conversation.is_group();
        let is_aborted = flags & MessageFlags::ABORTED > 0 && (control.0 != END || client_msg_id.0 != 0);
        let is_served = flags & (MessageFlags::FORGOTTEN | MessageFlags::ENDED | MessageFlags::EMPTIED) > 0;
        if is_large || is_aborted || is_served {
            return Err(format!("{:?} is logged with flags {flags}", message.seq));
        }
        let (conversation, seq, has_content) =
            (message.conversation, message.seq, [0, OPEN].contains(&message.control.0));
        // The end of what is withheld is withheld, whoever blocks whom then.
        let ends = Some(message.target).filter(|_| message.control.0 == END);
        let withheld = !conversation.is_group() && self.blocks.withhold((conversation, seq), message.peer, ends);
        if withheld != (message.flags.0 & 64 > 0) {
            return Err(format!("{seq:?} of {conversation} is marked as withheld, or not, and should be {withheld}"));
        }
        let ordinal = self.ordinal(conversation, seq) + u64::from(has_content && !withheld);
        self.ordinals.insert((conversation, seq), ordinal);
        if has_content {
            self.written.insert((conversation, message.sender), seq);
        }
        if message.flags.0 & 16 > 0 {
            self.large.insert(conversation);
        }
        let body = frame.var(message.body).map_err(|error| error.to_string())?;
        if message.conversation.is_group() {
            let roster = self.rosters.entry(message.conversation).or_default();
            // What the node writes for somebody is not its act: it may have been removed.
            match message.flags.0 & MessageFlags::ABORTED > 0 {
                true => roster.pass(message.seq),
                false => roster.add(message.sender, message.seq, message.control.0, body)?,
            }
        }
        let Message { sender, peer, control, target, ts, expires_at, .. } = message;
        if !conversation.is_group() {
            self.readers.insert((conversation, seq), peer);
        }
        self.ended.extend(ends.map(|opened| (conversation, opened)));
        self.streams.add((conversation, seq), (control.0, target), (sender, payload, withheld))?;
        let roster = self.rosters.get(&conversation);
        let may_be_early = self.hostile == Some(sender);
        let line = Line { sender, control: control.0, target, ts, expires_at, withheld, may_be_early };
        let said = self.said.entry(conversation).or_default();
        said.add(seq, line, body, |other| roster.is_some_and(|roster| roster.is_above(sender, other)))?;
        Ok(())
    }

    fn add_receipt(&mut self, body: &[u8]) -> Result<(), String> {
        let record: ReceiptRecord = archive::read(body).map_err(|error| error.to_string())?;
        let now = (record.delivered, record.read);
        let shown = Seq(record.read.0 - record.withheld);
        self.shown.insert((record.conversation, record.member), shown);
        let before = self.marks.insert((record.conversation, record.member), now).unwrap_or_default();
        let roster = self.rosters.get(&record.conversation);
        let reach = roster.map_or(Some(self.head(record.conversation)), |roster| roster.reach(record.member));
        if Some(now.0.max(now.1)) > reach {
            return Err(format!("watermarks {now:?} are logged of who can read up to {reach:?}"));
        }
        if now.0 < before.0 || now.1 < before.1 {
            return Err(format!("watermarks {now:?} are logged after {before:?}"));
        }
        Ok(())
    }
}
