//! What is left undone where there is too much to do, in its order; and many who come back at once.

use tidings_core::{
    Mono, Now,
    limits::{RESUMES_PER_TURN, SHED_RETRY_MS, SHED_WINDOW},
    shedding::{Backlog, Stage},
};
use tidings_testkit::{Cluster, Device, in_all_layouts};
use tidings_wire::{
    ConversationId, ErrorCode, Kind, Lineage, Seq, UserId, Uv,
    frame::FrameBuilder,
    frames::{Changed, Delivered, Doing, ErrorFrame, More, Receipt, Resume, Sent, Typing, Watch},
    limits::WINDOW,
};

/// Every reactor is behind for so long, or is not.
fn behind(cluster: &mut Cluster, ms: u64) {
    let Now { mono, .. } = cluster.now;
    for reactor in &mut cluster.reactors {
        reactor.node.look_at_load(Backlog::Nothing, mono);
        reactor.node.look_at_load(Backlog::LeftOver, mono);
    }
    cluster.now.mono = mono.plus_ms(ms);
    let now = cluster.now.mono;
    cluster.reactors.iter_mut().for_each(|reactor| reactor.node.look_at_load(Backlog::LeftOver, now));
}

fn calm(cluster: &mut Cluster) {
    for _ in 0..4 {
        cluster.now.mono = Mono(cluster.now.mono.0 + 500_000_000);
        let now = cluster.now.mono;
        cluster.reactors.iter_mut().for_each(|reactor| reactor.node.look_at_load(Backlog::Nothing, now));
    }
    assert!(cluster.reactors.iter().all(|reactor| reactor.node.shedding() == Stage::Calm));
}

fn watch(cluster: &mut Cluster, who: Device, user: UserId) {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Watch>::new(&mut bytes);
    let users = frame.var(&user.0);
    frame.finish(4, &Watch { conversation: ConversationId::NONE, users });
    cluster.bytes(who, &bytes);
}

/// What still works: typing, who is there, receipts, more than a few SENDs at once.
fn works(cluster: &mut Cluster, (alice, bob): (Device, Device), (upto, next): (u64, u64)) -> [bool; 4] {
    let conversation = ConversationId::direct(alice.user, bob.user);
    [alice, bob].into_iter().for_each(|who| drop(cluster.take(who)));
    cluster.ask(alice, &Typing { conversation, user: UserId::NONE, doing: Doing::TYPING });
    let typing = cluster.take(bob).kinds().contains(&Kind::Typing);
    watch(cluster, alice, bob.user);
    let out = cluster.take(alice);
    let presence = out.kinds() == [Kind::Presence];
    assert!(presence || out.error().1.retry_after_ms == SHED_RETRY_MS);
    cluster.ask(alice, &More { conversation, seq: Seq(1), offset: 0 });
    assert_eq!(cluster.take(alice).kinds().is_empty(), presence, "what is being written goes with it");
    cluster.ask(bob, &Delivered { conversation, upto: Seq(upto) });
    cluster.later(100);
    cluster.commit();
    let receipts = !cluster.take(alice).all::<Receipt>().is_empty();
    for id in next..next + u64::from(WINDOW) {
        cluster.send(alice, "bob", id, id - 1, "x");
    }
    cluster.commit();
    let out = cluster.take(alice);
    let (sent, refused) = (out.all::<Sent>().len(), out.all::<ErrorFrame>());
    assert_eq!(sent + refused.len(), WINDOW as usize);
    for error in &refused[..refused.len().min(1)] {
        assert_eq!((error.code, sent), (ErrorCode::Overloaded as u16, usize::from(SHED_WINDOW)));
        assert!((SHED_RETRY_MS..2 * SHED_RETRY_MS).contains(&error.retry_after_ms));
    }
    [typing, presence, receipts, refused.is_empty()]
}

#[test]
fn what_is_shed_is_shed_in_its_order_and_nothing_else_is() {
    in_all_layouts(|cluster, alice, bob| {
        cluster.send(alice, "bob", 1, 0, "x");
        cluster.commit();
        let (mut upto, mut next) = (1, 2);
        for (ms, expected) in [
            (0, [true; 4]),
            (100, [false, true, true, true]),
            (250, [false, false, true, true]),
            (500, [false, false, false, true]),
            (2000, [false; 4]),
        ] {
            behind(cluster, ms);
            assert_eq!(works(cluster, (alice, bob), (upto, next)), expected, "behind for {ms} ms");
            // Messages were stored and are told, whatever the stage.
            let sent = if expected[3] { u64::from(WINDOW) } else { u64::from(SHED_WINDOW) };
            assert_eq!(cluster.take(bob).texts().len() as u64, sent);
            (upto, next) = (upto + sent, next + sent);
            calm(cluster);
        }
        assert_eq!(works(cluster, (alice, bob), (upto, next)), [true; 4]);
    });
}

#[test]
fn many_who_come_back_at_once_are_answered_over_several_turns() {
    let mut cluster = Cluster::new(1);
    let many = 3 * RESUMES_PER_TURN;
    let devices: Vec<_> = (0..many).map(|at| cluster.connect(&format!("user{at}"), 1, at as u64)).collect();
    cluster.later(0);
    let resume = Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 };
    let mut bytes = Vec::new();
    tidings_wire::frame::append(&mut bytes, 9, &resume);
    let frame = tidings_wire::split(&bytes, 1 << 16).unwrap().unwrap();
    let now = cluster.now;
    let reactor = &mut cluster.reactors[0];
    // All in one turn; one asks twice.
    devices.iter().for_each(|device| reactor.node.at(now, &mut reactor.world).frame(device.id, &frame));
    reactor.node.at(now, &mut reactor.world).frame(devices[many - 1].id, &frame);
    let answered = |cluster: &mut Cluster| -> usize {
        devices.iter().map(|device| cluster.take(*device).all::<Changed>().len()).sum()
    };
    let last = cluster.take(devices[many - 1]).error();
    assert_eq!((last.0, last.1.of_kind), (ErrorCode::RateLimited, Kind::Resume as u8));
    for _ in 0..3 {
        assert_eq!(answered(&mut cluster), RESUMES_PER_TURN);
        let now = cluster.now;
        cluster.reactors[0].timeout(now);
    }
    assert_eq!(answered(&mut cluster), 0);
}
