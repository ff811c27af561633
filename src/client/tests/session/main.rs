//! The SDK's heart against a server made of hand-written frames: whatever order, loss or repetition frames come in, the
//! application sees every message once and in order, and keeps no cursor that is ahead of what it has seen.

mod outbox;
mod own;
mod peer;
mod presence;
mod receipts;
mod streamed;

use std::num::NonZeroU32;

use proptest::prelude::*;
use tidings_client::{
    ClientMsgId, Config, Content, ErrorCode, Event, Lineage, Loss, SavedState, Seq, Session, Time, Timestamp, Uv,
};
use tidings_wire::{Kind, frame::Span, frames::*, limits};

use peer::*;

proptest! {
    /// Pushes in any order, some lost, some twice, cut into any pieces.
    #[test]
    fn messages_are_released_once_and_in_order(
        order in Just((1..=40u64).collect::<Vec<_>>()).prop_shuffle(),
        lost in prop::collection::vec(any::<bool>(), 40),
        twice in prop::collection::vec(any::<bool>(), 40),
        piece in 1usize..300,
    ) {
        let mut peer = Peer::live(config());
        let mut stream = Vec::new();
        for (at, seq) in order.iter().enumerate().filter(|(at, _)| !lost[*at]) {
            (0..=usize::from(twice[at])).for_each(|_| stream.extend(message(0, *seq)));
        }
        stream.chunks(piece).for_each(|piece| peer.give(piece));
        peer.serve_fetches(40, 7);
        let seen = numbers(&peer.events());
        let known = order.iter().enumerate().filter(|(at, _)| !lost[*at]).map(|(_, seq)| *seq).max().unwrap_or(0);
        prop_assert!(seen.len() as u64 >= known, "what was heard of is fetched");
        prop_assert!(seen.iter().copied().eq(1..=seen.len() as u64));
    }
}

#[test]
fn a_long_gap_is_filled_although_more_waits_behind_it_than_can_be_kept() {
    let mut peer = Peer::live(config());
    (1001..=1600).for_each(|seq| peer.give(&message(0, seq)));
    peer.serve_fetches(1600, 100);
    assert_eq!(numbers(&peer.events()), (1..=1600).collect::<Vec<_>>());
}

/// A refusal takes those behind it along; then all are sent again, in order, and each once.
#[test]
fn a_refused_message_is_sent_again_before_those_behind_it() {
    let mut peer = Peer::live(config());
    let ids: Vec<_> = (0..3).map(|n| peer.session.send(user("bob"), format!("{n}").as_bytes())).collect();
    let sends = peer.sent().all::<Send>();
    let chain: Vec<_> = sends.iter().map(|(_, send)| (send.prev, send.client_msg_id)).collect();
    assert_eq!(chain, [(ClientMsgId(0), ids[0]), (ids[0], ids[1]), (ids[1], ids[2])]);
    let refuse = |at: usize, code: ErrorCode, wait: u32| {
        let (client_msg_id, conversation) = (ids[at], here());
        let error = ErrorFrame { client_msg_id, conversation, retry_after_ms: wait, ..ErrorFrame::new(code, 3) };
        bytes_of(sends[at].0, &error)
    };
    peer.give(&refuse(0, ErrorCode::RateLimited, 40));
    peer.give(&refuse(1, ErrorCode::OutOfOrder, 0));
    assert!(peer.sent().0.is_empty(), "not before every answer is in");
    peer.give(&refuse(2, ErrorCode::OutOfOrder, 0));
    assert!(peer.sent().0.is_empty(), "not before it may");
    peer.now = peer.session.next_timeout().unwrap();
    peer.session.tick(peer.now);
    let mut again = Vec::new();
    for seq in 1..=3 {
        for (request, send) in peer.sent().all::<Send>() {
            again.push(send.client_msg_id);
            peer.give(&sent_as(request, &send, seq));
        }
    }
    assert_eq!(again, ids);
}

