//! `tidings-bench load hostile`: one hostile account beside well-behaved ones. Those write at a low rate; what they feel is measured without an attack, under each
//! attack, and while the same attacker attacks a null relay on the server's core (*calm*): so it is seen what of it is the server's doing, and what any program there would cause.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use crate::{
    Failure,
    arrivals::Arrivals,
    attacks::{ATTACKS, Attack, Attacker, MALLORY, Score},
    cpu,
    load::Pairs,
    measure::Percentiles,
    offer::{Load, Offer, Phases},
    report::Machine,
    run::progress,
    target::{Place, Target},
    values,
};

/// Arguments of `load hostile`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pairs that write.
    #[arg(long, default_value_t = 10, value_parser = values::count)]
    pairs: usize,
    /// Messages a second of theirs, all together.
    #[arg(long, default_value_t = 500.0, value_parser = values::positive)]
    rate: f64,
    /// This attack alone [default: all].
    #[arg(long, value_enum, value_name = "ATTACK")]
    only: Option<Attack>,
    /// Rounds; of each figure the median is told.
    #[arg(long, default_value_t = 5, value_parser = values::count)]
    rounds: usize,
    /// Seconds that are measured, of each figure in each round.
    #[arg(long, default_value_t = 3.0, value_parser = values::positive)]
    seconds: f64,
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    workload: &'static str,
    machine: Machine,
    pairs: usize,
    rate_per_s: f64,
    rounds: usize,
    seconds: f64,
    attacks: Vec<Row>,
}

/// One attack.
#[derive(Debug, Serialize)]
struct Row {
    attack: Attack,
    /// Medians of SENT of those who behave well.
    quiet_us: Percentiles,
    server_us: Percentiles,
    calm_us: Percentiles,
    /// The p99 while the server is attacked over calm's.
    times_calm: f64,
    /// What the attacker said to the server in a second, and what of it was refused; medians.
    said_per_s: f64,
    refused_per_s: f64,
    /// Of all rounds: messages of those who behave well that were wrong or unanswered, or were refused.
    wrong: u64,
    rounds: Vec<Round>,
}

/// One round of one attack.
#[derive(Debug, Clone, Serialize)]
struct Round {
    quiet_us: Percentiles,
    server_us: Percentiles,
    calm_us: Percentiles,
    said_per_s: f64,
    refused_per_s: f64,
    /// Connections of the attacker's that the server ended.
    thrown_out: u64,
    relay_said_per_s: f64,
    wrong: u64,
}

/// What those who behave well felt.
struct Felt {
    sent_us: Percentiles,
    wrong: u64,
    said_per_s: f64,
    refused_per_s: f64,
    thrown_out: u64,
}

/// Bytes of a payload of those who behave well.
const PAYLOAD: usize = 256;

