//! Messages that grow while they are written: who is told, what is lost and asked for again, how they end, and what is left of them.

use tidings_core::limits::{
    EPHEMERAL_RATE, FRAGMENT_TOKENS, SERVICE_EPHEMERAL_RATE, STREAM_LIFE_MS, STREAM_RETRY_MS, STREAM_SILENCE_MS,
};
use tidings_testkit::{Cluster, Device, frames::Attempt, in_all_layouts};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Kind, Seq, UserId,
    frame::FrameBuilder,
    frames::{
        Activity, Clear, Control, Fetch, FetchOrder, Fragment, GroupAct, GroupSettings, Message, MessageFlags, More,
        Sent, Set, SetActivity, SettingKey, Users,
        about::control::{EDIT, ERASE},
        group::control::{CREATE, REMOVE},
        streamed::control::{END, OPEN},
    },
    limits::{FRAGMENT_MAX, PAYLOAD_MAX, STREAMS_OF_MEMBER},
};

fn direct(one: Device, other: Device) -> ConversationId {
    ConversationId::direct(one.user, other.user)
}

/// Does something in a conversation; gives its number, or why not.
fn act(
    cluster: &mut Cluster,
    who: Device,
    (conversation, peer): (ConversationId, UserId),
    id: u64,
    (control, target, body, payload): (Control, u64, &[u8], &[u8]),
) -> Result<u64, ErrorCode> {
    cluster.take(who);
    let attempt = Attempt { control, target, body, payload, ..Attempt::to(conversation, peer, (id, id - 1)) };
    cluster.bytes(who, &attempt.bytes());
    cluster.commit();
    let out = cluster.take(who);
    match out.all::<Sent>().first() {
        Some(sent) => Ok(sent.seq.0),
        None => Err(out.error().0),
    }
}

fn open(cluster: &mut Cluster, who: Device, peer: Device, id: u64) -> u64 {
    act(cluster, who, (direct(who, peer), peer.user), id, (OPEN, 0, &[], b"")).unwrap()
}

fn fragment_bytes(conversation: ConversationId, seq: u64, offset: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Fragment>::new(&mut out);
    let span = frame.var(bytes);
    let crc = Fragment::crc_of(bytes);
    frame.finish(6, &Fragment { conversation, seq: Seq(seq), offset, crc, bytes: span });
    out
}

fn write(cluster: &mut Cluster, who: Device, (conversation, seq): (ConversationId, u64), offset: u32, text: &str) {
    cluster.bytes(who, &fragment_bytes(conversation, seq, offset, text.as_bytes()));
}

/// What a device is told of growing messages: the number, how much it said before, and what more.
fn grown(cluster: &mut Cluster, who: Device) -> Vec<(u64, u32, String)> {
    let out = cluster.take(who);
    let of_it = |frame: &tidings_wire::Frame<'_>| {
        let fragment: Fragment = frame.fixed().ok().filter(|_| frame.kind() == Ok(Kind::Fragment))?;
        let bytes = frame.var(fragment.bytes).unwrap();
        assert_eq!(fragment.crc, Fragment::crc_of(bytes));
        Some((fragment.seq.0, fragment.offset, String::from_utf8(bytes.to_vec()).unwrap()))
    };
    out.frames().iter().filter_map(of_it).collect()
}

fn row(seq: u64, offset: u32, text: &str) -> (u64, u32, String) {
    (seq, offset, text.into())
}

/// A stored message: its number, what it is, what it says, and flags that the server sets.
type Row = (u64, Control, String, u32);

fn history(cluster: &mut Cluster, who: Device, conversation: ConversationId) -> Vec<Row> {
    cluster.take(who);
    let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    cluster.ask(who, &fetch);
    let mut rows = Vec::new();
    loop {
        cluster.serve_reads();
        let out = cluster.take(who);
        let read = |frame: &tidings_wire::Frame<'_>| {
            let message: Message = frame.fixed().unwrap();
            let text = String::from_utf8(frame.var(message.payload).unwrap().to_vec()).unwrap();
            let flags = message.flags.0 & (MessageFlags::ENDED | MessageFlags::ABORTED | MessageFlags::EMPTIED);
            (message.seq.0, message.control, text, flags)
        };
        rows.extend(out.frames().iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(read));
        if out.kinds().contains(&Kind::Fetched) {
            return rows;
        }
        assert!(!out.kinds().contains(&Kind::Error), "{:?}", out.error());
    }
}

