//! What one user may take from all others: bytes of the log, and places for history.

use tidings_core::{
    Budget, Network, NodeConfig, OverBudget,
    budget::{BATCH_COST, CONVERSATION_COST, SEND_COST},
    limits::{HISTORY_RATE, LONG_SEND, Rate},
};
use tidings_testkit::{ADDRESS, Cluster, Device};
use tidings_wire::{ConversationId, ErrorCode, Kind, Seq, UserId, frames::*};

/// A user who has filled as much of the log as it may is refused with a time, and named; others go on; what comes back can be used.
#[test]
fn who_fills_the_log_is_refused_and_named_while_others_go_on() {
    let cost = SEND_COST + 2;
    // Four messages at once, each in a batch of its own, the first of them of a new conversation; in 4000 s as much again.
    let half = 4 * (cost + BATCH_COST) + CONVERSATION_COST;
    let budget = Budget::new(2 * half, 4000);
    let wait_ms = u32::try_from((cost * 4_000_000).div_ceil(half)).unwrap();
    let mut cluster = Cluster::with(2, |config| NodeConfig { user_budget: budget, ..config });
    let (alice, tablet) = (cluster.live("alice", 1, 1), cluster.live("alice", 2, 2));
    let bob = cluster.live("bob", 1, 3);
    for (device, id, prev) in [(alice, 10, 0), (tablet, 20, 0), (alice, 30, 10), (tablet, 40, 20)] {
        cluster.send(device, "bob", id, prev, "hi");
        cluster.commit();
    }
    assert_eq!(cluster.take(bob).all::<Message>().len(), 4);
    cluster.take(alice);
    for _ in 0..2 {
        cluster.send(alice, "bob", 50, 30, "hi");
        let refused = cluster.take(alice).all::<ErrorFrame>()[0];
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::BudgetExceeded as u16, wait_ms));
    }
    let named = cluster.reactors.iter_mut().find_map(|reactor| reactor.node.take_over_budget());
    assert_eq!(named, Some(OverBudget::User(alice.user, "alice".into())));
    assert!(cluster.reactors.iter_mut().all(|reactor| reactor.node.take_over_budget().is_none()), "once a minute");
    cluster.take(tablet);
    cluster.send(tablet, "bob", 40, 20, "hi");
    assert_eq!(cluster.take(tablet).kinds(), [Kind::Sent], "a repeat costs nothing");
    cluster.send(bob, "alice", 10, 0, "quiet");
    cluster.commit();
    assert_eq!(cluster.take(bob).kinds(), [Kind::Sent]);
    cluster.later(wait_ms.into());
    cluster.send(alice, "bob", 50, 30, "hi");
    cluster.commit();
    assert!(cluster.take(alice).kinds().contains(&Kind::Sent));
}

/// The budget of an address is that of all who come from there, and one who is refused for it has paid nothing.
#[test]
fn an_address_has_a_budget_for_all_its_users() {
    let (cost, first) = (SEND_COST + 2, SEND_COST + 2 + CONVERSATION_COST);
    assert!(
        first < 20 * cost,
        "a user has enough for the first message of a conversation, or for fewer than twenty others"
    );
    let half = first + BATCH_COST + cost;
    let (user_budget, address_budget) = (Budget::new(2 * first, 4_000_000), Budget::new(2 * half, 400));
    let wait_ms = u32::try_from((cost * 400_000).div_ceil(half)).unwrap();
    let mut cluster = Cluster::with(1, |config| NodeConfig { user_budget, address_budget, ..config });
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    cluster.send(alice, "bob", 10, 0, "hi");
    cluster.send(bob, "alice", 10, 0, "hi");
    for _ in 0..20 {
        cluster.send(bob, "alice", 20, 10, "hi");
        let refused = cluster.take(bob).all::<ErrorFrame>()[0];
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::BudgetExceeded as u16, wait_ms));
    }
    let named = cluster.reactors[0].node.take_over_budget();
    assert_eq!(named, Some(OverBudget::Network(Network::of(ADDRESS), bob.user)));
    cluster.later(wait_ms.into());
    cluster.send(bob, "alice", 20, 10, "hi");
    cluster.commit();
    assert_eq!(cluster.take(bob).all::<Sent>().len(), 2, "its own budget is not spent by what was refused");
}

