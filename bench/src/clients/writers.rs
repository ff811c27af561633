//! People who write in a group, or one to one, and get what the others write.

use std::time::{Duration, Instant};

use tidings_wire::{
    ClientMsgId, ConversationId, Kind, Seq, UserId,
    frames::{Control, GroupAct, GroupSettings, Message, Users},
};

use super::{
    A_MOMENT, Came, Clients,
    sending::{Payload, append_attempt},
};
use crate::{Failure, target::Target};

/// Somebody who writes in a conversation.
#[derive(Debug, Clone)]
pub struct Writer {
    /// In which.
    pub conversation: ConversationId,
    /// One to one: the other.
    pub peer: UserId,
    /// The last message that it got of others.
    pub last: Seq,
    /// Its last attempt.
    prev: u64,
}

impl Writer {
    /// In a conversation; `peer` is the other of one to one.
    pub fn new(conversation: ConversationId, peer: UserId) -> Self {
        Self { conversation, peer, last: Seq(0), prev: 0 }
    }

    /// A message came: which attempt it was, and whether it is what it must be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn take(&mut self, came: &Came<'_, '_>, payload: &Payload) -> Result<(ClientMsgId, bool), Failure> {
        let message: Message = came.read()?;
        let right = message.conversation == self.conversation
            && message.seq > self.last
            && came.frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
        self.last = message.seq;
        Ok((message.client_msg_id, right))
    }
}

/// Writers, each at its place.
#[derive(Debug)]
pub struct Writers {
    /// Their connections.
    pub clients: Clients,
    /// They.
    pub people: Vec<Writer>,
    /// What they write.
    pub payload: Payload,
    attempts: u64,
}

impl Writers {
    /// Nobody is connected yet.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn new(target: &Target, people: Vec<Writer>, payload: usize) -> Result<Self, Failure> {
        let (clients, payload) = (Clients::new(target.addr, people.len())?, Payload::new(payload));
        Ok(Self { clients, people, payload, attempts: 0 })
    }

    /// Somebody writes the payload: its attempt's number.
    ///
    /// # Errors
    /// If it is gone.
    pub fn say(&mut self, at: usize) -> Result<u64, Failure> {
        let Self { clients, people, payload, attempts } = self;
        write((clients, people, attempts), at, (Control::TEXT, Seq(0), &[], payload.bytes()))
    }

    /// Somebody does something: its control, what it is about, what the server must read, the payload. Gives its attempt's number.
    ///
    /// # Errors
    /// If it is gone.
    pub fn act(&mut self, at: usize, what: (Control, Seq, &[u8], &[u8])) -> Result<u64, Failure> {
        write((&mut self.clients, &mut self.people, &mut self.attempts), at, what)
    }

    /// Somebody makes the group of a nonce, with others.
    ///
    /// # Errors
    /// If it is gone.
    pub fn create(&mut self, at: usize, nonce: [u8; 16], others: &[[u8; 16]]) -> Result<u64, Failure> {
        let (settings, title, members) = (GroupSettings::default(), &b"bench"[..], Users::new(others));
        self.act_in_group(at, &GroupAct::Create { nonce, settings, title, members })
    }

    /// Somebody takes others into its group.
    ///
    /// # Errors
    /// If it is gone.
    pub fn add(&mut self, at: usize, others: &[[u8; 16]]) -> Result<u64, Failure> {
        self.act_in_group(at, &GroupAct::Add(Users::new(others)))
    }

    fn act_in_group(&mut self, at: usize, act: &GroupAct<'_>) -> Result<u64, Failure> {
        let mut body = Vec::new();
        let control = act.write(&mut body);
        self.act(at, (control, Seq(0), &body, &[]))
    }

    /// Takes what comes until `is_done` says so of a frame.
    ///
    /// # Errors
    /// If something is refused, or it takes too long.
    pub fn until(
        &mut self,
        within: Duration,
        mut is_done: impl FnMut(&mut [Writer], &Came<'_, '_>) -> bool,
    ) -> Result<(), Failure> {
        let (until, mut done) = (Instant::now() + within, false);
        while !done {
            let people = &mut self.people;
            self.clients.turn(A_MOMENT, |came| {
                done |= is_done(people, came);
                came.no_refusal()
            })?;
            if Instant::now() > until {
                return Err(format!("not everybody heard what they should within {within:?}").into());
            }
        }
        Ok(())
    }

    /// Waits until everybody has a message, its writer's answer included.
    ///
    /// # Errors
    /// See [`Self::until`].
    pub fn all_have(&mut self, seq: Seq, within: Duration) -> Result<(), Failure> {
        self.until(within, |people, came| {
            if let Some(told) = number(came) {
                people[came.at].last = people[came.at].last.max(told);
            }
            people.iter().all(|person| person.last >= seq)
        })
    }
}

fn write(
    (clients, people, attempts): (&mut Clients, &mut [Writer], &mut u64),
    at: usize,
    what: (Control, Seq, &[u8], &[u8]),
) -> Result<u64, Failure> {
    *attempts += 1;
    let (id, person) = (*attempts, &mut people[at]);
    let out = clients.out(at).ok_or("a device is gone")?;
    append_attempt((person.conversation, person.peer), (id, person.prev), what, out);
    person.prev = id;
    Ok(id)
}

/// The number of the message that is told by a frame.
pub fn number(came: &Came<'_, '_>) -> Option<Seq> {
    match came.kind() {
        Some(Kind::Sent) => came.frame.fixed::<tidings_wire::frames::Sent>().ok().map(|sent| sent.seq),
        Some(Kind::Message) => came.frame.fixed::<Message>().ok().map(|message| message.seq),
        _ => None,
    }
}
