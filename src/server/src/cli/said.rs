//! What a message says, for people to read in a terminal.

use tidings_client::{
    DEFAULT_TENANT, GroupAct, Message, Role, RoleBody, Timer, UserId, Users, about_control, streamed_control,
};

use super::out::harmless;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What its sender wrote.
    Text(String),
    /// What its sender did, as the rest of a sentence that begins with the sender.
    Act(String),
}

/// So many of those whom an act is about are named.
const NAMES_SHOWN: usize = 5;

/// What a message says. Whoever is named in an act is called by the name that the payload gives, if that is really the one's name.
pub(super) fn said(message: &Message) -> Said {
    let text = String::from_utf8_lossy(&message.payload);
    if message.is_emptied() {
        return Said::Act("said something that was withdrawn, or has disappeared".into());
    }
    if let Some(act) = about(message, &text) {
        return Said::Act(act);
    }
    let act = match GroupAct::read(message.control, &message.body) {
        Ok(Some(act)) => act,
        _ if message.control == streamed_control::OPEN && text.is_empty() => return Said::Text("…".into()),
        _ if message.control.has_content() => return Said::Text(harmless(&text)),
        _ => return Said::Act("did something that this version does not know".into()),
    };
    let names: Vec<&str> = text.lines().collect();
    let call = |user: UserId| {
        let named = names.iter().find(|name| UserId::derive(DEFAULT_TENANT, name) == user);
        named.map_or_else(|| format!("user {}", &user.to_string()[..8]), |name| harmless(name))
    };
    let all = |users: Users<'_>| {
        let first = users.iter().take(NAMES_SHOWN).map(call).collect::<Vec<_>>().join(", ");
        match users.len().saturating_sub(NAMES_SHOWN) {
            0 => first,
            1 => format!("{first} and one more"),
            more => format!("{first} and {more} more"),
        }
    };
    let title = |title: &[u8]| harmless(&String::from_utf8_lossy(title));
    Said::Act(match act {
        GroupAct::Create { title: called, members, .. } => {
            format!("made the group \"{}\" with {}", title(called), all(members))
        }
        GroupAct::Add(users) => format!("added {}", all(users)),
        GroupAct::Remove(users) => format!("removed {}", all(users)),
        GroupAct::Leave => "left".into(),
        GroupAct::Role(RoleBody { member, role }) => {
            let what = match role {
                Role::Owner => "the owner",
                Role::Admin => "an admin",
                Role::Member | Role::None => "a member",
            };
            format!("made {} {what}", call(member))
        }
        GroupAct::Settings { title: called, .. } => format!("changed the group: it is called \"{}\"", title(called)),
        GroupAct::Delete => "deleted the group".into(),
        GroupAct::Link(link) if link.digest == [0; 16] => "ended the link by which others joined".into(),
        GroupAct::Link(_) => "made a new link by which others join".into(),
        GroupAct::Join { .. } => "joined by the link".into(),
    })
}

/// What was said about another message, or about all that are to come.
fn about(message: &Message, text: &str) -> Option<String> {
    let target = message.target;
    Some(match message.control {
        about_control::EDIT => format!("changed {target} to: {}", harmless(text)),
        about_control::ERASE => format!("withdrew {target}"),
        about_control::REACT if text.is_empty() => format!("took back a reaction to {target}"),
        about_control::REACT => format!("reacted to {target}: {}", harmless(text)),
        streamed_control::END => format!("ended {target}: {}", harmless(text)),
        about_control::TIMER => match Timer::from_bytes(&message.body).unwrap_or_default().seconds {
            0 => "lets messages stay".into(),
            seconds => format!("lets messages disappear after {}", duration(seconds)),
        },
        _ => return None,
    })
}

/// Seconds, in words: in the largest unit of which they are a multiple.
fn duration(seconds: u32) -> String {
    let units = [(24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use tidings_client::{ClientMsgId, Control, ConversationId, DeviceId, Seq, Timestamp, control};

    use super::*;

    fn message(control: Control, body: Vec<u8>, payload: &str) -> Message {
        Message {
            conversation: ConversationId([2; 16]),
            seq: Seq(1),
            ts: Timestamp(1),
            sender: UserId([1; 16]),
            sender_name: "alice".into(),
            sender_device: DeviceId(1),
            peer: UserId::NONE,
            client_msg_id: ClientMsgId(1),
            flags: 0,
            control,
            target: Seq(0),
            expires_at: Timestamp(0),
            ordinal: 1,
            body,
            payload: payload.into(),
        }
    }

    #[test]
    fn an_act_calls_people_by_their_own_names_only() {
        let ids = [UserId::derive(DEFAULT_TENANT, "bob").0, UserId([7; 16]).0];
        let mut body = Vec::new();
        let control = GroupAct::Add(Users::new(&ids)).write(&mut body);
        let told = said(&message(control, body, "bob\nnot her name"));
        assert_eq!(told, Said::Act("added bob, user 07070707".into()));
        let crowd: Vec<_> = (0..900).map(|at| UserId::derive(DEFAULT_TENANT, &format!("fan{at}")).0).collect();
        let mut body = Vec::new();
        let control = GroupAct::Remove(Users::new(&crowd)).write(&mut body);
        let names: Vec<_> = (0..900).map(|at| format!("fan{at}")).collect();
        let told = said(&message(control, body, &names.join("\n")));
        assert_eq!(told, Said::Act("removed fan0, fan1, fan2, fan3, fan4 and 895 more".into()));
        assert_eq!(said(&message(Control::TEXT, Vec::new(), "hi\u{1b}")), Said::Text("hi<U+001B>".into()));
        assert_eq!(said(&message(control::LEAVE, Vec::new(), "")), Said::Act("left".into()));
        let of = |control, body: Vec<u8>, text: &str| said(&Message { target: Seq(4), ..message(control, body, text) });
        let act = |text: &str| Said::Act(text.into());
        assert_eq!(of(about_control::EDIT, Vec::new(), "new\u{7}"), act("changed 4 to: new<U+0007>"));
        assert_eq!(of(streamed_control::END, Vec::new(), "all\u{7}"), act("ended 4: all<U+0007>"));
        assert_eq!(of(streamed_control::OPEN, Vec::new(), ""), Said::Text("…".into()));
        assert_eq!(of(about_control::REACT, Vec::new(), ""), act("took back a reaction to 4"));
        let timer = Timer { seconds: 7200 }.to_bytes().to_vec();
        assert_eq!(of(about_control::TIMER, timer, ""), act("lets messages disappear after 2 hours"));
        let gone = Message { flags: tidings_client::MessageFlags::EMPTIED, ..message(Control::TEXT, Vec::new(), "") };
        assert!(matches!(said(&gone), Said::Act(_)));
        assert!(matches!(said(&message(Control(999), Vec::new(), "x")), Said::Act(_)));
    }
}