/// Whoever asks for history on many sessions and reads none of it has a share, and when all places are taken the one who has not read for longest
/// makes room for somebody else.
#[test]
fn who_does_not_read_its_history_loses_its_place_and_not_others_theirs() {
    let mut cluster = Cluster::with(1, |config| NodeConfig { entities_max: 10_000, ..config });
    let (mut conn, text) = (0, "x".repeat(60_000));
    let mut connect = |cluster: &mut Cluster, name: &str, device| {
        conn += 1;
        cluster.live(name, device, conn)
    };
    let bob = connect(&mut cluster, "bob", 1);
    let fetch_of = |user: UserId| {
        let conversation = ConversationId::direct(user, bob.user);
        Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward }
    };
    let write = |cluster: &mut Cluster, device: Device| {
        for id in 1..=4 {
            cluster.send(device, "bob", id, id - 1, &text);
            cluster.commit();
        }
        cluster.take(device);
        cluster.take(bob);
    };
    let mut full = false;
    for user in 0..40 {
        let name = format!("deaf{user}");
        let sessions = [1, 2, 3].map(|device| connect(&mut cluster, &name, device));
        write(&mut cluster, sessions[0]);
        for device in sessions {
            cluster.take(device);
            for _ in 0..16 {
                cluster.ask(device, &fetch_of(device.user));
                cluster.serve_reads();
            }
        }
        if user == 0 {
            let refused = |device: Device| cluster.reactors[0].world.outs[&device.conn.0].len() < 2000;
            assert!(!refused(sessions[0]) && refused(sessions[2]), "the third session is beyond the user's share");
        }
        full = cluster.reactors[0].node.fetches() == tidings_core::limits::FETCHES;
        if full {
            break;
        }
    }
    assert!(full, "all places are taken");
    let eve = connect(&mut cluster, "eve", 1);
    write(&mut cluster, eve);
    cluster.ask(eve, &fetch_of(eve.user));
    assert_eq!(cluster.take(eve).error().0, ErrorCode::Busy, "they may still read");
    cluster.later(tidings_core::limits::FETCH_PLACE_MS);
    cluster.ask(eve, &fetch_of(eve.user));
    for _ in 0..10 {
        cluster.serve_reads();
    }
    assert_eq!(cluster.take(eve).kinds(), [vec![Kind::Message; 4], vec![Kind::Fetched]].concat());
}

/// Who begins conversation after conversation is refused long before who writes in those that are there.
#[test]
fn a_new_conversation_costs_more_than_a_message() {
    let (first, cost) = (SEND_COST + 2 + CONVERSATION_COST, SEND_COST + 2);
    let user_budget = Budget::new(2 * (first + BATCH_COST + cost), 4_000_000);
    let mut cluster = Cluster::with(1, |config| NodeConfig { user_budget, ..config });
    let alice = cluster.live("alice", 1, 1);
    cluster.send(alice, "bob", 10, 0, "hi");
    cluster.send(alice, "invented", 20, 0, "hi");
    assert_eq!(cluster.take(alice).error().0, ErrorCode::BudgetExceeded);
    cluster.send(alice, "bob", 30, 10, "hi");
    cluster.commit();
    assert_eq!(cluster.take(alice).all::<Sent>().len(), 2);
}

/// Bytes count in a user's rate, not messages alone, so that nobody keeps the disk busy for all others.
#[test]
fn a_long_message_takes_more_of_its_users_rate() {
    let user_rate = Rate { per_second: 10, burst: 20 };
    let mut cluster = Cluster::with(1, |config| NodeConfig { user_rate, ..config });
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    let long = "x".repeat(15 * LONG_SEND);
    cluster.later(5_000); // what it took to come has come back
    cluster.send(alice, "bob", 10, 0, &long);
    cluster.commit();
    assert_eq!(cluster.take(alice).kinds(), [Kind::Sent]);
    cluster.send(alice, "bob", 20, 10, &long);
    let refused = cluster.take(alice).all::<ErrorFrame>()[0];
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited as u16, 1200));
    cluster.send(bob, "alice", 10, 0, &long);
    cluster.commit();
    assert_eq!(cluster.take(bob).all::<Sent>().len(), 1, "another user has its own");
    cluster.later(1300);
    cluster.send(alice, "bob", 20, 10, &long);
    cluster.commit();
    assert_eq!(cluster.take(alice).all::<Sent>().len(), 1);
}

/// Pages of history have a rate of their own: who reads all it can does so for a moment, and leaves the reactor to others then.
#[test]
fn pages_of_history_have_a_rate() {
    let mut cluster = Cluster::new(1);
    let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    cluster.send(alice, "bob", 10, 0, "x");
    cluster.commit();
    let conversation = ConversationId::direct(alice.user, bob.user);
    let fetch = |cluster: &mut Cluster, device| {
        let (from, upto, limit, order) = (Seq(0), Seq(0), 1, FetchOrder::Last);
        cluster.take(device);
        cluster.ask(device, &Fetch { conversation, from, upto, limit, order });
        cluster.serve_reads();
        let out = cluster.take(device);
        let error = out.all::<ErrorFrame>().first().map(|error| (error.code, error.retry_after_ms));
        (out.all::<Fetched>().len(), error)
    };
    for _ in 0..HISTORY_RATE.burst {
        assert_eq!(fetch(&mut cluster, alice), (1, None));
    }
    let wait_ms = 1000 / HISTORY_RATE.per_second;
    assert_eq!(fetch(&mut cluster, alice), (0, Some((ErrorCode::RateLimited as u16, wait_ms))));
    assert_eq!(fetch(&mut cluster, bob), (1, None));
    cluster.later(wait_ms.into());
    assert_eq!(fetch(&mut cluster, alice), (1, None));
}
