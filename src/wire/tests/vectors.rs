//! Golden vectors: every kind of frame, byte for byte, as `docs/vectors/frames.txt` shows them to writers of clients.
//! `UPDATE_VECTORS=1` writes the file anew; a change of an existing line is a break of the protocol.

use std::{fmt::Write, fs, path::Path};

use tidings_wire::{
    archive,
    frame::{self, FixedPart, FrameBuilder, Span},
    frames::{group::digest_of_link, *},
    *,
};

fn user(name: &str) -> UserId {
    UserId::derive("default", name)
}

fn simple<T: FixedPart>(id: u64, part: &T) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append(&mut out, id, part);
    out
}

fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Hello>::new(&mut out);
    let token = frame.var(b"token");
    let device_name = frame.var(b"phone");
    let (version_min, version_max, device, user, connection_number) = (1, 1, DeviceId(7), user("alice"), 9);
    let hello =
        Hello { version_min, version_max, device, user, capabilities: 0, token, connection_number, device_name };
    frame.finish(1, &hello);
    out
}

fn fragment(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Fragment>::new(&mut out);
    let bytes = frame.var(b"and so on");
    frame.finish(0, &Fragment { conversation, seq: Seq(5), offset: 6, crc: Fragment::crc_of(b"and so on"), bytes });
    out
}

fn send(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Send>::new(&mut out);
    let payload = frame.var(b"hi bob");
    let body = frame.var(&[1, 2, 3]);
    frame.finish(
        2,
        &Send {
            conversation,
            peer: user("bob"),
            client_msg_id: ClientMsgId(101),
            prev: ClientMsgId(100),
            expires_at: Timestamp(0),
            trace: TraceId([9; 16]),
            flags: MessageFlags(MessageFlags::SILENT),
            payload_crc: Message::crc_of_content(&[1, 2, 3], b"hi bob"),
            payload,
            control: Control(900),
            target: Seq(4),
            body,
        },
    );
    out
}

fn message(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Message>::new(&mut out);
    let sender_name = frame.var(b"alice");
    let payload = frame.var(b"hi bob");
    let body = frame.var(&[1, 2, 3]);
    frame.finish(
        0,
        &Message {
            conversation,
            seq: Seq(5),
            ts: Timestamp(1_700_000_000_000_000),
            sender: user("alice"),
            peer: user("bob"),
            sender_device: DeviceId(7),
            flags: MessageFlags(MessageFlags::SILENT),
            client_msg_id: ClientMsgId(101),
            expires_at: Timestamp(0),
            trace: TraceId([9; 16]),
            payload_crc: Message::crc_of_content(&[1, 2, 3], b"hi bob"),
            sender_name,
            payload,
            control: Control(900),
            target: Seq(4),
            ordinal: 3,
            body,
            clear_crc: Message::crc_of_clear(b"alice", &[1, 2, 3]),
        },
    );
    out
}

fn changed(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut entry = [0; <ChangedConversation as archive::Archived>::LEN];
    archive::write(
        &ChangedConversation {
            conversation,
            peer: user("bob"),
            head: Seq(5),
            delivered: Seq(4),
            read: Seq(3),
            peer_delivered: Seq(2),
            peer_read: Seq(1),
            ordinal: 4,
            seen: 2,
            hidden: Seq(3),
            name_len: 3,
            muted_until: Timestamp(1_700_000_900_000_000),
            pinned: 2,
            archived: true,
            cleared: Seq(1),
            blocked: true,
            forgotten: 6,
        },
        &mut entry,
    );
    let mut frame = FrameBuilder::<Changed>::new(&mut out);
    let (entries, names) = (frame.var(&entry), frame.var(b"bob"));
    let (status, lineage, uv, next) = (ResumeStatus::Changed, Lineage([3; 16]), Uv(12), Uv(0));
    let (entry_len, settings) = (128, Changed::READ_PRIVATE);
    frame.finish(4, &Changed { status, lineage, uv, next, count: 1, entry_len, entries, settings, names });
    out
}

fn forgotten(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut range = [0; <ForgottenRange as archive::Archived>::LEN];
    archive::write(&ForgottenRange { first: Seq(2), last: Seq(3) }, &mut range);
    let mut frame = FrameBuilder::<Forgotten>::new(&mut out);
    let ranges = frame.var(&range);
    frame.finish(14, &Forgotten { conversation, changes: 6, ranges });
    out
}

fn error(conversation: ConversationId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut error = ErrorFrame::new(ErrorCode::OutOfOrder, Kind::Send as u8);
    (error.conversation, error.client_msg_id, error.highest) = (conversation, ClientMsgId(102), ClientMsgId(100));
    error.append(&mut out, 3, "send 101 again first");
    out
}

