//! Two nodes, in-memory lanes, a log that commits when told: what leaves, when, and in which order.

use tidings_core::{
    ConnId, Counter, NodeConfig, Replayed,
    limits::{ENTITIES_PER_TURN, Rate},
    node::Progress,
    records::{ConversationRow, MemberRow, RecordKind, put},
};
use tidings_testkit::{ADDRESS, Cluster, Device, Reactor, frames::Attempt, in_all_layouts, numbered, user};
use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Generation, Kind, Lineage, LogId, LogPosition, Seq, Timestamp, UserId, Uv,
    frames::{
        streamed::control::{END, OPEN},
        *,
    },
};

/// SENT and MESSAGE only after the record is committed; the sender gets SENT, its other device and the peer MESSAGE.
#[test]
fn nothing_leaves_before_the_commit() {
    in_all_layouts(|cluster, alice, bob| {
        let phone = cluster.live("alice", 2, 3);
        cluster.send(alice, "bob", 10, 0, "hi");
        cluster.send(alice, "bob", 11, 10, "there");
        assert!(cluster.take(alice).0.is_empty() && cluster.take(bob).0.is_empty());
        cluster.commit();
        let sent = cluster.take(alice);
        assert_eq!(sent.kinds(), [Kind::Sent, Kind::Sent]);
        assert_eq!(sent.all::<Sent>().iter().map(|sent| sent.seq.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(sent.frames()[0].header().request_id, 10);
        let expected = [(1, "hi".into()), (2, "there".into())];
        assert_eq!(cluster.take(bob).texts(), expected);
        assert_eq!(cluster.take(phone).texts(), expected);
    });
}

/// A HELLO that was held up on its way does not take the place of the connection that the device made after it.
#[test]
fn an_earlier_connection_that_arrives_later_is_the_superseded_one() {
    let mut cluster = Cluster::new(1);
    let Reactor { node, world, .. } = &mut cluster.reactors[0];
    let id = node.at(cluster.now, world).open_session(&numbered("alice", 1, 20), (ConnId(1), ADDRESS)).unwrap();
    let late = node.at(cluster.now, world).open_session(&numbered("alice", 1, 10), (ConnId(2), ADDRESS));
    assert_eq!(late, Err(ErrorCode::Superseded));
    assert!(node.at(cluster.now, world).open_session(&numbered("alice", 1, 21), (ConnId(3), ADDRESS)).unwrap() != id);
    let alice = |id, conn| Device { at: 0, id, conn: ConnId(conn), user: user("alice") };
    assert_eq!(cluster.take(alice(id, 2)).error().0, ErrorCode::Superseded);
    assert_eq!(cluster.take(alice(id, 1)).kinds(), [Kind::Welcome, Kind::Error]);
}

/// A number that no clock has reached keeps nobody out.
#[test]
fn a_connection_number_cannot_be_pushed_beyond_the_clock() {
    let mut cluster = Cluster::new(1);
    let Reactor { node, world, .. } = &mut cluster.reactors[0];
    for (conn, number) in [(1, u64::MAX), (2, 20), (3, u64::MAX), (4, 0), (5, 1)] {
        node.at(cluster.now, world).open_session(&numbered("alice", 1, number), (ConnId(conn), ADDRESS)).unwrap();
    }
}

/// A repeat gets the first answer, before the commit and after it, and makes no second message.
#[test]
fn a_repeat_is_answered_once_committed_and_makes_no_second_message() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 10, 0, "hi");
        let again = cluster.connect("alice", 1, 4);
        let superseded = cluster.take(alice);
        assert_eq!(superseded.error().0, ErrorCode::Superseded);
        cluster.send(again, "bob", 10, 0, "hi");
        assert!(cluster.take(again).0.is_empty(), "proposed, not committed");
        cluster.commit();
        assert_eq!(cluster.take(again).all::<Sent>()[0].seq, Seq(1));
        cluster.send(again, "bob", 10, 0, "hi");
        assert_eq!(cluster.take(again).all::<Sent>()[0].seq, Seq(1));
        cluster.commit();
        assert_eq!(cluster.take(bob).texts().len(), 1);
    });
}

