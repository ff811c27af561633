//! What it takes to add a feature: its file, which is this one, and its line in the table. Numbering, repeats, storage, delivery, recovery
//! and dropping come with it.

use tidings_core::{
    NodeConfig,
    features::{Act, Actors, Allowed, Changes, FEATURES, Feature, Row, Seen, Situation, Weight},
};
use tidings_testkit::{Cluster, Device, Reactor, frames::Attempt, user};
use tidings_wire::{
    ConversationId, ErrorCode, Generation, Seq,
    frames::{Control, ErrorFrame, Fetch, FetchOrder, Message, MessageFlags, Sent},
};

/// Pins one message of a conversation, with a label.
#[derive(Debug)]
struct Pin;

const PIN: Control = Control(900);

impl Feature for Pin {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        if act.body.len() > 32 {
            return Err(ErrorCode::BodyInvalid);
        }
        if act.target > seen.head() {
            return Err(ErrorCode::FutureSeq);
        }
        // A pin comes before it is taken away.
        if act.body.is_empty() && seen.kept().is_empty() { Err(ErrorCode::BodyInvalid) } else { Ok(Allowed::New) }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.keep(seen, act.body);
    }
}

const TABLE: &[Row] =
    &[FEATURES[0], Row { control: PIN, name: "pin", weight: Weight::Control, actors: Actors::Members, feature: &Pin }];

fn cluster(reactors: u16) -> Cluster {
    Cluster::with(reactors, |config| NodeConfig { features: TABLE, ..config })
}

fn act(cluster: &mut Cluster, from: Device, (id, prev): (u64, u64), control: Control, target: u64, body: &[u8]) {
    let conversation = ConversationId::direct(from.user, user("bob"));
    let payload = &b"for people"[..];
    let attempt = Attempt { control, target, body, payload, ..Attempt::to(conversation, user("bob"), (id, prev)) };
    cluster.bytes(from, &attempt.bytes());
}

fn refused(cluster: &mut Cluster, from: Device) -> ErrorCode {
    ErrorCode::from_u16(cluster.take(from).all::<ErrorFrame>()[0].code).unwrap()
}

#[test]
fn a_feature_is_numbered_delivered_stored_and_recovered_like_text() {
    for reactors in 1..=3 {
        let mut cluster = cluster(reactors);
        let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
        cluster.send(alice, "bob", 1, 0, "text");
        act(&mut cluster, alice, (2, 1), PIN, 1, b"first");
        cluster.send(alice, "bob", 3, 2, "more text");
        cluster.commit();
        let told = cluster.take(bob);
        let messages = told.all::<Message>();
        let of = |message: &Message| (message.seq.0, message.control, message.target.0, message.ordinal);
        let expected = [(1, Control::TEXT, 0, 1), (2, PIN, 1, 1), (3, Control::TEXT, 0, 2)];
        assert_eq!(messages.iter().map(of).collect::<Vec<_>>(), expected);
        assert_eq!(messages[1].flags.0, MessageFlags::CONTROL, "old clients do not show it as text");
        assert_eq!(told.frames()[1].var(messages[1].body).unwrap(), b"first");
        assert_eq!(cluster.take(alice).all::<Sent>().len(), 3);

        // What a feature forbids, what nobody knows, and what text does not have.
        for (control, target, body, code) in [
            (PIN, 9, &b"x"[..], ErrorCode::FutureSeq),
            (PIN, 1, &[0; 33], ErrorCode::BodyInvalid),
            (Control(901), 1, b"x", ErrorCode::ControlUnknown),
            (Control::TEXT, 0, b"x", ErrorCode::BodyInvalid),
            (Control::TEXT, 9, b"", ErrorCode::TargetInvalid),
        ] {
            act(&mut cluster, alice, (4, 3), control, target, body);
            assert_eq!(refused(&mut cluster, alice), code);
        }
        // A repeat is answered, and changes nothing.
        act(&mut cluster, alice, (2, 1), PIN, 1, b"first");
        assert_eq!(cluster.take(alice).all::<Sent>()[0].seq, Seq(2));

        // Rows, records and a running node agree, also while an act is proposed.
        act(&mut cluster, alice, (4, 3), PIN, 3, b"second");
        let before: Vec<_> = cluster.reactors.iter().map(Reactor::records).collect();
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.start_evacuation(Generation(1)));
        cluster.later(0);
        cluster.commit();
        cluster.later(0);
        cluster.commit();
        for (reactor, from) in cluster.reactors.iter().zip(before) {
            let digests: Vec<_> = reactor.node.digests().collect();
            assert_eq!(reactor.replayed(0).digests().collect::<Vec<_>>(), digests);
            assert_eq!(reactor.replayed(from).digests().collect::<Vec<_>>(), digests);
        }
        let conversation = ConversationId::direct(alice.user, bob.user);
        cluster.take(bob);
        cluster.ask(bob, &Fetch { conversation, from: Seq(2), upto: Seq(2), limit: 0, order: FetchOrder::Upward });
        cluster.serve_reads();
        assert_eq!(cluster.take(bob).all::<Message>()[0].control, PIN);
    }
}

/// What is proposed is seen by what is judged after it, and is gone if it is dropped.
#[test]
fn an_act_that_is_dropped_is_not_seen_by_the_next() {
    let mut cluster = cluster(1);
    let (alice, _bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
    cluster.send(alice, "bob", 1, 0, "text");
    cluster.commit();
    cluster.take(alice);
    act(&mut cluster, alice, (2, 1), PIN, 1, b"");
    assert_eq!(refused(&mut cluster, alice), ErrorCode::BodyInvalid, "nothing is pinned");
    let before = cluster.digests();
    act(&mut cluster, alice, (2, 1), PIN, 1, b"pinned");
    act(&mut cluster, alice, (3, 2), PIN, 1, b"");
    assert!(cluster.take(alice).0.is_empty(), "a proposed pin can be taken away");
    let Reactor { node, world, .. } = &mut cluster.reactors[0];
    node.at(cluster.now, world).drop_proposed();
    assert_eq!(cluster.take(alice).all::<ErrorFrame>().len(), 2);
    act(&mut cluster, alice, (3, 1), PIN, 1, b"");
    assert_eq!(refused(&mut cluster, alice), ErrorCode::BodyInvalid, "nothing is pinned");
    assert_eq!(cluster.digests(), before);
    act(&mut cluster, alice, (3, 1), PIN, 1, b"again");
    cluster.commit();
    assert_eq!(cluster.take(alice).all::<Sent>()[0].seq, Seq(2));
    assert_ne!(cluster.digests(), before);
}
