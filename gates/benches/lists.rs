//! Instructions of a page of what changed, whose cost must be that of what it returns: the last pages of two lists, one twice as long, cost the same.
#![allow(missing_docs, reason = "the macros make items without any")]

use std::hint::black_box;

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use tidings_core::{NodeConfig, limits::Rate};
use tidings_testkit::{Cluster, Device};
use tidings_wire::{
    Lineage, Uv,
    frames::{Changed, Resume},
};

/// Conversations of a page.
const PAGE: u64 = 256;

/// What a page of 256 conversations may take, a twentieth above what was counted.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Asks for the page before `below`, and gives where the next one begins.
fn page(cluster: &mut Cluster, device: Device, below: Uv) -> Uv {
    cluster.ask(device, &Resume { lineage: Lineage([7; 16]), uv: Uv(0), below, page: PAGE as u32, tails: 0, tail: 0 });
    let changed = cluster.take(device).all::<Changed>()[0];
    assert!(changed.count > 0, "a page");
    changed.next
}

/// A user with so many conversations, who took all pages of their list but the last.
fn before_the_last_page(conversations: u64) -> (Cluster, Device, Uv) {
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let change = |config| NodeConfig { user_rate: rate, entities_max: 1 << 20, ..config };
    let mut cluster = Cluster::with(1, change);
    let alice = cluster.live("alice", 1, 1);
    for id in 1..=conversations {
        cluster.send(alice, &format!("peer {id}"), id, 0, "x");
        if id % 64 == 0 {
            cluster.commit();
            cluster.take(alice);
        }
    }
    for _ in 0..conversations / 64 {
        cluster.later(2_000);
        cluster.commit();
    }
    cluster.take(alice);
    let mut below = Uv(0);
    for _ in 1..conversations / PAGE {
        below = page(&mut cluster, alice, below);
    }
    (cluster, alice, below)
}

#[library_benchmark(config = at_most(64_700))]
#[bench::of_ten_thousand(args = (40 * PAGE), setup = before_the_last_page)]
#[bench::of_twenty_thousand(args = (80 * PAGE), setup = before_the_last_page)]
fn last_page((mut cluster, alice, below): (Cluster, Device, Uv)) -> (Cluster, Uv) {
    let next = page(&mut cluster, alice, black_box(below));
    assert_eq!(next, Uv(0), "it is the last");
    (cluster, next)
}

library_benchmark_group!(name = lists, benchmarks = [last_page]);
main!(library_benchmark_groups = lists);
