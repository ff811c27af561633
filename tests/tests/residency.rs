//! Prefetch, then apply: inputs that touch what is not in memory wait, and lose neither their order nor themselves.

use std::{collections::HashMap, time::Duration};

use tidings::{
    ServerConfig,
    chatting::{Chatting, Member, Pace},
    transcript::check,
};
use tidings_core::{Entity, Residency, StateStore};
use tidings_tests::{Serving, serving::small};

/// Forgets every entity again and again: each has to be asked for a few times before it is there, for a few inputs.
#[derive(Default)]
struct Forgetful {
    asked: HashMap<Entity, u32>,
}

impl StateStore for Forgetful {
    fn prefetch(&mut self, entity: Entity) -> Residency {
        let asked = self.asked.entry(entity).or_default();
        *asked += 1;
        if *asked % 20 < 5 { Residency::Loading } else { Residency::Resident }
    }
}

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
    assert!(serving.server().shared().errors(tidings_client::ErrorCode::Busy) > 0, "something had to wait");
}
