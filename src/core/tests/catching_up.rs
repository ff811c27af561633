//! How a device catches up: what changed, stored messages, and what both may cost.

use tidings_core::{NodeConfig, ToHome};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, in_all_layouts, user};
use tidings_wire::{ConversationId, ErrorCode, Generation, Kind, Lineage, LogId, Seq, UserId, Uv, archive, frames::*};

/// An offline device finds what it missed at the cost of what changed; the cursor that it gets is durable.
#[test]
fn resume_lists_what_changed_and_fetch_brings_it() {
    in_all_layouts(|cluster, alice, _| {
        for (peer, id) in [("bob", 1), ("carol", 1), ("bob", 2)] {
            cluster.send(alice, peer, id, id - 1, &format!("{peer} {id}"));
        }
        cluster.commit();
        let conversation = ConversationId::direct(alice.user, user("bob"));
        let tablet = cluster.connect("bob", 2, 5);
        let resume = |uv| Resume { lineage: Lineage([7; 16]), uv: Uv(uv), below: Uv(0), page: 0, tails: 0, tail: 0 };
        cluster.ask(tablet, &resume(0));
        let changed = cluster.take(tablet).all::<Changed>()[0];
        assert_eq!((changed.status, changed.count, changed.uv), (ResumeStatus::Changed, 1, Uv(0)), "nothing durable");
        cluster.later(2000);
        cluster.commit();
        cluster.ask(tablet, &resume(0));
        let changed = cluster.take(tablet).all::<Changed>()[0];
        assert!(changed.count == 1 && changed.uv > Uv(0));
        cluster.ask(tablet, &resume(changed.uv.0));
        let answer = cluster.take(tablet);
        assert_eq!(answer.all::<Changed>()[0].status, ResumeStatus::UpToDate);
        assert!(answer.0.len() <= 100, "nothing new costs {} bytes", answer.0.len());
        cluster.ask(tablet, &resume(1000));
        assert_eq!(cluster.take(tablet).all::<Changed>()[0].status, ResumeStatus::TooOld);

        cluster.ask(tablet, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward });
        cluster.serve_reads();
        let fetched = cluster.take(tablet);
        assert_eq!(fetched.texts(), [(1, "bob 1".into()), (2, "bob 2".into())]);
        assert_eq!(fetched.kinds().last(), Some(&Kind::Fetched));
        assert!(fetched.frames().iter().all(|frame| frame.header().request_id == 9));
    });
}

/// What a conversation says of the user's own receipt is lost on its way home: the list of conversations has it all the same.
#[test]
fn a_receipt_that_its_users_home_did_not_hear_of_is_told_again() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, user("bob"));
    cluster.send(alice, "bob", 1, 0, "hello");
    cluster.commit();
    cluster.reactors[0].world.lost = |message| matches!(message, ToHome::ReceiptOk { .. });
    cluster.ask(bob, &Read { conversation, upto: Seq(1), ordinal: 1 });
    cluster.later(1000);
    cluster.commit();
    cluster.reactors[0].world.lost = |_| false;
    cluster.later(2000);
    cluster.commit();
    let tablet = cluster.connect("bob", 2, 5);
    cluster.ask(tablet, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let out = cluster.take(tablet);
    let (frames, changed) = (out.frames(), out.all::<Changed>()[0]);
    let listed: ChangedConversation = tidings_wire::archive::read(frames[0].var(changed.entries).unwrap()).unwrap();
    assert_eq!((changed.count, listed.read), (1, Seq(1)));
}

