//! What somebody has not received outlives its segment.

use tidings_core::{Counter, limits::KEPT_REACH, node::Progress, records::RecordKind};
use tidings_testkit::{Cluster, Device, frames::Attempt, in_all_layouts};
use tidings_wire::{
    ConversationId, Generation, Kind, LogId, Seq, Timestamp,
    frames::{
        Control, Delivered, Fetch, FetchOrder, Message, MessageFlags,
        about::control::ERASE,
        streamed::control::{END, OPEN},
    },
};

/// More than any test writes.
const ENOUGH: u64 = 1 << 20;

/// Begins to write again what is in all segments, and messages of so many bytes.
fn begin(cluster: &mut Cluster, bytes: u64) -> Vec<usize> {
    let before = cluster.reactors.iter().map(tidings_testkit::Reactor::records).collect();
    for reactor in &mut cluster.reactors {
        reactor.node.start_evacuation(Generation(1));
        reactor.node.start_keeping(Generation(1), bytes);
    }
    before
}

/// Until all of that is durable.
fn finish(cluster: &mut Cluster) {
    for _ in 0..200 {
        cluster.later(0);
        cluster.serve_reads();
        cluster.commit();
        if cluster.reactors.iter().all(|reactor| reactor.node.evacuated() == Progress::Done) {
            assert!(cluster.reactors.iter().all(|reactor| !reactor.node.is_busy()));
            return;
        }
    }
    panic!("it does not end");
}

/// All segments go, and the process starts again.
fn lose(cluster: &mut Cluster, before: &[usize]) -> (Device, Device) {
    let digests = cluster.digests();
    for (reactor, from) in cluster.reactors.iter_mut().zip(before) {
        reactor.restart_from(*from);
    }
    assert_eq!(cluster.digests(), digests);
    (cluster.live("alice", 1, 11), cluster.live("bob", 1, 12))
}

fn counted(cluster: &Cluster, counter: Counter) -> u64 {
    cluster.reactors.iter().map(|reactor| reactor.node.counters.get(counter)).sum()
}

/// What a device reads of a conversation: numbers, flags and payloads.
fn read(cluster: &mut Cluster, who: Device, conversation: ConversationId) -> Vec<(u64, u32, String)> {
    cluster.take(who);
    let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    cluster.ask(who, &fetch);
    for _ in 0..40 {
        cluster.serve_reads();
    }
    let output = cluster.take(who);
    let frames = output.frames();
    let messages = frames.iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(|frame| {
        let message: Message = frame.fixed().unwrap();
        let payload = String::from_utf8(frame.var(message.payload).unwrap().to_vec()).unwrap();
        (message.seq.0, message.flags.0, payload)
    });
    messages.collect()
}

#[test]
fn what_somebody_has_not_received_outlives_its_segment() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        for id in 1..=9 {
            cluster.send(alice, "bob", id, id - 1, &format!("message {id}"));
        }
        cluster.send(bob, "alice", 1, 0, "what she has");
        cluster.commit();
        cluster.ask(bob, &Delivered { conversation, upto: Seq(4) });
        cluster.ask(alice, &Delivered { conversation, upto: Seq(10) });
        cluster.commit();
        let before = begin(cluster, ENOUGH);
        cluster.later(0);
        cluster.serve_reads();
        // What is proposed is dropped: this is not.
        for reactor in &mut cluster.reactors {
            reactor.node.at(cluster.now, &mut reactor.world).drop_proposed();
        }
        finish(cluster);
        assert_eq!(counted(cluster, Counter::UndeliveredKept), 5);
        assert_eq!(counted(cluster, Counter::UndeliveredDropped), 0);
        let expected: Vec<_> = (5..=9).map(|seq| (seq, 0, format!("message {seq}"))).collect();
        let (alice, bob) = lose(cluster, &before);
        assert_eq!(read(cluster, bob, conversation), expected);
        assert_eq!(read(cluster, alice, conversation), expected);
        // Later messages come after a hole, and what was kept is kept again, from where it is now.
        cluster.send(alice, "bob", 20, 0, "next");
        cluster.commit();
        let before = begin(cluster, ENOUGH);
        finish(cluster);
        let (_, bob) = lose(cluster, &before);
        let next = [(11, 0, "next".into())];
        assert_eq!(read(cluster, bob, conversation), [&expected[..], &next].concat());
        // Once it has it all, nothing of it is kept any more.
        cluster.ask(bob, &Delivered { conversation, upto: Seq(11) });
        cluster.commit();
        let before = begin(cluster, ENOUGH);
        finish(cluster);
        let (_, bob) = lose(cluster, &before);
        assert_eq!(read(cluster, bob, conversation), []);
        assert_eq!(counted(cluster, Counter::UndeliveredKept), 0);
    });
}

