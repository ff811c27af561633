//! R26: what is pushed is pushed again until the device acknowledges it, and then its session ends.

use tidings_core::Counter;
use tidings_testkit::{Cluster, Device, Output, names::hello_acknowledging};
use tidings_wire::{ConversationId, ErrorCode, Kind, Lineage, Seq, Uv, frames::*};

fn resumed(cluster: &mut Cluster, device: Device) -> Device {
    cluster.ask(device, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
    cluster.take(device);
    device
}

#[test]
fn a_device_that_does_not_acknowledge_is_pushed_to_again_and_then_ends() {
    for reactors in [1, 3] {
        let mut cluster = Cluster::new(reactors);
        let alice = cluster.live("alice", 1, 1);
        let bob = cluster.enter(&hello_acknowledging("bob", 1), 2).unwrap();
        let bob = resumed(&mut cluster, bob);
        let carol = cluster.live("carol", 1, 3);
        let conversation = ConversationId::direct(alice.user, bob.user);
        let mut id = 0;
        let mut send = |cluster: &mut Cluster| {
            id += 1;
            for to in ["bob", "carol"] {
                cluster.send(alice, to, id, id - 1, "x");
            }
            cluster.commit();
        };
        let after = |cluster: &mut Cluster, seconds: u64| {
            // As a server that is awake every second.
            let mut all = Output(Vec::new());
            for _ in 0..seconds {
                cluster.later(1000);
                cluster.commit();
                all.0.extend(cluster.take(bob).0);
            }
            assert!(cluster.take(carol).kinds().iter().all(|kind| *kind == Kind::Message), "she promised nothing");
            all
        };
        send(&mut cluster);
        assert_eq!(after(&mut cluster, 8).kinds(), [Kind::Message]);
        let again = after(&mut cluster, 4);
        assert_eq!(again.all::<Changed>().iter().map(|changed| changed.count).collect::<Vec<_>>(), [1]);
        cluster.ask(bob, &Delivered { conversation, upto: Seq(1) });
        let quiet = after(&mut cluster, 100);
        assert!(quiet.all::<Changed>().is_empty(), "it has acknowledged");
        // Its user's own messages are nothing to acknowledge.
        let tablet = cluster.live("bob", 2, 4);
        cluster.send(tablet, "alice", 1, 0, "y");
        cluster.commit();
        assert_eq!(after(&mut cluster, 100).kinds(), [Kind::Message]);
        send(&mut cluster);
        let all = after(&mut cluster, 120);
        assert_eq!(all.kinds(), [Kind::Message, Kind::Changed, Kind::Changed, Kind::Error]);
        assert_eq!(all.error().0, ErrorCode::TooSlow);
        let again: u64 = cluster.reactors.iter().map(|reactor| reactor.node.counters.get(Counter::PushedAgain)).sum();
        assert_eq!(again, 3);
        // It comes back and has what it missed.
        let bob = cluster.enter(&hello_acknowledging("bob", 1), 5).unwrap();
        cluster.ask(bob, &Fetch { conversation, from: Seq(3), upto: Seq(0), limit: 0, order: FetchOrder::Upward });
        cluster.serve_reads();
        assert_eq!(cluster.take(bob).texts(), [(3, "x".into())]);
    }
}
