//! Prefetch, then apply: inputs that touch what is not in memory wait, and lose neither their order nor themselves.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tidings::{
    ServerConfig,
    chatting::{Chatting, Member, Pace},
    transcript::check,
};
use tidings_core::{Entity, Loaded, Residency, StateStore};
use tidings_tests::{Serving, serving::small};

/// Forgets every entity again and again: each has to be loaded before it is there, for a few inputs, and one load in ten fails.
#[derive(Default)]
struct Forgetful {
    /// How often each was asked for; while it is being loaded, how often it will be looked for.
    asked: HashMap<Entity, u32>,
    loading: VecDeque<Entity>,
    ended: u32,
}

impl StateStore for Forgetful {
    fn prefetch(&mut self, entity: Entity) -> Residency {
        if self.loading.contains(&entity) {
            return Residency::Loading;
        }
        let asked = self.asked.entry(entity).or_default();
        *asked += 1;
        if !asked.is_multiple_of(8) {
            return Residency::Resident;
        }
        self.loading.push_back(entity);
        LOADS.fetch_add(1, Ordering::Relaxed);
        Residency::Loading
    }

    fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
        let entity = self.loading.pop_front()?;
        self.ended += 1;
        Some((entity, if self.ended.is_multiple_of(10) { Loaded::Failed } else { Loaded::Here }))
    }
}

static LOADS: AtomicU64 = AtomicU64::new(0);

#[test]
fn inputs_wait_for_what_is_being_loaded() {
    let serving = Serving::start(ServerConfig { store: || Box::new(Forgetful::default()), ..small() });
    let member = |user: usize| Member {
        user: format!("user{user}"),
        device: 1,
        token: serving.token(&format!("user{user}")),
        peers: vec![format!("user{}", (user + 1) % 6)],
        writers: vec![format!("user{}", (user + 5) % 6)],
    };
    let members: Vec<_> = (0..6).map(member).collect();
    let pace = Pace { depth: 8, rest: Duration::from_millis(1), patience: Duration::from_secs(30) };
    let chatting = Chatting::start(serving.server().addr(), &members, pace);
    while chatting.progress().acked < 600 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let verdict = check(&chatting.finish());
    assert!(verdict.holds(), "{verdict:?}");
    let (loads, refused) =
        (LOADS.load(Ordering::Relaxed), serving.server().shared().errors(tidings_client::ErrorCode::Busy));
    assert!(loads > 100 && refused > 0 && refused < loads, "{refused} refused of {loads} loads");
}