/// The newest of a conversation are kept, no conversation has all of the room, and what is given up is counted.
#[test]
fn where_there_is_too_much_of_it_the_newest_of_each_conversation_are_kept() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    let text = "x".repeat(1000);
    let mut id = 0;
    let people = ["bob", "carol", "dave"];
    for to in people {
        for nth in 0..20 {
            id += 1;
            cluster.send(alice, to, id, if nth == 0 { 0 } else { id - 1 }, &text);
        }
    }
    cluster.commit();
    // Eight messages and a half of each.
    let before = begin(&mut cluster, 8 * 8 * 1300 + 8 * 650);
    finish(&mut cluster);
    let (kept, dropped) = (counted(&cluster, Counter::UndeliveredKept), counted(&cluster, Counter::UndeliveredDropped));
    assert_eq!((kept + dropped, kept % 3), (60, 0), "as many of each");
    assert!((21..=27).contains(&kept), "{kept}");
    cluster.reactors[0].restart_from(before[0]);
    for (conn, to) in (20..).zip(people) {
        let who = cluster.live(to, 1, conn);
        let conversation = ConversationId::direct(alice.user, who.user);
        let seqs: Vec<_> = read(&mut cluster, who, conversation).into_iter().map(|(seq, ..)| seq).collect();
        assert_eq!(seqs, (21 - kept / 3..=20).collect::<Vec<_>>(), "{to}");
    }
}

/// For a third of them there is room each time, and each time for others.
#[test]
fn whoever_found_no_room_is_the_first_the_next_time() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    let text = "x".repeat(1000);
    let people: Vec<_> = (0..30).map(|who| format!("friend {who}")).collect();
    for (id, to) in (1..).zip(&people) {
        cluster.send(alice, to, id, 0, &text);
    }
    cluster.commit();
    let mut kept = Vec::new();
    for round in 0..3 {
        begin(&mut cluster, 10 * 1300);
        finish(&mut cluster);
        kept.push(counted(&cluster, Counter::UndeliveredKept));
        assert!(counted(&cluster, Counter::UndeliveredDropped) > 0, "{round}");
    }
    assert!(kept[0] >= 8 && kept[2] - kept[1] >= 8, "{kept:?}");
    // Places of those that were written again, from the log.
    let mut seen = std::collections::BTreeMap::new();
    cluster.reactors[0].each_record(|record| {
        if record.kind == RecordKind::Kept {
            let frame = tidings_wire::split(record.body, tidings_wire::limits::FRAME_MAX).unwrap().unwrap();
            *seen.entry(frame.fixed::<Message>().unwrap().conversation).or_insert(0) += 1;
        }
    });
    assert!(seen.len() >= 24 && seen.values().all(|times| *times <= 2), "{seen:?}");
}

/// What is kept says no more than what is read, and an END stands for the message that it ends.
#[test]
fn what_was_withdrawn_is_kept_without_what_it_said_and_an_end_for_what_it_ends() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let act = |cluster: &mut Cluster, id, control, target, payload: &str| {
            let of = Attempt::to(conversation, bob.user, (id, id - 1));
            cluster.bytes(alice, &Attempt { control, target, payload: payload.as_bytes(), ..of }.bytes());
            cluster.commit();
        };
        act(cluster, 1, Control::TEXT, 0, "stays");
        act(cluster, 2, Control::TEXT, 0, "goes");
        act(cluster, 3, OPEN, 0, "");
        act(cluster, 4, OPEN, 0, "");
        act(cluster, 5, END, 3, "all of it");
        act(cluster, 6, END, 4, "withdrawn");
        act(cluster, 7, ERASE, 2, "");
        act(cluster, 8, ERASE, 4, "");
        let seen = read(cluster, bob, conversation);
        assert_eq!(seen.len(), 8);
        assert_eq!(
            seen.iter().map(|(.., text)| text.as_str()).filter(|text| !text.is_empty()).collect::<Vec<_>>(),
            ["stays", "all of it", "all of it"]
        );
        let before = begin(cluster, ENOUGH);
        finish(cluster);
        assert_eq!(counted(cluster, Counter::UndeliveredKept), 8);
        let mut said = Vec::new();
        for (reactor, before) in cluster.reactors.iter().zip(&before) {
            let mut at = 0;
            reactor.each_record(|record| {
                at += 1;
                if at > *before {
                    said.extend_from_slice(record.body);
                }
            });
        }
        let says = |text: &str| said.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(says("stays") && says("all of it") && !says("goes") && !says("withdrawn"));
        let (_, bob) = lose(cluster, &before);
        // Of what is held back it is not said any more that it has ended: former members, who left before, must not be told.
        let of = |(seq, flags, text): (u64, u32, String)| {
            let ended = if flags & MessageFlags::EMPTIED > 0 { MessageFlags::ENDED } else { 0 };
            (seq, flags & !ended, text)
        };
        assert_eq!(read(cluster, bob, conversation), seen.into_iter().map(of).collect::<Vec<_>>());
    });
}

