//! Parking: what must wait for an entity to be loaded does so apart, first in first out for each entity, and nobody else waits. A frame
//! stays unparsed on its connection; a lane message goes to a waiting room here. Both are bounded: what finds no place, or waits for
//! too long, is refused (BUSY) or, if it only tells a home something, lost and told again by its outbox.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use tidings_core::{Entity, Loaded, Mono, ReactorId, Residency, StateStore, ToConversation, ToHome, slab::Key};

/// Lane messages that wait on a reactor.
pub const PARKED_MESSAGES_MAX: usize = 4096;
/// Bytes of their payloads.
pub const PARKED_BYTES_MAX: usize = 4 << 20;
/// Bytes that a connection may have unparsed while it waits. Beyond that its frames are refused, until half of that is left.
pub const PARKED_CARRY_MAX: usize = 256 << 10;
/// Whole frames of a connection that are looked at ahead, so that their loads overlap.
pub const FRAMES_AHEAD: usize = 16;
/// Entities that are loaded at once for those who do not wait.
const AHEAD_MAX: usize = 256;
/// How long something waits for a load.
const PATIENCE_MS: u64 = 2_000;

/// What waits for an entity.
#[derive(Debug)]
pub(crate) enum Parked {
    /// The frames of a connection, from the first that needs the entity.
    Connection(Key),
    /// A message to a conversation.
    ToConversation(ReactorId, ToConversation, Vec<u8>),
    /// A message to a home.
    ToHome(ReactorId, ToHome, Vec<u8>),
}

impl Parked {
    /// Bytes of a message's payload; `None` of a connection, whose bytes are its own.
    fn size(&self) -> Option<usize> {
        match self {
            Self::Connection(_) => None,
            Self::ToConversation(_, _, payload) | Self::ToHome(_, _, payload) => Some(payload.len()),
        }
    }
}

/// The waiting room is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// Those who wait for one entity.
#[derive(Debug)]
struct Room {
    waiting: VecDeque<Parked>,
    /// How the load ended; `None`: it has not.
    loaded: Option<Loaded>,
    since: Mono,
}

/// What waits on a reactor.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    rooms: BTreeMap<Entity, Room>,
    /// What each connection waits for. One that ended is forgotten when its turn comes.
    connections: BTreeMap<u64, Entity>,
    messages: usize,
    bytes: usize,
    /// Entities that are being loaded for somebody who did not wait.
    ahead: BTreeMap<Entity, Mono>,
}

impl Parking {
    /// Whether something that touches `entity` may go on: it is there, and nobody waits for it.
    pub(crate) fn may_pass(&self, entity: Entity, store: &mut dyn StateStore) -> bool {
        let waits = !self.rooms.is_empty() && self.rooms.contains_key(&entity);
        !waits && store.prefetch(entity) == Residency::Resident
    }

    /// Whether something that does not wait may go on. If it may not, the entity is there for the next, unless too many are being loaded.
    pub(crate) fn may_pass_or_load(&mut self, entity: Entity, store: &mut dyn StateStore, now: Mono) -> bool {
        if self.may_pass(entity, store) {
            return true;
        }
        if self.ahead.len() < AHEAD_MAX && !self.rooms.contains_key(&entity) {
            self.ahead.entry(entity).or_insert(now);
        }
        false
    }

    /// Something waits for an entity.
    ///
    /// # Errors
    /// If there is no place for it.
    pub(crate) fn park(&mut self, entity: Entity, parked: Parked, now: Mono) -> Result<(), NoPlace> {
        if let Some(size) = parked.size() {
            if self.messages == PARKED_MESSAGES_MAX || self.bytes + size > PARKED_BYTES_MAX {
                return Err(NoPlace);
            }
            (self.messages, self.bytes) = (self.messages + 1, self.bytes + size);
        }
        if let Parked::Connection(key) = parked {
            self.connections.insert(key.to_u64(), entity);
        }
        let room = self.rooms.entry(entity).or_insert(Room { waiting: VecDeque::new(), loaded: None, since: now });
        room.waiting.push_back(parked);
        Ok(())
    }

    /// Loads that ended, or that took too long.
    pub(crate) fn look(&mut self, store: &mut dyn StateStore, now: Mono) {
        while let Some((entity, loaded)) = store.take_loaded() {
            self.ahead.remove(&entity);
            if let Some(room) = self.rooms.get_mut(&entity) {
                room.loaded = Some(loaded);
            }
        }
        self.ahead.retain(|_, since| since.plus_ms(PATIENCE_MS) > now);
        for (entity, room) in &mut self.rooms {
            if room.loaded.is_some() {
                continue;
            }
            if room.since.plus_ms(PATIENCE_MS) <= now {
                room.loaded = Some(Loaded::Failed);
            } else if store.prefetch(*entity) == Residency::Resident {
                room.loaded = Some(Loaded::Here); // loaded for somebody who did not wait
            }
        }
    }