fn stored(seq: u64, control: Control, text: &str, flags: u32) -> Row {
    (seq, control, text.into(), flags)
}

#[test]
fn a_message_grows_at_every_device_that_is_looked_at_and_is_whole_for_good_when_it_ends() {
    in_all_layouts(|cluster, alice, bob| {
        let (tablet, own) = (cluster.live("bob", 2, 3), cluster.live("alice", 2, 4));
        let (conversation, peer) = (direct(alice, bob), bob.user);
        cluster.send(alice, "bob", 1, 0, "before");
        cluster.commit();
        let mut clear = Vec::new();
        Clear { kind: b"answer", ..Clear::default() }.write(&mut clear);
        assert_eq!(act(cluster, alice, (conversation, peer), 2, (OPEN, 1, &clear, b"")), Ok(2));
        cluster.ask(tablet, &SetActivity { activity: Activity::Inactive });
        [bob, tablet, own].into_iter().for_each(|who| drop(cluster.take(who)));

        write(cluster, alice, (conversation, 2), 0, "Once ");
        write(cluster, alice, (conversation, 2), 5, "upon a");
        let both = [row(2, 0, "Once "), row(2, 5, "upon a")];
        assert_eq!((grown(cluster, bob), grown(cluster, own)), (both.to_vec(), both.to_vec()));
        assert!(grown(cluster, tablet).is_empty(), "nobody looks at it");
        assert!(cluster.take(alice).0.is_empty(), "it is not answered, and knows what it wrote");
        // It is not in the history yet; whoever comes asks.
        assert_eq!(history(cluster, bob, conversation)[1], stored(2, OPEN, "", 0));
        cluster.ask(bob, &More { conversation, seq: Seq(2), offset: 3 });
        assert_eq!(grown(cluster, bob), [row(2, 3, "e upon a")]);

        // Between the two is something else, and after it.
        cluster.send(bob, "alice", 1, 0, "go on");
        cluster.commit();
        let end = (END, 2, &b""[..], &b"Once upon a time"[..]);
        assert_eq!(act(cluster, alice, (conversation, peer), 3, end), Ok(4));
        cluster.send(bob, "alice", 2, 1, "nice");
        cluster.commit();
        let pushed = cluster.take(bob);
        assert!(pushed.texts().contains(&(4, "Once upon a time".into())));
        let whole = [
            stored(1, Control::TEXT, "before", 0),
            stored(2, OPEN, "Once upon a time", MessageFlags::ENDED),
            stored(3, Control::TEXT, "go on", 0),
            stored(4, END, "Once upon a time", 0),
            stored(5, Control::TEXT, "nice", 0),
        ];
        assert_eq!(history(cluster, bob, conversation), whole);
        let digests = cluster.digests();
        cluster.restart();
        assert_eq!(cluster.digests(), digests);
        let bob = cluster.live("bob", 1, 5);
        assert_eq!(history(cluster, bob, conversation), whole);
        // What it was when it was opened is still said.
        let fetch = Fetch { conversation, from: Seq(2), upto: Seq(2), limit: 0, order: FetchOrder::Last };
        cluster.ask(bob, &fetch);
        cluster.serve_reads();
        let out = cluster.take(bob);
        let (frames, message) = (out.frames(), out.all::<Message>()[0]);
        let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::Message)).unwrap();
        assert_eq!((message.target, message.ordinal, message.client_msg_id.0), (Seq(1), 2, 2));
        assert_eq!((frame.var(message.body).unwrap(), message.sender), (&clear[..], alice.user));
        assert_eq!(frame.var(message.sender_name).unwrap(), b"alice");
    });
}