#[test]
fn what_is_not_acknowledged_is_repeated_after_a_reconnect_and_after_a_restart() {
    let mut peer = Peer::live(config());
    let id = peer.session.send(user("bob"), b"precious");
    peer.sent();
    peer.session.disconnected(peer.now);
    assert_eq!(peer.events(), [Event::Disconnected]);
    let state = peer.session.save().unwrap();
    peer.connect(LINEAGE);
    let mut restarted = Peer::new(Config { state, ..config() });
    restarted.now = Time(1);
    for peer in [&mut peer, &mut restarted] {
        peer.session.disconnected(peer.now);
        peer.now = peer.now.plus_ms(60_000);
        peer.session.wants_connection(peer.now);
        peer.session.connected(peer.now);
        peer.sent();
    }
    restarted.session.disconnected(restarted.now);
    assert!(!restarted.session.is_flushed() && !peer.session.is_flushed());
    assert!(restarted.session.last_id() >= id, "a new message gets a new id");
}

#[test]
fn the_cursor_is_the_first_pages_and_is_kept_only_once_everything_is_here() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&changed(request, &[(here(), 3)], 50, 7));
    let sent = peer.sent();
    let (next, id) = (sent.all::<Resume>(), sent.all::<Fetch>()[0].0);
    assert_eq!((next[0].1.below, peer.session.cursor()), (Uv(7), Uv(0)));
    // A list that nobody asked for, and a cursor of a later time: neither ends the list, nor moves its cursor.
    peer.give(&changed(0, &[(here(), 3)], 90, 0));
    peer.give(&bytes_of(0, &Pong { opaque: 0, uv: Uv(95), server_time: Timestamp(1) }));
    peer.give(&changed(next[0].0, &[], 80, 0));
    assert_eq!(peer.session.cursor(), Uv(0), "messages are missing");
    let bytes: Vec<u8> = (1..=3).flat_map(|seq| message(id, seq)).collect();
    peer.give(&bytes);
    peer.give(&bytes_of(id, &fetched(1..=3, 1..=3, 3)));
    assert_eq!(peer.session.cursor(), Uv(50));
    assert!(peer.session.save().is_none(), "the application has not seen the messages yet");
    assert_eq!(numbers(&peer.events()), [1, 2, 3]);
    let state = peer.session.save().unwrap();
    assert_eq!((state.uv, state.conversations[0].last), (Uv(50), Seq(3)));

    // A restart from there asks for nothing that is known, and repeats no receipt that is durable.
    let mut restarted = Peer::new(Config { state, ..config() });
    restarted.connect(LINEAGE);
    assert!(restarted.sent().all::<Fetch>().is_empty());
}

/// A device that falls behind while it takes a list is told a second one, cut short: what is not in it is asked for, before any cursor beyond it
/// is kept.
#[test]
fn a_list_that_is_cut_short_while_another_is_taken_is_asked_for_after_it() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&changed(request, &[(here(), 0)], 50, 7));
    let next = peer.sent().all::<Resume>()[0].0;
    peer.give(&changed(0, &[(here(), 0)], 300, 200)); // and more below 200
    assert!(peer.sent().all::<Resume>().is_empty(), "one list at a time");
    peer.give(&changed(next, &[], 60, 0));
    let again = peer.sent().all::<Resume>();
    assert_eq!((again[0].1.uv, again[0].1.below), (Uv(0), Uv(0)), "all that was not kept, anew");
    peer.give(&bytes_of(0, &Pong { opaque: 0, uv: Uv(400), server_time: Timestamp(1) }));
    assert_eq!(peer.session.cursor(), Uv(0));
    peer.give(&changed(again[0].0, &[(here(), 0)], 310, 0));
    assert_eq!(peer.session.cursor(), Uv(310));
}

/// SENT for an attempt in a conversation that the device does not remember (its process repeated it without its memory): what it is about is
/// asked for.
#[test]
fn sent_in_a_conversation_that_is_not_remembered_is_looked_up() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&changed(request, &[], 50, 0));
    let sent = tidings_wire::frames::Sent {
        conversation: here(),
        client_msg_id: ClientMsgId(9),
        seq: Seq(1),
        ts: Timestamp(1),
        ordinal: 1,
    };
    peer.give(&bytes_of(77, &sent));
    let again = peer.sent().all::<Resume>();
    assert_eq!(again[0].1.uv, Uv(50));
    peer.give(&changed(again[0].0, &[(here(), 1)], 51, 0));
    assert_eq!(peer.sent().all::<Fetch>()[0].1.from, Seq(1));
}