/// A home hears that its user has seen a message before it hears of the message: it lists no more as seen than there is.
#[test]
fn nothing_is_listed_as_seen_that_is_not_listed_as_there() {
    let mut cluster = Cluster::new(1);
    let (alice, _bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let conversation = ConversationId::direct(alice.user, user("bob"));
    cluster.send(alice, "bob", 1, 0, "one");
    cluster.commit();
    cluster.reactors[0].world.lost = |message| matches!(message, ToHome::HeadUpdate(_));
    cluster.send(alice, "bob", 2, 1, "two");
    cluster.commit();
    cluster.ask(alice, &Delivered { conversation, upto: Seq(2) });
    cluster.commit();
    cluster.take(alice);
    cluster.ask(alice, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let out = cluster.take(alice);
    let entries = out.frames()[0].var(out.all::<Changed>()[0].entries).unwrap().to_vec();
    let listed: ChangedConversation = archive::read(&entries).unwrap();
    assert_eq!((listed.head, listed.ordinal, listed.seen), (Seq(1), 1, 1));
}

/// Homes on another reactor lack a group's message and are about to be told again, when a receipt moves the group to where that has been.
#[test]
fn a_group_that_changes_while_homes_are_told_again_is_told_to_those_who_lack_it() {
    let mut cluster = Cluster::new(2);
    let layout = cluster.reactors[0].node.config().layout;
    let home = |name: &str| layout.home(&user(name)).0;
    let names: Vec<String> = (0..40).map(|at| format!("user{at}")).collect();
    // A group, its owner, and another conversation of the same shard; Bob, and who is written to there, live on the other reactor.
    let owner = "ann";
    let of_shard = |nonce: u8| {
        let group = ConversationId::group(user(owner), &[nonce; 16]);
        let at = layout.conversation(&group).0;
        let far = names.iter().filter(|name| home(name) != at);
        let pair = far.clone().flat_map(|to| names.iter().map(move |from| (from, to))).find(|(from, to)| {
            let direct = ConversationId::direct(user(from), user(to));
            from != to && layout.conversation_shard(&direct) == layout.conversation_shard(&group)
        })?;
        let near = names.iter().find(|name| home(name) == at)?;
        (home(owner) == at)
            .then(|| (group, nonce, at as usize, pair, near.clone(), far.clone().next().unwrap().clone()))
    };
    let (group, nonce, at, (from, to), near, bob) = (0..=255).find_map(of_shard).expect("there are many");
    let (ann, near) = (cluster.live(owner, 1, 1), cluster.live(&near, 1, 2));
    let (from, bob) = (cluster.live(from, 1, 3), cluster.live(&bob, 1, 4));
    let members = [near.user.0, bob.user.0];
    let settings = GroupSettings::default();
    let act = GroupAct::Create { nonce: [nonce; 16], settings, title: b"", members: Users::new(&members) };
    let mut body = Vec::new();
    let control = act.write(&mut body);
    let create = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (1, 0)) };
    cluster.bytes(ann, &create.bytes());
    cluster.commit();
    // What follows does not reach the other reactor, and neither does the first attempt to tell it again.
    cluster.reactors[at].world.home_credit = false;
    cluster.bytes(ann, &Attempt { payload: b"hi", ..Attempt::to(group, UserId::NONE, (2, 1)) }.bytes());
    cluster.commit();
    cluster.send(from, to, 1, 0, "later");
    cluster.commit();
    cluster.later(0);
    cluster.ask(near, &Delivered { conversation: group, upto: Seq(2) });
    cluster.later(1000);
    cluster.commit();
    cluster.reactors[at].world.home_credit = true;
    for _ in 0..3 {
        cluster.later(1000);
        cluster.commit();
    }
    cluster.take(bob);
    cluster.ask(bob, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let (out, len) = (cluster.take(bob), <ChangedConversation as archive::Archived>::LEN);
    let entries = out.frames()[0].var(out.all::<Changed>()[0].entries).unwrap().to_vec();
    let listed = entries.chunks(len).map(|entry| archive::read::<ChangedConversation>(entry).unwrap());
    let heads: Vec<_> = listed.filter(|listed| listed.conversation == group).map(|listed| listed.head).collect();
    assert_eq!(heads, [Seq(2)]);
}

/// A device of bob, whom three hundred people have written to.
fn three_hundred(cluster: &mut Cluster) -> (Vec<String>, Device) {
    let people: Vec<_> = (0..300).map(|nth| format!("person {nth}")).collect();
    for (conn, name) in (100..).zip(&people) {
        let person = cluster.live(name, 1, conn);
        cluster.send(person, "bob", 1, 0, "hello");
    }
    cluster.commit();
    cluster.later(2000);
    cluster.commit();
    (people, cluster.connect("bob", 2, 5))
}

/// On another device, bob reads what somebody has written.
fn read_of(cluster: &mut Cluster, bob: Device, name: &str) {
    let conversation = ConversationId::direct(bob.user, user(name));
    cluster.ask(bob, &Read { conversation, upto: Seq(1), ordinal: 1 });
    // Until that is durable, and what its home has of it, too.
    for _ in 0..4 {
        cluster.later(2000);
        cluster.commit();
    }
}

/// A page of all there is. Where it goes on.
fn page(cluster: &mut Cluster, device: Device, below: Uv, into: &mut Vec<ChangedConversation>) -> Uv {
    cluster.take(device);
    cluster.ask(device, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below, page: 0, tails: 0, tail: 0 });
    entries(&cluster.take(device), into)
}

