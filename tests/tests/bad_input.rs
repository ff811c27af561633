//! Bad input: each gets its typed ERROR or a quiet close, shows in a counter, costs bounded memory and disturbs nobody else.

use std::time::{Duration, Instant};

use tidings::ServerConfig;
use tidings_client::{DeviceId, ErrorCode, Event, Seq, UserId, blocking::Client};
use tidings_tests::{
    Raw, Serving,
    raw::{bytes_of, send_bytes},
    serving::{now, small},
};
use tidings_wire::{
    ClientMsgId, ConversationId, Header, Kind,
    frames::{Delivered, Fetch, FetchOrder, Ping, Read, Sent},
    limits,
};

/// Two people who chat while somebody else misbehaves.
struct Bystanders {
    // Dropped in this order: the server stops last.
    writer: Client,
    reader: Client,
    written: u64,
    serving: Serving,
}

fn wait_for<T>(client: &mut Client, mut want: impl FnMut(Event) -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(event) = client.poll(Duration::from_millis(100)).unwrap()
            && let Some(found) = want(event)
        {
            return found;
        }
    }
    panic!("what was waited for did not come");
}

impl Bystanders {
    fn start(config: ServerConfig) -> Self {
        let serving = Serving::start(config);
        let (mut writer, mut reader) = (serving.client("wendy", 1), serving.client("rick", 1));
        for client in [&mut writer, &mut reader] {
            wait_for(client, |event| (event == Event::Synced).then_some(()));
        }
        let mut this = Self { serving, writer, reader, written: 0 };
        this.still_chat();
        this
    }

    /// A message still goes through, on the connections that were there before.
    fn still_chat(&mut self) {
        self.written += 1;
        self.writer.session().send(UserId::derive("default", "rick"), b"still here");
        let written = self.written;
        let sent = wait_for(&mut self.writer, |event| match event {
            Event::Sent { seq, .. } => Some(seq),
            Event::Disconnected => panic!("a bystander was disconnected"),
            _ => None,
        });
        assert_eq!(sent, Seq(written));
        let read = wait_for(&mut self.reader, |event| match event {
            Event::Message(message) => Some(message.seq),
            Event::Disconnected => panic!("a bystander was disconnected"),
            _ => None,
        });
        assert_eq!(read, Seq(written));
    }

    fn counted(&self, code: ErrorCode) -> u64 {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let count = self.serving.server().shared().errors(code);
            if count > 0 || Instant::now() > until {
                return count;
            }
            std::thread::yield_now();
        }
    }

    /// `bytes` on a new connection, with a session or without, get this error and the end.
    fn is_turned_away(&mut self, greeted: bool, bytes: &[u8], code: ErrorCode) {
        let mut raw = if greeted { self.serving.session("mallory", 1) } else { self.serving.raw() };
        raw.write(bytes);
        raw.expect_error(code);
        raw.expect_close();
        assert!(self.counted(code) > 0, "{code} is counted");
        self.still_chat();
    }
}

/// A PING with one byte changed before the checksum was made, or after it.
fn patched(at: usize, value: u8, checksum: bool) -> Vec<u8> {
    let mut bytes = bytes_of(1, &Ping { opaque: 1 });
    bytes[at] = value;
    if checksum {
        let header = Header { len: 32, kind: bytes[4], flags: 0, class: 0, fixed_len: 8, request_id: 1 };
        header.encode(&mut bytes);
    }
    bytes
}

#[test]
fn broken_framing_is_told_and_closed_before_and_after_hello() {
    let mut by = Bystanders::start(small());
    for greeted in [false, true] {
        by.is_turned_away(greeted, &[0xa5; 64], ErrorCode::FrameTooLarge); // garbage: read as a length
        by.is_turned_away(greeted, &0u32.to_le_bytes(), ErrorCode::Malformed);
        by.is_turned_away(greeted, &15u32.to_le_bytes(), ErrorCode::Malformed);
        by.is_turned_away(greeted, &u32::MAX.to_le_bytes(), ErrorCode::FrameTooLarge);
        by.is_turned_away(greeted, &(limits::FRAME_MAX + 1).to_le_bytes(), ErrorCode::FrameTooLarge);
        by.is_turned_away(greeted, &patched(5, 2, false), ErrorCode::Version);
        by.is_turned_away(greeted, &patched(12, 0, false), ErrorCode::Checksum);
        by.is_turned_away(greeted, &patched(30, 9, false), ErrorCode::Checksum);
    }
}