/// A message that grew when its segment went ends as every other: whoever reads it from then on reads how.
#[test]
fn what_was_being_written_when_its_segment_went_ends_in_its_place() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let act = |cluster: &mut Cluster, who, id, control, target, payload: &str| {
            let prev = if id == 1 { 0 } else { id - 1 };
            let of = Attempt::to(conversation, bob.user, (id, prev));
            cluster.bytes(who, &Attempt { control, target, payload: payload.as_bytes(), ..of }.bytes());
            cluster.commit();
        };
        act(cluster, alice, 1, OPEN, 0, "");
        let before = begin(cluster, ENOUGH);
        finish(cluster);
        assert_eq!(counted(cluster, Counter::UndeliveredKept), 1);
        let (alice, bob) = lose(cluster, &before);
        act(cluster, alice, 2, END, 1, "all of it");
        let [(1, opened, opens), (2, _, ends)] = &read(cluster, bob, conversation)[..] else { panic!("two messages") };
        assert_eq!((opens.as_str(), ends.as_str()), ("all of it", "all of it"));
        assert!(opened & MessageFlags::ENDED > 0);
    });
}

/// An END that outlives its segment says of its message how that ended, also where the message itself was not moved.
#[test]
fn an_end_that_outlives_its_segment_stands_for_what_it_ends() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let act = |cluster: &mut Cluster, who, id, control, target, payload: &str| {
            let of = Attempt::to(conversation, bob.user, (id, id - 1));
            cluster.bytes(who, &Attempt { control, target, payload: payload.as_bytes(), ..of }.bytes());
            cluster.commit();
        };
        act(cluster, alice, 1, OPEN, 0, "");
        let before = begin(cluster, ENOUGH);
        finish(cluster);
        let (alice, bob) = lose(cluster, &before);
        cluster.ask(bob, &Delivered { conversation, upto: Seq(1) });
        cluster.commit();
        let stays: Vec<_> = cluster.reactors.iter().map(tidings_testkit::Reactor::records).collect();
        act(cluster, alice, 2, END, 1, "all of it");
        let goes = begin(cluster, ENOUGH);
        finish(cluster);
        assert_eq!(counted(cluster, Counter::UndeliveredKept), 1);
        for (reactor, lost) in cluster.reactors.iter_mut().zip(stays.into_iter().zip(goes)) {
            reactor.restart_without(lost.0..lost.1);
        }
        let bob = cluster.live("bob", 1, 32);
        let [(1, opened, opens), (2, ..)] = &read(cluster, bob, conversation)[..] else { panic!("two messages") };
        assert_eq!((opens.as_str(), opened & MessageFlags::ENDED), ("all of it", MessageFlags::ENDED));
    });
}

/// The same without a start in between, although whoever has not received the END has received what it ends.
#[test]
fn what_an_end_stands_for_goes_with_it_where_it_is_kept() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, bob.user);
    cluster.found_in(Some(LogId(3)));
    for (id, control, target, payload) in [(1, OPEN, 0, ""), (2, END, 1, "all of it")] {
        let of = Attempt::to(conversation, bob.user, (id, id - 1));
        cluster.bytes(alice, &Attempt { control, target, payload: payload.as_bytes(), ..of }.bytes());
        cluster.commit();
    }
    cluster.ask(bob, &Delivered { conversation, upto: Seq(1) });
    cluster.commit();
    cluster.found_in(None);
    begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(counted(&cluster, Counter::UndeliveredKept), 1);
    cluster.reactors[0].node.set_floor(LogId(3), Generation(2));
    let [(1, opened, opens), (2, ..)] = &read(&mut cluster, bob, conversation)[..] else { panic!("two messages") };
    assert_eq!((opens.as_str(), opened & MessageFlags::ENDED), ("all of it", MessageFlags::ENDED));
}

/// But not further back than what is kept may be: the places of all that came between would have to be remembered.
#[test]
fn what_ended_long_after_it_began_is_not_kept_with_its_end() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, bob.user);
    cluster.found_in(Some(LogId(3)));
    let act = |cluster: &mut Cluster, id, control, target| {
        let of = Attempt::to(conversation, bob.user, (id, id - 1));
        cluster.bytes(alice, &Attempt { control, target, payload: b"", ..of }.bytes());
    };
    act(&mut cluster, 1, OPEN, 0);
    for id in 2..=KEPT_REACH + 2 {
        cluster.send(alice, "bob", id, id - 1, "x");
        if id % 32 == 0 {
            cluster.commit();
            cluster.later(40);
            cluster.take(alice);
            cluster.take(bob);
        }
    }
    cluster.commit();
    let last = KEPT_REACH + 3;
    act(&mut cluster, last, END, 1);
    cluster.commit();
    cluster.ask(bob, &Delivered { conversation, upto: Seq(last - 1) });
    cluster.commit();
    cluster.found_in(None);
    begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(counted(&cluster, Counter::UndeliveredKept), 1);
    cluster.reactors[0].node.set_floor(LogId(3), Generation(1000));
    let stored: Vec<_> = read(&mut cluster, bob, conversation).into_iter().map(|(seq, ..)| seq).collect();
    assert_eq!(stored, [last]);
}

