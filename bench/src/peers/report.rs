//! What was found of everybody, as JSON and as a table.

use serde::{Deserialize, Serialize};

use super::page;
use crate::{
    Failure,
    drive::{measure::Run, percentiles::Percentiles, seek::Step},
    report::{Findings, all_is_right, mib, ms},
};

/// Of this format.
pub const VERSION: u32 = 1;

/// A run at a rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paced {
    /// Messages a second that were due.
    pub offered_per_s: f64,
    /// Whether it was within the limits.
    pub holds: bool,
    /// What was measured.
    pub run: Run,
}

/// A server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// When it says that it has a message.
    pub acknowledges: String,
    /// What it cannot do that ours does.
    pub lacks: String,
    /// Whether an acknowledged message is on the disk.
    pub durable: bool,
    /// At rates that were the same for all.
    pub at: Vec<Paced>,
    /// Rates that were tried for the highest.
    pub search: Vec<Step>,
    /// The highest rate within the limits.
    pub highest_per_s: f64,
    /// At that rate.
    pub highest: Paced,
}

impl Contender {
    /// Messages that failed a check.
    pub fn wrong(&self) -> u64 {
        self.at.iter().chain([&self.highest]).map(|paced| paced.run.wrong).sum()
    }
}

/// All of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeersReport {
    /// Of this format: [`VERSION`].
    pub version: u32,
    /// Pairs of connections.
    pub pairs: usize,
    /// Bytes of a payload.
    pub payload: usize,
    /// Messages that a pair may have in flight.
    pub window: u32,
    /// How messages arrived.
    pub arrivals: String,
    /// What the highest rate keeps.
    pub slo: String,
    /// Messages that failed a check.
    pub wrong: u64,
    /// Ours, the null relay, the peers.
    pub contenders: Vec<Contender>,
    /// Ours at the highest rate of each peer, in their order.
    pub beside: Vec<Paced>,
    /// What became of peers that could not be measured.
    pub failed: Vec<String>,
    /// What installs them.
    #[serde(skip)]
    pub install: String,
}

impl PeersReport {
    /// Ours.
    pub fn ours(&self) -> &Contender {
        &self.contenders[0]
    }

    /// The peers, each with ours at its highest rate.
    pub fn peers(&self) -> impl Iterator<Item = (&Contender, &Paced)> {
        self.contenders[2..].iter().zip(&self.beside)
    }

    /// The durable peer with the highest rate.
    pub fn best(&self) -> Option<(&Contender, &Paced)> {
        let durable = self.peers().filter(|(peer, _)| peer.durable);
        durable.max_by(|(a, _), (b, _)| a.highest_per_s.total_cmp(&b.highest_per_s))
    }

    /// Ours against the best of them, in a sentence.
    pub fn verdict(&self) -> String {
        let Some((best, beside)) = self.best() else { return "no durable peer was measured".into() };
        format!(
            "against {}, the best durable peer: {:.1} times its highest rate; at that rate, {:.2} us of processor a message \
             where it takes {:.2}: {:.2} of it",
            best.name,
            self.ours().highest_per_s / best.highest_per_s,
            beside.run.cpu_us_per_msg,
            best.highest.run.cpu_us_per_msg,
            beside.run.cpu_us_per_msg / best.highest.run.cpu_us_per_msg,
        )
    }
}

impl Findings for PeersReport {
    fn sentences(&self) -> String {
        let mut out = format!(
            "peers: {} pairs, {} B, a window of {}, {} arrivals, {}; {} wrong\n\n",
            self.pairs, self.payload, self.window, self.arrivals, self.slo, self.wrong
        );
        out += &format!(
            "{:<28} {:>9} {:>20} {:>20} {:>9} {:>8} {:>8} {:>9} {:>8}\n",
            "", "msg/s", "SENT p50/p99 ms", "MESSAGE p50/p99 ms", "cpu us", "rss MiB", "disk B", "load late", "holds"
        );
        for contender in &self.contenders {
            for (at, paced) in contender.at.iter().chain([&contender.highest]).enumerate() {
                let name = match at {
                    0 => contender.name.as_str(),
                    _ if at == contender.at.len() => "  highest",
                    _ => "",
                };
                let show = |of: &Percentiles| format!("{:.2} / {:.2}", ms(of.p50), ms(of.p99));
                let run = &paced.run;
                out += &format!(
                    "{name:<28} {:>9.0} {:>20} {:>20} {:>9.2} {:>8.0} {:>8.0} {:>6.1} ms {:>8}\n",
                    paced.offered_per_s,
                    show(&run.sent_us),
                    show(&run.delivered_us),
                    run.cpu_us_per_msg,
                    mib(run.rss_bytes),
                    run.written_bytes_per_msg,
                    ms(run.late_us.p99),
                    if paced.holds { "yes" } else { "no" },
                );
            }
        }
        for (peer, beside) in self.peers() {
            out += &format!(
                "\ntidings at the highest rate of {} ({:.0}): {:.2} us of processor a message against {:.2}, SENT p99 {:.2} ms against {:.2}",
                peer.name,
                peer.highest_per_s,
                beside.run.cpu_us_per_msg,
                peer.highest.run.cpu_us_per_msg,
                ms(beside.run.sent_us.p99),
                ms(peer.highest.run.sent_us.p99),
            );
        }
        out += &format!("\n{}\n", self.verdict());
        for contender in &self.contenders {
            out += &format!("\n{}: acknowledges {}", contender.name, contender.acknowledges);
            if !contender.lacks.is_empty() {
                out += &format!("\n    cannot match: {}", contender.lacks);
            }
        }
        out
    }

    fn check(&self) -> Result<(), Failure> {
        if !self.failed.is_empty() {
            let (install, failed) = (&self.install, self.failed.join("\n"));
            return Err(format!("not measured (are they there? {install} installs them):\n{failed}").into());
        }
        all_is_right(self.wrong, 0)
    }

    fn body(&self) -> String {
        page::body(self)
    }
}