#[test]
fn random_bytes_never_disturb_anybody() {
    let mut by = Bystanders::start(small());
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..200 {
        let mut raw = if round % 2 == 0 { by.serving.raw() } else { by.serving.session("mallory", round) };
        let mut bytes = bytes_of(1, &Ping { opaque: 1 });
        for _ in 0..8 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 33) as usize % bytes.len();
            bytes[at] = random as u8;
        }
        // With a right checksum, so that the bytes get further than the header.
        let fixed_len = u16::from(random as u8) % 9;
        let header = Header { len: 32, kind: (random >> 20) as u8 % 20, flags: 7, class: 9, fixed_len, request_id: 3 };
        header.encode(&mut bytes);
        raw.write(&bytes);
    }
    by.still_chat();
}

#[test]
fn kinds_that_clients_do_not_send() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    raw.write(&patched(4, 200, true));
    assert_eq!(raw.expect_error(ErrorCode::UnknownKind).of_kind, 200);
    raw.ask(7, &Ping { opaque: 5 });
    assert_eq!(raw.next().unwrap().kind(), Kind::Pong, "an unknown kind is skipped");
    assert!(by.counted(ErrorCode::UnknownKind) > 0);
    let sent =
        Sent { conversation: ConversationId::NONE, client_msg_id: ClientMsgId(1), seq: Seq(1), ts: now(), ordinal: 1 };
    by.is_turned_away(true, &bytes_of(1, &sent), ErrorCode::UnexpectedKind);
}

#[test]
fn a_body_that_fails_bytecheck_or_points_outside_the_frame() {
    let mut by = Bystanders::start(small());
    let conversation = ConversationId::NONE;
    let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    let mut bytes = bytes_of(1, &fetch);
    bytes[24 + 36] = 7; // no such order
    Header { len: 61, kind: Kind::Fetch as u8, flags: 0, class: 0, fixed_len: 37, request_id: 1 }.encode(&mut bytes);
    by.is_turned_away(true, &bytes, ErrorCode::Malformed);

    let mut bytes = send_bytes("mallory", "rick", 1, 0, b"x");
    bytes[24 + 80..24 + 84].copy_from_slice(&u32::MAX.to_le_bytes()); // the payload's offset
    Header { len: 113, kind: Kind::Send as u8, flags: 0, class: 1, fixed_len: 88, request_id: 1 }.encode(&mut bytes);
    by.is_turned_away(true, &bytes, ErrorCode::Malformed);

    let mut short = bytes_of(1, &Ping { opaque: 1 });
    short.truncate(28);
    Header { len: 28, kind: Kind::Ping as u8, flags: 0, class: 0, fixed_len: 4, request_id: 1 }.encode(&mut short);
    by.is_turned_away(true, &short, ErrorCode::Malformed);
}

#[test]
fn a_truncated_frame_and_then_the_end_is_counted() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let bytes = send_bytes("mallory", "rick", 1, 0, b"never whole");
    raw.write(&bytes[..40]);
    drop(raw);
    let until = Instant::now() + Duration::from_secs(10);
    while by.serving.server().shared().counter("frames_cut") == 0 {
        assert!(Instant::now() < until, "a frame that was cut is counted");
        std::thread::yield_now();
    }
    by.still_chat();
}