#[test]
fn what_follows_a_refused_message_is_refused_too() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "one");
        cluster.commit();
        cluster.take(alice);
        // 2 never arrives; 3 and 4 were pipelined behind it.
        for (id, prev) in [(3, 2), (4, 3), (4, 0)] {
            cluster.send(alice, "bob", id, prev, "x");
            let (code, error) = cluster.take(alice).error();
            assert_eq!((code, error.highest, error.client_msg_id.0), (ErrorCode::OutOfOrder, ClientMsgId(1), id));
        }
        cluster.send(alice, "bob", 2, 1, "two");
        cluster.commit();
        assert_eq!(cluster.take(bob).texts(), [(1, "one".into()), (2, "two".into())]);
    });
}

#[test]
fn strangers_learn_nothing_of_a_conversation() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "secret");
        cluster.commit();
        let conversation = ConversationId::direct(alice.user, bob.user);
        let eve = cluster.live("eve", 1, 9);
        cluster.ask(eve, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward });
        assert_eq!(cluster.take(eve).error().0, ErrorCode::NotMember);
        cluster.ask(eve, &Delivered { conversation, upto: Seq(1) });
        assert_eq!(cluster.take(eve).error().0, ErrorCode::NotMember);
        let nowhere = ConversationId::direct(eve.user, user("nobody"));
        cluster.ask(eve, &Delivered { conversation: nowhere, upto: Seq(1) });
        assert_eq!(cluster.take(eve).error().0, ErrorCode::NotMember);
    });
}

#[test]
fn receipts_are_told_once_durable_coalesced_and_never_ahead_of_the_facts() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        for id in 1..=3 {
            cluster.send(alice, "bob", id, id - 1, "x");
        }
        cluster.commit();
        cluster.take(alice);
        cluster.take(bob);
        cluster.ask(bob, &Delivered { conversation, upto: Seq(4) });
        assert_eq!(cluster.take(bob).error().0, ErrorCode::FutureSeq);
        cluster.ask(bob, &Delivered { conversation, upto: Seq(2) });
        cluster.ask(bob, &Delivered { conversation, upto: Seq(3) });
        cluster.ask(bob, &Read { conversation, upto: Seq(1), ordinal: 1 });
        assert!(cluster.take(alice).0.is_empty() && cluster.take(bob).0.is_empty());
        assert!(cluster.reactors.iter().all(|reactor| !reactor.world.wanted), "one record");
        cluster.later(RECEIPT_DELAY);
        assert!(cluster.reactors.iter().any(|reactor| reactor.world.wanted));
        cluster.commit();
        let receipt = cluster.take(alice).all::<Receipt>();
        let expected = Receipt { conversation, member: bob.user, delivered: Seq(3), read: Seq(1) };
        assert_eq!(receipt, [expected]);
        assert_eq!(cluster.take(bob).kinds(), [Kind::ReceiptOk]);
        cluster.ask(bob, &Delivered { conversation, upto: Seq(2) });
        assert_eq!(cluster.take(bob).all::<ReceiptOk>()[0].delivered, Seq(3), "never backward");
    });
}

const RECEIPT_DELAY: u64 = tidings_core::limits::RECEIPT_DELAY_MS;

/// No commit waits for a lane. What has no room is told again: answers as they are, head updates as a hint to look.
#[test]
fn a_full_lane_holds_nothing_back_and_loses_nothing() {
    let mut cluster = Cluster::new(3);
    let names: Vec<String> = (0..12).map(|n| format!("u{n}")).collect();
    let devices: Vec<_> = names.iter().zip(0..).map(|(name, conn)| cluster.live(name, 1, conn)).collect();
    for (at, from) in devices.iter().enumerate() {
        cluster.send(*from, &names[(at + 1) % 12], 1, 0, "x");
    }
    cluster.reactors.iter_mut().for_each(|reactor| reactor.world.home_credit = false);
    cluster.commit();
    let count = |cluster: &Cluster, counter| -> u64 {
        cluster.reactors.iter().map(|reactor| reactor.node.counters.get(counter)).sum()
    };
    assert_eq!(count(&cluster, Counter::Committed), 12);
    assert!(count(&cluster, Counter::HeadUpdatesDropped) > 0 && count(&cluster, Counter::AnswersHeld) > 0);
    assert!(cluster.reactors.iter().any(|reactor| reactor.node.waits_for_credit()));
    cluster.reactors.iter_mut().for_each(|reactor| reactor.world.home_credit = true);
    cluster.later(1);
    for device in devices {
        let told = cluster.take(device);
        let Reactor { node, world, .. } = &mut cluster.reactors[device.at];
        node.at(cluster.now, world).output_gone(device.id);
        let list = cluster.take(device).all::<Changed>().len() + told.all::<Changed>().len();
        assert_eq!(told.all::<Sent>().len(), 1);
        assert!(told.all::<Message>().len() + list > 0, "{:?}", told.kinds());
    }
    cluster.later(1);
    assert!(cluster.reactors.iter().all(|reactor| !reactor.node.waits_for_credit()));
}

