//! Messages that grow: own ones go out piece by piece, again where the server lacks something, and whole at the end; of others what is missing is asked for.

use tidings_client::{Content, Control, ErrorCode, Event, Seq, streamed_control::*};
use tidings_wire::{
    Frame, Kind,
    frame::FrameBuilder,
    frames::{self, ErrorFrame, Fragment, Message, MessageFlags, More, Send, Setting, SettingKey},
    split,
};

use super::peer::*;

/// The pieces that went out: their offsets and what they say.
fn pieces(sent: &Sent) -> Vec<(u32, String)> {
    let of_it = sent.0.iter().filter(|(kind, ..)| *kind == Kind::Fragment);
    let read = |bytes: &Vec<u8>| {
        let frame: Frame<'_> = split(bytes, u32::MAX).unwrap().unwrap();
        let fragment: Fragment = frame.fixed().unwrap();
        (fragment.offset, String::from_utf8(frame.var(fragment.bytes).unwrap().to_vec()).unwrap())
    };
    of_it.map(|(.., bytes)| read(bytes)).collect()
}

fn piece(offset: u32, text: &str) -> (u32, String) {
    (offset, text.into())
}

fn fragment(seq: u64, offset: u32, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Fragment>::new(&mut bytes);
    let (crc, span) = (Fragment::crc_of(text.as_bytes()), frame.var(text.as_bytes()));
    frame.finish(0, &Fragment { conversation: here(), seq: Seq(seq), offset, crc, bytes: span });
    bytes
}

fn sent_as(peer: &mut Peer, client_msg_id: tidings_client::ClientMsgId, seq: u64) {
    let (conversation, ts) = (here(), tidings_client::Timestamp(seq));
    peer.give(&bytes_of(0, &frames::Sent { conversation, client_msg_id, seq: Seq(seq), ts, ordinal: seq }));
}

#[test]
fn what_is_written_goes_out_once_the_message_has_a_number_and_again_where_the_server_lacks_it() {
    let mut peer = Peer::live(super::config());
    peer.events();
    let stream = peer.session.open_stream_to(user("bob"), Content::default());
    assert!(peer.session.write_on(stream, b"Once "));
    let sent = peer.sent();
    assert_eq!((sent.all::<Send>()[0].1.control, pieces(&sent)), (OPEN, vec![]));
    sent_as(&mut peer, stream, 1);
    assert_eq!(pieces(&peer.sent()), [piece(0, "Once ")]);
    peer.session.write_on(stream, b"upon ");
    peer.session.write_on(stream, b"a");
    assert_eq!(pieces(&peer.sent()), [piece(5, "upon "), piece(10, "a")]);
    // One was lost on the way.
    peer.give(&bytes_of(0, &More { conversation: here(), seq: Seq(1), offset: 5 }));
    assert_eq!(pieces(&peer.sent()), [piece(5, "upon a")]);
    // Nothing is written for a while: the server hears that the writer is there.
    peer.later(19_999);
    assert!(pieces(&peer.sent()).is_empty());
    peer.later(1);
    assert_eq!(pieces(&peer.sent()), [piece(11, "")]);
    // It is too much: then it is asked what is there, and what is written goes out in fewer pieces.
    let error = ErrorFrame { retry_after_ms: 500, ..ErrorFrame::new(ErrorCode::RateLimited, Kind::Fragment as u8) };
    peer.session.write_on(stream, b" time");
    peer.sent();
    peer.give(&bytes_of(stream.0, &error));
    peer.session.write_on(stream, b" there");
    peer.later(499);
    assert!(pieces(&peer.sent()).is_empty());
    peer.later(1);
    assert_eq!(pieces(&peer.sent()), [piece(16, "")]);
    peer.give(&bytes_of(0, &More { conversation: here(), seq: Seq(1), offset: 11 }));
    peer.later(999);
    assert!(pieces(&peer.sent()).is_empty());
    peer.later(1);
    assert_eq!(pieces(&peer.sent()), [piece(11, " time there")]);
    // The connection goes, and the server has forgotten all.
    peer.session.disconnected(peer.now);
    peer.connect_with(|sent| assert_eq!(pieces(sent), [piece(22, "")]));
    peer.give(&bytes_of(0, &More { conversation: here(), seq: Seq(1), offset: 0 }));
    assert_eq!(pieces(&peer.sent()), [piece(0, "Once upon a time there")]);

    peer.events();
    peer.session.end_stream(stream);
    peer.session.end_stream(stream);
    assert!(!peer.session.write_on(stream, b"!"), "it is whole");
    let ends = peer.sent().all::<Send>();
    assert_eq!((ends.len(), ends[0].1.control, ends[0].1.target, ends[0].1.payload.len), (1, END, Seq(1), 22));
    sent_as(&mut peer, ends[0].1.client_msg_id, 2);
    let conversation = here();
    let events = peer.events();
    assert!(events.contains(&Event::StreamEnded { stream, conversation, seq: Seq(1) }), "{events:?}");
    assert_eq!(peer.session.open_streams(), 0);
}