fn reauth() -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Reauth>::new(&mut out);
    let token = frame.var(b"token");
    frame.finish(7, &Reauth { token });
    out
}

fn group() -> ConversationId {
    ConversationId::group(user("alice"), &[9; 16])
}

const SETTINGS: GroupSettings =
    GroupSettings { write: Role::Member, add: Role::Admin, edit: Role::Admin, history: HistoryFrom::Joining };

fn create() -> Vec<u8> {
    let (mut out, mut body, bob) = (Vec::new(), Vec::new(), [user("bob").0]);
    let (title, members) = (&b"friends"[..], Users::new(&bob));
    let control = GroupAct::Create { nonce: [9; 16], settings: SETTINGS, title, members }.write(&mut body);
    let mut frame = FrameBuilder::<Send>::new(&mut out);
    let span = frame.var(&body);
    frame.finish(
        8,
        &Send {
            conversation: group(),
            peer: UserId::NONE,
            client_msg_id: ClientMsgId(103),
            prev: ClientMsgId(0),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: MessageFlags::default(),
            payload_crc: Message::crc_of_content(&body, b""),
            payload: Span::default(),
            control,
            target: Seq(0),
            body: span,
        },
    );
    out
}

fn clear() -> Vec<u8> {
    let (mut body, bob) = (Vec::new(), [user("bob").0]);
    let media = Media { size: 70_000, key_digest: [5; 32], media_type: b"image/png", reference: b"store/17" };
    Clear { mentions: Users::new(&bob), forwarded: 1, media: Some(media), kind: b"poll" }.write(&mut body);
    body
}

fn edit() -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Send>::new(&mut out);
    let payload = frame.var(b"hi Bob");
    let body = frame.var(&clear());
    frame.finish(
        12,
        &Send {
            conversation: group(),
            peer: UserId::NONE,
            client_msg_id: ClientMsgId(104),
            prev: ClientMsgId(103),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: MessageFlags::default(),
            payload_crc: Message::crc_of_content(&clear(), b"hi Bob"),
            payload,
            control: about::control::EDIT,
            target: Seq(4),
            body,
        },
    );
    out
}

fn described() -> Vec<u8> {
    let member = |name, role, left, (delivered, read)| DescribedMember {
        user: user(name),
        role,
        joined: Seq(1),
        left: Seq(left),
        delivered: Seq(delivered),
        read: Seq(read),
    };
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Described>::new(&mut out);
    let title = frame.var(b"friends");
    let mut entries = frame.var(b"");
    for member in [member("alice", Role::Owner, 0, (5, 4)), member("bob", Role::None, 4, (0, 0))] {
        let mut entry = [0; <DescribedMember as archive::Archived>::LEN];
        archive::write(&member, &mut entry);
        entries.len += frame.var(&entry).len;
    }
    let (members, count, entry_len) = (2, 2, 49);
    frame.finish(
        9,
        &Described {
            conversation: group(),
            head: Seq(5),
            settings: SETTINGS,
            deleted: Seq(0),
            members,
            from: 0,
            count,
            entry_len,
            title,
            entries,
            has_link: true,
            is_large: true,
            current: 1,
            readers: 1,
            timer: 3600,
        },
    );
    out
}

fn watch() -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<Watch>::new(&mut out);
    let users = frame.var(&user("bob").0);
    frame.finish(13, &Watch { conversation: group(), users });
    out
}

fn device_list() -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = FrameBuilder::<DeviceList>::new(&mut out);
    let (since, seen) = (Timestamp(1_700_000_000_000_000), Timestamp(1_700_000_900_000_000));
    let own = ListedDevice { device: DeviceId(7), flags: 3, since, seen, name_len: 5 };
    let (device, none) = (DeviceId(DeviceId::FIRST_GUEST), Timestamp(0));
    let guest = ListedDevice { device, flags: 1, since: none, seen: none, name_len: 0 };
    let mut entries = frame.var(b"");
    for device in [own, guest] {
        let mut entry = [0; <ListedDevice as archive::Archived>::LEN];
        archive::write(&device, &mut entry);
        entries.len += frame.var(&entry).len;
    }
    let names = frame.var(b"phone");
    frame.finish(11, &DeviceList { count: 2, entry_len: 22, entries, names });
    out
}

fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let conversation = ConversationId::direct(user("alice"), user("bob"));
    let welcome = Welcome {
        version: 1,
        idle_timeout_s: 60,
        frame_max: 73_728,
        payload_max: 65_536,
        window: 64,
        user: user("alice"),
        device: DeviceId(7),
        lineage: Lineage([3; 16]),
        session: 77,
        server_time: Timestamp(1_700_000_000_000_000),
        redirect: Span::default(),
        token_until: Timestamp(1_700_000_900_000_000),
        capabilities: Welcome::UNPACKS,
    };
    let ts = Timestamp(1_700_000_000_000_000);
    let (delivered, read) = (Seq(5), Seq(4));
    vec![
        ("user/alice", user("alice").0.to_vec()),
        ("user/bob", user("bob").0.to_vec()),
        ("conversation/alice-bob", conversation.0.to_vec()),
        ("HELLO", hello()),
        ("WELCOME", simple(1, &welcome)),
        ("SEND", send(conversation)),
        ("SENT", simple(2, &Sent { conversation, client_msg_id: ClientMsgId(101), seq: Seq(5), ts, ordinal: 3 })),
        ("MESSAGE", message(conversation)),
        ("DELIVERED", simple(0, &Delivered { conversation, upto: Seq(5) })),
        ("READ", simple(0, &Read { conversation, upto: Seq(4), ordinal: 2 })),
        ("RECEIPT", simple(0, &Receipt { conversation, member: user("bob"), delivered, read })),
        ("RECEIPT_OK", simple(0, &ReceiptOk { conversation, delivered, read, uv: Uv(12), seen: 2 })),
        (
            "RESUME",
            simple(4, &Resume { lineage: Lineage([3; 16]), uv: Uv(11), below: Uv(0), page: 0, tails: 4, tail: 20 }),
        ),
        ("CHANGED", changed(conversation)),
        ("FETCH", simple(5, &Fetch { conversation, from: Seq(1), upto: Seq(5), limit: 0, order: FetchOrder::Upward })),
        (
            "FETCHED",
            simple(
                5,
                &Fetched {
                    conversation,
                    first: Seq(1),
                    last: Seq(5),
                    head: Seq(5),
                    oldest: Seq(1),
                    from: Seq(1),
                    upto: Seq(5),
                    damaged: Seq(0),
                },
            ),
        ),
        ("PING", simple(6, &Ping { opaque: 42 })),
        ("PONG", simple(6, &Pong { opaque: 42, uv: Uv(12), server_time: ts })),
        ("BYE", simple(0, &Bye { reason: ByeReason::Draining, retry_after_ms: 500 })),
        ("ERROR", error(conversation)),
        ("REAUTH", reauth()),
        ("group/alice-09", group().0.to_vec()),
        ("CREATE", create()),
        ("DESCRIBE", simple(9, &Describe { conversation: group(), from: 0, limit: 0, counted: Seq(4) })),
        ("DESCRIBED", described()),
        ("SET", simple(10, &Set::new(ConversationId::NONE, SettingKey::READ_PRIVATE, 1))),
        ("SETTING", simple(10, &Setting { conversation, key: SettingKey::BLOCKED, value: 1, peer: user("bob") })),
        ("FORGET", simple(14, &Forget { conversation, first: Seq(2), last: Seq(3) })),
        ("FORGOTTEN", forgotten(conversation)),
        ("DEVICES", simple(11, &Devices { reserved: 0, user: user("bob") })),
        ("REVOKE", simple(11, &Revoke { device: DeviceId(7), user: user("bob"), flags: 0 })),
        ("DEVICE_LIST", device_list()),
        ("SYNC_DONE", simple(4, &SyncDone { tails: 1 })),
        ("TYPING", simple(0, &Typing { conversation, user: user("bob"), doing: Doing::TYPING })),
        ("WATCH", watch()),
        ("PRESENCE", simple(0, &Presence { user: user("bob"), state: PresenceState::Offline, last_seen: ts })),
        ("ACTIVITY", simple(0, &SetActivity { activity: Activity::Inactive })),
        ("FRAGMENT", fragment(conversation)),
        ("MORE", simple(0, &More { conversation, seq: Seq(5), offset: 6 })),
        ("link/alice-09", digest_of_link(group(), &[8; 16]).to_vec()),
        ("clear/bob", clear()),
        ("packed/dull", packed::pack(&b"all work and no play ".repeat(20)).unwrap()),
        ("EDIT", edit()),
        ("timer/3600", Timer { seconds: 3600 }.to_bytes().to_vec()),
        ("REAUTH_OK", simple(7, &ReauthOk { token_until: Timestamp(1_700_000_900_000_000) })),
    ]
}

