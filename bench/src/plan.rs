//! `tidings-bench plan`: from what a run measured and the user's numbers to cores, memory, disks and network, with the
//! bottleneck named.
//!
//! The model is linear: what one message costs on one core, times messages. It holds as far as nodes share nothing but
//! deliveries, and is generous where it must guess: every delivery beyond the one that was measured costs as much as the null
//! relay's whole message, and every replica as much processor as the first.

use std::{fs::File, io::BufReader, path::PathBuf};

use clap::Args;
use serde_json::Value;

use crate::Failure;

const DAY_S: f64 = 86_400.0;
/// TCP, IP and frame headers of a message that is sent alone, and of its receipts, in both directions.
const OVERHEAD_BYTES: f64 = 300.0;

/// Arguments of `plan`. The defaults are the example that the project was asked for.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// A report of `load --json`.
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// Users.
    #[arg(long, default_value_t = 1e9)]
    users: f64,
    /// Share of them that is online at a time.
    #[arg(long, default_value_t = 0.1)]
    online: f64,
    /// Devices that a user who is online has connected.
    #[arg(long, default_value_t = 1.0)]
    devices: f64,
    /// Messages that a user sends a day.
    #[arg(long, default_value_t = 50.0)]
    messages: f64,
    /// The busiest moment over the average.
    #[arg(long, default_value_t = 4.0)]
    peak: f64,
    /// Members of a conversation, on average over messages.
    #[arg(long, default_value_t = 2.0)]
    members: f64,
    /// Copies of the log.
    #[arg(long, default_value_t = 3.0)]
    replicas: f64,
    /// Regions, between which users are divided evenly.
    #[arg(long, default_value_t = 1.0)]
    regions: f64,
    /// Days that messages are kept.
    #[arg(long, default_value_t = 30.0)]
    days: f64,
    /// Memory of a connection, the kernel's included.
    #[arg(long, default_value_t = 12_288.0)]
    connection_bytes: f64,
    /// Memory of a user's home and conversations that must be at hand, of users who are online.
    #[arg(long, default_value_t = 8_192.0)]
    home_bytes: f64,
    /// A node's cores.
    #[arg(long, default_value_t = 32.0)]
    cores: f64,
    /// A node's memory, GiB.
    #[arg(long, default_value_t = 256.0)]
    memory_gib: f64,
    /// A node's disks, TB.
    #[arg(long, default_value_t = 15.0)]
    disk_tb: f64,
    /// What a node's disks write, MB a second.
    #[arg(long, default_value_t = 2_000.0)]
    disk_mb_s: f64,
    /// A node's network in one direction, Gbit a second.
    #[arg(long, default_value_t = 25.0)]
    network_gbit: f64,
    /// How far anything is used at the peak.
    #[arg(long, default_value_t = 0.6)]
    headroom: f64,
}

/// What a message costs, as a report says.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Processor time of the server for one message to one live device, in seconds.
    message_s: f64,
    /// The same of the null relay.
    relay_s: f64,
    /// Bytes of log.
    log_bytes: f64,
    /// Bytes of payload.
    payload: f64,
}

impl Cost {
    fn of(report: &Value) -> Result<Self, Failure> {
        let number = |path: &[&str]| {
            let found = path.iter().fold(report, |value, key| &value[*key]).as_f64();
            found.ok_or_else(|| format!("the report has no {}", path.join(".")))
        };
        Ok(Self {
            message_s: number(&["server", "cpu_us_per_msg"])? / 1e6,
            relay_s: number(&["floor", "cpu_us_per_msg"])? / 1e6,
            log_bytes: number(&["disk", "bytes_per_msg"])?,
            payload: number(&["payload"])?,
        })
    }
}

/// One resource: what is needed in all, what a node gives, and so how many nodes.
#[derive(Debug, Clone)]
struct Row {
    name: &'static str,
    unit: &'static str,
    needed: f64,
    node: f64,
}

impl Row {
    fn nodes(&self) -> f64 {
        (self.needed / self.node).ceil()
    }
}

/// A plan of one region.
#[derive(Debug)]
struct Plan {
    connections: f64,
    average_per_s: f64,
    peak_per_s: f64,
    deliveries: f64,
    rows: Vec<Row>,
}

impl Plan {
    fn new(of: &Arguments, cost: Cost) -> Self {
        let users = of.users / of.regions;
        let connections = users * of.online * of.devices;
        let average_per_s = users * of.messages / DAY_S;
        let peak_per_s = average_per_s * of.peak;
        // To the others who are online, and to the sender's other devices.
        let deliveries = (of.members - 1.0) * of.online * of.devices + (of.devices - 1.0).max(0.0);
        let beyond = (deliveries - 1.0).max(0.0);
        let cpu_s = cost.message_s * of.replicas + cost.relay_s * beyond;
        let log = peak_per_s * cost.log_bytes * of.replicas;
        let between = (of.replicas - 1.0) * cost.log_bytes;
        let egress = peak_per_s * (deliveries * cost.payload + OVERHEAD_BYTES + between) * 8.0;
        let stored = average_per_s * DAY_S * of.days * cost.log_bytes * of.replicas;
        let memory = connections * of.connection_bytes + users * of.online * of.home_bytes;
        let gib = f64::from(1 << 30);
        let row = |name, unit, needed: f64, node: f64| Row { name, unit, needed, node };
        let rows = vec![
            row("processor", "cores", peak_per_s * cpu_s, of.cores * of.headroom),
            row("memory", "GiB", memory / gib, of.memory_gib * of.headroom),
            row("disk writes", "MB/s", log / 1e6, of.disk_mb_s * of.headroom),
            row("disk space", "TB", stored / 1e12, of.disk_tb * of.headroom),
            row("network out", "Gbit/s", egress / 1e9, of.network_gbit * of.headroom),
        ];
        Self { connections, average_per_s, peak_per_s, deliveries, rows }
    }