/// Whoever does not come for a month does not hold the log.
#[test]
fn what_is_too_old_is_kept_no_longer() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    cluster.send(alice, "bob", 1, 0, "old");
    cluster.commit();
    cluster.now.wall = Timestamp(29 * 24 * 3600 * 1_000_000);
    cluster.send(alice, "bob", 2, 1, "new");
    cluster.commit();
    cluster.now.wall = Timestamp(31 * 24 * 3600 * 1_000_000);
    let before = begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(counted(&cluster, Counter::UndeliveredKept), 1);
    assert_eq!(counted(&cluster, Counter::UndeliveredDropped), 0);
    let conversation = ConversationId::direct(alice.user, bob.user);
    let (_, bob) = lose(&mut cluster, &before);
    assert_eq!(read(&mut cluster, bob, conversation), [(2, 0, "new".into())]);
}

/// Rows of what was withdrawn that were written after so many records.
fn erasures_since(cluster: &Cluster, before: usize) -> usize {
    let (mut nth, mut rows) = (0, 0);
    cluster.reactors[0].each_record(|record| {
        nth += 1;
        rows += usize::from(nth > before && record.kind == RecordKind::ErasuresRow);
    });
    rows
}

/// As long as a message may stand in another reactor's log, that it was withdrawn is not forgotten: a start may find it there.
#[test]
fn what_was_withdrawn_stays_so_where_the_log_of_another_reactor_has_it() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, bob.user);
    cluster.found_in(Some(LogId(3)));
    cluster.send(alice, "bob", 1, 0, "goes");
    cluster.commit();
    cluster.found_in(None);
    begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(counted(&cluster, Counter::UndeliveredKept), 1, "it is in the own log, too");
    let erase = Attempt { control: ERASE, target: 1, ..Attempt::to(conversation, bob.user, (2, 1)) };
    cluster.bytes(alice, &erase.bytes());
    cluster.commit();
    cluster.ask(bob, &Delivered { conversation, upto: Seq(2) });
    cluster.commit();
    // All of the own log goes.
    cluster.reactors[0].node.set_floor(LogId(0), Generation(2));
    let before = begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(erasures_since(&cluster, before[0]), 1);
}

/// The same where an END has taken the place of what stands there.
#[test]
fn what_was_withdrawn_stays_so_where_an_end_stands_for_what_another_log_has() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, bob.user);
    let act = |cluster: &mut Cluster, id, control, payload: &str| {
        let target = if control == OPEN { 0 } else { 1 };
        let of = Attempt::to(conversation, bob.user, (id, id - 1));
        cluster.bytes(alice, &Attempt { control, target, payload: payload.as_bytes(), ..of }.bytes());
        cluster.commit();
    };
    cluster.found_in(Some(LogId(3)));
    act(&mut cluster, 1, OPEN, "");
    cluster.found_in(None);
    act(&mut cluster, 2, END, "goes");
    act(&mut cluster, 3, ERASE, "");
    cluster.ask(bob, &Delivered { conversation, upto: Seq(3) });
    cluster.commit();
    // All of the own log goes.
    cluster.reactors[0].node.set_floor(LogId(0), Generation(2));
    let before = begin(&mut cluster, ENOUGH);
    finish(&mut cluster);
    assert_eq!(erasures_since(&cluster, before[0]), 1);
}

/// What cannot be read now may be read a moment later.
#[test]
fn a_message_that_cannot_be_read_for_a_moment_is_kept() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    cluster.send(alice, "bob", 1, 0, "hello");
    cluster.commit();
    begin(&mut cluster, ENOUGH);
    for _ in 0..2 {
        // The first step looks at the conversation, the second at its message.
        for _ in 0..4 {
            cluster.later(0);
        }
        let reactor = &mut cluster.reactors[0];
        let reads = std::mem::take(&mut reactor.world.reads);
        assert_eq!(reads.len(), 1, "it is read once, and not again and again");
        reactor.node.at(cluster.now, &mut reactor.world).read_done(reads[0].0, None);
        assert!(reactor.node.evacuated() == Progress::Stalled && !reactor.node.is_busy());
        cluster.later(1000);
    }
    finish(&mut cluster);
    assert_eq!(counted(&cluster, Counter::UndeliveredKept), 1);
    assert_eq!(counted(&cluster, Counter::UndeliveredDropped), 0);
}