/// What comes once it has read all.
fn after(cluster: &mut Cluster, device: Device, into: &mut Vec<ChangedConversation>) -> Uv {
    let Reactor { node, world, .. } = &mut cluster.reactors[device.at];
    node.at(cluster.now, world).output_gone(device.id);
    entries(&cluster.take(device), into)
}

fn lists(listed: &[ChangedConversation], bob: Device, name: &str) -> bool {
    let conversation = ConversationId::direct(bob.user, user(name));
    listed.iter().any(|entry| entry.conversation == conversation && entry.head == Seq(1))
}

/// What is read, say, on another device while a list is told page by page moves to its beginning, and is not in the next page any more.
#[test]
fn what_changes_while_a_long_list_is_told_is_told_after_it() {
    in_all_layouts(|cluster, _, bob| {
        let (people, tablet) = three_hundred(cluster);
        let mut listed = Vec::new();
        let below = page(cluster, tablet, Uv(0), &mut listed);
        assert_eq!((listed.len(), below > Uv(0)), (256, true));
        read_of(cluster, bob, &people[0]);
        assert_eq!(page(cluster, tablet, below, &mut listed), Uv(0));
        assert!(!lists(&listed, bob, &people[0]));
        after(cluster, tablet, &mut listed);
        assert!(people.iter().all(|name| lists(&listed, bob, name)));
        // Once it has all of it, it is told what is new as everybody else, and no list.
        read_of(cluster, bob, &people[1]);
        assert_eq!(cluster.take(tablet).kinds(), [Kind::ReceiptOk]);
    });
}

/// The same if nobody looks at the device any more when the last page comes, or if it was behind then.
#[test]
fn what_changes_while_a_long_list_is_told_is_told_also_to_who_sleeps_or_is_behind() {
    in_all_layouts(|cluster, alice, bob| {
        let (people, tablet) = three_hundred(cluster);
        let mut listed = Vec::new();
        let below = page(cluster, tablet, Uv(0), &mut listed);
        read_of(cluster, bob, &people[0]);
        cluster.ask(tablet, &SetActivity { activity: Activity::Inactive });
        page(cluster, tablet, below, &mut listed);
        cluster.ask(tablet, &SetActivity { activity: Activity::Active });
        entries(&cluster.take(tablet), &mut listed);
        after(cluster, tablet, &mut listed);
        assert!(lists(&listed, bob, &people[0]));

        let mut listed = Vec::new();
        let below = page(cluster, tablet, Uv(0), &mut listed);
        read_of(cluster, bob, &people[1]);
        // More than it is pushed while it does not read.
        let text = "x".repeat(60_000);
        for id in 1..=10 {
            cluster.send(alice, "bob", id, id - 1, &text);
            cluster.commit();
            cluster.take(alice);
        }
        cluster.ask(tablet, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below, page: 0, tails: 0, tail: 0 });
        entries(&cluster.take(tablet), &mut listed);
        after(cluster, tablet, &mut listed);
        assert!(lists(&listed, bob, &people[1]));
    });
}

/// Whoever begins a list again has given up the one before: what comes after the new one does not go back behind that one's beginning.
#[test]
fn a_list_that_was_given_up_is_not_told_again_and_again() {
    in_all_layouts(|cluster, _, bob| {
        let (people, tablet) = three_hundred(cluster);
        let mut listed = Vec::new();
        for _ in 0..3 {
            page(cluster, tablet, Uv(0), &mut listed);
        }
        read_of(cluster, bob, &people[0]);
        let below = page(cluster, tablet, Uv(0), &mut listed);
        read_of(cluster, bob, &people[1]);
        page(cluster, tablet, below, &mut listed);
        let mut last = Vec::new();
        after(cluster, tablet, &mut last);
        assert!(lists(&last, bob, &people[1]) && !lists(&last, bob, &people[0]));
        after(cluster, tablet, &mut last);
        assert_eq!(last.len(), 1);
    });
}