/// After a start only those homes are told something that had not written it down.
#[test]
fn a_start_tells_homes_what_they_lack_and_not_what_they_have() {
    let repeated = |cluster: &Cluster| -> u64 {
        let of = |reactor: &Reactor| reactor.node.counters.get(Counter::HeadUpdatesRepeated);
        cluster.reactors.iter().map(of).sum()
    };
    for reactors in [1, 3] {
        let mut cluster = Cluster::new(reactors);
        let names: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
        for (at, name) in names.iter().enumerate() {
            let device = cluster.live(name, 1, at as u64);
            for (id, other) in (1..).zip(&names[..at]) {
                cluster.send(device, other, id, 0, "x");
            }
        }
        cluster.commit();
        cluster.restart();
        (0..9).for_each(|_| cluster.later(1));
        assert_eq!(repeated(&cluster), 2 * 780, "nobody had written anything down");
        // Homes write down what they were told, and each home shard what it has.
        let writer = cluster.connect("u0", 7, 99);
        for id in 1..140 {
            cluster.send(writer, "u1", id, id - 1, "goes on");
            cluster.commit();
            cluster.later(1100);
            cluster.commit();
        }
        cluster.restart();
        (0..9).for_each(|_| cluster.later(1));
        let few = repeated(&cluster);
        assert!(few < 200, "{few} of 1560 head updates were told again");
        let device = cluster.connect("u1", 9, 5);
        cluster.ask(device, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
        assert_eq!(cluster.take(device).all::<Changed>()[0].count, 39);
    }
}

/// After a start a turn tells about a thousand members of groups their heads again, however many groups those are.
#[test]
fn a_start_tells_members_of_groups_a_few_at_a_time() {
    const MEMBERS: usize = 100;
    let mut cluster = Cluster::new(1);
    let ann = cluster.live("ann", 1, 1);
    let others: Vec<_> = (1..MEMBERS).map(|at| user(&format!("other{at}")).0).collect();
    for id in 1..=12 {
        let nonce = [id as u8; 16];
        let settings = GroupSettings::default();
        let mut body = Vec::new();
        let create = GroupAct::Create { nonce, settings, title: b"twelve", members: Users::new(&others) };
        let control = create.write(&mut body);
        let group = ConversationId::group(ann.user, &nonce);
        cluster.bytes(ann, &Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (id, 0)) }.bytes());
        cluster.commit();
    }
    cluster.restart();
    let repeated = |cluster: &Cluster| cluster.reactors[0].node.counters.get(Counter::HeadUpdatesRepeated);
    let mut turns = 0;
    while repeated(&cluster) < 12 && turns < 20 {
        let before = repeated(&cluster);
        cluster.later(0);
        let told = (repeated(&cluster) - before) as usize * MEMBERS;
        assert!(told <= 4 * ENTITIES_PER_TURN + MEMBERS, "{told} members in a turn");
        turns += 1;
    }
    assert_eq!(repeated(&cluster), 12);
}

fn digests(node: &tidings_core::Node) -> Vec<(u16, u64)> {
    node.digests().collect()
}

