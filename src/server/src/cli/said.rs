//! What a message says, for people to read in a terminal.

use tidings_client::{DEFAULT_TENANT, GroupAct, Message, Role, RoleBody, UserId, Users};

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
    let act = match GroupAct::read(message.control, &message.body) {
        Ok(Some(act)) => act,
        _ if message.control.0 == 0 => return Said::Text(harmless(&text)),
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
        assert!(matches!(said(&message(Control(999), Vec::new(), "x")), Said::Act(_)));
    }
}
