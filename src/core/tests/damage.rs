//! A stored message that cannot be read: who asks is told so, then it is left out, and what comes after it is not.

use tidings_core::limits::{DAMAGED_AFTER_MS, FAILURE_FORGOTTEN_MS, UNREAD_AFTER_MS};
use tidings_testkit::{Cluster, Device, Reactor, cluster::in_all_layouts};
use tidings_wire::{
    ConversationId, ErrorCode, Kind, LogPosition, Seq,
    frames::{Fetch, FetchOrder, Fetched},
};

/// Reads are done until there are none; `harm` sees where each is, and what came of it.
fn serve(cluster: &mut Cluster, harm: impl Fn(LogPosition, Vec<u8>) -> Option<Vec<u8>>) {
    let mut busy = true;
    while busy {
        busy = false;
        for Reactor { node, world, .. } in &mut cluster.reactors {
            for (job, at, len) in std::mem::take(&mut world.reads) {
                let bytes = world.read_now(at, len).and_then(|bytes| harm(at, bytes));
                node.at(cluster.now, world).read_done(job, bytes.as_deref());
                busy = true;
            }
        }
        cluster.deliver();
    }
}

fn place_of(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

/// Its texts, and the message that was found damaged; or why there is no page.
fn fetch(
    cluster: &mut Cluster,
    who: Device,
    conversation: ConversationId,
    harm: impl Fn(LogPosition, Vec<u8>) -> Option<Vec<u8>>,
) -> Result<(Vec<u64>, Seq), (ErrorCode, u32)> {
    let order = FetchOrder::Upward;
    cluster.ask(who, &Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order });
    serve(cluster, harm);
    let output = cluster.take(who);
    if output.kinds().contains(&Kind::Error) {
        let (code, error) = output.error();
        return Err((code, error.retry_after_ms));
    }
    let fetched = output.all::<Fetched>()[0];
    assert_eq!((fetched.from, fetched.upto), (Seq(1), Seq(6)), "it answers for all of them");
    Ok((output.texts().into_iter().map(|(seq, _)| seq).collect(), fetched.damaged))
}

#[test]
fn a_message_that_stays_unreadable_is_left_out_and_what_comes_after_it_is_not() {
    in_all_layouts(|cluster, alice, bob| {
        let conversation = ConversationId::direct(alice.user, bob.user);
        for id in 1..=6 {
            cluster.send(alice, "bob", id, id - 1, &format!("this is text {id}"));
            cluster.commit();
        }
        cluster.take(bob);
        let flipped = |_, mut bytes: Vec<u8>| {
            for text in ["this is text 3", "this is text 4"] {
                place_of(&bytes, text).into_iter().for_each(|at| bytes[at] ^= 1);
            }
            Some(bytes)
        };
        // The sector of a message cannot be read: nothing can that lies over it.
        let broken = |_, bytes: Vec<u8>| place_of(&bytes, "this is text 5").is_none().then_some(bytes);
        let unavailable = Err((ErrorCode::HistoryUnavailable, DAMAGED_AFTER_MS));
        let after_ms = u64::from(DAMAGED_AFTER_MS);
        for (harm, damaged, after_ms) in
            [(&flipped as &dyn Fn(_, _) -> _, &[3, 4][..], after_ms), (&broken, &[5], UNREAD_AFTER_MS)]
        {
            assert_eq!(fetch(cluster, bob, conversation, harm), unavailable, "it may be the disk's bad moment");
            // A bad moment long ago says nothing.
            cluster.later(FAILURE_FORGOTTEN_MS + 1);
            assert_eq!(fetch(cluster, bob, conversation, harm), unavailable);
            for _ in 0..after_ms / 1000 - 1 {
                cluster.later(1000);
                assert_eq!(fetch(cluster, bob, conversation, harm), unavailable);
            }
            cluster.later(1000);
            let rest: Vec<u64> = (1..=6).filter(|seq| !damaged.contains(seq)).collect();
            let first = Seq(damaged[0]);
            assert_eq!(fetch(cluster, bob, conversation, harm), Ok((rest.clone(), first)), "all at once");
            assert_eq!(fetch(cluster, alice, conversation, harm), Ok((rest, first)), "nobody waits again");
            let mut told = Vec::new();
            for reactor in &mut cluster.reactors {
                told.extend(std::iter::from_fn(|| reactor.node.take_damage()));
            }
            let told: Vec<_> = told.iter().map(|told| (told.conversation, told.seq.0)).collect();
            assert_eq!(told, damaged.iter().map(|seq| (conversation, *seq)).collect::<Vec<_>>());
            // It was the disk's bad moment after all.
            assert_eq!(fetch(cluster, bob, conversation, |_, bytes| Some(bytes)), Ok(((1..=6).collect(), Seq(0))));
            assert!(cluster.reactors.iter_mut().all(|reactor| reactor.node.take_damage().is_none()), "it is told once");
            assert_eq!(fetch(cluster, bob, conversation, harm), unavailable, "a later one is another");
            assert!(fetch(cluster, bob, conversation, |_, bytes| Some(bytes)).is_ok());
        }
    });
}