#[test]
fn another_history_begins_anew() {
    let mut peer = Peer::live(config());
    peer.give(&[message(0, 1), message(0, 2)].concat());
    assert_eq!(numbers(&peer.events()), [1, 2]);
    peer.session.disconnected(peer.now);
    let request = peer.connect(Lineage([4; 16]));
    peer.give(&changed(request, &[(here(), 1)], 1, 0));
    peer.serve_fetches(1, 10);
    let events = peer.events();
    assert!(events.contains(&Event::LineageChanged));
    assert_eq!(numbers(&events), [1]);
}

#[test]
fn what_retention_dropped_is_told_and_what_cannot_be_read_is_tried_again_later() {
    let mut peer = Peer::live(config());
    peer.give(&message(0, 10));
    let (id, _) = peer.sent().all::<Fetch>()[0];
    let unavailable = ErrorFrame::new(ErrorCode::HistoryUnavailable, Kind::Fetch as u8);
    peer.give(&bytes_of(id, &unavailable));
    assert!(peer.sent().0.is_empty(), "not at once");
    peer.now = peer.session.next_timeout().unwrap();
    peer.session.tick(peer.now);
    let (id, fetch) = peer.sent().all::<Fetch>()[0];
    assert_eq!(fetch.from, Seq(1));
    peer.give(&[message(id, 8), message(id, 9)].concat());
    peer.give(&bytes_of(id, &fetched(8..=9, 1..=9, 10)));
    peer.serve_fetches(10, 10);
    let events = peer.events();
    assert!(events.contains(&Event::Lost { conversation: here(), from: Seq(1), upto: Seq(7), why: Loss::Gone }));
    assert_eq!(numbers(&events), [8, 9, 10]);
}

#[test]
fn what_is_gone_in_the_middle_of_a_page_is_told_in_its_place() {
    let mut peer = Peer::live(config());
    peer.give(&message(0, 9));
    let (id, _) = peer.sent().all::<Fetch>()[0];
    peer.give(&[message(id, 1), message(id, 2), message(id, 5), message(id, 7)].concat());
    peer.give(&bytes_of(id, &fetched(1..=7, 1..=8, 9)));
    let lost = |from, upto| Event::Lost { conversation: here(), from: Seq(from), upto: Seq(upto), why: Loss::Gone };
    let events = peer.events();
    assert_eq!(numbers(&events), [1, 2, 5, 7, 9]);
    let told: Vec<_> = events.into_iter().filter(|event| matches!(event, Event::Lost { .. })).collect();
    assert_eq!(told, [lost(3, 4), lost(6, 6), lost(8, 8)]);
    assert!(peer.sent().all::<Fetch>().is_empty());
}

/// A server with 1 to 100 but 41 to 60, that gives at most seven messages a page.
fn serve_history(peer: &mut Peer, refused: &mut u32) {
    let there = |seq: &u64| !(41..=60).contains(seq);
    let mut waits = 0;
    while waits < 10 {
        let Some((id, fetch)) = peer.sent().all::<Fetch>().pop() else {
            peer.now = peer.session.next_timeout().unwrap();
            peer.session.tick(peer.now);
            waits += 1;
            continue;
        };
        if *refused > 0 {
            *refused -= 1;
            let busy = ErrorFrame { retry_after_ms: 10, ..ErrorFrame::new(ErrorCode::Busy, Kind::Fetch as u8) };
            peer.give(&bytes_of(id, &busy));
            assert!(peer.sent().0.is_empty(), "not at once");
            continue;
        }
        let upto = if fetch.upto == Seq(0) { 100 } else { fetch.upto.0.min(100) };
        let most = u64::from(fetch.limit.min(7));
        let answered = match fetch.order {
            FetchOrder::Upward => fetch.from.0..=upto.min(fetch.from.0 + most - 1),
            FetchOrder::Last => fetch.from.0.max((upto + 1).saturating_sub(most))..=upto,
        };
        let sent: Vec<u64> = answered.clone().filter(there).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|seq| message(id, *seq)).collect();
        peer.give(&bytes);
        let (first, last) = (sent.first().copied().unwrap_or(1), sent.last().copied().unwrap_or(0));
        peer.give(&bytes_of(id, &fetched(first..=last, answered, 100)));
    }
}