    fn bottleneck(&self) -> &Row {
        let more = |a: &&Row, b: &&Row| a.nodes().total_cmp(&b.nodes());
        self.rows.iter().max_by(more).expect("there are rows")
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = File::open(&arguments.report).map_err(|error| format!("{}: {error}", arguments.report.display()))?;
    let cost = Cost::of(&serde_json::from_reader(BufReader::new(file))?)?;
    let plan = Plan::new(arguments, cost);
    println!(
        "In each of {} regions: {:.0} connections, {:.0} messages a second on average and {:.0} at the peak, each to {:.2} live devices",
        arguments.regions, plan.connections, plan.average_per_s, plan.peak_per_s, plan.deliveries
    );
    println!(
        "{:<12} {:>16} {:>22} {:>10}",
        "",
        "needed at peak",
        format!("a node at {:.0}%", 100.0 * arguments.headroom),
        "nodes"
    );
    for row in &plan.rows {
        let (needed, node) = (format!("{:.1} {}", row.needed, row.unit), format!("{:.1} {}", row.node, row.unit));
        println!("{:<12} {needed:>16} {node:>22} {:>10}", row.name, row.nodes());
    }
    let most = plan.bottleneck();
    println!(
        "bottleneck: {}; {} nodes a region, {} in all, of {} connections each",
        most.name,
        most.nodes(),
        most.nodes() * arguments.regions,
        (plan.connections / most.nodes()).ceil()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// The seed's scale, by hand: 1 B users who send 50 messages a day are 578,704 a second; a tenth online are 100 M connections; at
    /// four times the average 2,314,815 messages a second, each 5 us on each of three replicas, are 34.7 cores.
    #[test]
    fn the_example_is_what_the_hand_computes() {
        let arguments = Line::parse_from(["plan", "--report", "-"]).arguments;
        let cost = Cost { message_s: 5e-6, relay_s: 3e-6, log_bytes: 1_700.0, payload: 1_024.0 };
        let plan = Plan::new(&arguments, cost);
        assert_eq!(plan.connections, 1e8);
        assert_eq!(plan.average_per_s.round(), 578_704.0);
        assert_eq!(plan.peak_per_s.round(), 2_314_815.0);
        let needed = |name: &str| plan.rows.iter().find(|row| row.name == name).unwrap().needed;
        assert!((needed("processor") - 34.7).abs() < 0.1, "{}", needed("processor"));
        // 100 M x (12 KiB + 8 KiB) = 2,048 GB = 1,907 GiB.
        assert!((needed("memory") - 1_907.3).abs() < 1.0, "{}", needed("memory"));
        // 2.31 M/s x 1,700 B x 3 = 11.8 GB/s.
        assert!((needed("disk writes") - 11_805.6).abs() < 1.0, "{}", needed("disk writes"));
        // 578,704/s x 86,400 s x 30 x 1,700 B x 3 = 7,650 TB.
        assert!((needed("disk space") - 7_650.0).abs() < 1.0, "{}", needed("disk space"));
        // 2.31 M/s x (0.1 x 1,024 + 300 + 2 x 1,700) B x 8 = 70.4 Gbit/s.
        assert!((needed("network out") - 70.4).abs() < 0.1, "{}", needed("network out"));
        assert_eq!((plan.bottleneck().name, plan.bottleneck().nodes()), ("disk space", 850.0));
    }

    #[test]
    fn groups_cost_deliveries_and_regions_divide() {
        let of = |more: &[&str]| {
            let line = ["plan", "--report", "-"].iter().chain(more);
            let arguments = Line::parse_from(line).arguments;
            Plan::new(&arguments, Cost { message_s: 5e-6, relay_s: 3e-6, log_bytes: 1_700.0, payload: 1_024.0 })
        };
        let (one, two) = (of(&["--members", "101"]), of(&["--members", "101", "--regions", "2"]));
        // (101 - 1) x 0.1 = 10 deliveries: nine beyond the measured one.
        assert!((one.deliveries - 10.0).abs() < 1e-9);
        assert!((one.rows[0].needed - 2_314_815.0 * (15e-6 + 27e-6)).abs() < 0.1);
        assert!((two.rows[0].needed * 2.0 - one.rows[0].needed).abs() < 1e-6);
    }
}
