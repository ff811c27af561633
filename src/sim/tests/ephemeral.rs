//! The ephemeral lane alone, between simulated reactors: lanes that take their time, reactors that rest, bursts that do not
//! fit. Nothing waits, nothing comes twice or out of order, and what does not come was counted.

use tidings_mesh::lossy::lossy;
use tidings_sim::random::{MILLION, Random};

const REACTORS: usize = 3;
const STEPS: usize = 400;

/// One seed: values sent, values that arrived, values that were dropped.
fn run(seed: u64) -> (u64, u64, u64) {
    let mut random = Random::new(seed);
    let slots = 1 << random.between(0, 6);
    let ways: Vec<(usize, usize)> = (0..REACTORS)
        .flat_map(|from| (0..REACTORS).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
        .collect();
    // What leaves the near lane comes out of the far one later: between two cores both take some time.
    let mut lanes: Vec<_> = ways.iter().map(|_| (lossy::<u64>(slots, 1024), lossy::<u64>(slots, 1024), 0)).collect();
    let (mut sent, mut arrived) = (0_u64, 0);
    for step in 0..=STEPS {
        for ((near_tx, near_rx), (far_tx, far_rx), last) in &mut lanes {
            let ends = step == STEPS;
            let burst = if ends { 0 } else { random.below(40) };
            for _ in 0..burst * u64::from(random.chance(MILLION / 3)) {
                sent += 1;
                let payload = sent.to_le_bytes().repeat(random.below(20) as usize);
                near_tx.send(sent, &[&payload]);
            }
            near_tx.publish();
            if ends || random.chance(MILLION / 2) {
                while let Some((value, payload)) = near_rx.receive() {
                    far_tx.send(value, &[payload]);
                }
                near_rx.release();
                far_tx.publish();
            }
            if ends || random.chance(MILLION / 2) {
                while let Some((value, payload)) = far_rx.receive() {
                    assert!(value > *last, "seed {seed}: {value} after {last}");
                    assert!(payload.chunks(8).all(|chunk| chunk == value.to_le_bytes()), "seed {seed}: {value}");
                    (*last, arrived) = (value, arrived + 1);
                }
                far_rx.release();
            }
        }
    }
    let dropped = lanes.iter().map(|((near, _), (far, _), _)| near.dropped() + far.dropped()).sum();
    (sent, arrived, dropped)
}

#[test]
fn what_is_sent_arrives_in_order_or_is_counted() {
    let (mut dropped_at_all, mut whole) = (0, 0);
    for seed in 0..300 {
        let (sent, arrived, dropped) = run(seed);
        assert_eq!(sent, arrived + dropped, "seed {seed}");
        assert!(arrived > 0, "seed {seed}");
        (dropped_at_all, whole) = (dropped_at_all + u64::from(dropped > 0), whole + arrived);
    }
    assert!(
        dropped_at_all > 100 && whole > 100_000,
        "{dropped_at_all} seeds dropped something, {whole} values arrived"
    );
}
