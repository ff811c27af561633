//! `tidings-bench load hostile`: one hostile account beside well-behaved ones. Those write at a low rate; what they feel is measured without an attack, under each
//! attack, and while the same attacker attacks a null relay on the server's core (*calm*): so it is seen what of it is the server's doing, and what any program there would cause.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::Workload;
use crate::{
    Failure,
    clients::{
        attacker::{ATTACKS, Attack, Attacker, MALLORY, Score},
        pairs::Pairs,
    },
    cpu,
    drive::{Load, Offer, Outcome, Phases, beside::beside, percentiles::Percentiles},
    progress::Progress,
    report::{Findings, median, ms},
    target::{Limits, Place, Rooms, Target},
    values,
};

/// Arguments of `load hostile`.
#[derive(Debug, Args)]
pub struct Hostile {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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

/// What those who behave well felt, and what the attacker came to meanwhile.
struct Felt {
    sent_us: Percentiles,
    wrong: u64,
    said_per_s: f64,
    refused_per_s: f64,
    thrown_out: u64,
}

/// Bytes of a payload of those who behave well.
const PAYLOAD: usize = 256;
const WARM_UP: Duration = Duration::from_millis(500);

impl Workload for Hostile {
    const NAME: &'static str = "hostile";
    type Found = Found;

    fn steps(&self) -> usize {
        self.rounds * self.attacks().len()
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let attacks = self.attacks();
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); attacks.len()];
        for _ in 0..self.rounds {
            for (attack, rounds) in attacks.iter().zip(&mut rounds) {
                bar.step(format!("{attack:?}"));
                rounds.push(self.round(place, *attack)?);
            }
        }
        let attacks = attacks.into_iter().zip(rounds).map(|(attack, rounds)| Row::of(attack, rounds)).collect();
        let Self { pairs, rate: rate_per_s, rounds, seconds, .. } = *self;
        Ok(Found { pairs, rate_per_s, rounds, seconds, attacks })
    }
}

impl Hostile {
    fn attacks(&self) -> Vec<Attack> {
        self.only.map_or_else(|| ATTACKS.to_vec(), |only| vec![only])
    }

    /// Nobody attacks; somebody attacks a relay on the same core; somebody attacks the server. The same people write to the same server each time.
    fn round(&self, place: &Place, attack: Attack) -> Result<Round, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::Defaults)?;
        let mut load = Pairs::connect(&target, self.pairs, PAYLOAD)?;
        let phases = Phases { warm_up: WARM_UP, steady: Duration::from_secs_f64(self.seconds) };
        let quiet = Felt::of(&load.run(Offer::open(self.rate), phases, &mut |_| ())?, &Score::default(), phases);
        let relay = Target::relay(place, Some(&dir), Rooms::Pairs)?;
        let calm = self.attacked(place, &mut load, (attack, &relay), phases)?;
        relay.stop()?;
        let server = self.attacked(place, &mut load, (attack, &target), phases)?;
        drop(load);
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

    /// What those who behave well feel while somebody attacks.
    fn attacked(
        &self,
        place: &Place,
        load: &mut Pairs,
        (attack, target): (Attack, &Target),
        phases: Phases,
    ) -> Result<Felt, Failure> {
        let (score, token) = (Score::default(), target.token(MALLORY)?);
        let ((), outcome) = beside(
            place.load_core,
            |attacker| {
                cpu::give_way();
                let mallory = Attacker { addr: target.addr, token, score: &score, stop: attacker.over() };
                mallory.attack(attack, || attacker.is_ready())
            },
            |here| {
                here.wait()?;
                load.run(Offer::open(self.rate), phases, &mut |_| ())
            },
        )?;
        Ok(Felt::of(&outcome, &score, phases))
    }
}

impl Felt {
    fn of(outcome: &Outcome, score: &Score, phases: Phases) -> Self {
        let seconds = (phases.warm_up + phases.steady).as_secs_f64();
        let per_s = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64 / seconds;
        Self {
            sent_us: Percentiles::from(&outcome.measured.sent_us),
            wrong: outcome.measured.wrong + outcome.measured.refused + outcome.unfinished,
            said_per_s: per_s(&score.said),
            refused_per_s: per_s(&score.refused),
            thrown_out: score.thrown_out.load(Ordering::Relaxed),
        }
    }
}

impl Row {
    fn of(attack: Attack, rounds: Vec<Round>) -> Self {
        let middle = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of));
        let percentiles = |of: &dyn Fn(&Round) -> Percentiles| Percentiles {
            p50: middle(&|round| of(round).p50 as f64) as u64,
            p99: middle(&|round| of(round).p99 as f64) as u64,
            p999: middle(&|round| of(round).p999 as f64) as u64,
            max: middle(&|round| of(round).max as f64) as u64,
        };
        let (server_us, calm_us) = (percentiles(&|round| round.server_us), percentiles(&|round| round.calm_us));
        Self {
            attack,
            quiet_us: percentiles(&|round| round.quiet_us),
            server_us,
            calm_us,
            times_calm: server_us.p99 as f64 / calm_us.p99.max(1) as f64,
            said_per_s: middle(&|round| round.said_per_s),
            refused_per_s: middle(&|round| round.refused_per_s),
            wrong: rounds.iter().map(|round| round.wrong).sum(),
            rounds,
        }
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out = format!(
            "SENT p99 of {} pairs at {} messages a second, ms, medians of {} rounds\n{:<12} {:>7} {:>9} {:>9} {:>6}  {:>9} {:>9}  wrong",
            self.pairs,
            self.rate_per_s,
            self.rounds,
            "attack",
            "none",
            "calm",
            "attacked",
            "times",
            "said/s",
            "refused/s"
        );
        for row in &self.attacks {
            out += &format!(
                "\n{:<12} {:>7.2} {:>9.2} {:>9.2} {:>6.2}  {:>9.0} {:>9.0}  {}",
                format!("{:?}", row.attack).to_lowercase(),
                ms(row.quiet_us.p99),
                ms(row.calm_us.p99),
                ms(row.server_us.p99),
                row.times_calm,
                row.said_per_s,
                row.refused_per_s,
                row.wrong
            );
        }
        out
    }
}
