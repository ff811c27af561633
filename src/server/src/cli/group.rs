//! `tidings group`: makes groups and changes them.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tidings_client::{
    ConversationId, DEFAULT_TENANT, ErrorCode, Event, Group, GroupAct, GroupSettings, HistoryFrom, LinkBody, Role,
    RoleBody, UserId, Users, blocking::Client,
};

use tidings_wire::{frames::group::digest_of_link, limits::NAMED_MAX};

use super::{
    Failure,
    connect::{Connection, check_name, group_id, patience, rejected},
    out,
    status::{Ended, Status, no_answer, refused_with},
};

/// Arguments of `group`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a group; print its id as {"conversation":"..."}.
    Create {
        #[command(flatten)]
        connection: Connection,
        /// Its title.
        #[arg(long)]
        title: String,
        /// 32 hexadecimal digits that name it among your groups: the same digits, title and members again are the same group.
        #[arg(long, value_name = "HEX")]
        nonce: Option<String>,
        #[command(flatten)]
        settings: Settings,
        /// Who is in it besides you; `-`: those on standard input, a name a line.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Add members.
    Add {
        #[command(flatten)]
        of: Of,
        /// Whom; `-`: those on standard input, a name a line.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Remove members.
    Remove {
        #[command(flatten)]
        of: Of,
        /// Whom; `-`: those on standard input, a name a line.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Leave. The owner makes somebody else the owner first.
    Leave {
        #[command(flatten)]
        of: Of,
    },
    /// Make a member an admin, an owner in your place, or a plain member again.
    Role {
        #[command(flatten)]
        of: Of,
        /// Whom.
        member: String,
        /// What.
        role: RoleName,
    },
    /// Change the title; with options, what members may do.
    Rename {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        settings: Settings,
        /// The new title.
        title: String,
    },
    /// Delete the group. Everybody keeps what there was.
    Delete {
        #[command(flatten)]
        of: Of,
    },
    /// Make a link by which others join, or a new one instead; print it. The server does not know it: keep it.
    Link {
        #[command(flatten)]
        of: Of,
        /// End the link there is.
        #[arg(long)]
        off: bool,
    },
    /// Join a group by a link that `tidings group link` printed.
    Join {
        #[command(flatten)]
        connection: Connection,
        /// The link.
        #[arg(value_parser = group_link)]
        link: Link,
        /// Print what came of it as a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what a group is and who is in it.
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Print your groups.
    List {
        #[command(flatten)]
        connection: Connection,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// Which group, as whom.
#[derive(Debug, Args)]
struct Of {
    #[command(flatten)]
    connection: Connection,
    /// The group.
    #[arg(long, value_name = "ID", value_parser = group_id)]
    group: ConversationId,
    /// Print what came of it as a JSON object.
    #[arg(long)]
    json: bool,
}

/// Who may do what: what is not given is as it was, or as usual.
#[derive(Debug, Args)]
struct Settings {
    /// Who may write.
    #[arg(long, value_name = "ROLE")]
    write: Option<RoleName>,
    /// Who may add members.
    #[arg(long, value_name = "ROLE")]
    add: Option<RoleName>,
    /// Who may change the title and this.
    #[arg(long, value_name = "ROLE")]
    edit: Option<RoleName>,
    /// Where the history of new members begins.
    #[arg(long)]
    history: Option<Begin>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Member,
    Admin,
    Owner,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Begin {
    /// With the first message.
    Beginning,
    /// With the one that added them.
    Joining,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::Member => Role::Member,
            Self::Admin => Role::Admin,
            Self::Owner => Role::Owner,
        }
    }
}

impl Settings {
    fn over(&self, before: GroupSettings) -> GroupSettings {
        let role = |name: Option<RoleName>, before| name.map_or(before, RoleName::role);
        let history = match self.history {
            None => before.history,
            Some(Begin::Beginning) => HistoryFrom::Beginning,
            Some(Begin::Joining) => HistoryFrom::Joining,
        };
        let (write, add, edit) =
            (role(self.write, before.write), role(self.add, before.add), role(self.edit, before.edit));
        GroupSettings { write, add, edit, history }
    }
}

/// What lets somebody join: a group and its secret.
#[derive(Clone, Copy, Debug)]
struct Link {
    group: ConversationId,
    secret: [u8; 16],
}

/// A link, as it is printed.
fn group_link(text: &str) -> Result<Link, String> {
    let wrong = || "no link: it is a group's id, a dot, and 32 hexadecimal digits".to_owned();
    let (group, secret) = text.split_once('.').ok_or_else(wrong)?;
    Ok(Link { group: group_id(group)?, secret: hex(secret).ok_or_else(wrong)? })
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.", self.group)?;
        self.secret.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.what {
        What::Create { connection, title, nonce, settings, members } => {
            create(connection, title, nonce.as_deref(), settings, members)
        }
        What::Add { of, members } => of.act_on(members, add),
        What::Remove { of, members } => of.act_on(members, remove),
        What::Leave { of } => Session::act_named(of, &GroupAct::Leave, ""),
        What::Role { of, member, role } => {
            check_name(member)?;
            let role = RoleBody { member: UserId::derive(DEFAULT_TENANT, member), role: role.role() };
            Session::act_named(of, &GroupAct::Role(role), member)
        }
        What::Rename { of, settings, title } => {
            let mut session = Session::open(&of.connection)?;
            let before = session.describe(of.group)?.settings;
            let act = GroupAct::Settings { settings: settings.over(before), title: title.as_bytes() };
            session.act(of.group, &act, "")?.say(of)
        }
        What::Delete { of } => Session::act_named(of, &GroupAct::Delete, ""),
        What::Link { of, off } => link(of, *off),
        What::Join { connection, link: Link { group, secret }, json } => {
            let act = GroupAct::Join { secret: Some(*secret) };
            let mut session = Session::open(connection)?;
            session.act(*group, &act, connection.user())?.say_of(*group, *json)
        }
        What::Show { of } => show(of),
        What::List { connection, json } => list(connection, *json),
    }
}

impl Of {
    /// Does something to members, in as many messages as it takes.
    fn act_on(&self, members: &[String], act: fn(Users<'_>) -> GroupAct<'_>) -> Result<(), Failure> {
        let mut session = Session::open(&self.connection)?;
        for Named { ids, names } in named(members)? {
            session.act(self.group, &act(Users::new(&ids)), &names)?;
        }
        session.say(self)
    }
}

fn add(users: Users<'_>) -> GroupAct<'_> {
    GroupAct::Add(users)
}

fn remove(users: Users<'_>) -> GroupAct<'_> {
    GroupAct::Remove(users)
}

/// Users that one message names: their ids, and their names a line each, for whoever reads of it.
struct Named {
    ids: Vec<[u8; 16]>,
    names: String,
}

/// Bytes of ids and names in one message: some are left for the rest of it.
const NAMED_BYTES: usize = 60 * 1024;

/// The users of these names (`-`: of those on standard input, one a line), in as many messages as it takes.
fn named(members: &[String]) -> Result<Vec<Named>, Failure> {
    let given = if members == ["-"] { Some(std::io::read_to_string(std::io::stdin())?) } else { None };
    let all: Vec<&str> = match &given {
        Some(text) => text.lines().filter(|line| !line.is_empty()).collect(),
        None => members.iter().map(String::as_str).collect(),
    };
    let mut messages = vec![Named { ids: Vec::new(), names: String::new() }];
    for name in all {
        check_name(name)?;
        let last = messages.last().expect("there is one");
        let bytes = (last.ids.len() + 1) * 16 + last.names.len() + name.len() + 1;
        if last.ids.len() == NAMED_MAX || bytes > NAMED_BYTES {
            messages.push(Named { ids: Vec::new(), names: String::new() });
        }
        let last = messages.last_mut().expect("there is one");
        if !last.ids.is_empty() {
            last.names.push('\n');
        }
        last.names.push_str(name);
        last.ids.push(UserId::derive(DEFAULT_TENANT, name).0);
    }
    Ok(messages)
}

fn create(
    connection: &Connection,
    title: &str,
    nonce: Option<&str>,
    settings: &Settings,
    members: &[String],
) -> Result<(), Failure> {
    let nonce = match nonce {
        None => crate::data::random()?,
        Some(digits) => hex(digits).ok_or("--nonce: 32 hexadecimal digits are expected")?,
    };
    let settings = settings.over(GroupSettings::default());
    let mut session = Session::open(connection)?;
    let group = ConversationId::group(session.client.session().user(), &nonce);
    for (at, Named { ids, names }) in named(members)?.into_iter().enumerate() {
        let (title, members) = (title.as_bytes(), Users::new(&ids));
        let act = match at {
            0 => GroupAct::Create { nonce, settings, title, members },
            _ => GroupAct::Add(members),
        };
        session.act(group, &act, &names)?;
    }
    out::line(&json!({ "conversation": group.to_string() }).to_string());
    session.leave()
}

/// 16 bytes of 32 hexadecimal digits.
pub(super) fn hex(digits: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A connection for one question or act.
struct Session {
    client: Client,
    done: Option<u64>,
}

impl Session {
    fn open(connection: &Connection) -> Result<Self, Failure> {
        let mut config = connection.config()?;
        config.receive = false;
        Ok(Self { client: connection.open(&config)?, done: None })
    }

    /// Does something to a group on a connection of its own, and says what came of it.
    fn act_named(of: &Of, act: &GroupAct<'_>, names: &str) -> Result<(), Failure> {
        Self::open(&of.connection)?.act(of.group, act, names)?.say(of)
    }

    fn act(&mut self, group: ConversationId, act: &GroupAct<'_>, names: &str) -> Result<&mut Self, Failure> {
        self.client.session().act(group, act, names.as_bytes());
        let seq = self.wait(|event| match event {
            Event::Sent { seq, .. } => Some(Ok(seq.0)),
            Event::SendFailed { code, .. } => Some(Err(refused(code))),
            _ => None,
        })?;
        self.done = Some(seq);
        Ok(self)
    }

    fn describe(&mut self, group: ConversationId) -> Result<Group, Failure> {
        self.client.session().describe_all(group);
        self.wait(|event| match event {
            Event::Described(group) => Some(Ok(group)),
            Event::DescribeFailed { code, .. } => Some(Err(refused(code))),
            _ => None,
        })
    }

    fn wait<T>(&mut self, mut answer: impl FnMut(Event) -> Option<Result<T, Failure>>) -> Result<T, Failure> {
        let until = Instant::now() + patience();
        while Instant::now() < until {
            match self.client.poll(Duration::from_millis(200))? {
                Some(Event::Rejected { code }) => return Err(rejected(code)),
                Some(event) => {
                    if let Some(answer) = answer(event) {
                        return answer;
                    }
                }
                None => {}
            }
        }
        Err(no_answer())
    }

    fn say(&mut self, of: &Of) -> Result<(), Failure> {
        self.say_of(of.group, of.json)
    }

    fn say_of(&mut self, group: ConversationId, json: bool) -> Result<(), Failure> {
        let seq = self.done.unwrap_or_default();
        if json {
            out::line(&json!({ "conversation": group.to_string(), "seq": seq }).to_string());
        } else {
            out::line(&format!("done, as message {seq}"));
        }
        self.leave()
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.client.session().leave();
        self.client.poll(Duration::ZERO)?;
        Ok(())
    }
}

/// Why the server does not do it, as a sentence.
fn refused(code: ErrorCode) -> Failure {
    let why = match code {
        ErrorCode::NotMember => "you are in no such group, or its link is another",
        ErrorCode::NotAllowed => "your role does not allow it",
        ErrorCode::NonceConflict => "that nonce made another group of yours before",
        ErrorCode::Gone => "the group was deleted",
        ErrorCode::GroupFull => "a group has at most 100,000 members",
        ErrorCode::LastOwner => "a group keeps its owner: make somebody else the owner first",
        ErrorCode::NoSuchMember => "somebody whom you name is not in the group",
        ErrorCode::AlreadyMember => "somebody whom you name is in the group already, or named twice",
        ErrorCode::BadPeer => "somebody whom you name cannot be written to",
        ErrorCode::BodyInvalid => "the server does not understand it: is the title longer than 256 bytes?",
        other => return refused_with(other),
    };
    Ended::with(Status::Refused, format!("{why} ({code})"))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::None => "former",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

fn link(of: &Of, off: bool) -> Result<(), Failure> {
    if off {
        let end = GroupAct::Link(LinkBody { digest: [0; 16] });
        return Session::act_named(of, &end, "");
    }
    let link = Link { group: of.group, secret: crate::data::random()? };
    let mut session = Session::open(&of.connection)?;
    session.act(of.group, &GroupAct::Link(LinkBody { digest: digest_of_link(of.group, &link.secret) }), "")?;
    let text = link.to_string();
    out::line(&if of.json { json!({ "conversation": of.group.to_string(), "link": text }).to_string() } else { text });
    session.leave()
}

fn show(of: &Of) -> Result<(), Failure> {
    let mut session = Session::open(&of.connection)?;
    let group = session.describe(of.group)?;
    if of.json {
        out::line(&to_json(&group).to_string());
    } else {
        let deleted = if group.deleted.0 > 0 { " (deleted)" } else { "" };
        out::line(&format!("{}{deleted}, {} members", out::harmless(&group.title), group.current));
        for member in &group.members {
            let (delivered, read) = (member.delivered, member.read);
            out::line(&format!("  {}  {:<6}  has {delivered}, has read {read}", member.user, role_name(member.role)));
        }
    }
    session.leave()
}

fn to_json(group: &Group) -> serde_json::Value {
    let members: Vec<_> = group
        .members
        .iter()
        .map(|member| {
            json!({
                "user": member.user.to_string(),
                "role": role_name(member.role),
                "joined": member.joined.0,
                "left": member.left.0,
                "delivered": member.delivered.0,
                "read": member.read.0,
            })
        })
        .collect();
    let GroupSettings { write, add, edit, history } = group.settings;
    json!({
        "conversation": group.conversation.to_string(),
        "title": group.title,
        "head": group.head.0,
        "deleted": group.deleted.0 > 0,
        "link": group.has_link,
        "large": group.is_large,
        "current": group.current,
        "write": role_name(write),
        "add": role_name(add),
        "edit": role_name(edit),
        "history": if history == HistoryFrom::Beginning { "beginning" } else { "joining" },
        "members": members,
    })
}

/// The groups of a user, those that it left among them: of those there is no title to be had.
fn list(connection: &Connection, json: bool) -> Result<(), Failure> {
    for (id, group) in super::conversations::groups_of(connection)? {
        let line = match (json, &group) {
            (true, Some(group)) => to_json(group).to_string(),
            (true, None) => json!({ "conversation": id.to_string(), "left": true }).to_string(),
            (false, Some(group)) => format!("{id}  {}", out::harmless(&group.title)),
            (false, None) => format!("{id}  (left)"),
        };
        if !out::line(&line) {
            break;
        }
    }
    Ok(())
}