#[test]
fn one_byte_at_a_time_is_cut_off_before_and_after_hello() {
    let mut config = small();
    (config.limits.handshake_timeout_ms, config.limits.frame_timeout_ms) = (300, 300);
    let mut by = Bystanders::start(config);
    let token = by.serving.token("mallory");
    for greeted in [false, true] {
        let mut raw = if greeted { by.serving.session("mallory", 1) } else { by.serving.raw() };
        let bytes = if greeted { send_bytes("mallory", "rick", 1, 0, &[1; 500]) } else { token.clone().into_bytes() };
        // A long frame, claimed to be longer than it will ever get.
        let mut slow = std::iter::once(1000u32.to_le_bytes().to_vec()).chain(std::iter::once(bytes)).flatten();
        let until = Instant::now() + Duration::from_millis(900);
        while Instant::now() < until {
            raw.write(&[slow.next().unwrap()]);
            std::thread::sleep(Duration::from_millis(50)); // the slowness is what is tested
        }
        raw.expect_error(ErrorCode::TooSlow);
        raw.expect_close();
    }
    assert!(by.counted(ErrorCode::TooSlow) >= 2);
    by.still_chat();
}

#[test]
fn hello_comes_first_and_once() {
    let mut by = Bystanders::start(small());
    by.is_turned_away(false, &bytes_of(1, &Ping { opaque: 1 }), ErrorCode::HelloExpected);
    by.is_turned_away(false, &send_bytes("mallory", "rick", 1, 0, b"x"), ErrorCode::HelloExpected);
    let mut raw = by.serving.session("mallory", 1);
    raw.hello(by.serving.token("mallory").as_bytes(), DeviceId(1));
    raw.expect_error(ErrorCode::HelloTwice);
    raw.expect_close();
    by.still_chat();
}

#[test]
fn tokens_that_do_not_open() {
    let mut by = Bystanders::start(small());
    let issuer = by.serving.server().issuer().expect("it made its key");
    let long_ago = tidings_client::Timestamp(1_000_000);
    let expired = issuer.issue("mallory", None, long_ago, 60).unwrap();
    let bound = issuer.issue("mallory", Some(DeviceId(5)), now(), 60).unwrap();
    let good = by.serving.token("mallory");
    let mut forged = good.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let other = UserId::derive("default", "rick");
    type Case<'a> = (&'a [u8], UserId, (u16, u16), ErrorCode);
    let cases: [Case<'_>; 8] = [
        (b"", UserId::NONE, (1, 1), ErrorCode::TokenMissing),
        (b"nonsense", UserId::NONE, (1, 1), ErrorCode::TokenInvalid),
        (&forged, UserId::NONE, (1, 1), ErrorCode::TokenInvalid),
        (&[b'a'; limits::TOKEN_MAX + 1], UserId::NONE, (1, 1), ErrorCode::TokenInvalid),
        (expired.as_bytes(), UserId::NONE, (1, 1), ErrorCode::TokenExpired),
        (good.as_bytes(), other, (1, 1), ErrorCode::TokenWrongUser),
        (bound.as_bytes(), UserId::NONE, (1, 1), ErrorCode::TokenWrongDevice),
        (good.as_bytes(), UserId::NONE, (2, 9), ErrorCode::Version),
    ];
    for (token, user, versions, code) in cases {
        let mut raw = by.serving.raw();
        raw.hello_as(token, DeviceId(1), user, versions);
        raw.expect_error(code);
        raw.expect_close();
        assert!(by.counted(code) > 0, "{code} is counted");
    }
    by.still_chat();
}

/// A refusal that leaves the connection open.
fn is_refused(raw: &mut Raw, bytes: &[u8], code: ErrorCode) -> tidings_wire::frames::ErrorFrame {
    raw.write(bytes);
    let error = raw.expect_error(code);
    raw.ask(99, &Ping { opaque: 5 });
    assert_eq!(raw.next().unwrap().kind(), Kind::Pong, "{code} leaves the connection open");
    error
}

