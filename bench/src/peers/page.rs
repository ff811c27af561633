//! Everybody side by side, as one page that needs nothing else.

use super::report::{Contender, Paced, PeersReport};
use crate::{
    drive::percentiles::Percentiles,
    report::{
        mib, ms,
        plot::{Axis, Scale, Series, bars, chart, escape, number},
    },
};

/// What the page of a report shows above its figures.
pub fn body(report: &PeersReport) -> String {
    let mut out = format!(
        "<h2>tidings beside other servers</h2><p>{} pairs of connections, payloads of {} bytes, at most {} messages in flight a pair, {} \
         arrivals; the server on one core, the load on another. Every message is checked: number, order, content; {} failed.</p><p>{}.</p>",
        number(report.pairs as f64),
        number(report.payload as f64),
        report.window,
        report.arrivals,
        report.wrong,
        escape(&capitalised(&report.verdict())),
    );
    let named = |pick: fn(&Contender) -> f64| -> Vec<(String, f64)> {
        report.contenders.iter().map(|one| (one.name.clone(), pick(one))).collect()
    };
    out += &format!("<h2>Highest rate within {}</h2>", escape(&report.slo));
    out += &bars("messages a second", &named(|one| one.highest_per_s));
    out += "<h2>Processor time of the server a message, at its highest rate</h2>";
    out += &bars("microseconds", &named(|one| one.highest.run.cpu_us_per_msg));
    out += "<h2>How long messages took to be acknowledged</h2><p>From when a message was due. A server that does not keep up with a rate \
            is left out of its plot. Each nine takes as much room as the one before.</p>";
    let rates = report.ours().at.len();
    for at in 0..rates {
        out += &format!("<h3>{} messages a second</h3>", number(report.ours().at[at].offered_per_s));
        let lines: Vec<_> = report.contenders.iter().map(|one| line(one, at)).collect();
        let x = Axis { label: "messages that were faster", scale: Scale::Nines };
        out += &chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &lines);
    }
    out += "<h2>All figures</h2>";
    out += &table(report);
    out += "<h2>What each acknowledges</h2><table class=words><tr><th>server<th>acknowledges<th>cannot match";
    for one in &report.contenders {
        let words = [&one.name, &one.acknowledges, &one.lacks].map(|text| escape(text));
        out += &format!("<tr><td>{}<td>{}<td>{}", words[0], words[1], words[2]);
    }
    out + "</table>"
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn line(contender: &Contender, at: usize) -> Series {
    let paced = &contender.at[at];
    let curve = paced.run.sent_curve.iter().filter(|_| paced.holds);
    let points = curve.map(|(quantile, us)| (*quantile, ms(*us))).collect();
    Series { name: contender.name.clone(), points, loose: false }
}

fn table(report: &PeersReport) -> String {
    let mut out = String::from(
        "<table><tr><th>server<th>messages a second<th>SENT ms<th>MESSAGE ms<th>processor us<th>memory MiB<th>disk bytes<th>load late ms",
    );
    for one in &report.contenders {
        for (name, paced) in
            [(one.name.as_str(), &one.highest)].into_iter().chain(one.at.iter().map(|paced| ("", paced)))
        {
            out += &row(name, paced);
        }
    }
    out + "</table><p class=n>The first line of each is its highest rate; rates that it did not keep are in brackets. Latencies: half / 99 of \
           100 / 999 of 1000. Processor time, memory and disk bytes a message are of the server's processes, from the operating system's \
           accounting. How late the load was with the hundredth of its messages that it was latest with is in both latencies, and not the \
           server's doing.</p>"
}

fn row(name: &str, paced: &Paced) -> String {
    let Paced { offered_per_s, holds, run } = paced;
    let three = |of: &Percentiles| format!("{} / {} / {}", number(ms(of.p50)), number(ms(of.p99)), number(ms(of.p999)));
    let rate = number(offered_per_s.round());
    let rate = if *holds { rate } else { format!("({rate})") };
    format!(
        "<tr><td>{}<td>{rate}<td>{}<td>{}<td>{:.2}<td>{:.0}<td>{}<td>{}",
        escape(name),
        three(&run.sent_us),
        three(&run.delivered_us),
        run.cpu_us_per_msg,
        mib(run.rss_bytes),
        number(run.written_bytes_per_msg.round()),
        number(ms(run.late_us.p99)),
    )
}