#[test]
fn frames_are_what_the_documentation_shows() {
    let mut text = String::new();
    for (name, bytes) in vectors() {
        write!(text, "{name} ").unwrap();
        bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/frames.txt");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "docs/vectors/frames.txt");
}

#[test]
fn frames_read_back_and_longer_fixed_parts_are_read_by_their_prefix() {
    let conversation = ConversationId::direct(user("alice"), user("bob"));
    let bytes = message(conversation);
    let frame = split(&bytes, limits::FRAME_MAX).unwrap().unwrap();
    let message: Message = frame.fixed().unwrap();
    assert_eq!(frame.var(message.payload).unwrap(), b"hi bob");
    assert_eq!(frame.var(message.sender_name).unwrap(), b"alice");

    // The same frame from a later version: 10 more bytes of fixed part.
    let mut newer = simple(9, &Delivered { conversation, upto: Seq(5) });
    newer.extend([0xee; 10]);
    let header = Header { len: newer.len() as u32, fixed_len: 34, request_id: 9, ..*frame.header() };
    Header { kind: Kind::Delivered as u8, ..header }.encode(&mut newer);
    let frame = split(&newer, limits::FRAME_MAX).unwrap().unwrap();
    assert_eq!(frame.fixed::<Delivered>().unwrap(), Delivered { conversation, upto: Seq(5) });
}

/// Frames as they were before fields were appended (`docs/vectors/older.txt`): what is missing is zero.
#[test]
fn frames_of_older_sizes_are_understood() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/older.txt");
    let text = fs::read_to_string(path).unwrap();
    let bytes_of = |name: &str| -> Vec<u8> {
        let digits = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
        (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..][..2], 16).unwrap()).collect()
    };
    let (old, new) = (bytes_of("SEND"), send(ConversationId::direct(user("alice"), user("bob"))));
    let (old, new) = (split(&old, limits::FRAME_MAX), split(&new, limits::FRAME_MAX));
    let (old, new) = (old.unwrap().unwrap(), new.unwrap().unwrap());
    let (was, is): (Send, Send) = (old.fixed().unwrap(), new.fixed().unwrap());
    assert_eq!((old.fixed_bytes().len(), new.fixed_bytes().len()), (88, 106));
    assert_eq!(old.var(was.payload), new.var(is.payload));
    let (control, target, body) = (Control::TEXT, Seq(0), Span::default());
    // Without a body the payload's checksum is all of it.
    let payload_crc = Message::crc_of_content(b"", old.var(was.payload).unwrap());
    assert_eq!(was, Send { control, target, body, payload: was.payload, payload_crc, ..is });

    let (old, new) = (bytes_of("MESSAGE"), message(ConversationId::direct(user("alice"), user("bob"))));
    let (old, new) = (split(&old, limits::FRAME_MAX), split(&new, limits::FRAME_MAX));
    let (old, new) = (old.unwrap().unwrap(), new.unwrap().unwrap());
    let (was, is): (Message, Message) = (old.fixed().unwrap(), new.fixed().unwrap());
    assert_eq!((old.fixed_bytes().len(), new.fixed_bytes().len()), (124, 154));
    assert_eq!((old.var(was.payload), old.var(was.sender_name)), (new.var(is.payload), new.var(is.sender_name)));
    let (payload, sender_name, ordinal, clear_crc) = (was.payload, was.sender_name, 0, 0);
    assert_eq!(was, Message { control, target, body, payload, payload_crc, sender_name, ordinal, clear_crc, ..is });

    let of_now = vectors();
    let newer = |name: &str| of_now.iter().find(|(found, _)| *found == name).unwrap().1.clone();
    fn fixed<T: FixedPart>(bytes: &[u8]) -> (usize, T) {
        let frame = split(bytes, limits::FRAME_MAX).unwrap().unwrap();
        (frame.fixed_bytes().len(), frame.fixed().unwrap())
    }
    let (old, new) = (fixed::<Welcome>(&bytes_of("WELCOME")), fixed::<Welcome>(&newer("WELCOME")));
    assert_eq!((old.0, new.0, old.1), (84, 92, Welcome { capabilities: 0, ..new.1 }));
    let ((was_len, was), (len, is)): ((_, Sent), (_, Sent)) = (fixed(&bytes_of("SENT")), fixed(&newer("SENT")));
    assert_eq!((was_len, len, was), (40, 48, Sent { ordinal: 0, ..is }));
    let ((was_len, was), (len, is)): ((_, Read), (_, Read)) = (fixed(&bytes_of("READ")), fixed(&newer("READ")));
    assert_eq!((was_len, len, was), (24, 32, Read { ordinal: 0, ..is }));
    let (old, new) = (fixed::<ReceiptOk>(&bytes_of("RECEIPT_OK")), fixed::<ReceiptOk>(&newer("RECEIPT_OK")));
    assert_eq!((old.0, new.0, old.1), (40, 48, ReceiptOk { seen: 0, ..new.1 }));
    let ((was_len, was), (len, is)): ((_, Resume), (_, Resume)) = (fixed(&bytes_of("RESUME")), fixed(&newer("RESUME")));
    assert_eq!((was_len, len, was), (36, 40, Resume { tails: 0, tail: 0, ..is }));
    let (old, new) = (fixed::<Fetched>(&bytes_of("FETCHED")), fixed::<Fetched>(&newer("FETCHED")));
    assert_eq!((old.0, new.0, old.1), (64, 72, new.1));
    let (old, new) = (fixed::<Set>(&bytes_of("SET")), fixed::<Set>(&newer("SET")));
    assert_eq!((old.0, new.0, old.1), (26, 42, new.1));
    let (old, new) = (fixed::<Setting>(&bytes_of("SETTING")), fixed::<Setting>(&newer("SETTING")));
    assert_eq!((old.0, new.0, old.1), (26, 42, Setting::new(new.1.conversation, SettingKey::HIDDEN, 5)));
    let entry = |bytes: &[u8]| -> (u32, ChangedConversation) {
        let frame = split(bytes, limits::FRAME_MAX).unwrap().unwrap();
        let changed: Changed = frame.fixed().unwrap();
        (changed.entry_len, archive::read(frame.var(changed.entries).unwrap()).unwrap())
    };
    let (old, new) = (entry(&bytes_of("CHANGED")), entry(&newer("CHANGED")));
    let (hidden, cleared, muted_until, pinned, archived) = (Seq(0), Seq(0), Timestamp(0), 0, false);
    let was = ChangedConversation {
        ordinal: 0,
        seen: 0,
        hidden,
        name_len: 0,
        muted_until,
        pinned,
        archived,
        cleared,
        blocked: false,
        forgotten: 0,
        ..new.1
    };
    assert_eq!((old.0, new.0, old.1), (72, 128, was));
    let (old, new) = (fixed::<Describe>(&bytes_of("DESCRIBE")), fixed::<Describe>(&newer("DESCRIBE")));
    assert_eq!((old.0, new.0, old.1), (24, 32, Describe { counted: Seq(0), ..new.1 }));
    let (old, new) = (fixed::<Described>(&bytes_of("DESCRIBED")), fixed::<Described>(&newer("DESCRIBED")));
    let (title, entries) = (old.1.title, old.1.entries);
    let was = Described { is_large: false, timer: 0, current: 0, readers: 0, title, entries, ..new.1 };
    assert_eq!((old.0, new.0, old.1), (69, 82, was));
    let (old, new) = (fixed::<Hello>(&bytes_of("HELLO")), fixed::<Hello>(&newer("HELLO")));
    let (connection_number, device_name) = (new.1.connection_number, Span::default());
    let token = old.1.token;
    assert_eq!((old.0, new.0, old.1), (48, 56, Hello { token, connection_number, device_name, ..new.1 }));
}

