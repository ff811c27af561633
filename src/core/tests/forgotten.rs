//! Messages that a user does not want to see any more are told to its devices without what they say, for ever, and to others as they are.

use tidings_testkit::{Cluster, Device, in_all_layouts, user};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Kind, Lineage, Seq, Uv, archive,
    frames::{
        Changed, ChangedConversation, Fetch, FetchOrder, Forget, Forgotten, ForgottenRange, Message, MessageFlags,
        Resume,
    },
    limits::FORGOTTEN_MAX,
};

fn settle(cluster: &mut Cluster) {
    for _ in 0..5 {
        cluster.later(2_000);
        cluster.commit();
    }
}

fn forget(cluster: &mut Cluster, who: Device, conversation: ConversationId, (first, last): (u64, u64)) {
    cluster.take(who);
    cluster.ask(who, &Forget { conversation, first: Seq(first), last: Seq(last) });
}

/// What a device is told of it: how often its user said so, and ranges.
fn told(cluster: &mut Cluster, who: Device) -> Vec<(u32, Vec<(u64, u64)>)> {
    let out = cluster.take(who);
    let frames = out.frames();
    let of_it = frames.iter().filter(|frame| frame.kind() == Ok(Kind::Forgotten));
    let read = |frame: &tidings_wire::Frame<'_>| {
        let forgotten: Forgotten = frame.fixed().unwrap();
        let ranges = frame.var(forgotten.ranges).unwrap().chunks(16);
        let range = |bytes: &[u8]| {
            let ForgottenRange { first, last } = archive::read(bytes).unwrap();
            (first.0, last.0)
        };
        (forgotten.changes, ranges.map(range).collect())
    };
    of_it.map(read).collect()
}

fn fetched(cluster: &mut Cluster, device: Device, conversation: ConversationId) -> Vec<(u64, String, bool)> {
    cluster.take(device);
    let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    cluster.ask(device, &fetch);
    cluster.serve_reads();
    let out = cluster.take(device);
    let read = |frame: &tidings_wire::Frame<'_>| {
        let message: Message = frame.fixed().unwrap();
        let text = String::from_utf8(frame.var(message.payload).unwrap().to_vec()).unwrap();
        (message.seq.0, text, message.flags.0 & MessageFlags::FORGOTTEN != 0)
    };
    out.frames().iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(read).collect()
}

fn listed(cluster: &mut Cluster, device: Device) -> u32 {
    cluster.take(device);
    cluster.ask(device, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    let out = cluster.take(device);
    let (frames, changed) = (out.frames(), out.all::<Changed>()[0]);
    let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::Changed)).unwrap();
    let entry = &frame.var(changed.entries).unwrap()[..changed.entry_len as usize];
    archive::read::<ChangedConversation>(entry).unwrap().forgotten
}

fn row(seq: u64, text: &str) -> (u64, String, bool) {
    (seq, text.into(), false)
}

fn gone(seq: u64) -> (u64, String, bool) {
    (seq, String::new(), true)
}

#[test]
fn what_a_user_forgets_none_of_its_devices_is_shown_and_others_keep_it() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let tablet = cluster.live("alice", 2, 5);
        for id in 1..=4 {
            cluster.send(bob, "alice", id, id - 1, &id.to_string());
        }
        settle(cluster);
        [alice, bob, tablet].into_iter().for_each(|who| drop(cluster.take(who)));
        forget(cluster, alice, conversation, (2, 2));
        assert!(cluster.take(alice).0.is_empty(), "nothing leaves before the commit");
        settle(cluster);
        assert_eq!(told(cluster, alice), [(1, vec![(2, 2)])]);
        assert_eq!(told(cluster, tablet), [(1, vec![(2, 2)])]);
        assert!(cluster.take(bob).0.is_empty());
        forget(cluster, tablet, conversation, (3, 4));
        settle(cluster);
        assert_eq!(told(cluster, alice), [(2, vec![(3, 4)])]);
        // Again: it is so, and nobody else is told.
        cluster.take(tablet);
        forget(cluster, alice, conversation, (3, 3));
        assert_eq!(told(cluster, alice), [(2, vec![(3, 3)])]);
        assert_eq!(told(cluster, tablet), [(2, vec![(3, 3)])]);
        let (mut alice, mut bob) = (alice, bob);
        for again in 0..3 {
            let all = [row(1, "1"), row(2, "2"), row(3, "3"), row(4, "4")];
            assert_eq!(fetched(cluster, bob, conversation), all);
            assert_eq!(fetched(cluster, alice, conversation), [row(1, "1"), gone(2), gone(3), gone(4)]);
            assert_eq!((listed(cluster, alice), listed(cluster, bob)), (2, 0));
            forget(cluster, alice, conversation, (0, 0));
            assert_eq!(told(cluster, alice), [(2, vec![(2, 4)])], "all of it");
            if again == 1 {
                // From rows, too.
                cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
                settle(cluster);
            }
            cluster.restart();
            (alice, bob) = (cluster.live("alice", 1, 11 + 2 * again), cluster.live("bob", 1, 12 + 2 * again));
            settle(cluster);
        }
    });
}

#[test]
fn what_cannot_be_forgotten_is_refused_and_there_is_a_limit() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        let (mut id, messages) = (0, 2 * FORGOTTEN_MAX as u64 + 3);
        while id < messages {
            for _ in 0..60.min(messages - id) {
                cluster.send(bob, "alice", id + 1, id, "x");
                id += 1;
            }
            cluster.later(60_000);
            cluster.commit();
        }
        settle(cluster);
        let refused = |cluster: &mut Cluster, conversation, range| {
            forget(cluster, alice, conversation, range);
            cluster.take(alice).error().0
        };
        let foreign = ConversationId::direct(bob.user, user("carol"));
        assert_eq!(refused(cluster, foreign, (1, 1)), ErrorCode::NotMember);
        assert_eq!(refused(cluster, conversation, (0, 1)), ErrorCode::TargetInvalid);
        assert_eq!(refused(cluster, conversation, (3, 2)), ErrorCode::TargetInvalid);
        assert_eq!(refused(cluster, conversation, (1, messages + 1)), ErrorCode::FutureSeq);
        assert_eq!(refused(cluster, conversation, (u64::MAX, u64::MAX)), ErrorCode::FutureSeq);
        for at in 1..=FORGOTTEN_MAX as u64 {
            forget(cluster, alice, conversation, (2 * at, 2 * at));
            cluster.later(60_000);
            cluster.commit();
        }
        settle(cluster);
        let more = 2 * FORGOTTEN_MAX as u64 + 2;
        assert_eq!(refused(cluster, conversation, (more, more)), ErrorCode::TooMany);
        // What joins two of them makes room.
        forget(cluster, alice, conversation, (3, 3));
        settle(cluster);
        assert_eq!(told(cluster, alice).len(), 1);
        forget(cluster, alice, conversation, (more, more));
        settle(cluster);
        assert_eq!(told(cluster, alice), [(FORGOTTEN_MAX as u32 + 2, vec![(more, more)])]);
    });
}