/// Takes the entries of the lists in some output. Where the last of them goes on.
fn entries(output: &tidings_testkit::Output, into: &mut Vec<ChangedConversation>) -> Uv {
    let mut next = Uv(0);
    for frame in output.frames().into_iter().filter(|frame| frame.kind() == Ok(Kind::Changed)) {
        let changed: Changed = frame.fixed().unwrap();
        let all = frame.var(changed.entries).unwrap();
        into.extend(
            all.chunks(changed.entry_len as usize).map(|entry| archive::read::<ChangedConversation>(entry).unwrap()),
        );
        next = changed.next;
    }
    next
}

/// A device that does not read costs bounded memory; when it reads again it gets the list of what it missed.
#[test]
fn a_slow_device_falls_behind_and_catches_up() {
    in_all_layouts(|cluster, alice, bob| {
        let text = "x".repeat(60_000);
        for id in 1..=10 {
            cluster.send(alice, "bob", id, id - 1, &text);
            cluster.commit();
            cluster.take(alice);
        }
        let out = cluster.take(bob);
        assert!(out.0.len() <= tidings_core::limits::OUT_SOFT);
        let got = out.texts().len() as u64;
        assert!((1..10).contains(&got));
        let Reactor { node, world, .. } = &mut cluster.reactors[bob.at];
        node.at(cluster.now, world).output_gone(bob.id);
        assert_eq!(cluster.take(bob).all::<Changed>()[0].count, 1);
        cluster.send(alice, "bob", 11, 10, "live again");
        cluster.commit();
        assert_eq!(cluster.take(bob).texts(), [(11, "live again".into())]);
    });
}

/// A conversation that went on in another log has a hole once that log drops its segments earlier: FETCH steps over it.
#[test]
fn fetch_steps_over_a_hole_that_another_logs_retention_left() {
    in_all_layouts(|cluster, alice, bob| {
        let other = LogId(9);
        for (id, log) in [(1, None), (2, Some(other)), (3, Some(other)), (4, None)] {
            cluster.found_in(log);
            cluster.send(alice, "bob", id, id - 1, &format!("{id}"));
            cluster.commit();
        }
        cluster.take(bob);
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.set_floor(other, Generation(2)));
        let conversation = ConversationId::direct(alice.user, bob.user);
        for order in [FetchOrder::Upward, FetchOrder::Last] {
            cluster.ask(bob, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 10, order });
            (0..4).for_each(|_| cluster.serve_reads());
            let fetched = cluster.take(bob);
            assert_eq!(fetched.texts(), [(1, "1".into()), (4, "4".into())]);
            assert_eq!(fetched.all::<Fetched>()[0].last, Seq(4));
        }
    });
}

/// A page is cut at its bytes, at the end that was not asked for, and says what it answers for.
#[test]
fn a_page_of_large_messages_is_whole_at_the_end_that_was_asked_for() {
    in_all_layouts(|cluster, alice, bob| {
        let text = "x".repeat(60_000);
        for id in 1..=12 {
            cluster.send(alice, "bob", id, id - 1, &text);
            cluster.commit();
        }
        let conversation = ConversationId::direct(alice.user, bob.user);
        for reader in [alice, bob] {
            for (order, sent, answered) in [(FetchOrder::Upward, (1, 4), 1..=4), (FetchOrder::Last, (9, 12), 9..=12)] {
                cluster.take(reader);
                cluster.ask(reader, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order });
                (0..9).for_each(|_| cluster.serve_reads());
                let output = cluster.take(reader);
                let fetched = output.all::<Fetched>()[0];
                assert_eq!((fetched.first.0, fetched.last.0), sent);
                assert_eq!(fetched.answered(), answered);
                assert_eq!(output.texts().len(), 4);
            }
        }
    });
}

/// One session cannot take all of a reactor's FETCHes, nor make it pile up what it does not read.
#[test]
fn fetches_are_bounded_per_session_and_a_far_one_ends_early() {
    in_all_layouts(|cluster, alice, bob| {
        let text = "x".repeat(60_000);
        for id in 1..=12 {
            cluster.send(alice, "bob", id, id - 1, &text);
            cluster.commit();
            cluster.take(alice);
            cluster.take(bob);
        }
        let conversation = ConversationId::direct(alice.user, bob.user);
        let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
        for _ in 0..=tidings_core::limits::FETCHES_PER_SESSION {
            cluster.ask(bob, &fetch);
        }
        assert_eq!(cluster.take(bob).error().0, ErrorCode::Busy);
        let mut reads = 0;
        while cluster.reactors.iter().any(|reactor| !reactor.world.reads.is_empty()) && reads < 1000 {
            cluster.serve_reads();
            reads += 1;
            let buffered = cluster.reactors[bob.at].world.outs.get(&bob.conn.0).map_or(0, Vec::len);
            let most = tidings_core::limits::OUT_HARD + tidings_core::limits::FETCHES_PER_SESSION as usize * 70_000;
            assert!(buffered <= most, "{buffered} bytes wait for somebody who does not read");
        }
    });
}

