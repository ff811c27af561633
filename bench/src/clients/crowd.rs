//! People who do what is shed first: couples who type to each other, come and go, and watch others.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    ConversationId, Kind, UserId, frame,
    frame::FrameBuilder,
    frames::{Activity, Doing, SetActivity, Typing, Watch},
};

use super::{
    A_MOMENT, Clients, Member,
    sending::{Payload, append_send},
};
use crate::{
    Failure,
    drive::{Offer, Phases, pace::Pace},
    target::Target,
};

/// Others whom each of them watches.
const WATCHED: usize = 16;
/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(120);
/// How long nobody is to be told of those who came last.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// Of what a crowd does, one in so many is to come or to go.
const COMES_OR_GOES: u64 = 8;

/// What a crowd did and heard in one second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Second {
    /// Times that somebody said that it types, to somebody who is there.
    pub typed: u64,
    /// Times that somebody heard it.
    pub heard_typing: u64,
    /// Times that somebody came or went.
    pub moved: u64,
    /// Times that somebody was told of it.
    pub told_presence: u64,
    /// Times that something was refused.
    pub refused: u64,
}

/// A crowd.
#[derive(Debug)]
pub struct Crowd {
    clients: Clients,
    people: Vec<UserId>,
    active: Vec<bool>,
}

fn name(at: usize) -> String {
    format!("crowd{at}")
}

impl Crowd {
    /// So many (an even number) are let in, each couple has said something, and everybody watches some others.
    ///
    /// # Errors
    /// If somebody is not let in.
    pub fn come(target: &Target, count: usize) -> Result<Self, Failure> {
        let people = (0..count).map(|at| UserId::derive("default", &name(at))).collect();
        let mut this = Self { clients: Clients::new(target.addr, count)?, people, active: vec![true; count] };
        this.clients.let_in(0..count, HERE_WITHIN, |at| Ok(Member { device: 1, token: target.token(&name(at))? }))?;
        let payload = Payload::new(1);
        for at in (0..count).step_by(2) {
            let to = this.talk(at);
            if let Some(out) = this.clients.out(at) {
                append_send(to, 1, &payload, out);
            }
        }
        for at in 0..count {
            this.watch(at);
            this.clients.turn(Wait::Poll, |_| Ok(()))?;
        }
        let settled = Instant::now() + SETTLED_AFTER;
        while Instant::now() < settled {
            this.clients.turn(A_MOMENT, |_| Ok(()))?;
        }
        Ok(this)
    }

    /// The conversation of somebody's couple, and the other one.
    fn talk(&self, at: usize) -> (ConversationId, UserId) {
        let other = self.people[(at ^ 1).min(self.people.len() - 1)];
        (ConversationId::direct(self.people[at], other), other)
    }

    fn watch(&mut self, at: usize) {
        let count = self.people.len();
        // Spread over everybody, each by as many.
        let watched: Vec<UserId> = (1..=WATCHED).map(|nth| self.people[(at + nth * 37) % count]).collect();
        let Some(out) = self.clients.out(at) else { return };
        let mut frame = FrameBuilder::<Watch>::new(out);
        let mut users = frame.var(&[]);
        watched.iter().for_each(|user| users.len += frame.var(&user.0).len);
        frame.finish(4, &Watch { conversation: ConversationId::NONE, users });
    }

    /// Does `rate` things a second until it is told to stop: what each second was like.
    ///
    /// # Errors
    /// If the server closes a connection.
    pub fn live(mut self, rate: f64, begin: Instant, stop: &AtomicBool) -> Result<Vec<Second>, Failure> {
        let long = Duration::from_secs(24 * 3600);
        let phases = Phases { warm_up: Duration::ZERO, steady: long };
        let mut pace = Pace::new(Offer::open(rate), self.people.len(), phases);
        let (mut seconds, mut acts) = (vec![Second::default()], 0_u64);
        let mut renewed = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let at = now.duration_since(begin).as_secs() as usize;
            seconds.resize(seconds.len().max(at + 1), Second::default());
            while let Some((_, who)) = pace.next(now) {
                acts += 1;
                if acts.is_multiple_of(COMES_OR_GOES) {
                    self.move_one(who);
                    seconds[at].moved += 1;
                } else {
                    let (conversation, _) = self.talk(who);
                    let typing = Typing { conversation, user: UserId::NONE, doing: Doing::TYPING };
                    self.clients.out(who).into_iter().for_each(|out| frame::append(out, 0, &typing));
                    seconds[at].typed += u64::from(self.active[(who ^ 1).min(self.active.len() - 1)]);
                }
            }
            // Everybody renews once a minute.
            let due = (self.people.len() as f64 * now.duration_since(begin).as_secs_f64() / 60.0) as usize;
            while renewed < due {
                self.watch(renewed % self.people.len());
                renewed += 1;
            }
            let wait = pace.wait(now);
            let second = &mut seconds[at];
            self.clients.turn(wait, |came| {
                match came.kind() {
                    Some(Kind::Typing) => second.heard_typing += 1,
                    Some(Kind::Presence) => second.told_presence += 1,
                    Some(Kind::Error) => second.refused += 1,
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(seconds)
    }

    /// Somebody looks away, or back.
    fn move_one(&mut self, at: usize) {
        let active = &mut self.active[at];
        *active = !*active;
        let activity = if *active { Activity::Active } else { Activity::Inactive };
        self.clients.out(at).into_iter().for_each(|out| frame::append(out, 5, &SetActivity { activity }));
    }
}
