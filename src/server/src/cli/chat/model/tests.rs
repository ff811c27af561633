//! What a chat shows of what a client is told.

use super::*;
use tidings_client::{Control, DeviceId, Timestamp, about_control};

const HERE: ConversationId = ConversationId([1; 16]);

fn message(seq: u64, from: &str) -> Message {
    Message {
        conversation: HERE,
        seq: Seq(seq),
        ts: Timestamp(seq),
        sender: UserId::derive("default", from),
        sender_name: from.into(),
        sender_device: DeviceId(1),
        peer: UserId::NONE,
        client_msg_id: ClientMsgId(100 + seq),
        flags: 0,
        control: Control::TEXT,
        target: Seq(0),
        expires_at: Timestamp(0),
        ordinal: seq,
        body: Vec::new(),
        payload: format!("{seq}").into(),
    }
}

fn model() -> Model {
    Model::new("alice", "bob", UserId::derive("default", "alice"), HERE)
}

#[test]
fn ticks_follow_a_message_from_the_outbox_to_its_reader() {
    let mut model = model();
    let tick = |model: &Model| model.lines()[0].tick;
    model.wrote(ClientMsgId(101), "1");
    assert_eq!(tick(&model), Tick::Pending);
    model.on_event(Event::Message(message(1, "alice")));
    assert_eq!((tick(&model), model.lines().len()), (Tick::Sent, 1));
    for (delivered, read, expected) in [(1, 0, Tick::Delivered), (1, 1, Tick::Read)] {
        let peers = Watermarks { delivered: Seq(delivered), read: Seq(read), ordinal: 0 };
        let own = Watermarks::default();
        model.on_event(Event::Conversation {
            conversation: HERE,
            peer: UserId::NONE,
            name: String::new(),
            head: Seq(1),
            peers,
            own,
            unread: 0,
            hidden: false,
            preferences: Default::default(),
        });
        assert_eq!(tick(&model), expected);
    }
}

#[test]
fn a_group_says_how_many_have_read_the_last_message_until_all_have() {
    let group = ConversationId([2; 16]);
    assert!(group.is_group());
    let mut model = Model::new("alice", "?", UserId::derive("default", "alice"), group);
    let member = |name: &str| DescribedMember {
        user: UserId::derive("default", name),
        role: Role::Member,
        joined: Seq(1),
        left: Seq(0),
        delivered: Seq(0),
        read: Seq(0),
    };
    model.on_event(Event::Described(Group {
        conversation: group,
        head: Seq(1),
        title: "hike".into(),
        settings: Default::default(),
        deleted: Seq(0),
        has_link: false,
        timer: 0,
        is_large: false,
        current: 3,
        members: ["alice", "bob", "carol"].map(member).into(),
    }));
    assert_eq!(model.heading(), "alice in hike, 3 members");
    model.on_event(Event::Message(Message { conversation: group, ..message(1, "alice") }));
    let line = |model: &Model| (model.lines()[0].tick, model.lines()[0].readers);
    assert_eq!(line(&model), (Tick::Sent, Some((0, 2))));
    for (name, expected) in [("bob", (Tick::Sent, Some((1, 2)))), ("carol", (Tick::Read, None))] {
        let member = UserId::derive("default", name);
        let marks = Watermarks { delivered: Seq(1), read: Seq(1), ordinal: 0 };
        model.on_event(Event::Receipt { conversation: group, member, marks });
        assert_eq!(line(&model), expected);
    }
    // Whoever comes later has not left it unread.
    let late = DescribedMember { joined: Seq(2), ..member("dave") };
    let (settings, has_link) = (Default::default(), false);
    let members = vec![DescribedMember { read: Seq(1), ..member("bob") }, late];
    let (conversation, title) = (group, String::new());
    let (head, deleted) = (Seq(2), Seq(0));
    let mut described = Group {
        conversation,
        head,
        title,
        settings,
        deleted,
        has_link,
        timer: 0,
        is_large: false,
        current: 3,
        members,
    };
    model.on_event(Event::Described(described.clone()));
    assert_eq!(line(&model), (Tick::Read, None));
    // Of a large one it is counted when somebody asks.
    assert_eq!(model.wants_count(), None);
    (described.is_large, described.current) = (true, 5000);
    model.on_event(Event::Connected);
    model.on_event(Event::Described(described));
    assert_eq!((line(&model), model.wants_count()), ((Tick::Sent, None), Some(Seq(1))));
    model.on_event(Event::Counted { conversation, seq: Seq(1), readers: Some(17), members: 5001 });
    assert_eq!(line(&model), (Tick::Sent, Some((17, 5000))));
    assert_eq!(model.heading(), "alice in , 5001 members");
}

#[test]
fn a_message_that_is_being_written_grows_where_it_is_until_it_ends() {
    let mut model = model();
    let of = |seq, control, target, words: &str, flags| {
        let (target, payload) = (Seq(target), words.as_bytes().to_vec());
        Event::Message(Message { control, target, payload, flags, ..message(seq, "bob") })
    };
    let shown = |model: &Model| -> Vec<(String, Note)> {
        let text = |line: Line| match line.look.said {
            Said::Text(text) | Said::Act(text) => (text, line.look.note),
        };
        model.lines().into_iter().map(text).collect()
    };
    model.on_event(of(1, streamed_control::OPEN, 0, "", 0));
    assert_eq!(shown(&model), [("…".into(), Note::None)]);
    let grew = |offset, bytes: &str| {
        let (conversation, seq, bytes) = (HERE, Seq(1), bytes.as_bytes().to_vec());
        Event::Grew { conversation, seq, offset, bytes }
    };
    model.on_event(grew(0, "Once\u{1b} u"));
    model.on_event(grew(7, "pon"));
    assert_eq!(shown(&model), [("Once<U+001B> upon".into(), Note::Growing)]);
    model.on_event(grew(0, "Twice"));
    assert_eq!(shown(&model), [("Twice".into(), Note::Growing)], "its writer began anew");
    model.on_event(of(2, streamed_control::END, 1, "Twice told", 0));
    assert_eq!(shown(&model), [("Twice told".into(), Note::None)]);
    model.on_event(of(3, about_control::EDIT, 1, "Never told", 0));
    assert_eq!(shown(&model), [("Never told".into(), Note::Edited)]);
    // One that was fetched after it had ended, since its writer fell silent.
    model.on_event(of(4, streamed_control::OPEN, 0, "And", MessageFlags::ENDED | MessageFlags::ABORTED));
    assert_eq!(shown(&model)[1], ("And".into(), Note::BrokenOff));
}

