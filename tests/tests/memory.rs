//! What a node's memory costs: a member of a group, a conversation in the lists of two users, a device that is remembered.

#![allow(unsafe_code, reason = "a global allocator that counts")]

mod counting;

use std::sync::atomic::Ordering;

use counting::{BYTES, Counting, MEASURING};
use tidings_core::NodeConfig;
use tidings_testkit::{Cluster, Device, frames::Attempt, user};
use tidings_wire::{ConversationId, UserId, frames::*};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a node that is rebuilt from what a cluster of one reactor has logged, as it would be after a start.
fn node_bytes(cluster: &Cluster) -> i64 {
    BYTES.store(0, Ordering::SeqCst);
    MEASURING.store(true, Ordering::SeqCst);
    let node = cluster.reactors[0].replayed(0);
    MEASURING.store(false, Ordering::SeqCst);
    drop(node);
    BYTES.load(Ordering::SeqCst)
}

fn make_group(cluster: &mut Cluster, creator: Device, number: u8, members: &[String]) {
    let nonce = [number; 16];
    let group = ConversationId::group(creator.user, &nonce);
    let ids: Vec<_> = members.iter().map(|name| user(name).0).collect();
    let (settings, members) = (GroupSettings::default(), Users::new(&ids));
    let mut body = Vec::new();
    let control = GroupAct::Create { nonce, settings, title: b"a title", members }.write(&mut body);
    let attempt = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (1, 0)) };
    cluster.bytes(creator, &attempt.bytes());
    cluster.commit();
    settle(cluster);
}

fn settle(cluster: &mut Cluster) {
    for _ in 0..20 {
        cluster.later(1100);
        cluster.commit();
    }
}

#[test]
fn members_and_conversations_cost_rows() {
    // Only threads of reactors are counted, which are known by their names.
    std::thread::Builder::new().name("reactor-0".into()).spawn(measure).unwrap().join().unwrap();
}

fn measure() {
    const GROUPS: u8 = 16;
    let mut cluster = Cluster::new(1);
    let creator = cluster.live("creator", 1, 1);
    let members: Vec<String> = (0..199).map(|at| format!("member{at}")).collect();
    make_group(&mut cluster, creator, 0, &members);
    let before = node_bytes(&cluster);
    (1..=GROUPS).for_each(|number| make_group(&mut cluster, creator, number, &members));
    let group = (node_bytes(&cluster) - before) / i64::from(GROUPS);
    println!("a group of 200, with its place in their lists: {group} bytes, {} a member", group / 200);
    assert!((20_000..100_000).contains(&group), "{group} bytes");

    const PEERS: u64 = 4096;
    let mut cluster = Cluster::with(1, |config| NodeConfig { entities_max: 20_000, ..config });
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let write = |cluster: &mut Cluster, from: Device| {
        for peer in 0..PEERS {
            cluster.send(from, &format!("peer{peer}"), 1, 0, "x");
            if peer % 32 == 0 {
                cluster.later(400);
                cluster.commit();
                assert!(cluster.take(from).all::<ErrorFrame>().is_empty());
            }
        }
        settle(cluster);
    };
    write(&mut cluster, bob);
    let before = node_bytes(&cluster);
    write(&mut cluster, alice);
    let conversation = (node_bytes(&cluster) - before) / PEERS as i64;
    println!("a conversation of two, with its place in both lists: {conversation} bytes");
    assert!((400..2_200).contains(&conversation), "{conversation} bytes");
}