/// Everything that matters is rebuilt from the log's records, or from state written again.
#[test]
fn a_node_rebuilds_itself_from_its_records() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        for id in 1..=5 {
            cluster.send(alice, "bob", id, id - 1, "x");
        }
        cluster.commit();
        cluster.ask(bob, &Read { conversation, upto: Seq(3), ordinal: 3 });
        cluster.commit();
        cluster.send(alice, "bob", 6, 5, "proposed while state is written again");
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
        let before: Vec<_> = cluster.reactors.iter().map(Reactor::records).collect();
        cluster.later(0);
        cluster.commit();
        for (reactor, from) in cluster.reactors.iter().zip(before) {
            assert_eq!(digests(&reactor.replayed(0)), digests(&reactor.node));
            // From the rows alone. What was proposed when they were written has its record before.
            assert_eq!(digests(&reactor.replayed(from)), digests(&reactor.node));
        }
        assert!(cluster.digests().iter().any(|digests| !digests.is_empty()));
    });
}

/// What is proposed and dropped before its batch is sealed has never been: its numbers are free, and a repeat decides.
#[test]
fn what_is_dropped_before_it_is_sealed_leaves_no_trace() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.send(alice, "bob", 1, 0, "stays");
        cluster.commit();
        cluster.ask(bob, &Delivered { conversation, upto: Seq(1) });
        cluster.take(alice);
        cluster.take(bob);
        let before = cluster.digests();
        cluster.send(alice, "bob", 2, 1, "goes");
        cluster.send(alice, "bob", 3, 2, "goes");
        for Reactor { node, world, .. } in &mut cluster.reactors {
            node.at(cluster.now, world).drop_proposed();
        }
        cluster.deliver();
        let told = cluster.take(alice);
        assert_eq!(told.all::<ErrorFrame>().iter().map(|error| error.client_msg_id.0).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(told.error().0, ErrorCode::Busy);
        cluster.commit();
        assert!(cluster.take(bob).0.is_empty() && cluster.take(alice).0.is_empty());
        assert_eq!(cluster.digests(), before);
        cluster.send(alice, "bob", 2, 1, "again");
        cluster.ask(bob, &Delivered { conversation, upto: Seq(1) });
        cluster.commit();
        assert_eq!(cluster.take(alice).all::<Sent>()[0].seq, Seq(2));
        assert_eq!(cluster.take(bob).texts(), [(2, "again".into())]);
        for reactor in &cluster.reactors {
            assert_eq!(digests(&reactor.replayed(0)), digests(&reactor.node));
        }
    });
}

#[test]
fn state_in_old_segments_is_written_again_before_they_go() {
    in_all_layouts(|cluster, alice, _| {
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        cluster.later(2000);
        cluster.commit();
        for reactor in &mut cluster.reactors {
            reactor.node.start_evacuation(Generation(1));
        }
        assert!(cluster.reactors.iter().any(|reactor| reactor.node.evacuated() == Progress::Stalled));
        cluster.later(0);
        cluster.commit();
        assert!(
            cluster.reactors.iter().all(|Reactor { node, .. }| node.evacuated() == Progress::Done && !node.is_busy())
        );
        let written: u64 = cluster.reactors.iter().map(|reactor| reactor.node.counters.get(Counter::Evacuated)).sum();
        assert_eq!(written, 3, "one conversation, two homes");
    });
}

#[test]
fn the_rate_of_a_user_is_limited_with_a_time_to_retry() {
    in_all_layouts(|cluster, alice, _| {
        let mut refused = None;
        for id in 1..=1100u64 {
            cluster.send(alice, "bob", id, id - 1, "x");
            let out = cluster.take(alice);
            if out.kinds().contains(&Kind::Error) {
                refused = Some(out.error());
                break;
            }
            cluster.commit();
            cluster.take(alice);
        }
        let (code, error) = refused.expect("the burst is 1000");
        assert_eq!((code, error.retry_after_ms), (ErrorCode::RateLimited, 1));
    });
}

