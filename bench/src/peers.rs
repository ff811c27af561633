//! `tidings-bench peers`: the same messages at the same times through other servers, each with the durability that ours has
//! where it can.

mod adapter;
mod ejabberd;
mod engine;
mod nats;
mod page;
mod postgresql;
mod process;
mod rabbitmq;
mod redis;
mod report;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::{
    engine::Engine,
    process::PeerProcess,
    report::{Contender, Paced, PeersReport, VERSION},
};
use crate::{
    Failure,
    clients::pairs::Pairs,
    drive::{
        Load, Offer, Phases,
        arrivals::Arrivals,
        measure::{Used, measure},
        seek::{Seek, settle},
        slo::Slo,
    },
    progress::Progress,
    target::{Limits, Place, Rooms, Target},
    values,
    workloads::Workload,
};

/// Arguments of `peers`.
#[derive(Debug, Args)]
pub struct Peers {
    /// Pairs of connections: one sends, the other receives and confirms.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    pairs: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Rates at which everybody is measured, messages a second.
    #[arg(long, value_delimiter = ',', default_value = "500,2000,8000", value_parser = values::positive)]
    rates: Vec<f64>,
    /// What the highest rate must keep.
    #[arg(long, default_value_t = Slo::default())]
    slo: Slo,
    /// How messages arrive.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// Which peers [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Seconds measured of each server.
    #[arg(long, default_value_t = 40.0, value_parser = values::positive)]
    seconds: f64,
    /// Where the peers' scripts and configurations are.
    #[arg(long, value_name = "DIR", default_value = "perf/peers")]
    scripts: PathBuf,
    /// The first of three ports that a peer may use.
    #[arg(long, default_value_t = 17_600)]
    port: u16,
}

/// A server that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Redis 7, Streams.
    Redis,
    /// NATS 2.15, JetStream.
    Nats,
    /// PostgreSQL 15, a table and LISTEN/NOTIFY.
    Postgresql,
    /// RabbitMQ 3.10, quorum queues.
    Rabbitmq,
    /// ejabberd 23.01 with its archive.
    Ejabberd,
}

/// What a peer is, in words.
struct Profile {
    name: &'static str,
    directory: &'static str,
    acknowledges: &'static str,
    lacks: &'static str,
    durable: bool,
}

impl Peer {
    fn profile(self) -> Profile {
        match self {
            Self::Redis => Profile {
                name: "Redis 7.0 Streams",
                directory: "redis",
                acknowledges: "when XADD is in the append-only file and that is synced (appendfsync always)",
                lacks: "no numbers without gaps, no receipts; who repeats after a lost answer stores twice; all in memory",
                durable: true,
            },
            Self::Nats => Profile {
                name: "NATS 2.15 JetStream",
                directory: "nats",
                acknowledges: "when the message is in the stream's file and that is synced (sync_interval: always)",
                lacks: "numbers are the stream's, not the conversation's; no receipts; repeats are known for two minutes",
                durable: true,
            },
            Self::Postgresql => Profile {
                name: "PostgreSQL 15",
                directory: "postgresql",
                acknowledges: "when the transaction with number and message is on the disk (synchronous_commit on); NOTIFY follows",
                lacks: "no push of content: a notification, then a query; no receipts; who repeats stores twice",
                durable: true,
            },
            Self::Rabbitmq => Profile {
                name: "RabbitMQ 3.10 quorum queues",
                directory: "rabbitmq",
                acknowledges: "when the queue's log is synced (publisher confirm; a quorum of one)",
                lacks: "no numbers, no history once confirmed, no receipts to the sender; who repeats queues twice",
                durable: true,
            },
            Self::Ejabberd => Profile {
                name: "ejabberd 23.01 with archive",
                directory: "ejabberd",
                acknowledges: "when the stanza was handled (XEP-0198); the archive is not waited for",
                lacks: "durable acknowledgement; no numbers; receipts are messages of the receiver's client (not sent here)",
                durable: false,
            },
        }
    }

    fn connect(self, process: &PeerProcess, pairs: usize, payload: usize) -> Result<Box<dyn Load>, Failure> {
        Ok(match self {
            Self::Redis => Box::new(Engine::connect::<redis::Redis>(process, pairs, payload)?),
            Self::Nats => Box::new(Engine::connect::<nats::Nats>(process, pairs, payload)?),
            Self::Postgresql => Box::new(Engine::connect::<postgresql::Postgresql>(process, pairs, payload)?),
            Self::Rabbitmq => Box::new(Engine::connect::<rabbitmq::Rabbitmq>(process, pairs, payload)?),
            Self::Ejabberd => Box::new(Engine::connect::<ejabberd::Ejabberd>(process, pairs, payload)?),
        })
    }
}

/// By how much a rate is lowered whose run did not hold after all, and how often.
const LOWER: f64 = 0.9;
const HIGHEST_WITHIN: u32 = 8;

/// How the seconds of each server are shared: of the whole.
mod share {
    /// A step of the search.
    pub const STEP: f64 = 0.03;
    /// A try to hold what was found.
    pub const CONFIRM: f64 = 0.08;
    /// The run at the highest rate.
    pub const HIGHEST: f64 = 0.12;
    /// All runs at the given rates.
    pub const RATES: f64 = 0.3;
}

