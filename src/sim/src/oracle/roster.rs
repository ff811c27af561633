//! Who is in a group, and what each may read: from the log alone, by reading its bytes as `docs/protocol.md` says, not as the product does.

use std::collections::BTreeMap;

use tidings_client::{Seq, UserId};

const CREATE: u16 = 1;
const ADD: u16 = 2;
const REMOVE: u16 = 3;
const LEAVE: u16 = 4;
const ROLE: u16 = 5;
const SETTINGS: u16 = 6;
const DELETE: u16 = 7;
const LINK: u16 = 8;
const JOIN: u16 = 9;
const EDIT: u16 = 10;
const ERASE: u16 = 11;
const REACT: u16 = 12;
const TIMER: u16 = 13;
const OPEN: u16 = 14;
const END: u16 = 15;

const MEMBER: u8 = 1;
const ADMIN: u8 = 2;
const OWNER: u8 = 3;

/// Times of a membership that are remembered.
const STAYS: usize = 16;

/// Numbers from the first to the last; `None`: still open.
type Stay = (u64, Option<u64>);

/// Somebody who is or was in a group.
#[derive(Clone, Debug, Default)]
struct Place {
    role: u8,
    /// What it may read.
    stays: Vec<Stay>,
    /// When it was a member.
    times: Vec<Stay>,
}

/// A group.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    places: BTreeMap<UserId, Place>,
    /// Least roles to write, to add, to edit; and whether new members see only what comes after them.
    settings: [u8; 4],
    /// Others may join.
    open: bool,
    head: u64,
    deleted: bool,
}