/// Runs it.
///
/// # Errors
/// If somebody is not let in.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let attacks = arguments.only.map_or_else(|| ATTACKS.to_vec(), |only| vec![only]);
    let bar = progress((arguments.rounds * attacks.len()) as u64)?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); attacks.len()];
    for _ in 0..arguments.rounds {
        for (attack, rounds) in attacks.iter().zip(&mut rounds) {
            bar.set_message(format!("{attack:?}"));
            rounds.push(round(arguments, *attack)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let attacks = attacks.into_iter().zip(rounds).map(|(attack, rounds)| Row::of(attack, rounds)).collect();
    let found = Found {
        workload: "hostile",
        machine: Machine::here(),
        pairs: arguments.pairs,
        rate_per_s: arguments.rate,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        attacks,
    };
    print(&found, arguments.json)
}

/// Nobody attacks; somebody attacks a relay on the same core; somebody attacks the server. The same people write to the same server each time.
fn round(arguments: &Arguments, attack: Attack) -> Result<Round, Failure> {
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server_with_defaults(&arguments.place, &dir)?;
    let mut load = Pairs::connect(target.addr, arguments.pairs, PAYLOAD, &|user| target.token(user))?;
    let quiet = felt(arguments, &mut load, None)?;
    let relay = Target::relay(&arguments.place, Some(&dir))?;
    let calm = felt(arguments, &mut load, Some((attack, &relay)))?;
    relay.stop()?;
    let server = felt(arguments, &mut load, Some((attack, &target)))?;
    target.stop()?;
    Ok(Round {
        quiet_us: quiet.sent_us,
        calm_us: calm.sent_us,
        server_us: server.sent_us,
        said_per_s: server.said_per_s,
        refused_per_s: server.refused_per_s,
        thrown_out: server.thrown_out,
        relay_said_per_s: calm.said_per_s,
        wrong: quiet.wrong + calm.wrong + server.wrong,
    })
}

/// What those who behave well feel, while somebody attacks or nobody does.
fn felt(arguments: &Arguments, load: &mut Pairs, attack: Option<(Attack, &Target)>) -> Result<Felt, Failure> {
    let phases = Phases { warm_up: Duration::from_millis(500), steady: Duration::from_secs_f64(arguments.seconds) };
    let offer = Offer::Open { rate: arguments.rate, arrivals: Arrivals::Poisson };
    let (score, stop, core) = (Score::default(), AtomicBool::new(false), arguments.place.load_core);
    let attack =
        attack.map(|(attack, target)| Ok::<_, Failure>((attack, target.addr, target.token(MALLORY)?))).transpose()?;
    let outcome = std::thread::scope(|scope| {
        let (said, hear) = mpsc::channel();
        let (score, stop) = (&score, &stop);
        let attacker = attack.map(|(attack, addr, token)| {
            scope.spawn(move || {
                cpu::pin(core);
                cpu::give_way();
                let ready = || said.send(()).unwrap_or(()); // who is not waited for any more need not say it
                let attacker = Attacker { addr, token, score, stop };
                attacker.attack(attack, ready).map_err(|error| error.to_string())
            })
        });
        if attacker.is_some() {
            // An error of the attacker's is told where it is joined.
            let _failed = hear.recv();
        }
        let outcome = load.run(offer, phases, &mut |_| ());
        stop.store(true, Ordering::Relaxed);
        if let Some(attacker) = attacker {
            attacker.join().map_err(|_| "the attacker's thread panicked")??;
        }
        outcome
    })?;
    let seconds = (phases.warm_up + phases.steady).as_secs_f64();
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed) as f64 / seconds;
    Ok(Felt {
        sent_us: Percentiles::from(&outcome.measured.sent_us),
        wrong: outcome.measured.wrong + outcome.measured.refused + outcome.unfinished,
        said_per_s: count(&score.said),
        refused_per_s: count(&score.refused),
        thrown_out: score.thrown_out.load(Ordering::Relaxed),
    })
}

impl Row {
    fn of(attack: Attack, rounds: Vec<Round>) -> Self {
        let median = |of: &dyn Fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let percentiles = |of: &dyn Fn(&Round) -> Percentiles| Percentiles {
            p50: median(&|round| of(round).p50 as f64) as u64,
            p99: median(&|round| of(round).p99 as f64) as u64,
            p999: median(&|round| of(round).p999 as f64) as u64,
            max: median(&|round| of(round).max as f64) as u64,
        };
        let (server_us, calm_us) = (percentiles(&|round| round.server_us), percentiles(&|round| round.calm_us));
        Self {
            attack,
            quiet_us: percentiles(&|round| round.quiet_us),
            server_us,
            calm_us,
            times_calm: server_us.p99 as f64 / calm_us.p99.max(1) as f64,
            said_per_s: median(&|round| round.said_per_s),
            refused_per_s: median(&|round| round.refused_per_s),
            wrong: rounds.iter().map(|round| round.wrong).sum(),
            rounds,
        }
    }
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
        return Ok(());
    }
    println!(
        "SENT p99 of {} pairs at {} messages a second, ms, medians of {} rounds",
        found.pairs, found.rate_per_s, found.rounds
    );
    println!(
        "{:<12} {:>7} {:>9} {:>9} {:>6}  {:>9} {:>9}  wrong",
        "attack", "none", "calm", "attacked", "times", "said/s", "refused/s"
    );
    for row in &found.attacks {
        println!(
            "{:<12} {:>7.2} {:>9.2} {:>9.2} {:>6.2}  {:>9.0} {:>9.0}  {}",
            format!("{:?}", row.attack).to_lowercase(),
            row.quiet_us.p99 as f64 / 1e3,
            row.calm_us.p99 as f64 / 1e3,
            row.server_us.p99 as f64 / 1e3,
            row.times_calm,
            row.said_per_s,
            row.refused_per_s,
            row.wrong
        );
    }
    Ok(())
}