#[test]
fn a_conversation_that_the_user_is_not_in() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let user = |name| UserId::derive("default", name);
    let theirs = ConversationId::direct(user("wendy"), user("rick"));
    let nowhere = ConversationId::direct(user("wendy"), user("nobody"));
    for conversation in [theirs, nowhere] {
        let fetch = Fetch { conversation, from: Seq(1), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
        is_refused(&mut raw, &bytes_of(1, &fetch), ErrorCode::NotMember);
        is_refused(&mut raw, &bytes_of(1, &Delivered { conversation, upto: Seq(1) }), ErrorCode::NotMember);
        is_refused(&mut raw, &bytes_of(1, &Read { conversation, upto: Seq(1), ordinal: 1 }), ErrorCode::NotMember);
    }
    // Somebody else's conversation, by its id: with the wrong peer named, and with none.
    let foreign = send_bytes("wendy", "rick", 1, 0, b"let me in");
    is_refused(&mut raw, &foreign, ErrorCode::NotMember);
    let mut anonymous = foreign;
    anonymous[24 + 16..24 + 32].fill(0);
    Header { len: 139, kind: Kind::Send as u8, flags: 0, class: 1, fixed_len: 106, request_id: 1 }
        .encode(&mut anonymous);
    is_refused(&mut raw, &anonymous, ErrorCode::NotMember);
    is_refused(&mut raw, &send_bytes("mallory", "mallory", 1, 0, b"to myself"), ErrorCode::BadPeer);
    assert!(by.counted(ErrorCode::NotMember) > 0);
    by.still_chat();
}

#[test]
fn payloads_that_are_too_long_or_harmed() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let long = vec![1; limits::PAYLOAD_MAX as usize + 1];
    let error = is_refused(&mut raw, &send_bytes("mallory", "victim", 1, 0, &long), ErrorCode::PayloadTooLarge);
    assert_eq!(error.client_msg_id, ClientMsgId(1));
    let mut harmed = send_bytes("mallory", "victim", 1, 0, b"payload");
    *harmed.last_mut().unwrap() ^= 1;
    is_refused(&mut raw, &harmed, ErrorCode::PayloadChecksum);
    raw.write(&send_bytes("mallory", "victim", 1, 0, &long[1..]));
    assert_eq!(raw.next().unwrap().kind(), Kind::Sent, "the longest that is allowed");
    by.still_chat();
}

#[test]
fn a_sequence_from_the_future() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("rick", 7);
    let conversation = ConversationId::direct(UserId::derive("default", "wendy"), UserId::derive("default", "rick"));
    for upto in [Seq(2), Seq(u64::MAX)] {
        is_refused(&mut raw, &bytes_of(1, &Delivered { conversation, upto }), ErrorCode::FutureSeq);
        is_refused(&mut raw, &bytes_of(1, &Read { conversation, upto, ordinal: u64::MAX }), ErrorCode::FutureSeq);
    }
    let fetch = Fetch { conversation, from: Seq(u64::MAX), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
    is_refused(&mut raw, &bytes_of(1, &fetch), ErrorCode::FutureSeq);
    assert!(by.counted(ErrorCode::FutureSeq) > 0);
    by.still_chat();
}

/// Repeated, skipped, stale, and refused in the middle of a pipeline: order holds.
#[test]
fn attempts_out_of_turn() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let send = |id, prev| send_bytes("mallory", "victim", id, prev, format!("{id}").as_bytes());
    let sent = |raw: &mut Raw| raw.next().unwrap().fixed::<Sent>().seq;
    raw.write(&send(10, 0));
    assert_eq!(sent(&mut raw), Seq(1));
    raw.write(&send(10, 0));
    assert_eq!(sent(&mut raw), Seq(1), "repeated");
    assert_eq!(is_refused(&mut raw, &send(12, 11), ErrorCode::OutOfOrder).highest, ClientMsgId(10), "skipped");
    assert_eq!(is_refused(&mut raw, &send(9, 0), ErrorCode::Stale).highest, ClientMsgId(10), "stale");
    is_refused(&mut raw, &send(0, 0), ErrorCode::Stale);

    // 11 is refused in the middle of 11, 12, 13: none of the three gets in before it is sent again.
    let mut harmed = send(11, 10);
    *harmed.last_mut().unwrap() ^= 1;
    raw.write(&[harmed, send(12, 11), send(13, 12)].concat());
    raw.expect_error(ErrorCode::PayloadChecksum);
    for _ in 12..=13 {
        assert_eq!(raw.expect_error(ErrorCode::OutOfOrder).highest, ClientMsgId(10));
    }
    raw.write(&[send(11, 10), send(12, 11), send(13, 12)].concat());
    assert_eq!([sent(&mut raw), sent(&mut raw), sent(&mut raw)], [Seq(2), Seq(3), Seq(4)]);
    for code in [ErrorCode::OutOfOrder, ErrorCode::Stale] {
        assert!(by.counted(code) > 0);
    }
    by.still_chat();
}