impl Workload for Peers {
    const NAME: &'static str = "peers";
    type Found = PeersReport;

    fn steps(&self) -> usize {
        2 + self.peers().len()
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<PeersReport, Failure> {
        process::end_with_this_process()?;
        let mut contenders = vec![self.relay(place, bar)?];
        let mut failed = Vec::new();
        for peer in self.peers() {
            match self.peer(*peer, place, bar) {
                Ok(contender) => contenders.push(contender),
                Err(error) => failed.push(error.to_string()),
            }
        }
        let highest: Vec<f64> = contenders[1..].iter().map(|one| one.highest.offered_per_s).collect();
        let (ours, beside) = self.ours(place, &highest, bar)?;
        contenders.insert(0, ours);
        Ok(PeersReport {
            version: VERSION,
            pairs: self.pairs,
            payload: self.payload,
            window: tidings_wire::limits::WINDOW,
            arrivals: self.arrivals.name().into(),
            slo: self.slo.to_string(),
            wrong: contenders.iter().map(Contender::wrong).sum::<u64>()
                + beside.iter().map(|paced| paced.run.wrong).sum::<u64>(),
            contenders,
            beside,
            failed,
            install: self.scripts.join("install").display().to_string(),
        })
    }
}

impl Peers {
    fn peers(&self) -> &[Peer] {
        if self.only.is_empty() { Peer::value_variants() } else { &self.only }
    }

    /// Ours, and ours again at the highest rate of each peer.
    fn ours(&self, place: &Place, peers: &[f64], bar: &Progress) -> Result<(Contender, Vec<Paced>), Failure> {
        bar.step("tidings");
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::None)?;
        let mut load = Pairs::connect(&target, self.pairs, self.payload)?;
        let profile = Profile {
            name: "tidings",
            directory: "",
            acknowledges: "when the message is in the log and that is synced (O_DSYNC)",
            lacks: "",
            durable: true,
        };
        let ours = self.contend(&profile, &mut load, &|| target.usage(), bar)?;
        let mut beside = Vec::new();
        for rate in peers {
            bar.say(format!("tidings at {rate:.0}"));
            beside.push(self.paced(&mut load, &|| target.usage(), *rate, share::HIGHEST)?);
        }
        drop(load);
        target.stop()?;
        Ok((ours, beside))
    }

    fn relay(&self, place: &Place, bar: &Progress) -> Result<Contender, Failure> {
        bar.step("the null relay");
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::relay(place, Some(&dir), Rooms::Pairs)?;
        let mut load = Pairs::connect(&target, self.pairs, self.payload)?;
        let profile = Profile {
            name: "null relay (floor)",
            directory: "",
            acknowledges: "at once",
            lacks: "everything: frames in, frames out",
            durable: false,
        };
        self.contend(&profile, &mut load, &|| target.usage(), bar)
    }

    fn peer(&self, peer: Peer, place: &Place, bar: &Progress) -> Result<Contender, Failure> {
        let profile = peer.profile();
        bar.step(profile.name);
        let (dir, _temporary) = place.make_dir()?;
        let script = self.scripts.join(profile.directory).join("start");
        let process = PeerProcess::start(&script, &dir, &place.server_cores, self.port)?;
        let measured = peer
            .connect(&process, self.pairs, self.payload)
            .and_then(|mut load| self.contend(&profile, &mut *load, &|| process.usage(), bar));
        measured.map_err(|error| format!("{}: {error}\n{}", profile.name, process.last_words()).into())
    }

    /// Everything that is measured of a server.
    fn contend(
        &self,
        profile: &Profile,
        load: &mut dyn Load,
        used: Used<'_>,
        bar: &Progress,
    ) -> Result<Contender, Failure> {
        let mut at = Vec::new();
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        for rate in rates.iter().copied() {
            bar.say(format!("{} at {rate:.0}", profile.name));
            at.push(self.paced(load, used, rate, share::RATES / self.rates.len() as f64)?);
        }
        let mut search = Vec::new();
        let of = |share: f64| Phases::within(share * self.seconds);
        let (step, confirm) = (of(share::STEP), of(share::CONFIRM));
        let seek = Seek { slo: self.slo, arrivals: self.arrivals, step, confirm };
        let mut rate = seek.highest(load, used, &mut search, bar)?.unwrap_or(rates[0]);
        bar.say(format!("{} at its highest rate", profile.name));
        let mut highest = self.paced(load, used, rate, share::HIGHEST)?;
        for _ in 0..HIGHEST_WITHIN {
            if highest.holds {
                break;
            }
            rate *= LOWER;
            highest = self.paced(load, used, rate, share::HIGHEST)?;
        }
        let highest_per_s = if highest.holds { rate } else { 0.0 };
        Ok(Contender {
            name: profile.name.into(),
            acknowledges: profile.acknowledges.into(),
            lacks: profile.lacks.into(),
            durable: profile.durable,
            at,
            search,
            highest_per_s,
            highest,
        })
    }

    fn paced(&self, load: &mut dyn Load, used: Used<'_>, rate: f64, share: f64) -> Result<Paced, Failure> {
        let offer = Offer::Open { rate, arrivals: self.arrivals };
        let run = measure(load, used, offer, Phases::within(share * self.seconds))?;
        settle(load)?;
        Ok(Paced { offered_per_s: rate, holds: self.slo.holds(&run), run })
    }
}
