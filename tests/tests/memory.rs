//! What a node's memory costs: a member of a group, a conversation in the lists of two users, a device that is remembered.

#![allow(unsafe_code, reason = "a global allocator that counts")]

mod counting;

use std::sync::atomic::Ordering;

use counting::{BYTES, Counting, MEASURING};
use tidings_core::NodeConfig;
use tidings_testkit::{Cluster, Device, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, UserId,
    frames::*,
    limits::{GROUP_MAX, NAMED_MAX},
};

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
    measure_large();
}

/// A large group costs a row a member, and a message in it no more than anywhere else.
fn measure_large() {
    let mut cluster = Cluster::with(1, |config| NodeConfig { entities_max: 200_000, ..config });
    let creator = cluster.live("creator", 1, 1);
    let empty = node_bytes(&cluster);
    make_large_group(&mut cluster, creator, 1);
    let with_homes = (node_bytes(&cluster) - empty) / GROUP_MAX as i64;
    let before = node_bytes(&cluster);
    let group = make_large_group(&mut cluster, creator, 2);
    let after = node_bytes(&cluster);
    let member = (after - before) / GROUP_MAX as i64;
    println!("a group of {GROUP_MAX}: {member} bytes a member, {with_homes} with the home of a user who was not known");
    assert!((200..600).contains(&member) && with_homes < 1_400, "{member} and {with_homes} bytes");
    const MESSAGES: u64 = 256;
    let parts = GROUP_MAX.div_ceil(NAMED_MAX) as u64;
    for id in parts + 1..=parts + MESSAGES {
        cluster.bytes(creator, &Attempt { payload: b"hi", ..Attempt::to(group, UserId::NONE, (id, id - 1)) }.bytes());
        cluster.commit();
    }
    settle(&mut cluster);
    let message = (node_bytes(&cluster) - after) / MESSAGES as i64;
    println!("a message in it: {message} bytes");
    assert!(message < 100, "{message} bytes");
    cluster.take(creator);
    let mut body = Vec::new();
    let control = GroupAct::Add(Users::new(&[user("one too many").0])).write(&mut body);
    let last = parts + MESSAGES;
    let one_more = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (last + 1, last)) };
    cluster.bytes(creator, &one_more.bytes());
    assert_eq!(cluster.take(creator).error().0, ErrorCode::GroupFull);
}

/// As large as a group may be, by as many messages as it takes.
fn make_large_group(cluster: &mut Cluster, creator: Device, number: u8) -> ConversationId {
    let nonce = [number; 16];
    let group = ConversationId::group(creator.user, &nonce);
    let ids: Vec<_> = (1..GROUP_MAX).map(|at| user(&format!("large{at}")).0).collect();
    for (ids, id) in ids.chunks(NAMED_MAX).zip(1..) {
        let (settings, members) = (GroupSettings::default(), Users::new(ids));
        let act = match id {
            1 => GroupAct::Create { nonce, settings, title: b"a title", members },
            _ => GroupAct::Add(members),
        };
        let mut body = Vec::new();
        let control = act.write(&mut body);
        let attempt = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (id, id - 1)) };
        cluster.bytes(creator, &attempt.bytes());
        cluster.commit();
    }
    assert!(cluster.take(creator).all::<ErrorFrame>().is_empty());
    cluster.later(1100);
    // Homes write down what they were told, so many in a turn.
    for _ in 0..=GROUP_MAX / 64 {
        cluster.later(1);
        cluster.commit();
    }
    settle(cluster);
    group
}