#[test]
fn more_in_flight_than_the_window() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let count = 4 * u64::from(limits::WINDOW);
    let burst: Vec<u8> = (1..=count).flat_map(|id| send_bytes("mallory", "victim", id, id - 1, b"x")).collect();
    raw.write(&burst);
    let (mut accepted, mut exceeded) = (0, 0);
    for _ in 0..count {
        let frame = raw.next().unwrap();
        match frame.error() {
            None => {
                accepted += 1;
                let sent: Sent = frame.fixed();
                assert_eq!((sent.seq, sent.client_msg_id), (Seq(accepted), ClientMsgId(accepted)), "a prefix");
            }
            Some((ErrorCode::WindowExceeded, _)) => exceeded += 1,
            Some((code, _)) => assert_eq!(code, ErrorCode::OutOfOrder),
        }
    }
    assert!(exceeded > 0 && accepted >= u64::from(limits::WINDOW), "{accepted} accepted, {exceeded} exceeded");
    by.still_chat();
}

/// A receiver that never reads costs bounded memory; when it reads, it gets a list and fetches what it missed.
#[test]
fn a_receiver_that_never_reads() {
    let mut by = Bystanders::start(small());
    let mut deaf = by.serving.session("deaf", 1);
    deaf.resume();
    let (payload, count) = (vec![7; 60_000], 600);
    let mut loud = by.serving.client("loud", 1);
    for id in 0..count {
        loud.session().send(UserId::derive("default", "deaf"), &payload);
        if id % 32 == 31 {
            let mut sent = 0;
            wait_for(&mut loud, |event| {
                sent += u32::from(matches!(event, Event::Sent { .. }));
                (sent == 32).then_some(())
            });
        }
    }
    while !loud.session().is_flushed() {
        loud.poll(Duration::from_millis(50)).unwrap();
    }
    assert!(by.serving.server().shared().counter("sessions_behind") > 0, "it fell behind");
    by.still_chat();
    let (mut last, mut head) = (Seq(0), Seq(0));
    while head == Seq(0) {
        let frame = deaf.next().expect("it is still connected");
        match frame.kind() {
            Kind::Message => last = frame.fixed::<tidings_wire::frames::Message>().seq,
            Kind::Changed => head = Seq(count),
            kind => panic!("{kind:?}"),
        }
    }
    assert!(last < head, "not everything was pushed");
    let conversation = ConversationId::direct(UserId::derive("default", "loud"), UserId::derive("default", "deaf"));
    while last < head {
        let fetch = Fetch { conversation, from: last.next(), upto: Seq(0), limit: 0, order: FetchOrder::Upward };
        deaf.ask(5, &fetch);
        loop {
            let frame = deaf.next().unwrap();
            if frame.kind() == Kind::Fetched {
                break;
            }
            if frame.request_id() != 5 {
                continue; // pushed in between, before it fell behind again
            }
            let message: tidings_wire::frames::Message = frame.fixed();
            assert_eq!(message.seq, last.next());
            last = message.seq;
        }
    }
}

/// A peer that sends and never reads its answers is closed, at a bound.
#[test]
fn a_sender_that_never_reads_its_answers() {
    let mut by = Bystanders::start(small());
    let mut raw = by.serving.session("mallory", 1);
    let pings: Vec<u8> = (0..2000).flat_map(|id| bytes_of(id, &Ping { opaque: id })).collect();
    let until = Instant::now() + Duration::from_secs(20);
    while by.serving.server().shared().counter("slow_consumers") == 0 {
        raw.write(&pings);
        assert!(Instant::now() < until, "a sender that never reads is closed");
    }
    // It is told why, after what it has not read.
    let told = loop {
        if let Some(error) = raw.next().expect("an ERROR comes before the end").error() {
            break error;
        }
    };
    assert_eq!((told.0, told.1.retry), (ErrorCode::TooSlow, 2));
    raw.expect_close();
    by.still_chat();
}