/// A RESUME takes of its user's rate, and walking over a long list takes more.
#[test]
fn lists_are_paid_for() {
    let mut cluster = Cluster::new(1);
    let alice = cluster.live("alice", 1, 1);
    let resume = Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 };
    (0..1100).for_each(|_| cluster.ask(alice, &resume));
    let told = cluster.take(alice);
    let limited = told.all::<ErrorFrame>();
    assert!(limited.len() >= 100 && limited[0].code == ErrorCode::RateLimited as u16 && limited[0].retry_after_ms > 0);
}

/// The last messages of what changed last come with the list.
#[test]
fn the_first_conversations_of_a_list_bring_their_last_messages() {
    in_all_layouts(|cluster, alice, _| {
        for (peer, count) in [("bob", 1), ("carol", 3), ("dave", 5)] {
            (1..=count).for_each(|id| cluster.send(alice, peer, id, id - 1, &format!("{peer} {id}")));
            cluster.commit();
        }
        let tablet = cluster.connect("alice", 2, 5);
        let resume = |tails| Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails, tail: 2 };
        cluster.ask(tablet, &resume(2));
        cluster.ask(tablet, &resume(2));
        let mut all = cluster.take(tablet);
        for _ in 0..6 {
            cluster.serve_reads();
            all.0.extend(cluster.take(tablet).0);
        }
        let done: Vec<u32> = all.all::<SyncDone>().iter().map(|done| done.tails).collect();
        assert_eq!(done, [2, 0], "one list at a time, and the second ends with the first");
        assert_eq!(all.kinds().last(), Some(&Kind::SyncDone));
        let mut fetched: Vec<_> = all.all::<Fetched>().iter().map(|page| (page.from.0, page.upto.0)).collect();
        fetched.sort_unstable();
        assert_eq!(fetched, [(2, 3), (4, 5)]);
        let mut texts: Vec<String> = all.texts().into_iter().map(|(_, text)| text).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["carol 2", "carol 3", "dave 4", "dave 5"]);
        assert!(all.frames().iter().all(|frame| frame.header().request_id == 9));
        // Nothing changed since, so there is nothing to bring.
        cluster.later(2000);
        cluster.commit();
        cluster.ask(tablet, &Ping { opaque: 1 });
        let uv = cluster.take(tablet).all::<Pong>()[0].uv;
        cluster.ask(tablet, &Resume { uv, lineage: Lineage([7; 16]), ..resume(2) });
        let out = cluster.take(tablet);
        assert_eq!(out.kinds(), [Kind::Changed, Kind::SyncDone]);
    });
}

/// A device with many conversations of which none changed asks once and is answered in few bytes; what changed costs what changed.
#[test]
fn resuming_costs_what_changed_and_not_what_there_is() {
    let mut cluster = Cluster::with(1, |config| NodeConfig { entities_max: 20_000, ..config });
    let alice = cluster.live("alice", 1, 1);
    let mut sent = 0;
    let mut write = |cluster: &mut Cluster, peers: std::ops::Range<u64>, id: u64| {
        for peer in peers {
            cluster.send(alice, &format!("peer{peer}"), id, id - 1, "x");
            sent += 1;
            if sent % 32 == 0 {
                cluster.later(400);
                cluster.commit();
                assert!(cluster.take(alice).all::<ErrorFrame>().is_empty());
            }
        }
        cluster.later(2000);
        cluster.commit();
        cluster.later(2000);
        cluster.commit();
        cluster.take(alice);
    };
    write(&mut cluster, 0..5000, 1);
    let resume = |uv| Resume { lineage: Lineage([7; 16]), uv, below: Uv(0), page: 0, tails: 0, tail: 0 };
    let ask = |cluster: &mut Cluster, uv| {
        cluster.ask(alice, &resume(uv));
        let out = cluster.take(alice);
        assert_eq!(out.kinds(), [Kind::Changed]);
        (out.all::<Changed>()[0], out.0.len())
    };
    let (first, len) = ask(&mut cluster, Uv(0));
    assert!(first.count == 256 && first.next > Uv(0) && first.uv > Uv(0), "usable after one page: {first:?}");
    println!("a page of 256 conversations: {len} bytes");
    let (mut below, mut listed) = (first.next, first.count);
    while below > Uv(0) {
        cluster.ask(alice, &Resume { below, ..resume(Uv(0)) });
        let page = cluster.take(alice).all::<Changed>()[0];
        (below, listed) = (page.next, listed + page.count);
    }
    assert_eq!(listed, 5000);
    let (nothing, len) = ask(&mut cluster, first.uv);
    assert!(nothing.status == ResumeStatus::UpToDate && len <= 100, "{len} bytes for nothing new");
    println!("nothing new in 5,000 conversations: {len} bytes");
    write(&mut cluster, 100..150, 2);
    let (some, len) = ask(&mut cluster, first.uv);
    assert_eq!((some.count, some.next), (50, Uv(0)));
    assert!(len <= 100 + 50 * 98, "{len} bytes for 50 that changed");
    println!("50 of 5,000 changed: {len} bytes");
}

