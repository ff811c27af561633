//! The store of entities, which does not have all of them in memory.

use std::collections::BTreeMap;

use tidings_core::{Entity, Loaded, Residency, StateStore};

use crate::random::{MILLION, Random};

/// A store that has to load something now and then, takes its time, and fails.
#[derive(Debug)]
pub(super) struct Loading {
    random: Random,
    millionths: u32,
    /// What is being loaded, and how often it will still be asked for before it is there.
    loads: BTreeMap<Entity, u32>,
}

impl Loading {
    /// One that lacks so many of a million things that it is asked for.
    pub fn new(random: Random, millionths: u32) -> Self {
        Self { random, millionths, loads: BTreeMap::new() }
    }
}

impl StateStore for Loading {
    fn prefetch(&mut self, entity: Entity) -> Residency {
        if self.loads.contains_key(&entity) {
            return Residency::Loading;
        }
        if self.millionths == 0 || !self.random.chance(self.millionths) {
            return Residency::Resident;
        }
        let bits = self.random.below(10);
        let takes = 1 + self.random.below(1 << bits) as u32;
        self.loads.insert(entity, takes);
        Residency::Loading
    }

    fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
        let mut done = None;
        for (entity, left) in &mut self.loads {
            *left = left.saturating_sub(1);
            if *left == 0 {
                done = Some(*entity);
            }
        }
        let entity = done?;
        self.loads.remove(&entity);
        Some((entity, if self.random.chance(MILLION / 8) { Loaded::Failed } else { Loaded::Here }))
    }
}