/// What the server has and cannot read is told as such, and what comes after it is released.
#[test]
fn what_the_server_cannot_read_is_told_and_passed() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&changed(request, &[(here(), 5)], 5, 0));
    let fetch = peer.sent().all::<Fetch>()[0].0;
    [1, 2, 4, 5].into_iter().for_each(|seq| peer.give(&message(fetch, seq)));
    peer.give(&bytes_of(fetch, &Fetched { damaged: Seq(3), ..fetched(1..=5, 1..=5, 5) }));
    let events = peer.events();
    assert_eq!(numbers(&events), [1, 2, 4, 5]);
    let lost = Event::Lost { conversation: here(), from: Seq(3), upto: Seq(3), why: Loss::Damaged };
    assert!(events.contains(&lost), "{events:?}");
    // A range that the application reads: it is asked for again for a while, then its end says so.
    peer.session.history_after(here(), Seq(0), NonZeroU32::new(5).unwrap());
    let fetch = peer.sent().all::<Fetch>()[0].0;
    [1, 2].into_iter().for_each(|seq| peer.give(&message(fetch, seq)));
    let unavailable = ErrorFrame::new(ErrorCode::HistoryUnavailable, Kind::Fetch as u8);
    peer.give(&bytes_of(fetch, &ErrorFrame { retry_after_ms: 2000, ..unavailable }));
    let older = |events: &[Event]| -> Vec<u64> {
        let seq = |event: &Event| if let Event::Older(message) = event { Some(message.seq.0) } else { None };
        events.iter().filter_map(seq).collect()
    };
    assert_eq!(older(&peer.events()), [1, 2]);
    peer.later(2000);
    let (fetch, asked) = peer.sent().all::<Fetch>()[0];
    assert_eq!((asked.from, asked.limit), (Seq(3), 3), "what was told is not asked for again");
    [4, 5].into_iter().for_each(|seq| peer.give(&message(fetch, seq)));
    peer.give(&bytes_of(fetch, &Fetched { damaged: Seq(3), ..fetched(4..=5, 3..=5, 5) }));
    let events = peer.events();
    assert_eq!(older(&events), [4, 5]);
    let (conversation, oldest, head, first, last) = (here(), Seq(1), Seq(5), Seq(1), Seq(5));
    let done = Event::HistoryDone { conversation, oldest, head, first, last, damaged: Seq(3) };
    assert_eq!(events.last(), Some(&done));
}

#[test]
fn history_goes_on_until_the_range_is_whole_whatever_pages_hold() {
    let limit = |limit| NonZeroU32::new(limit).unwrap();
    let older = |events: &[Event]| -> Vec<u64> {
        let number = |event: &Event| if let Event::Older(message) = event { Some(message.seq.0) } else { None };
        events.iter().filter_map(number).collect()
    };
    let done = |events: &[Event]| match events.last() {
        Some(Event::HistoryDone { first, last, head, .. }) => (first.0, last.0, head.0),
        other => panic!("{other:?}"),
    };
    let mut peer = Peer::live(config());
    peer.session.history(here(), Seq(0), limit(30));
    serve_history(&mut peer, &mut 0);
    let events = peer.events();
    assert_eq!((older(&events), done(&events)), ((71..=100).collect(), (71, 100, 100)));

    peer.session.history(here(), Seq(71), limit(20));
    serve_history(&mut peer, &mut 3);
    let events = peer.events();
    assert_eq!(older(&events), (31..=40).chain(61..=70).collect::<Vec<_>>(), "across what is gone");
    assert_eq!(done(&events), (31, 70, 100));

    peer.session.history(here(), Seq(31), limit(1000));
    serve_history(&mut peer, &mut 0);
    let events = peer.events();
    assert_eq!((older(&events), done(&events)), ((1..=30).collect(), (1, 30, 100)));

    peer.session.history_after(here(), Seq(38), limit(5));
    serve_history(&mut peer, &mut 2);
    let events = peer.events();
    assert_eq!((older(&events), done(&events).1), (vec![39, 40, 61, 62, 63], 63));

    peer.session.history(here(), Seq(0), limit(30));
    serve_history(&mut peer, &mut 9);
    assert_eq!(peer.events(), [Event::HistoryFailed { conversation: here(), code: ErrorCode::Busy }], "not for ever");
}

