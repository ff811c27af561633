//! Prefetch, then apply: inputs that touch what is not in memory wait, and lose neither their order nor themselves.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tidings::{
    ServerConfig,
    chatting::{Chatting, Member, Pace},
    transcript::check,
};
use tidings_client::Event;
use tidings_core::{Entity, Loaded, Residency, StateStore};
use tidings_tests::{
    Serving,
    raw::send_bytes,
    serving::{Way, small},
};

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
        server: serving.server_by(Way::Raw),
        peers: vec![format!("user{}", (user + 1) % 6)],
        writers: vec![format!("user{}", (user + 5) % 6)],
    };
    let members: Vec<_> = (0..6).map(member).collect();
    let pace = Pace { depth: 8, rest: Duration::from_millis(1), patience: Duration::from_secs(30) };
    let chatting = Chatting::start(&members, pace);
    while chatting.progress().acked < 600 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let verdict = check(&chatting.finish());
    assert!(verdict.holds(), "{verdict:?}");
    let (loads, refused) =
        (LOADS.load(Ordering::Relaxed), serving.server().shared().errors(tidings_client::ErrorCode::Busy));
    assert!(loads > 100 && refused > 0 && refused < loads, "{refused} refused of {loads} loads");
}

/// Loads every entity once, and takes its time.
#[derive(Default)]
struct Slow {
    /// How often loads will be asked for until each is there.
    loading: HashMap<Entity, u32>,
}

impl StateStore for Slow {
    fn prefetch(&mut self, entity: Entity) -> Residency {
        let left = self.loading.entry(entity).or_insert(300);
        if *left == 0 { Residency::Resident } else { Residency::Loading }
    }

    fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
        self.loading.values_mut().filter(|left| **left > 0).for_each(|left| *left -= 1);
        None
    }
}

/// Who writes and closes its end has written, although its message waits when the end comes.
#[test]
fn what_waits_is_taken_before_the_end_of_its_connection() {
    let serving = Serving::start(ServerConfig { store: || Box::new(Slow::default()), cores: vec![0], ..small() });
    let mut alice = serving.session("alice", 1);
    let mut sends = send_bytes("alice", "bob", 10, 0, b"first");
    sends.extend(send_bytes("alice", "bob", 20, 10, b"last words"));
    alice.write(&sends);
    alice.shut_output();
    while alice.next().is_some() {}
    assert_eq!(serving.server().shared().counter("frames_cut"), 0);
    let mut bob = serving.client("bob", 1);
    let mut heard = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while heard.len() < 2 {
        assert!(Instant::now() < until, "only {heard:?} came");
        if let Some(Event::Message(message)) = bob.poll(Duration::from_millis(20)).unwrap() {
            heard.push(String::from_utf8(message.payload).unwrap());
        }
    }
    assert_eq!(heard, ["first", "last words"]);
}
