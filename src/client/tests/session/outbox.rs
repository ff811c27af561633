//! What waits to be sent: how much that may be, and who leaves once it is gone.

use tidings_client::{Config, Content, ErrorCode, Event, Seq, Session};
use tidings_wire::frames::*;

use super::peer::*;

/// An application that writes while there is no server does not take all memory.
#[test]
fn what_waits_to_be_sent_is_bounded() {
    // Two messages fit, and not three.
    const ROOM: usize = 2400;
    let say = |session: &mut Session| session.send(user("bob"), &[7; 1000]);
    let busy = |id| Event::SendFailed { conversation: here(), id, code: ErrorCode::Busy };
    let mut peer = Peer::live(Config { outbox_bytes: ROOM, ..config() });
    peer.events();
    let ids: Vec<_> = (0..3).map(|_| say(&mut peer.session)).collect();
    assert_eq!(peer.events(), [busy(ids[2])]);
    let sent = peer.sent().all::<Send>();
    assert_eq!(sent.len(), 2);
    peer.give(&sent_as(sent[0].0, &sent[0].1, 1));
    peer.events();
    let next = say(&mut peer.session);
    assert_eq!(peer.sent().all::<Send>()[0].1.client_msg_id, next, "there is room again");
    // What was saved counts.
    let state = peer.session.save().unwrap();
    let mut restarted = Session::new(Config { outbox_bytes: ROOM, state, ..config() });
    let id = say(&mut restarted);
    assert_eq!(restarted.poll_event(), Some(busy(id)));
}

/// A message that grows takes the room of the longest that it may become, and so it can always end.
#[test]
fn what_was_opened_has_room_to_end_and_what_has_none_is_not_opened() {
    let mut small = Session::new(Config { outbox_bytes: 60_000, ..config() });
    let stream = small.open_stream_to(user("bob"), Content::default());
    let code = ErrorCode::Busy;
    assert_eq!(small.poll_event(), Some(Event::SendFailed { conversation: here(), id: stream, code }));
    assert_eq!(small.poll_event(), Some(Event::StreamFailed { stream, conversation: here(), code }));
    assert!(small.open_streams() == 0 && !small.write_on(stream, b"x"));
    let mut peer = Peer::live(Config { outbox_bytes: 70_000, ..config() });
    let stream = peer.session.open_stream_to(user("bob"), Content::default());
    let opened = peer.sent().all::<Send>()[0];
    while !peer.events().iter().any(|event| matches!(event, Event::SendFailed { .. })) {
        peer.session.send(user("bob"), &[7; 1000]);
    }
    assert!(peer.session.write_on(stream, &[8; 50_000]));
    peer.session.end_stream(stream);
    peer.give(&sent_as(opened.0, &opened.1, 1));
    let ends: Vec<_> = peer.sent().all::<Send>().into_iter().filter(|(_, send)| send.target == Seq(1)).collect();
    assert_eq!(ends.len(), 1);
    assert!(peer.events().iter().all(|event| !matches!(event, Event::SendFailed { .. })));
}

#[test]
fn a_session_leaves_once_all_it_said_is_durable_and_heard_of() {
    let mut peer = Peer::live(config());
    peer.events();
    let id = peer.session.send(user("bob"), b"last words");
    peer.session.leave_when_sent();
    assert_eq!(peer.events(), []);
    assert!(!peer.session.is_closed(), "it waits for its answer");
    let (request, send) = peer.sent().all::<Send>()[0];
    // Also over a reconnect.
    peer.session.disconnected(peer.now);
    assert_eq!(peer.events(), [Event::Disconnected]);
    peer.connect_with(|sent| {
        let again: Vec<_> = sent.all::<Send>().iter().map(|(_, again)| again.client_msg_id).collect();
        assert_eq!((again, send.client_msg_id), (vec![id], id));
    });
    peer.give(&sent_as(request, &send, 1));
    assert!(!peer.session.is_closed(), "nobody has heard of it");
    let events = peer.events();
    assert!(events.iter().any(|event| matches!(event, Event::Sent { .. })), "{events:?}");
    assert!(peer.session.is_closed());
    assert_eq!(peer.sent().all::<Bye>().len(), 1);
}