#[test]
fn what_is_said_about_a_message_is_shown_where_it_is() {
    let mut model = model();
    let about = |seq, from: &str, control, target, words: &str| {
        let (target, payload) = (Seq(target), words.as_bytes().to_vec());
        Event::Message(Message { control, target, payload, ..message(seq, from) })
    };
    (1..=3).for_each(|seq| model.on_event(Event::Message(message(seq, if seq == 2 { "bob" } else { "alice" }))));
    model.on_event(about(4, "alice", about_control::EDIT, 1, "better"));
    model.on_event(about(5, "bob", about_control::REACT, 1, "👍"));
    model.on_event(about(6, "alice", about_control::REACT, 1, "👍"));
    model.on_event(about(7, "bob", about_control::REACT, 3, "?"));
    model.on_event(about(8, "bob", about_control::REACT, 3, ""));
    model.on_event(about(9, "alice", about_control::ERASE, 2, ""));
    assert_eq!(model.lines()[1].look.said, Said::Act("wrote something that alice withdrew".into()));
    model.on_event(about(9, "bob", about_control::ERASE, 2, ""));
    model.on_event(about(10, "bob", Control::TEXT, 1, "yes"));
    let looks: Vec<Look> = model.lines().into_iter().map(|line| line.look).collect();
    let text = |words: &str| Said::Text(words.into());
    assert_eq!(looks.len(), 4);
    assert_eq!((&looks[0].said, looks[0].note, &*looks[0].reactions), (&text("better"), Note::Edited, "👍 2"));
    assert_eq!(looks[1].said, Said::Act("withdrew a message".into()));
    assert_eq!((&looks[2].said, &*looks[2].reactions), (&text("3"), ""));
    assert_eq!((&looks[3].said, looks[3].answers.as_deref()), (&text("yes"), Some("alice: better")));
    // Without a choice a command is about the last that it can be about.
    assert_eq!(model.target_of(&Command::Edit("x")), Some(Seq(3)));
    assert_eq!(model.target_of(&Command::React("x")), Some(Seq(10)));
    model.wrote(ClientMsgId(900), "on its way");
    assert_eq!(model.target_of(&Command::Erase), None, "the one before is not meant");
    model.pending.clear();
    // What was done before gets no message, and is not on its way for ever.
    model.wrote(ClientMsgId(901), "/erase");
    model.on_event(Event::Sent { conversation: HERE, id: ClientMsgId(901), seq: Seq(9), ts: Timestamp(0) });
    assert_eq!(model.lines().len(), 4);
    (0..9).for_each(|_| model.choose_earlier());
    assert_eq!((model.chosen, model.target_of(&Command::Write("x"))), (Some(Seq(1)), Some(Seq(1))));
    model.choose_later();
    assert_eq!(model.chosen, Some(Seq(2)));
    (0..9).for_each(|_| model.choose_later());
    assert_eq!((model.chosen, model.target_of(&Command::Write("x"))), (None, Some(Seq(0))));
    // What disappears is not shown after its time.
    model.on_event(Event::Message(Message { expires_at: Timestamp(50), ..message(11, "bob") }));
    assert_eq!(model.lines()[4].look.said, text("11"));
    model.now_us = 50;
    assert!(matches!(model.lines()[4].look.said, Said::Act(_)));
}

#[test]
fn a_refusal_for_a_while_is_shown_until_something_is_taken() {
    let mut model = model();
    let (id, code) = (ClientMsgId(1), tidings_client::ErrorCode::BudgetExceeded);
    model.on_event(Event::SendDelayed { conversation: HERE, id, code, retry_ms: 2500 });
    assert!(model.delayed().is_some_and(|text| text.contains("BUDGET_EXCEEDED") && text.contains("3 s")));
    model.on_event(Event::Sent { conversation: HERE, id, seq: Seq(1), ts: Timestamp(1) });
    assert_eq!(model.delayed(), None);
}

#[test]
fn what_was_seen_is_told_once_and_older_messages_are_wished_for_at_the_top() {
    let mut model = model();
    (51..=60).for_each(|seq| model.on_event(Event::Message(message(seq, "bob"))));
    assert_eq!((model.take_read(), model.take_read()), (Some((Seq(60), 60)), None));
    model.scroll_back();
    assert_eq!((model.take_wish(), model.take_wish()), (Some(Seq(51)), None));
    model.scroll_back();
    assert_eq!(model.take_wish(), None, "one wish at a time");
    (1..=50).for_each(|seq| model.on_event(Event::Older(message(seq, "bob"))));
    model.on_event(Event::HistoryDone {
        damaged: Seq(0),
        conversation: HERE,
        oldest: Seq(1),
        head: Seq(60),
        first: Seq(1),
        last: Seq(50),
    });
    (0..9).for_each(|_| model.scroll_back());
    assert_eq!(model.take_wish(), None, "there is nothing before the first");
    assert_eq!(model.lines().len(), 60);
}