#[test]
fn what_was_lost_is_asked_for_and_what_says_something_else_is_refused() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = direct(alice, bob);
        assert_eq!(open(cluster, alice, bob, 1), 1);
        let of = (conversation, 1);
        write(cluster, alice, of, 0, "abc");
        [alice, bob].into_iter().for_each(|who| drop(cluster.take(who)));
        write(cluster, alice, of, 6, "ghi");
        write(cluster, alice, of, 9, "jkl");
        assert_eq!(cluster.take(alice).all::<More>(), [More { conversation, seq: Seq(1), offset: 3 }], "once");
        write(cluster, alice, of, 1, "bcdef");
        assert_eq!(grown(cluster, bob), [row(1, 3, "def")]);
        // The same again, and nothing, is no fault and tells nobody anything.
        write(cluster, alice, of, 2, "cd");
        write(cluster, alice, of, 6, "");
        assert!(cluster.take(alice).0.is_empty() && cluster.take(bob).0.is_empty());

        let refused = |cluster: &mut Cluster, who: Device, bytes: &[u8]| {
            cluster.take(who);
            cluster.bytes(who, bytes);
            let (code, error) = cluster.take(who).error();
            assert_eq!(error.of_kind, Kind::Fragment as u8);
            code
        };
        let (tablet, stranger) = (cluster.live("alice", 2, 4), cluster.live("carol", 1, 5));
        let differs = fragment_bytes(conversation, 1, 2, b"X");
        assert_eq!(refused(cluster, alice, &differs), ErrorCode::StreamDiffers);
        let more = fragment_bytes(conversation, 1, 6, b"ghi");
        assert_eq!(refused(cluster, bob, &more), ErrorCode::TargetInvalid, "another's");
        assert_eq!(refused(cluster, tablet, &more), ErrorCode::TargetInvalid, "another device's");
        assert_eq!(refused(cluster, stranger, &more), ErrorCode::NotMember);
        assert_eq!(refused(cluster, alice, &fragment_bytes(conversation, 2, 0, b"x")), ErrorCode::TargetInvalid);
        let long = fragment_bytes(conversation, 1, 6, &vec![b'x'; FRAGMENT_MAX + 1]);
        assert_eq!(refused(cluster, alice, &long), ErrorCode::PayloadTooLarge);
        let mut harmed = more.clone();
        *harmed.last_mut().unwrap() ^= 1;
        assert_eq!(refused(cluster, alice, &harmed), ErrorCode::PayloadChecksum);
        cluster.ask(stranger, &More { conversation, seq: Seq(1), offset: 0 });
        assert_eq!(cluster.take(stranger).kinds(), [Kind::Error], "and nothing of what it says");

        // END says all that was shown, and is its writer's.
        let peer = bob.user;
        for (text, code) in [("abcdeX", ErrorCode::StreamDiffers), ("abc", ErrorCode::StreamDiffers)] {
            assert_eq!(
                act(cluster, alice, (conversation, peer), 2, (END, 1, b"", text.as_bytes())),
                Err(code),
                "{text}"
            );
        }
        let end: (_, _, &[u8], &[u8]) = (END, 1, b"", b"abcdefg");
        assert_eq!(act(cluster, bob, (conversation, alice.user), 1, end), Err(ErrorCode::TargetInvalid));
        assert_eq!(act(cluster, alice, (conversation, peer), 2, (EDIT, 1, b"", b"x")), Err(ErrorCode::TargetInvalid));
        assert_eq!(
            act(cluster, alice, (conversation, peer), 2, (END, 1, b"x", b"abcdefg")),
            Err(ErrorCode::BodyInvalid)
        );
        assert_eq!(act(cluster, alice, (conversation, peer), 2, end), Ok(2));
        assert_eq!(act(cluster, alice, (conversation, peer), 3, end), Err(ErrorCode::TargetInvalid), "it has ended");
        assert_eq!(refused(cluster, alice, &more), ErrorCode::TargetInvalid);
        // Then it is a message like others.
        assert_eq!(act(cluster, alice, (conversation, peer), 3, (EDIT, 1, b"", b"new")), Ok(3));
        assert_eq!(act(cluster, alice, (conversation, peer), 4, (OPEN, 0, b"", b"x")), Err(ErrorCode::BodyInvalid));
    });
}