/// The rate of an address is limited at the door.
#[test]
fn too_many_handshakes_from_one_address() {
    let mut config = small();
    (config.limits.address_per_second, config.limits.address_burst) = (1, 20);
    let by = Serving::start(config);
    let mut limited = None;
    for device in 0..100 {
        let mut raw = by.raw();
        raw.hello(by.token("mallory").as_bytes(), DeviceId(device));
        if let Some((code, error)) = raw.next().and_then(|frame| frame.error()) {
            limited = Some((code, error));
            raw.expect_close();
            break;
        }
    }
    let (code, error) = limited.expect("the burst is 20 on each of two reactors");
    assert!(code == ErrorCode::RateLimited && error.retry_after_ms > 0 && error.retry == 2);
    // Counters are shown a moment later.
    let until = Instant::now() + Duration::from_secs(5);
    while by.server().shared().errors(ErrorCode::RateLimited) == 0 {
        assert!(Instant::now() < until, "it is counted");
        std::thread::yield_now();
    }
}

/// Whoever connects and says nothing counts for its address, too, and is told.
#[test]
fn silent_connections_count_for_their_address() {
    let mut config = small();
    (config.limits.address_per_second, config.limits.address_burst) = (1, 20);
    let by = Serving::start(config);
    let silent: Vec<Raw> = (0..100).map(|_| by.raw()).collect();
    let mut raw = by.raw();
    raw.hello(by.token("mallory").as_bytes(), DeviceId(1));
    let error = raw.expect_error(ErrorCode::RateLimited);
    assert!(error.retry_after_ms > 0 && error.retry == 2);
    raw.expect_close();
    drop(silent);
}

/// Where there is no room, whoever has said nothing for a second makes room for another, and is told.
#[test]
fn who_says_nothing_makes_room_for_those_who_do() {
    let mut config = small();
    (config.limits.connections_max, config.limits.handshake_timeout_ms) = (20, 60_000);
    let by = Serving::start(config);
    let mut silent: Vec<Raw> = (0..300).map(|_| by.raw()).collect();
    let until = Instant::now() + Duration::from_secs(10);
    let welcomed = |device| {
        let mut raw = by.raw();
        raw.hello(by.token("alice").as_bytes(), DeviceId(device));
        raw.next().filter(|frame| frame.kind() == Kind::Welcome).map(|_| raw)
    };
    let mut live = None;
    for device in 1.. {
        live = welcomed(device);
        if live.is_some() || Instant::now() > until {
            break;
        }
    }
    let mut live = live.expect("somebody who speaks is let in");
    // Who has a session keeps it, however many come.
    silent.extend((0..300).map(|_| by.raw()));
    live.ask(7, &Ping { opaque: 7 });
    assert_eq!(live.next().expect("a PONG").fixed::<tidings_wire::frames::Pong>().opaque, 7);
    let told = silent.iter_mut().find_map(|raw| raw.next().and_then(|frame| frame.error()));
    assert_eq!(told.map(|(code, _)| code), Some(ErrorCode::Full), "who made room, or found none, was told");
}

/// Whoever refuses a first frame says which kind it was.
#[test]
fn a_first_frame_that_is_refused_is_named() {
    let by = Serving::start(small());
    let mut raw = by.raw();
    raw.hello(b"no token", DeviceId(1));
    assert_eq!(raw.expect_error(ErrorCode::TokenInvalid).of_kind, Kind::Hello as u8);
    let mut raw = by.raw();
    raw.ask(7, &Ping { opaque: 1 });
    assert_eq!(raw.expect_error(ErrorCode::HelloExpected).of_kind, Kind::Ping as u8);
    let mut live = by.session("alice", 1);
    let mut late = by.raw();
    late.hello(by.token("alice").as_bytes(), DeviceId(1));
    late.expect_welcome();
    assert_eq!(live.expect_error(ErrorCode::Superseded).of_kind, 0, "of the connection");
}