/// What is refused leaves nothing behind. Of many devices of one member the one that wrote longest ago is forgotten, and its
/// repeats are never new.
#[test]
fn refused_attempts_leave_nothing_and_a_forgotten_device_repeats_nothing() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "stranger", 5, 4, "out of order from the start");
        assert_eq!(cluster.take(alice).error().0, ErrorCode::OutOfOrder);
        cluster.commit();
        assert!(cluster.digests().iter().all(|digests| digests.is_empty()), "no conversation was made");

        let devices = tidings_core::limits::DEVICES_PER_MEMBER as u64;
        cluster.send(alice, "bob", 7, 0, "the first");
        cluster.commit();
        assert_eq!(cluster.take(alice).all::<Sent>()[0].seq, Seq(1));
        for at in 0..devices {
            let from = cluster.connect("alice", 100 + at as u32, 100 + at);
            cluster.send(from, "bob", 10 + at, 0, "x");
            cluster.commit();
            assert_eq!(cluster.take(from).all::<Sent>()[0].seq, Seq(2 + at));
            cluster.take(bob);
            cluster.reactors[from.at].node.close_session(from.id);
        }
        cluster.take(alice);
        cluster.send(alice, "bob", 7, 0, "the first");
        let (code, error) = cluster.take(alice).error();
        assert_eq!((code, error.highest), (ErrorCode::Stale, ClientMsgId(7)), "message 1 must not become another one");
        cluster.send(alice, "bob", 8, 0, "above what was forgotten");
        cluster.commit();
        assert_eq!(cluster.take(alice).all::<Sent>()[0].seq, Seq(2 + devices));
        cluster.send(bob, "alice", 1, 0, "has room of its own");
        cluster.commit();
        assert_eq!(cluster.take(bob).all::<Sent>()[0].seq, Seq(3 + devices));
        for reactor in &cluster.reactors {
            assert_eq!(digests(&reactor.replayed(0)), digests(&reactor.node));
        }
    });
}

/// A conversation of 100,000 members is written again in rows, over many batches, while it goes on.
#[test]
fn a_conversation_with_many_members_is_written_in_rows_of_bounded_size() {
    const MEMBERS: u32 = 100_000;
    let mut cluster = Cluster::new(1);
    let conversation = ConversationId([6; 16]);
    let shard = cluster.reactors[0].node.config().layout.conversation_shard(&conversation);
    let member = |at: u32| {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&at.to_le_bytes());
        UserId(id)
    };
    let (head, last_ts, ordinal, changed) = (Seq(7), Timestamp(9), 7, 1);
    let row = ConversationRow {
        conversation,
        members: MEMBERS,
        head,
        last_ts,
        ordinal,
        changed,
        settings: 0,
        size: 0,
        erasures: 0,
    };
    let mut replay = |kind, body: &[u8]| {
        let at = LogPosition::new(LogId(0), Generation(1), 0);
        let record = Replayed { kind, shard, entry: None, ts: Timestamp(9), body, at };
        cluster.reactors[0].node.replay(&record).unwrap();
    };
    let mut body = Vec::new();
    put(&mut body, &row);
    replay(RecordKind::ConversationRow, &body);
    for at in 0..MEMBERS {
        body.clear();
        let (delivered, read, floor) = (Seq(u64::from(at % 7)), Seq(0), ClientMsgId(u64::from(at)));
        put(
            &mut body,
            &MemberRow { conversation, user: member(at), delivered, read, floor, devices: 0, seen: 0, withheld: 0 },
        );
        replay(RecordKind::MemberRow, &body);
    }
    let reactor = &mut cluster.reactors[0];
    reactor.node.start_evacuation(Generation(1));
    let mut batches = 0;
    while reactor.node.evacuated() == Progress::Stalled {
        reactor.timeout(cluster.now);
        reactor.commit(cluster.now);
        batches += 1;
    }
    assert!(batches > 100 && batches < 1000, "{batches} batches");
    let again = reactor.replayed(0);
    assert_eq!(digests(&again), digests(&reactor.node));
    assert!(!digests(&again).is_empty());
}