    /// The next whose load has ended, in a room after `after`: for what it waited, and how the load ended. With the last its room goes.
    pub(crate) fn next(&mut self, after: Option<Entity>) -> Option<(Entity, Loaded, Parked)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rooms = self.rooms.range_mut((from, Bound::Unbounded));
        let (entity, room, loaded) = rooms.find_map(|(entity, room)| {
            let loaded = room.loaded?;
            Some((*entity, room, loaded))
        })?;
        let parked = room.waiting.pop_front().expect("a room is there while somebody waits");
        if let Some(size) = parked.size() {
            (self.messages, self.bytes) = (self.messages - 1, self.bytes - size);
        }
        if room.waiting.is_empty() {
            self.rooms.remove(&entity);
        }
        Some((entity, loaded, parked))
    }

    /// What [`Self::next`] gave cannot go on yet.
    pub(crate) fn put_back(&mut self, entity: Entity, loaded: Loaded, parked: Parked, now: Mono) {
        if let Some(size) = parked.size() {
            (self.messages, self.bytes) = (self.messages + 1, self.bytes + size);
        }
        let room = Room { waiting: VecDeque::new(), loaded: Some(loaded), since: now };
        self.rooms.entry(entity).or_insert(room).waiting.push_front(parked);
    }

    /// What a connection waits for.
    pub(crate) fn what_waits(&self, key: Key) -> Option<Entity> {
        self.connections.get(&key.to_u64()).copied()
    }

    /// A connection goes on that waited for an entity. False if it does not wait for that (any more).
    pub(crate) fn leaves(&mut self, key: Key, entity: Entity) -> bool {
        let waits = self.what_waits(key) == Some(entity);
        if waits {
            self.connections.remove(&key.to_u64());
        }
        waits
    }

    /// True if nobody waits, and nothing is being loaded for the next who comes.
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.ahead.is_empty()
    }

    /// Messages that wait.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use tidings_wire::ConversationId;

    use super::*;

    struct Slow(Vec<(Entity, Loaded)>);

    impl StateStore for Slow {
        fn prefetch(&mut self, _: Entity) -> Residency {
            Residency::Loading
        }

        fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
            self.0.pop()
        }
    }

    fn entity(n: u8) -> Entity {
        Entity::Conversation(ConversationId([n; 16]))
    }

    fn key(index: u32) -> Key {
        Key { index, generation: 1 }
    }

    fn keys(parking: &mut Parking) -> Vec<u32> {
        let mut keys = Vec::new();
        while let Some((_, _, parked)) = parking.next(None) {
            let Parked::Connection(key) = parked else { panic!("only connections were parked") };
            keys.push(key.index);
        }
        keys
    }

    #[test]
    fn each_entity_has_its_order_and_holds_up_nobody_else() {
        let (mut parking, mut store) = (Parking::default(), Slow(Vec::new()));
        for (at, of) in [(1, 5), (2, 6), (3, 5), (4, 6)] {
            parking.park(entity(of), Parked::Connection(key(at)), Mono(0)).unwrap();
        }
        assert!(!parking.may_pass(entity(5), &mut store));
        parking.look(&mut store, Mono(1));
        assert!(keys(&mut parking).is_empty());
        store.0.push((entity(6), Loaded::Here));
        parking.look(&mut store, Mono(2));
        assert_eq!(keys(&mut parking), [2, 4]);
        // What takes too long ends as a load that failed.
        parking.look(&mut store, Mono(0).plus_ms(PATIENCE_MS));
        let given_up = parking.next(None).map(|(_, loaded, _)| loaded);
        assert_eq!(given_up, Some(Loaded::Failed));
    }

    #[test]
    fn what_does_not_wait_finds_the_entity_the_next_time() {
        struct Once(bool);
        impl StateStore for Once {
            fn prefetch(&mut self, _: Entity) -> Residency {
                if self.0 { Residency::Resident } else { Residency::Loading }
            }

            fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
                (!std::mem::replace(&mut self.0, true)).then(|| (entity(5), Loaded::Here))
            }
        }
        let (mut parking, mut store) = (Parking::default(), Once(false));
        assert!(!parking.may_pass_or_load(entity(5), &mut store, Mono(0)));
        assert!(!parking.is_empty());
        parking.look(&mut store, Mono(1));
        assert!(parking.is_empty() && parking.may_pass_or_load(entity(5), &mut store, Mono(0)));
    }

    #[test]
    fn messages_are_bounded_in_number_and_bytes() {
        let mut parking = Parking::default();
        let message = |bytes| Parked::ToHome(ReactorId(1), ToHome::AskReached { shard: 0 }, vec![0; bytes]);
        parking.park(entity(1), message(PARKED_BYTES_MAX), Mono(0)).unwrap();
        assert!(parking.park(entity(1), message(1), Mono(0)).is_err());
        for _ in 1..PARKED_MESSAGES_MAX {
            parking.park(entity(2), message(0), Mono(0)).unwrap();
        }
        assert!(parking.park(entity(3), message(0), Mono(0)).is_err());
        assert_eq!(parking.messages(), PARKED_MESSAGES_MAX);
    }
}
