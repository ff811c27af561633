//! A report as one page that needs nothing else: what was measured, in words and plots.

use crate::{
    measure::{Percentiles, Run},
    plot::{Axis, Scale, Series, chart, escape, number},
    report::{Report, Step},
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:860px;margin:2rem auto;padding:0 1rem;color:#1c1c1c;\
background:#fff}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
svg{width:100%;height:auto}svg text{font-size:12px;fill:#444}.g{stroke:#e4e4e4}.key span{margin-right:1.4rem}\
.key i{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;border-radius:2px}.n{color:#555}\
.big{display:flex;gap:2.5rem;flex-wrap:wrap}.big b{display:block;font-size:1.7rem}.words td{text-align:left;vertical-align:top}";

/// The page of some reports.
pub fn page(reports: &[Report]) -> String {
    document(&reports.iter().map(section).collect::<String>())
}

/// A page around its content.
pub fn document(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>tidings-bench</title><style>{STYLE}</style>{body}</html>\n"
    )
}

/// Milliseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn section(report: &Report) -> String {
    let offered = match report.offered_per_s {
        0.0 => format!("a closed loop, {} messages in flight a pair", report.depth),
        rate => format!("{} messages a second offered, {} arrivals", number(rate.round()), report.arrivals),
    };
    let machine = &report.machine;
    let mut out = format!(
        "<h1>{}: {} messages a second</h1><p>{} connections, payloads of {} bytes, {offered}. Every message was durable before \
         it was acknowledged; {} failed a check.</p><p class=n>{}, {:.0} GiB, Linux {}, commit {}</p>",
        escape(&report.workload),
        number(report.rate_per_s.round()),
        number(report.connections as f64),
        number(report.payload as f64),
        report.wrong,
        escape(&machine.processor),
        machine.memory_bytes as f64 / f64::from(1 << 30),
        escape(&machine.kernel),
        escape(&machine.commit),
    );
    out += &format!(
        "<div class=big><p><b>{:.2} ms</b>to be acknowledged, half of all</p><p><b>{:.2} ms</b>99 of 100</p><p><b>{:.2} us</b>of \
         processor a message</p><p><b>{:.2}</b>ratio to the floor</p></div>",
        ms(report.sent_us.p50),
        ms(report.sent_us.p99),
        report.server.cpu_us_per_msg,
        report.ratio_to_floor,
    );
    out += "<h2>Beside the floor</h2><p>The <em>null relay</em> moves the same frames over the same sockets, without log, checks or logic. \
            The ratio is its processor time a message over ours: 1 would be durability, order and receipts for nothing.</p>";
    out += &sides(report);
    out += "<h2>How long messages took</h2><p>From when a message was due (in an open loop that is before there was room for it). Each nine \
            takes as much room as the one before.</p>";
    out += &curves(report);
    if !report.search.is_empty() {
        out += &format!(
            "<h2>Rate against latency</h2><p>Rates that were tried for the highest one within {}.</p>",
            escape(report.slo.as_deref().unwrap_or("its limits"))
        );
        out += &rates(&report.search);
    }
    out += "<h2>Second by second</h2>";
    out += &seconds(&report.server);
    out
}

fn sides(report: &Report) -> String {
    let row = |name: &str, run: &Run| {
        let show =
            |of: &Percentiles| format!("{} / {} / {}", number(ms(of.p50)), number(ms(of.p99)), number(ms(of.p999)));
        format!(
            "<tr><td>{name}<td>{}<td>{:.2}<td>{}<td>{}<td>{:.0}",
            number(run.rate_per_s.round()),
            run.cpu_us_per_msg,
            show(&run.sent_us),
            show(&run.delivered_us),
            run.rss_bytes as f64 / f64::from(1 << 20),
        )
    };
    let disk = &report.disk;
    format!(
        "<table><tr><th><th>messages a second<th>processor us<th>SENT ms<th>MESSAGE ms<th>memory MiB{}{}</table>\
         <p class=n>Latencies: half / 99 of 100 / 999 of 1000. The log wrote {} batches a second of {} bytes, {} bytes a message. The disk \
         alone, at that size and pace: half within {} us, 99 of 100 within {} us; with 4 KiB {} and {} us.</p>",
        row("tidings", &report.server),
        row("null relay", &report.floor.relay),
        number(disk.batches_per_s.round()),
        number(disk.batch_bytes.round()),
        number(disk.bytes_per_msg.round()),
        disk.dsync_us.p50,
        disk.dsync_us.p99,
        disk.dsync_4k_us.p50,
        disk.dsync_4k_us.p99,
    )
}

fn series(name: &str, points: impl Iterator<Item = (f64, f64)>) -> Series {
    Series { name: name.into(), points: points.collect(), loose: false }
}

fn curves(report: &Report) -> String {
    let line = |name: &str, curve: &[(f64, u64)]| series(name, curve.iter().map(|(quantile, us)| (*quantile, ms(*us))));
    let lines = [
        line("SENT", &report.server.sent_curve),
        line("MESSAGE", &report.server.delivered_curve),
        line("SENT, null relay", &report.floor.relay.sent_curve),
    ];
    let x = Axis { label: "messages that were faster", scale: Scale::Nines };
    chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &lines)
}

fn rates(search: &[Step]) -> String {
    let of = |name: &str, holds: bool, pick: fn(&Step) -> u64| {
        let mut steps: Vec<_> = search.iter().filter(|step| step.holds == holds).collect();
        steps.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
        let points = steps.into_iter().map(|step| (step.offered_per_s, ms(pick(step)))).collect();
        Series { name: name.into(), points, loose: !holds }
    };
    let lines = [
        of("SENT, 99 of 100", true, |step| step.sent_us.p99),
        of("SENT, 99 of 100, where it does not hold", false, |step| step.sent_us.p99),
        of("SENT, half", true, |step| step.sent_us.p50),
        of("MESSAGE, 99 of 100", true, |step| step.delivered_us.p99),
    ];
    let x = Axis { label: "messages offered a second", scale: Scale::Log };
    chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &lines)
}

fn seconds(run: &Run) -> String {
    let of = |name: &str, pick: fn(&crate::timeline::Second) -> f64| {
        series(name, run.timeline.iter().enumerate().map(|(at, second)| (at as f64 + 1.0, pick(second))))
    };
    let x = Axis { label: "second", scale: Scale::Linear };
    let latencies = [
        of("SENT, half", |second| ms(second.sent_p50_us)),
        of("SENT, 99 of 100", |second| ms(second.sent_p99_us)),
        of("SENT, longest", |second| ms(second.sent_max_us)),
    ];
    let rate = [of("answered", |second| second.acked as f64)];
    chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &latencies)
        + &chart(&x, &Axis { label: "messages a second", scale: Scale::Linear }, &rate)
}