#[test]
fn a_payload_that_is_too_long_fails_here_and_costs_nothing_else() {
    let mut peer = Peer::live(config());
    let id = peer.session.send(user("bob"), &vec![0; 70_000]);
    let code = ErrorCode::PayloadTooLarge;
    assert_eq!(peer.events(), [Event::SendFailed { conversation: here(), id, code }]);
    assert!(peer.sent().0.is_empty() && peer.session.is_up());
}

/// A server that has no room for a full outbox is asked for one message first, not for all of them again and again.
#[test]
fn after_a_refusal_the_outbox_goes_out_slowly() {
    let mut peer = Peer::live(config());
    for _ in 0..20 {
        peer.session.send(user("bob"), b"hi");
    }
    let sends = peer.sent().all::<Send>();
    assert_eq!(sends.len(), 20);
    for (request, send) in &sends {
        let (client_msg_id, conversation) = (send.client_msg_id, here());
        let error = ErrorFrame { client_msg_id, conversation, ..ErrorFrame::new(ErrorCode::RateLimited, 3) };
        peer.give(&bytes_of(*request, &error));
    }
    let mut rounds = Vec::new();
    for seq in 1.. {
        peer.now = peer.now.plus_ms(100);
        peer.session.tick(peer.now);
        let sends = peer.sent().all::<Send>();
        if sends.is_empty() {
            break;
        }
        rounds.push(sends.len());
        for (at, (request, send)) in sends.iter().enumerate() {
            peer.give(&sent_as(*request, send, seq * 100 + at as u64));
        }
    }
    assert_eq!(rounds.iter().sum::<usize>(), 20);
    assert_eq!(rounds[0], 1, "{rounds:?}");
}

/// A service may have more in flight than a conversation remembers: what is repeated there must still be known.
#[test]
fn however_large_the_window_a_conversation_has_no_more_in_flight_than_it_remembers() {
    let mut peer = Peer::new(config());
    peer.now = peer.now.plus_ms(60_000);
    peer.session.connected(peer.now);
    let hello = peer.sent().all::<Hello>();
    peer.give(&bytes_of(hello[0].0, &Welcome { window: 512, ..welcome(LINEAGE) }));
    let request = peer.sent().all::<Resume>()[0].0;
    peer.give(&changed(request, &[], 5, 0));
    for _ in 0..100 {
        peer.session.send(user("bob"), b"hi");
        peer.session.send(user("carol"), b"hi");
    }
    let sends = peer.sent().all::<Send>();
    let (to_bob, to_carol): (Vec<_>, Vec<_>) = sends.into_iter().partition(|(_, send)| send.conversation == here());
    assert_eq!((to_bob.len(), to_carol.len()), (64, 64));
    peer.give(&sent_as(to_bob[0].0, &to_bob[0].1, 1));
    assert_eq!(peer.sent().all::<Send>().len(), 1);
}

/// A late copy of an attempt that a device forgot is accepted by the server: the device gets that message, too.
#[test]
fn an_own_message_that_the_device_does_not_remember_is_fetched() {
    let mut peer = Peer::live(config());
    peer.give(&message(0, 1));
    peer.events();
    peer.sent();
    let forgotten = Send { client_msg_id: ClientMsgId(5), ..an_attempt(&mut peer) };
    peer.give(&sent_as(77, &forgotten, 3));
    let fetches = peer.sent().all::<Fetch>();
    assert_eq!(fetches.iter().map(|(_, fetch)| fetch.from).collect::<Vec<_>>(), [Seq(2)]);
}