#[test]
fn a_writer_that_falls_silent_or_never_ends_is_ended_by_the_server_with_what_was_shown() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = direct(alice, bob);
        open(cluster, alice, bob, 1);
        write(cluster, alice, (conversation, 1), 0, "I was about to");
        cluster.later(STREAM_SILENCE_MS - 1);
        cluster.commit();
        // An empty fragment says that the writer is there.
        write(cluster, alice, (conversation, 1), 14, "");
        cluster.later(STREAM_SILENCE_MS - 1);
        cluster.commit();
        cluster.take(bob);
        cluster.later(STREAM_RETRY_MS);
        cluster.commit();
        let told = cluster.take(bob);
        let end = told.all::<Message>()[0];
        assert_eq!((end.control, end.target, end.sender), (END, Seq(1), alice.user));
        assert_eq!(end.flags.0 & MessageFlags::ABORTED, MessageFlags::ABORTED);
        let ended = MessageFlags::ENDED | MessageFlags::ABORTED;
        let whole = [stored(1, OPEN, "I was about to", ended), stored(2, END, "I was about to", MessageFlags::ABORTED)];
        assert_eq!(history(cluster, bob, conversation), whole);
        for _ in 0..5 {
            cluster.later(STREAM_SILENCE_MS);
            cluster.commit();
        }
        assert_eq!(history(cluster, bob, conversation), whole, "once");
        // Attempts of its device are not disturbed.
        assert_eq!(open(cluster, alice, bob, 2), 3);

        // One that goes on and on.
        let steps = STREAM_LIFE_MS / (STREAM_SILENCE_MS / 2) + 1;
        for _ in 0..=steps {
            write(cluster, alice, (conversation, 3), 0, "x");
            cluster.later(STREAM_SILENCE_MS / 2);
            cluster.commit();
        }
        let rows = history(cluster, bob, conversation);
        assert_eq!(rows[2..], [stored(3, OPEN, "x", ended), stored(4, END, "x", MessageFlags::ABORTED)]);

        // A start forgets what it said, not that it has not ended: its writer may go on from the beginning, or is ended.
        assert_eq!((open(cluster, alice, bob, 3), open(cluster, alice, bob, 4)), (5, 6));
        write(cluster, alice, (conversation, 5), 0, "lost");
        cluster.restart();
        let (alice, bob) = (cluster.live("alice", 1, 5), cluster.live("bob", 1, 6));
        cluster.later(0);
        write(cluster, alice, (conversation, 5), 0, "again");
        let end: (_, _, &[u8], &[u8]) = (END, 5, b"", b"again and done");
        assert_eq!(act(cluster, alice, (conversation, bob.user), 5, end), Ok(7));
        cluster.later(STREAM_SILENCE_MS);
        cluster.commit();
        let rows = history(cluster, bob, conversation);
        assert_eq!(rows[4..6], [stored(5, OPEN, "again and done", MessageFlags::ENDED), stored(6, OPEN, "", ended)]);
    });
}

#[test]
fn a_member_writes_at_a_few_at_once_and_a_service_faster_than_others() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = direct(alice, bob);
        let most = STREAMS_OF_MEMBER as u64;
        for id in 1..=most {
            open(cluster, alice, bob, id);
        }
        let one_more = (OPEN, 0, &b""[..], &b""[..]);
        assert_eq!(act(cluster, alice, (conversation, bob.user), most + 1, one_more), Err(ErrorCode::TooMany));
        assert_eq!(open(cluster, bob, alice, 1), most + 1, "another member");
        // What is withdrawn does not grow any more.
        assert_eq!(act(cluster, alice, (conversation, bob.user), most + 1, (ERASE, 1, b"", b"")), Ok(most + 2));
        let end = (END, 1, &b""[..], &b"x"[..]);
        assert_eq!(act(cluster, alice, (conversation, bob.user), most + 2, end), Err(ErrorCode::TargetErased));
        assert_eq!(act(cluster, alice, (conversation, bob.user), most + 2, one_more), Ok(most + 3));

        let bot = cluster.live("help-bot", 1, 7);
        let seq = open(cluster, bot, bob, 1);
        for (who, of, rate) in
            [(alice, (conversation, 2), EPHEMERAL_RATE), (bot, (direct(bot, bob), seq), SERVICE_EPHEMERAL_RATE)]
        {
            cluster.take(who);
            let most = rate.burst / FRAGMENT_TOKENS;
            (0..most).for_each(|offset| write(cluster, who, of, offset, "x"));
            assert!(cluster.take(who).0.is_empty());
            write(cluster, who, of, most, "x");
            let (code, error) = cluster.take(who).error();
            assert_eq!((code, error.of_kind), (ErrorCode::RateLimited, Kind::Fragment as u8));
            assert!(error.retry_after_ms > 0);
        }
    });
}