#[test]
fn a_message_that_cannot_be_opened_or_was_ended_before_fails_under_its_name() {
    let mut peer = Peer::live(super::config());
    let refusal =
        |id, code| ErrorFrame { conversation: here(), client_msg_id: id, ..ErrorFrame::new(code, Kind::Send as u8) };
    let fails = |peer: &mut Peer, stream, code| {
        let failed = Event::StreamFailed { stream, conversation: here(), code };
        assert!(peer.events().contains(&failed));
        assert!(!peer.session.write_on(stream, b"x"));
    };
    let first = peer.session.open_stream_to(user("bob"), Content::default());
    peer.give(&bytes_of(0, &refusal(first, ErrorCode::TooMany)));
    fails(&mut peer, first, ErrorCode::TooMany);
    // It is written and ended before it has a number: the end waits for it.
    let second = peer.session.open_stream_to(user("bob"), Content::default());
    peer.session.write_on(second, b"x");
    peer.session.end_stream(second);
    peer.sent();
    sent_as(&mut peer, second, 1);
    let sent = peer.sent();
    let end = sent.all::<Send>()[0].1;
    assert_eq!((end.control, pieces(&sent).len()), (END, 0), "all of it is in the end");
    peer.give(&bytes_of(0, &refusal(end.client_msg_id, ErrorCode::TargetInvalid)));
    fails(&mut peer, second, ErrorCode::TargetInvalid);
    // More than a message may say is not taken, nor what the server refused for good.
    let third = peer.session.open_stream_to(user("bob"), Content::default());
    sent_as(&mut peer, third, 2);
    assert!(peer.session.write_on(third, &[b'x'; 65536]) && !peer.session.write_on(third, b"x"));
    assert_eq!(pieces(&peer.sent()).len(), 16, "a whole message is sent at once");
    peer.give(&bytes_of(third.0, &ErrorFrame::new(ErrorCode::TargetInvalid, Kind::Fragment as u8)));
    peer.later(30_000);
    assert!(pieces(&peer.sent()).is_empty());
}

fn grown(events: Vec<Event>) -> Vec<(u32, String)> {
    let of_it = |event| match event {
        Event::Grew { offset, bytes, .. } => Some((offset, String::from_utf8(bytes).unwrap())),
        _ => None,
    };
    events.into_iter().filter_map(of_it).collect()
}

#[test]
fn what_others_write_is_told_in_order_and_what_is_missing_is_asked_for() {
    let mut peer = Peer::live(super::config());
    let opened = |control: Control, target| {
        move |message: &mut Message| (message.control, message.target) = (control, Seq(target))
    };
    peer.give(&fragment(1, 0, "early"));
    peer.give(&message_with(0, 1, opened(OPEN, 0)));
    assert!(grown(peer.events()).is_empty(), "it was not known yet");
    peer.give(&fragment(1, 0, "early "));
    peer.give(&fragment(1, 0, "early "));
    peer.give(&fragment(1, 3, "ly bird"));
    assert_eq!(grown(peer.events()), [piece(0, "early "), piece(6, "bird")]);
    peer.sent();
    // One is lost.
    peer.give(&fragment(1, 20, "xy"));
    peer.give(&fragment(1, 22, "z"));
    let asked = peer.sent().all::<More>();
    assert_eq!((asked.len(), asked[0].1), (1, More { conversation: here(), seq: Seq(1), offset: 10 }));
    peer.give(&fragment(1, 10, " catches--xyz"));
    assert_eq!(grown(peer.events()), [piece(10, " catches--xyz")]);
    // After a reconnect it is asked what came meanwhile; after the end nothing is.
    peer.session.disconnected(peer.now);
    let request = peer.connect_with(|sent| assert_eq!(sent.all::<More>()[0].1.offset, 23));
    peer.give(&changed(request, &[], 5, 0));
    peer.give(&message_with(0, 2, opened(END, 1)));
    peer.give(&fragment(1, 23, "late"));
    assert!(grown(peer.events()).is_empty());
    peer.session.disconnected(peer.now);
    peer.connect_with(|sent| assert!(sent.all::<More>().is_empty()));
    // One that has ended when it comes does not grow.
    peer.give(&message_with(0, 3, |message| {
        (message.control, message.flags) = (OPEN, MessageFlags(MessageFlags::ENDED));
    }));
    peer.later(5_000);
    assert!(peer.sent().all::<More>().is_empty());
    // A question that is refused for a while is asked again; one that is refused for good is not.
    peer.give(&message_with(0, 4, opened(OPEN, 0)));
    peer.give(&message_with(0, 5, opened(OPEN, 0)));
    peer.later(1_000);
    let asked = peer.sent().all::<More>();
    assert_eq!(asked.iter().map(|(_, more)| more.seq.0).collect::<Vec<_>>(), [4, 5]);
    let refusal = |code| ErrorFrame { retry_after_ms: 50, ..ErrorFrame::new(code, Kind::More as u8) };
    peer.give(&bytes_of(asked[0].0, &refusal(ErrorCode::RateLimited)));
    peer.give(&bytes_of(asked[1].0, &refusal(ErrorCode::NotMember)));
    peer.later(2_000);
    let again = peer.sent().all::<More>();
    assert_eq!(again.iter().map(|(_, more)| more.seq.0).collect::<Vec<_>>(), [4]);
    // Whoever blocks somebody is told no more of what it writes.
    peer.give(&fragment(4, 0, "a"));
    peer.give(&bytes_of(0, &Setting { conversation: here(), key: SettingKey::BLOCKED, value: 1, peer: user("bob") }));
    peer.give(&fragment(4, 1, "b"));
    assert_eq!(grown(peer.events()), [piece(0, "a")]);
    // A harmed piece is the network's fault.
    let mut harmed = fragment(3, 0, "x");
    *harmed.last_mut().unwrap() ^= 1;
    peer.give(&harmed);
    assert!(!peer.session.is_up());
}