/// A crash between the rows of a conversation leaves what is older to count: it is written again before its segment goes.
#[test]
fn half_of_the_rows_of_a_conversation_do_not_stand_for_it() {
    const CONVERSATIONS: u64 = 100;
    let user_rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let mut cluster = Cluster::with(1, |config| NodeConfig { user_rate, ..config });
    let alice = cluster.live("alice", 1, 1);
    for at in 0..CONVERSATIONS {
        cluster.send(alice, &format!("peer{at}"), 1, 0, "x");
        cluster.commit();
    }
    // Until the log goes on in its second segment.
    let (big, mut id) = ("x".repeat(60_000), 1);
    while cluster.reactors[0].world.store.log.segments().len() < 2 {
        id += 1;
        cluster.send(alice, "somebody", id, if id == 2 { 0 } else { id - 1 }, &big);
        cluster.commit();
        cluster.take(alice);
    }
    let reactor = &mut cluster.reactors[0];
    reactor.node.start_evacuation(Generation(1));
    // What a turn writes ends between the rows of a conversation, and there the process dies.
    reactor.timeout(cluster.now);
    reactor.commit(cluster.now);
    assert_eq!(reactor.node.evacuated(), Progress::Stalled);
    let whole = reactor.node.counters.get(Counter::Evacuated);
    let mut rows = [0, 0];
    reactor.each_record(|record| {
        rows[0] += u64::from(record.kind == RecordKind::ConversationRow);
        rows[1] += u64::from(record.kind == RecordKind::MemberRow);
    });
    assert!(whole > 0 && rows[0] == whole + 1 && rows[1] < 2 * rows[0], "{whole} are whole, of {rows:?} rows");
    reactor.restart();
    reactor.node.start_evacuation(Generation(1));
    while reactor.node.evacuated() == Progress::Stalled {
        reactor.timeout(cluster.now);
        reactor.commit(cluster.now);
    }
    let written = reactor.node.counters.get(Counter::Evacuated);
    // And the home of alice, which knows her device.
    assert_eq!(written, CONVERSATIONS + 2 - whole, "all that were not whole, the half one too");
}

/// A number that no clock has reached would bar every device that is forgotten from its conversation.
#[test]
fn an_attempt_cannot_be_numbered_beyond_the_clock_and_its_body_is_checked() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    let day = 24 * 3600 * 1_000_000;
    let conversation = ConversationId::direct(alice.user, user("bob"));
    for (id, code) in [(u64::MAX, Some(ErrorCode::IdAhead)), (cluster.now.wall.0 + day, None)] {
        cluster.bytes(alice, &Attempt::to(conversation, user("bob"), (id, 0)).bytes());
        cluster.commit();
        let told = cluster.take(alice);
        let error = told.all::<ErrorFrame>().first().map(|error| ErrorCode::from_u16(error.code).unwrap());
        assert_eq!((error, told.all::<Sent>().len()), (code, usize::from(code.is_none())));
    }
    let body = &[7; 20][..];
    let attempt = Attempt { control: Control(3), body, ..Attempt::to(conversation, user("bob"), (1, 0)) };
    let mut bytes = attempt.bytes();
    *bytes.last_mut().unwrap() ^= 1;
    cluster.bytes(alice, &bytes);
    assert_eq!(cluster.take(alice).error().0, ErrorCode::PayloadChecksum);
}

/// Each check of a token costs as much as many messages: of a user who may send a thousand, fifty are checked.
#[test]
fn the_check_of_a_token_is_paid_for() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    let may = |cluster: &mut Cluster| {
        let now = cluster.now;
        cluster.reactors[0].node.may_reauthenticate(alice.id, now).is_some()
    };
    assert_eq!((0..60).filter(|_| may(&mut cluster)).count(), 50);
    cluster.later(1000);
    assert!(may(&mut cluster));
}

/// Whatever a client says of itself, what only the server sets it sets where it is so.
#[test]
fn flags_of_the_server_are_taken_from_nobody() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let all = MessageFlags(!MessageFlags::PACKED);
        for (id, control) in [(1, Control::TEXT), (2, OPEN), (3, END)] {
            let target = if control == END { 2 } else { 0 };
            let of = Attempt::to(conversation, bob.user, (id, id - 1));
            cluster.bytes(alice, &Attempt { control, target, flags: all, ..of }.bytes());
            cluster.commit();
        }
        let told = cluster.take(bob).all::<Message>();
        let expected = !(MessageFlags::PACKED | MessageFlags::OF_SERVER);
        assert_eq!(told.iter().map(|message| message.flags.0).collect::<Vec<_>>(), [expected; 3]);
    });
}
