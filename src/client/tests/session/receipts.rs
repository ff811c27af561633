//! Receipts, and what is unread.

use tidings_client::{Config, Event, Seq, Timestamp, Uv};
use tidings_wire::frames::*;

use crate::peer::*;

/// DELIVERED is repeated until it is durable, and not after that.
#[test]
fn receipts_are_repeated_until_they_are_durable() {
    let mut peer = Peer::live(config());
    peer.give(&message(0, 1));
    peer.events();
    assert_eq!(peer.sent().all::<Delivered>()[0].1.upto, Seq(1));
    peer.now = peer.now.plus_ms(3_000);
    peer.session.tick(peer.now);
    assert_eq!(peer.sent().all::<Delivered>().len(), 1, "again");
    peer.give(&bytes_of(0, &ReceiptOk { conversation: here(), delivered: Seq(1), read: Seq(0), uv: Uv(0), seen: 0 }));
    peer.now = peer.now.plus_ms(3_000);
    peer.session.tick(peer.now);
    assert!(peer.sent().all::<Delivered>().is_empty());
    assert!(peer.session.receipts_settled());
}

/// What the server is told to be delivered, the application has: not only the session.
#[test]
fn delivered_is_told_once_the_application_took_the_message_and_survives_a_restart() {
    let mut peer = Peer::live(config());
    peer.give(&[message(0, 1), message(0, 2)].concat());
    assert!(peer.sent().all::<Delivered>().is_empty());
    assert_eq!(numbers(&peer.events()), [1, 2]);
    assert_eq!(peer.sent().all::<Delivered>()[0].1.upto, Seq(2));
    let receipt = Receipt { conversation: here(), member: user("bob"), delivered: Seq(2), read: Seq(1) };
    peer.give(&bytes_of(0, &receipt));
    peer.events();

    // It stops before RECEIPT_OK: the restarted one tells it again, and still knows how far bob is.
    let state = peer.session.save().unwrap();
    let mut restarted = Peer::new(Config { state, ..config() });
    restarted.now = restarted.now.plus_ms(60_000);
    assert!(restarted.session.wants_connection(restarted.now));
    restarted.session.connected(restarted.now);
    let hello = restarted.sent().all::<Hello>();
    restarted.give(&bytes_of(hello[0].0, &welcome(LINEAGE)));
    assert_eq!(restarted.sent().all::<Delivered>()[0].1.upto, Seq(2));
    restarted
        .give(&bytes_of(0, &ReceiptOk { conversation: here(), delivered: Seq(2), read: Seq(1), uv: Uv(0), seen: 1 }));
    let known = restarted.events().into_iter().find_map(|event| match event {
        Event::Conversation { peers, .. } => Some((peers.delivered, peers.read)),
        _ => None,
    });
    assert_eq!(known, Some((Seq(2), Seq(1))));
}

/// What is unread follows from what comes, own messages among it, also where SENT answers a repeat and does not say which message it is.
#[test]
fn unread_falls_by_reading_and_by_writing() {
    let mut peer = Peer::live(config());
    let unread = |peer: &Peer| peer.session.unread(here());
    peer.give(&[message(0, 1), message(0, 2), message(0, 3)].concat());
    assert_eq!(unread(&peer), 3);
    peer.session.read(here(), Seq(2), 2);
    assert_eq!((unread(&peer), peer.sent().all::<Read>()[0].1.ordinal), (1, 2));
    let id = peer.session.send(user("bob"), b"four");
    let request = peer.sent().all::<Send>()[0].0;
    let repeated = tidings_wire::frames::Sent {
        conversation: here(),
        client_msg_id: id,
        seq: Seq(4),
        ts: Timestamp(0),
        ordinal: 0,
    };
    peer.give(&bytes_of(request, &repeated));
    assert_eq!(unread(&peer), 0, "it is the fourth, since three came before it");
    peer.give(&[message(0, 5), message(0, 6)].concat());
    let ok = ReceiptOk { conversation: here(), delivered: Seq(5), read: Seq(5), uv: Uv(0), seen: 5 };
    peer.give(&bytes_of(0, &ok));
    assert_eq!(unread(&peer), 1, "another device read the fifth");
    peer.events();
    let state = peer.session.save().unwrap();
    assert_eq!(Peer::new(Config { state, ..config() }).session.unread(here()), 1);
}

/// A device that stops between the list and the messages knows that there are more: what it has last is not all.
#[test]
fn what_was_not_fetched_before_a_restart_is_not_read_with_the_last_that_was() {
    let mut peer = Peer::new(config());
    let request = peer.connect(LINEAGE);
    peer.give(&changed(request, &[(here(), 2)], 50, 0));
    peer.serve_fetches(2, 7);
    peer.events();
    peer.give(&changed(0, &[(here(), 100)], 60, 0));
    peer.events();
    let state = peer.session.save().unwrap();
    let mut restarted = Peer::new(Config { state, ..config() });
    restarted.session.read(here(), Seq(2), 2);
    assert_eq!(restarted.session.unread(here()), 98);
    restarted.connect(LINEAGE);
    restarted.now = restarted.now.plus_ms(3_000);
    restarted.session.tick(restarted.now);
    assert_eq!(restarted.sent().all::<Read>()[0].1, Read { conversation: here(), upto: Seq(2), ordinal: 2 });
}

/// What the user has seen on another device says nothing of a READ that waits here.
#[test]
fn a_read_is_repeated_until_both_of_its_numbers_are_durable() {
    let mut peer = Peer::live(config());
    peer.give(&[message(0, 1), message(0, 2)].concat());
    peer.events();
    peer.session.read(here(), Seq(2), 2);
    let reads = |peer: &mut Peer| {
        peer.now = peer.now.plus_ms(3_000);
        peer.session.tick(peer.now);
        peer.sent().all::<Read>().len()
    };
    peer.sent();
    for (read, seen) in [(0, 7), (2, 0), (2, 1)] {
        peer.give(&bytes_of(
            0,
            &ReceiptOk { conversation: here(), delivered: Seq(2), read: Seq(read), uv: Uv(0), seen },
        ));
        assert_eq!((reads(&mut peer), peer.session.receipts_settled()), (1, false), "read {read}, seen {seen}");
    }
    peer.give(&bytes_of(0, &ReceiptOk { conversation: here(), delivered: Seq(2), read: Seq(2), uv: Uv(0), seen: 2 }));
    assert_eq!((reads(&mut peer), peer.session.receipts_settled()), (0, true));
}