fn holds(stays: &[Stay], seq: u64) -> bool {
    stays.iter().any(|(first, last)| *first <= seq && last.is_none_or(|last| seq <= last))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

fn users(bytes: &[u8]) -> Vec<UserId> {
    bytes.chunks_exact(16).map(|id| UserId(id.try_into().expect("16 bytes"))).collect()
}

impl Roster {
    /// The next message.
    ///
    /// # Errors
    /// Why it should have been refused, in words.
    pub fn add(&mut self, sender: UserId, seq: Seq, control: u16, body: &[u8]) -> Result<(), String> {
        let bad = || format!("{seq:?} of a group has a body that control {control} does not have");
        self.head = seq.0;
        let own = self.role(sender);
        let needs = |least: u8| {
            if own >= least {
                Ok(())
            } else {
                Err(format!("{seq:?} does {control} with role {own}, {least} is needed"))
            }
        };
        match control {
            0 | EDIT | OPEN | END => needs(self.settings[0])?,
            ERASE | REACT => needs(MEMBER)?,
            TIMER => needs(self.settings[2])?,
            CREATE => {
                let (titles, count) = (number(body, 20).ok_or_else(bad)?, number(body, 22).ok_or_else(bad)?);
                if seq != Seq(1) || body.len() != 24 + titles + 16 * count {
                    return Err(bad());
                }
                self.settings = body[16..20].try_into().expect("4 bytes");
                self.join(sender, OWNER, 1);
                users(&body[24 + titles..]).into_iter().for_each(|user| self.join(user, MEMBER, 1));
            }
            ADD => {
                needs(self.settings[1])?;
                for user in users(body.get(2..).ok_or_else(bad)?) {
                    if self.role(user) > 0 {
                        return Err(format!("{seq:?} adds {user}, who is a member"));
                    }
                    self.join(user, MEMBER, if self.settings[3] == 0 { 1 } else { seq.0 });
                }
            }
            REMOVE => {
                needs(ADMIN)?;
                for user in users(body.get(2..).ok_or_else(bad)?) {
                    if self.role(user) == 0 || self.role(user) >= own {
                        return Err(format!("{seq:?} removes {user}, whose role is {}", self.role(user)));
                    }
                    self.leave(user);
                }
            }
            LEAVE => {
                needs(MEMBER)?;
                if own == OWNER && self.places.values().filter(|place| place.role > 0).count() > 1 {
                    return Err(format!("the owner leaves with {seq:?}"));
                }
                self.leave(sender);
            }
            ROLE => {
                needs(OWNER)?;
                let (member, role) = (users(body), *body.get(16).ok_or_else(bad)?);
                let Some(place) = member.first().and_then(|member| self.places.get_mut(member)) else {
                    return Err(bad());
                };
                if place.role == 0 || !(MEMBER..=OWNER).contains(&role) {
                    return Err(bad());
                }
                place.role = role;
                if role == OWNER {
                    self.places.entry(sender).or_default().role = ADMIN;
                }
            }
            LINK => {
                needs(ADMIN)?;
                if body.len() != 16 {
                    return Err(bad());
                }
                self.open = body.iter().any(|byte| *byte != 0);
            }
            JOIN => {
                if !self.open || own > 0 || !body.is_empty() {
                    return Err(format!(
                        "{seq:?} joins with {} bytes and role {own}, by a link: {}",
                        body.len(),
                        self.open
                    ));
                }
                self.join(sender, MEMBER, if self.settings[3] == 0 { 1 } else { seq.0 });
            }
            SETTINGS => {
                needs(self.settings[2])?;
                self.settings = body.get(..4).ok_or_else(bad)?.try_into().expect("4 bytes");
            }
            DELETE => {
                needs(OWNER)?;
                self.deleted = true;
                let members: Vec<_> = self.places.keys().copied().filter(|user| self.role(*user) > 0).collect();
                members.into_iter().for_each(|user| self.leave(user));
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    /// The next message, which changes nothing.
    pub fn pass(&mut self, seq: Seq) {
        self.head = seq.0;
    }

    fn join(&mut self, user: UserId, role: u8, first: u64) {
        let head = self.head;
        let place = self.places.entry(user).or_default();
        place.role = role;
        place.times.push((head, None));
        for (_, last) in &mut place.stays {
            *last = last.map(|last| last.min(first - 1));
        }
        place.stays.retain(|(first, last)| last.is_none_or(|last| *first <= last));
        place.stays.push((first, None));
        if place.stays.len() > STAYS {
            place.stays.remove(0);
        }
    }

    fn leave(&mut self, user: UserId) {
        let head = self.head;
        let Some(place) = self.places.get_mut(&user) else { return };
        place.role = 0;
        for (_, last) in place.stays.iter_mut().chain(&mut place.times) {
            last.get_or_insert(head);
        }
    }

    /// True if a user keeps the group clean of what another one writes.
    pub fn is_above(&self, user: UserId, other: UserId) -> bool {
        self.role(user) >= ADMIN && self.role(user) > self.role(other)
    }

    fn role(&self, user: UserId) -> u8 {
        self.places.get(&user).map_or(0, |place| place.role)
    }

    /// True if a user may read a message.
    pub fn may_read(&self, user: UserId, seq: Seq) -> bool {
        self.places.get(&user).is_some_and(|place| holds(&place.stays, seq.0))
    }

    /// True if a user was a member when a message came.
    pub fn was_told(&self, user: UserId, seq: Seq) -> bool {
        self.places.get(&user).is_some_and(|place| holds(&place.times, seq.0))
    }

    /// True if two users were members at the same time, when there were so many messages or more.
    pub fn were_together(&self, one: UserId, other: UserId, since: Seq) -> bool {
        let times = |user| self.places.get(&user).map_or(&[][..], |place| &place.times);
        let late = |(_, last): &&Stay| last.is_none_or(|last| last >= since.0);
        let overlap = |(first, last): &Stay, (begins, ends): &Stay| {
            last.is_none_or(|last| last >= *begins) && ends.is_none_or(|ends| ends >= *first)
        };
        times(one).iter().filter(late).any(|stay| times(other).iter().filter(late).any(|other| overlap(stay, other)))
    }

    /// True if anybody but this user may read a message.
    pub fn is_readable_by_any_but(&self, user: Option<UserId>, seq: Seq) -> bool {
        self.places.iter().any(|(reader, place)| Some(*reader) != user && holds(&place.stays, seq.0))
    }

    /// The message that made a user a member last; 0: it never was one.
    pub fn joined(&self, user: UserId) -> Seq {
        let place = self.places.get(&user);
        place.and_then(|place| place.times.last()).map_or(Seq(0), |(first, _)| Seq(*first))
    }

    /// The last message that a user may know of, if it is or was a member.
    pub fn reach(&self, user: UserId) -> Option<Seq> {
        let (_, last) = self.places.get(&user)?.times.last()?;
        Some(Seq(last.unwrap_or(self.head)))
    }

    /// Changes with every change of what a user may read.
    pub fn version(&self, user: UserId) -> usize {
        self.places.get(&user).map_or(0, |place| 2 * place.times.len() + usize::from(place.role > 0))
    }
}
