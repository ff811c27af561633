//! Who may begin conversations, and take others into groups: what stays for good is not taken from everybody by one who has much of it.

use tidings_core::{
    NodeConfig,
    limits::{ENTITIES_SCARCE, FEW_CONVERSATIONS, NO_ROOM_RETRY_MS, ROOM_KEPT, STATE_FULL, STATE_SCARCE},
};
use tidings_testkit::{Cluster, Device, frames::Attempt};
use tidings_wire::{ConversationId, ErrorCode, UserId, frames::*};

/// Writes to somebody new: the error with its time, if it is refused.
fn begin(cluster: &mut Cluster, from: Device, id: u64, to: &str) -> Option<(ErrorCode, u32)> {
    cluster.take(from);
    cluster.send(from, to, id, 0, "x");
    cluster.commit();
    refusal(cluster, from)
}

fn refusal(cluster: &mut Cluster, from: Device) -> Option<(ErrorCode, u32)> {
    let out = cluster.take(from);
    let error = out.all::<ErrorFrame>().first().copied()?;
    Some((ErrorCode::from_u16(error.code).unwrap(), error.retry_after_ms))
}

/// A group of somebody and these.
fn create(cluster: &mut Cluster, from: Device, id: u64, nonce: u8, members: &[UserId]) -> Option<(ErrorCode, u32)> {
    let nonce = [nonce; 16];
    let group = ConversationId::group(from.user, &nonce);
    let ids: Vec<[u8; 16]> = members.iter().map(|user| user.0).collect();
    let act = GroupAct::Create { nonce, settings: GroupSettings::default(), title: b"", members: Users::new(&ids) };
    let mut body = Vec::new();
    let control = act.write(&mut body);
    let attempt = Attempt { control, body: &body, ..Attempt::to(group, UserId::NONE, (id, 0)) };
    cluster.take(from);
    cluster.bytes(from, &attempt.bytes());
    cluster.commit();
    refusal(cluster, from)
}

#[test]
fn a_user_begins_so_many_conversations_and_no_more_also_after_a_restart() {
    for reactors in [1, 3] {
        let mut cluster = Cluster::with(reactors, |config| NodeConfig { user_conversations: 3, ..config });
        let (mut alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
        let service = cluster.live("a-bot", 1, 3);
        let too_many = Some((ErrorCode::TooMany, 0));
        for id in 1..=3 {
            assert_eq!(begin(&mut cluster, alice, id, &format!("peer {id}")), None);
        }
        assert_eq!(begin(&mut cluster, alice, 4, "peer 4"), too_many);
        // Groups count apart: whoever is taken into many by others can still write to anybody.
        for nonce in 1..=3 {
            assert_eq!(create(&mut cluster, bob, 100 + u64::from(nonce), nonce, &[alice.user]), None);
        }
        assert_eq!(create(&mut cluster, alice, 5, 9, &[bob.user]), too_many);
        // What is there goes on; whoever is written to is not asked; who has few begins; a service has no limit.
        cluster.send(alice, "peer 1", 6, 1, "y");
        cluster.commit();
        assert_eq!(refusal(&mut cluster, alice), None);
        assert_eq!(begin(&mut cluster, bob, 1, "alice"), None);
        cluster.send(alice, "bob", 7, 0, "an answer");
        cluster.commit();
        assert_eq!(refusal(&mut cluster, alice), None);
        assert!((1..=10).all(|id| begin(&mut cluster, service, id, &format!("peer {id}")).is_none()));
        cluster.later(2_000);
        cluster.commit();
        cluster.restart();
        alice = cluster.live("alice", 1, 11);
        cluster.later(2_000);
        cluster.commit();
        assert_eq!(begin(&mut cluster, alice, 8, "peer 8"), too_many);
    }
}

#[test]
fn what_little_room_is_left_is_for_those_who_have_few_conversations() {
    let most = 16 * ROOM_KEPT;
    let mut cluster = Cluster::with(1, |config| NodeConfig { entities_max: most, ..config });
    let mallory = cluster.live("mallory", 1, 1);
    let mut invented = 0;
    let refused = loop {
        invented += 1;
        if let Some(why) = begin(&mut cluster, mallory, invented, &format!("nobody {invented}")) {
            break why;
        }
    };
    assert_eq!(refused, (ErrorCode::NoRoom, NO_ROOM_RETRY_MS));
    let kept = u64::from(most / ROOM_KEPT);
    assert_eq!(
        invented,
        u64::from(most) - kept,
        "all but what is kept, with its own home, and one more that was refused"
    );
    assert!(invented > u64::from(FEW_CONVERSATIONS));
    // Somebody new comes, and writes to somebody new.
    let carol = cluster.live("carol", 1, 3);
    for id in 1..=kept - 2 {
        assert_eq!(begin(&mut cluster, carol, id, &format!("friend {id}")), None);
    }
}

/// What other reactors tell counts as what is here: whom somebody invents it can place where it likes. Beyond what a log can carry nobody begins, services included.
#[test]
fn where_any_reactor_is_full_nothing_begins_that_others_would_lack() {
    let mut cluster = Cluster::new(2);
    let (alice, carol) = (cluster.live("alice", 1, 1), cluster.live("carol", 1, 2));
    let service = cluster.live("a-bot", 1, 3);
    let few = u64::from(FEW_CONVERSATIONS);
    for id in 1..=few {
        assert_eq!(begin(&mut cluster, alice, id, &format!("peer {id}")), None);
    }
    let no_room = Some((ErrorCode::NoRoom, NO_ROOM_RETRY_MS));
    for (fullness, many, some, bot) in [
        ((0, ENTITIES_SCARCE), no_room, None, None),
        ((STATE_SCARCE, 0), no_room, None, None),
        ((STATE_FULL, 0), no_room, no_room, no_room),
        ((STATE_SCARCE - 1, ENTITIES_SCARCE - 1), None, None, None),
    ] {
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.set_fullness(fullness.0, fullness.1));
        let id = 1000 * (1 + u64::from(fullness.0)) + u64::from(fullness.1);
        assert_eq!(begin(&mut cluster, alice, id, &format!("alice's {id}")), many, "{fullness:?}");
        assert_eq!(begin(&mut cluster, carol, id, &format!("carol's {id}")), some, "{fullness:?}");
        assert_eq!(begin(&mut cluster, service, id, &format!("bot's {id}")), bot, "{fullness:?}");
    }
}
