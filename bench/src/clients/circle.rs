//! Users who know each other: everybody writes with as many others, in a circle.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tidings_wire::{ConversationId, Kind, UserId};

use super::{
    A_MOMENT, AT_A_TIME, Clients, Member,
    connection::NOTHING_KNOWN,
    sending::{Payload, append_send},
};
use crate::{Failure, progress::Progress, target::Target};

/// Messages of somebody that are under way at a time while everything is made.
const IN_FLIGHT: usize = 32;
const MADE_WITHIN: Duration = Duration::from_secs(300);

/// Who knows whom.
#[derive(Debug)]
pub struct Circle {
    members: Vec<Member>,
    ids: Vec<UserId>,
    friends: usize,
}

impl Circle {
    /// So many users, each with so many friends (an even number): half on each side in the circle.
    ///
    /// # Errors
    /// If there are too few users for as many friends, or no tokens can be had.
    pub fn new(target: &Target, users: usize, friends: usize) -> Result<Self, Failure> {
        if friends % 2 == 1 || friends >= users {
            return Err(
                format!("{users} users cannot have {friends} friends each: an even number, less than users").into()
            );
        }
        let name = |user| format!("member{user}");
        let member = |user| Ok::<_, Failure>(Member { device: 1, token: target.token(&name(user))? });
        let members = (0..users).map(member).collect::<Result<_, _>>()?;
        let ids = (0..users).map(|user| UserId::derive("default", &name(user))).collect();
        Ok(Self { members, ids, friends })
    }

    /// How many users.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many friends each has.
    pub fn friends(&self) -> usize {
        self.friends
    }

    /// A user's way to say who they are.
    pub fn member(&self, user: usize) -> &Member {
        &self.members[user]
    }

    /// A friend of a user, 0 to the number of friends: first those behind, then those before.
    pub fn friend(&self, user: usize, at: usize) -> usize {
        let half = self.friends / 2;
        let step = if at < half { at + 1 } else { self.len() - (at - half + 1) };
        (user + step) % self.len()
    }

    /// A user's id.
    pub fn id(&self, user: usize) -> UserId {
        self.ids[user]
    }

    /// The conversation of two users.
    pub fn conversation(&self, one: usize, other: usize) -> ConversationId {
        ConversationId::direct(self.ids[one], self.ids[other])
    }

    /// Makes all conversations, with so many messages in each, and everybody goes again.
    ///
    /// # Errors
    /// If somebody is refused, or it takes too long.
    pub fn make(&self, clients: &mut Clients, messages: u64, payload: &Payload, bar: &Progress) -> Result<(), Failure> {
        let until = Instant::now() + MADE_WITHIN;
        let mut writers: Vec<Writer> = (0..self.len()).map(|user| self.writer(user, messages)).collect();
        let (mut come, mut done) = (0, 0);
        let mut finished = Vec::new();
        while done < self.len() {
            while come < self.len() && come - done < AT_A_TIME {
                clients.come(come, &self.members[come], &NOTHING_KNOWN)?;
                come += 1;
            }
            bar.say(format!("conversations of {done} of {} users", self.len()));
            clients.turn(A_MOMENT, |came| {
                let writer = &mut writers[came.at];
                match came.kind() {
                    Some(Kind::Changed) => {}
                    Some(Kind::Sent) => {
                        writer.in_flight = writer.in_flight.checked_sub(1).ok_or("one SENT more than was sent")?
                    }
                    _ => return came.no_refusal(),
                }
                while writer.in_flight < IN_FLIGHT
                    && let Some((to, id)) = writer.waiting.pop_front()
                {
                    append_send(to, id, payload, came.out);
                    writer.in_flight += 1;
                }
                if writer.in_flight == 0 {
                    finished.push(came.at);
                }
                Ok(())
            })?;
            done += finished.len();
            finished.drain(..).for_each(|at| clients.go(at));
            if Instant::now() > until {
                return Err(format!("{done} of {} users were done in time", self.len()).into());
            }
        }
        Ok(())
    }

    fn writer(&self, user: usize, messages: u64) -> Writer {
        let mut waiting = VecDeque::new();
        for id in 1..=messages {
            for at in 0..self.friends / 2 {
                let friend = self.friend(user, at);
                waiting.push_back(((self.conversation(user, friend), self.id(friend)), id));
            }
        }
        Writer { waiting, in_flight: 0 }
    }
}

struct Writer {
    waiting: VecDeque<((ConversationId, UserId), u64)>,
    in_flight: usize,
}