/// What a conversation says of a receipt is lost on its way to a home, and the next message brings it: devices that are connected are told both.
#[test]
fn a_receipt_that_comes_with_a_later_message_is_told_to_devices_that_are_connected() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let tablet = cluster.live("bob", 2, 3);
    let conversation = ConversationId::direct(alice.user, bob.user);
    cluster.send(alice, "bob", 1, 0, "hello");
    cluster.commit();
    cluster.reactors[0].world.lost = |message| matches!(message, ToHome::Receipt { .. } | ToHome::ReceiptOk { .. });
    cluster.ask(bob, &Read { conversation, upto: Seq(1), ordinal: 1 });
    cluster.later(1000);
    cluster.commit();
    for device in [alice, bob, tablet] {
        cluster.take(device);
    }
    cluster.reactors[0].world.lost = |_| false;
    cluster.send(bob, "alice", 1, 0, "and hello to you");
    cluster.commit();
    let out = cluster.take(alice);
    let receipt = Receipt { conversation, member: bob.user, delivered: Seq(1), read: Seq(1) };
    assert_eq!((out.texts().len(), out.all::<Receipt>()), (1, vec![receipt]));
    let out = cluster.take(tablet);
    assert_eq!(out.texts().len(), 1);
    assert_eq!(out.all::<ReceiptOk>().last().map(|ok| ok.read), Some(Seq(1)), "and the user's other devices");
}

/// Pages of conversations on another reactor are asked for as the device reads: it is never sent more than it may have unread.
#[test]
fn far_pages_wait_until_a_slow_device_has_room_for_them() {
    let mut cluster = Cluster::new(2);
    let layout = cluster.reactors[0].node.config().layout;
    let names: Vec<String> = (0..60).map(|at| format!("user{at}")).collect();
    let bob = cluster.live("bob", 1, 1);
    let is_far =
        |name: &&String| layout.conversation(&ConversationId::direct(user(name), user("bob"))).0 as usize != bob.at;
    let far: Vec<&String> = names.iter().filter(is_far).take(8).collect();
    assert_eq!(far.len(), 8);
    let text = "x".repeat(60_000);
    for (at, name) in far.iter().enumerate() {
        let writer = cluster.live(name, 1, 10 + at as u64);
        for id in 1..=5 {
            cluster.send(writer, "bob", id, id - 1, &text);
            cluster.commit();
        }
        cluster.take(writer);
    }
    cluster.take(bob);
    for name in &far {
        let conversation = ConversationId::direct(user(name), user("bob"));
        let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
        cluster.ask(bob, &fetch);
    }
    let (mut pages, mut turns) = (0, 0);
    while pages < far.len() {
        (0..10).for_each(|_| cluster.serve_reads());
        let out = cluster.take(bob);
        assert!(out.0.len() <= tidings_core::limits::OUT_HARD - tidings_core::limits::OUT_SOFT);
        assert_eq!(out.all::<ErrorFrame>(), []);
        pages += out.all::<Fetched>().len();
        let Reactor { node, world, .. } = &mut cluster.reactors[bob.at];
        node.at(cluster.now, world).output_sent(bob.id);
        cluster.deliver();
        turns += 1;
        assert!(turns <= far.len(), "a page a turn at least");
    }
    assert!(cluster.reactors[bob.at].world.closed.is_empty());
}