/// What a device is given of its own message is what others are told of it.
#[test]
fn an_own_message_has_the_flags_that_others_are_told() {
    let mut peer = Peer::live(config());
    let reaction = Content { control: tidings_client::about_control::REACT, target: Seq(1), ..Content::text(b"!") };
    for content in [Content::text(b"hi").silent(), reaction.silent()] {
        peer.session.post_to(user("bob"), content);
    }
    for (seq, (request, send)) in (1..).zip(peer.sent().all::<Send>()) {
        peer.give(&sent_as(request, &send, seq));
    }
    let own = peer.events().into_iter().filter_map(|event| match event {
        Event::Message(message) => Some(message.flags),
        _ => None,
    });
    assert_eq!(own.collect::<Vec<_>>(), [MessageFlags::SILENT, MessageFlags::SILENT | MessageFlags::CONTROL]);
}

fn an_attempt(peer: &mut Peer) -> Send {
    peer.session.send(user("bob"), b"hi");
    peer.sent().all::<Send>()[0].1
}

/// A server that speaks before WELCOME, or names another history than WELCOME's, does not get its way.
#[test]
fn nothing_belongs_to_a_history_that_the_application_was_not_told_of() {
    let mut peer = Peer::new(config());
    peer.now = peer.now.plus_ms(60_000);
    assert!(peer.session.wants_connection(peer.now));
    peer.session.connected(peer.now);
    peer.give(&message(0, 1));
    assert!(peer.events().is_empty() && !peer.session.is_greeting(), "the connection is given up");

    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    let (status, lineage, entries) = (ResumeStatus::TooOld, Lineage([9; 16]), Span::default());
    let old = Changed {
        status,
        lineage,
        uv: Uv(0),
        next: Uv(0),
        count: 0,
        entry_len: ENTRY_LEN as u32,
        entries,
        settings: 0,
        names: Span::default(),
    };
    peer.give(&bytes_of(request, &old));
    assert_eq!(peer.session.lineage(), LINEAGE);
    peer.give(&bytes_of(1, &welcome(LINEAGE)));
    assert!(!peer.session.is_up(), "WELCOME comes once");
}

/// A device that lost its memory, with a clock that went back: what it sends must not be named as anything that it sent
/// before, or the server takes it for a repeat and answers with the earlier message.
#[test]
fn a_device_whose_memory_and_clock_went_back_names_no_two_messages_alike() {
    let behind = |seed| Config { wall_us: 10, seed, ..config() };
    let ids: std::collections::BTreeSet<_> = (1..50)
        .map(|seed| {
            let mut peer = Peer::live(behind(2 * seed));
            let id = peer.session.send(user("bob"), b"x");
            let request = peer.sent().all::<Send>()[0].0;
            let refused = ErrorFrame {
                conversation: here(),
                client_msg_id: id,
                highest: ClientMsgId(9_000),
                ..ErrorFrame::new(ErrorCode::Stale, 3)
            };
            peer.give(&bytes_of(request, &refused));
            peer.session.send(user("bob"), b"y")
        })
        .collect();
    let saved = |seed| Config { state: SavedState { next_id: 500, ..SavedState::default() }, ..behind(seed) };
    let first: std::collections::BTreeSet<_> =
        (1..50).map(|seed| Session::new(saved(2 * seed)).send(user("bob"), b"z")).collect();
    assert!(first.len() > 45 && first.iter().all(|id| id.0 >= 500), "{first:?}");
    assert!(ids.len() > 45 && ids.iter().all(|id| id.0 > 9_000), "{ids:?}");
}

/// A device that wants the last messages only has those of what changed last with the list, and fetches what did not come.
#[test]
fn the_last_messages_come_with_the_list_and_are_not_fetched_again() {
    for came in [true, false] {
        let mut config = config();
        config.history = tidings_client::History::Recent(3);
        let mut peer = Peer::new(config);
        let mut resume = None;
        let request = {
            let seen = &mut resume;
            peer.connect_with(|sent| *seen = sent.all::<Resume>().pop())
        };
        let (_, resume) = resume.unwrap();
        assert_eq!((resume.tails, resume.tail), (limits::TAILS_MAX, 3));
        peer.give(&list(request, &[(here(), 50)], 5, 0));
        assert!(peer.sent().all::<Fetch>().is_empty(), "they are on their way");
        let upto = Seq(50);
        if came {
            (48..=50).for_each(|seq| peer.give(&message(request, seq)));
            let (conversation, first, oldest) = (here(), Seq(48), Seq(1));
            peer.give(&bytes_of(
                request,
                &Fetched { conversation, first, last: upto, head: upto, oldest, from: first, upto, damaged: Seq(0) },
            ));
        }
        peer.give(&bytes_of(request, &SyncDone { tails: u32::from(came) }));
        let fetches = peer.sent().all::<Fetch>();
        assert_eq!(fetches.len(), usize::from(!came));
        if came {
            let events = peer.events();
            assert_eq!(numbers(&events), [48, 49, 50]);
            assert!(events.contains(&Event::Synced));
        }
    }
}