#[test]
fn broken_headers_are_found_as_early_as_possible() {
    let good = simple(6, &Ping { opaque: 42 });
    let with_len = |len: u32| len.to_le_bytes();
    assert_eq!(split(&with_len(0), limits::FRAME_MAX).unwrap_err(), WireError::Length);
    assert_eq!(split(&with_len(15), limits::FRAME_MAX).unwrap_err(), WireError::Length);
    assert_eq!(split(&with_len(u32::MAX), limits::FRAME_MAX).unwrap_err(), WireError::TooLarge);
    for (at, expected) in [(5, WireError::Version), (4, WireError::Checksum), (30, WireError::Checksum)] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        assert_eq!(split(&bad, limits::FRAME_MAX).unwrap_err(), expected, "byte {at}");
    }
    for cut in 0..good.len() {
        assert!(split(&good[..cut], limits::FRAME_MAX).unwrap().is_none(), "cut at {cut}");
    }
}

proptest::proptest! {
    /// Any bytes give a frame, "not yet" or an error: never a panic, never a frame that reaches past them.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Ok(Some(frame)) = split(&bytes, 1024) {
            assert!(frame.bytes().len() <= bytes.len());
        }
    }

    /// One flipped bit in header or fixed part is always seen.
    #[test]
    fn one_flipped_bit_is_seen(bit in 0usize..(32 * 8)) {
        let mut bytes = simple(6, &Ping { opaque: 42 });
        bytes[bit / 8] ^= 1 << (bit % 8);
        proptest::prop_assert!(!matches!(split(&bytes, limits::FRAME_MAX), Ok(Some(_))));
    }
}