#[test]
fn a_message_says_no_more_than_any_other_one() {
    in_all_layouts(|cluster, _, bob| {
        let bot = cluster.live("help-bot", 1, 7);
        let conversation = direct(bot, bob);
        open(cluster, bot, bob, 1);
        let piece = "x".repeat(FRAGMENT_MAX);
        for offset in (0..PAYLOAD_MAX).step_by(FRAGMENT_MAX) {
            write(cluster, bot, (conversation, 1), offset, &piece);
        }
        assert!(cluster.take(bot).kinds().iter().all(|kind| *kind == Kind::Sent));
        write(cluster, bot, (conversation, 1), PAYLOAD_MAX, "x");
        assert_eq!(cluster.take(bot).error().0, ErrorCode::PayloadTooLarge);
        let whole = "x".repeat(PAYLOAD_MAX as usize);
        assert_eq!(act(cluster, bot, (conversation, bob.user), 2, (END, 1, b"", whole.as_bytes())), Ok(2));
        assert_eq!(history(cluster, bob, conversation)[0], stored(1, OPEN, &whole, MessageFlags::ENDED));
    });
}

#[test]
fn what_grows_is_shown_to_members_alone_and_not_to_whoever_blocked_its_writer() {
    in_all_layouts(|cluster, alice, bob| {
        let (carol, dan) = (cluster.live("carol", 1, 3), cluster.live("dan", 1, 4));
        let nonce = [3; 16];
        let group = ConversationId::group(alice.user, &nonce);
        let (mut body, ids) = (Vec::new(), [bob.user.0, carol.user.0]);
        let (settings, members) = (GroupSettings::default(), Users::new(&ids));
        let _control = GroupAct::Create { nonce, settings, title: b"us", members }.write(&mut body);
        assert_eq!(act(cluster, alice, (group, UserId::NONE), 1, (CREATE, 0, &body, b"")), Ok(1));
        assert_eq!(act(cluster, bob, (group, UserId::NONE), 1, (OPEN, 0, b"", b"")), Ok(2));
        [alice, carol, dan].into_iter().for_each(|who| drop(cluster.take(who)));
        write(cluster, bob, (group, 2), 0, "one");
        let one = vec![row(2, 0, "one")];
        assert_eq!((grown(cluster, alice), grown(cluster, carol), grown(cluster, dan)), (one.clone(), one, vec![]));
        let mut body = Vec::new();
        let _control = GroupAct::Remove(Users::new(&[carol.user.0])).write(&mut body);
        assert_eq!(act(cluster, alice, (group, UserId::NONE), 2, (REMOVE, 0, &body, b"")), Ok(3));
        write(cluster, bob, (group, 2), 3, "two");
        cluster.take(carol);
        cluster.ask(carol, &More { conversation: group, seq: Seq(2), offset: 0 });
        assert!(grown(cluster, carol).is_empty());
        // Who writes is removed: nobody is told more, and the server ends it.
        let mut body = Vec::new();
        let _control = GroupAct::Remove(Users::new(&[bob.user.0])).write(&mut body);
        assert_eq!(act(cluster, alice, (group, UserId::NONE), 3, (REMOVE, 0, &body, b"")), Ok(4));
        cluster.take(alice);
        cluster.take(bob);
        write(cluster, bob, (group, 2), 6, "three");
        assert_eq!(cluster.take(bob).error().0, ErrorCode::NotMember);
        assert!(grown(cluster, alice).is_empty());
        cluster.later(STREAM_SILENCE_MS);
        cluster.commit();
        let ended = MessageFlags::ENDED | MessageFlags::ABORTED;
        let rows = history(cluster, alice, group);
        assert_eq!(rows[1], stored(2, OPEN, "onetwo", ended));
        assert_eq!(rows[4], stored(5, END, "onetwo", MessageFlags::ABORTED));
        // Who was removed before the end reads neither that nor what it says.
        assert_eq!(history(cluster, carol, group)[1..], [stored(2, OPEN, "", 0), stored(3, REMOVE, "", 0)]);

        // One to one, with somebody who blocks its writer: it is withheld, and so is how it grows.
        let conversation = direct(alice, bob);
        cluster.send(bob, "alice", 1, 0, "x");
        cluster.commit();
        cluster.ask(alice, &Set { peer: bob.user, ..Set::new(conversation, SettingKey::BLOCKED, 1) });
        cluster.commit();
        assert_eq!(open(cluster, bob, alice, 2), 2);
        cluster.take(alice);
        write(cluster, bob, (conversation, 2), 0, "let me in");
        assert!(grown(cluster, alice).is_empty());
        cluster.ask(alice, &Set { peer: bob.user, ..Set::new(conversation, SettingKey::BLOCKED, 0) });
        cluster.commit();
        write(cluster, bob, (conversation, 2), 9, "!");
        cluster.ask(alice, &More { conversation, seq: Seq(2), offset: 0 });
        assert!(grown(cluster, alice).is_empty(), "it was withheld when it was opened");
        let end = (END, 2, &b""[..], &b"let me in!"[..]);
        assert_eq!(act(cluster, bob, (conversation, alice.user), 3, end), Ok(3));
        let withheld = |seq| stored(seq, Control::TEXT, "", MessageFlags::EMPTIED);
        assert_eq!(history(cluster, alice, conversation)[1..], [withheld(2), withheld(3)]);
        let own = [stored(2, OPEN, "let me in!", MessageFlags::ENDED), stored(3, END, "let me in!", 0)];
        assert_eq!(history(cluster, bob, conversation)[1..], own);

        // One that was shown until its writer was blocked: what came then is withheld, and that it has ended is told.
        assert_eq!(open(cluster, bob, alice, 4), 4);
        write(cluster, bob, (conversation, 4), 0, "hello");
        cluster.take(alice);
        cluster.ask(alice, &Set { peer: bob.user, ..Set::new(conversation, SettingKey::BLOCKED, 1) });
        cluster.commit();
        write(cluster, bob, (conversation, 4), 5, ", you");
        cluster.take(bob);
        assert!(grown(cluster, alice).is_empty());
        cluster.later(STREAM_SILENCE_MS + STREAM_RETRY_MS);
        cluster.commit();
        let hidden = [stored(4, OPEN, "", ended), withheld(5)];
        assert_eq!(history(cluster, alice, conversation)[3..], hidden);
        assert_eq!(history(cluster, bob, conversation)[3], stored(4, OPEN, "hello, you", ended));
        cluster.restart();
        let alice = cluster.live("alice", 1, 9);
        assert_eq!(history(cluster, alice, conversation)[3..], hidden);
    });
}

#[test]
fn that_a_message_has_not_ended_survives_the_segment_that_says_so() {
    in_all_layouts(|cluster, alice, bob| {
        open(cluster, alice, bob, 1);
        let before: Vec<_> = cluster.reactors.iter().map(tidings_testkit::Reactor::records).collect();
        for reactor in &mut cluster.reactors {
            reactor.node.start_evacuation(Generation(100));
        }
        for _ in 0..5 {
            cluster.later(2_000);
            cluster.commit();
        }
        let mut digests = Vec::new();
        for (reactor, before) in cluster.reactors.iter().zip(before) {
            let again = reactor.replayed(before);
            digests.push(again.digests().collect());
        }
        assert_eq!(cluster.digests(), digests);
    });
}
