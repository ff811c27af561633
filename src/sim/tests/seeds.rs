//! Seeds as tests: that a seed is a seed, that every kind of world can be lived through, and seeds that once broke a promise.

use tidings_sim::{End, Profile, RUNS_FOR, campaign::run_guarded};

/// Seeds that found a bug, of the product or of the oracle, and which. What a seed does changes with the code; those that
/// matter have a test of their own, too.
const FOUND: &[(u64, Profile, &str)] = &[
    (3, Profile::Disk, "DELIVERED was told before the application had taken the message"),
    (68, Profile::Devices, "a restarted device forgot how far the other member is"),
    (7, Profile::Retention, "FETCH ended in a hole that another log's retention had left, for ever"),
    (10_391, Profile::Devices, "a HELLO that was held up took the place of a later connection"),
    (12_830, Profile::Devices, "an own message that the device had forgotten was never fetched"),
    (22_769, Profile::Media, "a segment that lost both headers and its first batch was taken for an empty file"),
    (6_325, Profile::Devices, "SENT in a conversation that the device had forgotten was dropped"),
    (1_732, Profile::Crash, "a dropped receipt took along what a sealed one before it had said"),
    (1_407, Profile::Retention, "a log that began again lost its first write, and that was taken for damage"),
    (4_130, Profile::Groups, "what was lost of a receipt came with a message, and devices were told the message alone"),
    (8_606, Profile::Huge, "who was removed before the heads came was not told what it has seen"),
    (30_553, Profile::Retention, "the oracle: a device may be told that the newest messages are gone"),
];

#[test]
fn seeds_that_found_something_hold() {
    for (seed, profile, what) in FOUND {
        let outcome = run_guarded(*seed, Some(*profile));
        assert!(!matches!(outcome.end, End::Broken(_)), "seed {seed} ({what}): {:?}", outcome.end);
    }
}

#[test]
fn a_seed_is_the_same_every_time_and_every_kind_of_world_is_lived_through() {
    for (seed, profile) in Profile::ALL.into_iter().enumerate() {
        let [first, second] = [(); 2].map(|()| run_guarded(seed as u64, Some(profile)));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "{}", profile.name());
        assert!(matches!(first.end, End::Held | End::DamageReported | End::Exempt), "{:?}", first.end);
        let other = run_guarded(seed as u64 + 100, Some(profile));
        if first.end == End::Held && other.end == End::Held {
            // In one world alone people may have little to say.
            let messages = first.stats.messages + other.stats.messages;
            assert!(first.simulated >= RUNS_FOR && messages > 40, "{}: {:?}", profile.name(), first.stats);
        }
        assert_ne!(first.hash, other.hash, "another seed is another world");
    }
}

#[test]
fn where_there_is_too_much_to_do_every_stage_of_shedding_is_reached_and_left() {
    let mut stats = tidings_sim::Stats::default();
    for seed in 0..16 {
        let outcome = run_guarded(seed, Some(Profile::Overload));
        // Its end is calm: the settling asks for that.
        assert_eq!(outcome.end, End::Held, "seed {seed}");
        stats.add(&outcome.stats);
    }
    assert!(stats.stages.iter().all(|turns| *turns > 0), "turns by stage: {:?}", stats.stages);
    for shed in ["shed_typing", "shed_presence", "shed_receipts", "OVERLOADED"] {
        assert!(stats.counters.get(shed).is_some_and(|count| *count > 0), "{shed}");
    }
}