/// The heads of large groups come after the list: only SYNC_DONE says that everything is here.
#[test]
fn nothing_is_missing_only_once_the_heads_of_large_groups_have_come() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&list(request, &[], 5, 0));
    assert!(!peer.events().contains(&Event::Synced));
    peer.give(&list(0, &[(here(), 2)], 5, 0));
    peer.give(&bytes_of(request, &SyncDone { tails: 0 }));
    assert!(!peer.events().contains(&Event::Synced), "what they tell of is fetched first");
    peer.serve_fetches(2, 9);
    let events = peer.events();
    assert_eq!((numbers(&events), events.last()), (vec![1, 2], Some(&Event::Synced)));
}

/// A head that the server does not let this user reach is not asked for again and again.
#[test]
fn a_gap_that_nothing_comes_for_is_asked_for_ever_more_rarely() {
    let mut peer = Peer::live(config());
    peer.give(&list(0, &[(here(), 9)], 5, 0));
    let mut asked = 0;
    for _ in 0..600 {
        for (id, fetch) in peer.sent().all::<Fetch>() {
            asked += 1;
            let mut bytes: Vec<u8> = (fetch.from.0..=3).flat_map(|seq| message(id, seq)).collect();
            bytes.extend(bytes_of(id, &fetched(fetch.from.0..=3, fetch.from.0..=3, 3)));
            peer.give(&bytes);
        }
        peer.now = peer.now.plus_ms(50);
        peer.session.tick(peer.now);
    }
    assert!((3..12).contains(&asked), "{asked} times in 30 s");
}

/// A server that has no time for a list is asked again when it said, and not before.
#[test]
fn a_list_that_was_refused_for_now_is_asked_for_again() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    let busy = ErrorFrame { retry_after_ms: 300, ..ErrorFrame::new(ErrorCode::RateLimited, Kind::Resume as u8) };
    peer.give(&bytes_of(request, &busy));
    peer.now = peer.now.plus_ms(200);
    peer.session.tick(peer.now);
    assert_eq!(peer.sent().all::<Resume>(), []);
    peer.now = peer.now.plus_ms(200);
    peer.session.tick(peer.now);
    let again = peer.sent().all::<Resume>();
    assert_eq!(again.len(), 1);
    peer.give(&changed(again[0].0, &[], 5, 0));
    assert_eq!(peer.events().last(), Some(&Event::Synced));
}

/// A conversation whose first message is refused for now rests; others go on, however much it has to send.
#[test]
fn a_long_queue_to_one_holds_up_nobody_else() {
    let mut peer = Peer::live(config());
    for _ in 0..500 {
        peer.session.send(user("bob"), b"one of many");
    }
    let first = peer.sent().all::<Send>();
    assert_eq!(first.len(), 64, "as many as a conversation may have in flight");
    let (request, Send { conversation, client_msg_id, .. }) = first[0];
    let error =
        ErrorFrame { client_msg_id, conversation, retry_after_ms: 5_000, ..ErrorFrame::new(ErrorCode::Busy, 3) };
    peer.give(&bytes_of(request, &error));
    for (request, send) in &first[1..] {
        let (conversation, client_msg_id) = (send.conversation, send.client_msg_id);
        let behind = ErrorFrame { client_msg_id, conversation, ..ErrorFrame::new(ErrorCode::OutOfOrder, 3) };
        peer.give(&bytes_of(*request, &behind));
    }
    peer.sent();
    peer.session.send(user("carol"), b"the only one");
    let sent = peer.sent().all::<Send>();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.conversation, tidings_client::ConversationId::direct(user("alice"), user("carol")));
}
