//! What devices saw, and whether it is what was promised.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings_client::{ConversationId, Message, Seq};

/// What one device was told.
#[derive(Debug, Default)]
pub struct DeviceLog {
    /// Its name, for reports.
    pub device: String,
    /// Acknowledged messages: conversation, number, text.
    pub acked: Vec<(ConversationId, Seq, Vec<u8>)>,
    /// Messages in the order in which they were released.
    pub seen: Vec<(ConversationId, Seq, Vec<u8>)>,
    /// The conversations that it takes part in.
    pub expected: BTreeSet<ConversationId>,
    /// Messages that the server refused for good, or that retention dropped before the device came.
    pub surprises: Vec<String>,
}

impl DeviceLog {
    /// A message was released.
    pub fn saw(&mut self, message: &Message) {
        self.seen.push((message.conversation, message.seq, message.payload.clone()));
    }
}

/// The result of a check.
#[derive(Debug, Default, Clone)]
pub struct Verdict {
    /// Conversations.
    pub conversations: usize,
    /// Acknowledged messages.
    pub acked: usize,
    /// Messages that devices saw, over all devices.
    pub seen: usize,
    /// Acknowledged messages that some device did not see, or saw with other content.
    pub lost: usize,
    /// Numbers that are not 1, 2, 3, ...
    pub gaps: usize,
    /// Messages that were seen twice, under one number or two.
    pub repeats: usize,
    /// Messages that a device saw out of order.
    pub disorder: usize,
    /// Devices that disagree about a message.
    pub disagreements: usize,
    /// Whatever else should not have happened.
    pub surprises: Vec<String>,
}

impl Verdict {
    /// True if every promise held.
    pub fn holds(&self) -> bool {
        let broken = self.lost + self.gaps + self.repeats + self.disorder + self.disagreements;
        broken == 0 && self.surprises.is_empty()
    }
}

/// Checks the logs of devices, which saw their conversations from the beginning. The text of every message must be unique.
pub fn check(devices: &[DeviceLog]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut truth: BTreeMap<(ConversationId, Seq), &[u8]> = BTreeMap::new();
    for device in devices {
        verdict.surprises.extend(device.surprises.iter().map(|text| format!("{}: {text}", device.device)));
        verdict.seen += device.seen.len();
        let mut next: HashMap<ConversationId, Seq> = HashMap::new();
        for (conversation, seq, text) in &device.seen {
            let expected = next.entry(*conversation).or_insert(Seq(1));
            match seq.cmp(expected) {
                std::cmp::Ordering::Equal => *expected = seq.next(),
                std::cmp::Ordering::Less => verdict.disorder += 1,
                std::cmp::Ordering::Greater => verdict.gaps += 1,
            }
            let known = truth.entry((*conversation, *seq)).or_insert(text);
            verdict.disagreements += usize::from(*known != text.as_slice());
        }
    }
    let mut texts: HashMap<&[u8], usize> = HashMap::new();
    truth.values().for_each(|text| *texts.entry(text).or_default() += 1);
    verdict.repeats = texts.values().map(|count| count - 1).sum();

    let mut heads: BTreeMap<ConversationId, Seq> = BTreeMap::new();
    for (conversation, seq) in truth.keys() {
        let head = heads.entry(*conversation).or_default();
        *head = (*head).max(*seq);
    }
    verdict.conversations = heads.len();
    for device in devices {
        verdict.acked += device.acked.len();
        for (conversation, seq, text) in &device.acked {
            verdict.lost += usize::from(truth.get(&(*conversation, *seq)) != Some(&text.as_slice()));
        }
        // Every device has all of every conversation that it is in.
        let last: BTreeMap<_, _> = device.seen.iter().map(|(conversation, seq, _)| (*conversation, *seq)).collect();
        for conversation in device.expected.iter().chain(last.keys()).collect::<BTreeSet<_>>() {
            let head = heads.get(conversation).map_or(0, |head| head.0);
            let missing = head.saturating_sub(last.get(conversation).map_or(0, |last| last.0));
            verdict.lost += usize::try_from(missing).unwrap_or(usize::MAX);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ConversationId = ConversationId([1; 16]);

    fn log(seen: &[(u64, &str)], acked: &[(u64, &str)]) -> DeviceLog {
        let rows = |rows: &[(u64, &str)]| rows.iter().map(|(seq, text)| (HERE, Seq(*seq), (*text).into())).collect();
        DeviceLog { device: "d".into(), seen: rows(seen), acked: rows(acked), ..DeviceLog::default() }
    }

    #[test]
    fn a_run_as_promised_holds_and_every_broken_promise_is_seen() {
        let good = &[(1, "a"), (2, "b"), (3, "c")][..];
        assert!(check(&[log(good, &[(2, "b")]), log(good, &[])]).holds());
        assert_eq!(check(&[log(good, &[(4, "d")])]).lost, 1, "acknowledged, seen by nobody");
        assert_eq!(check(&[log(good, &[(2, "x")])]).lost, 1, "acknowledged, something else in its place");
        assert_eq!(check(&[log(good, &[]), log(&good[..2], &[])]).lost, 1, "a device lacks the last");
        let deaf = DeviceLog { expected: [HERE].into(), ..log(&[], &[]) };
        assert_eq!(check(&[log(good, &[]), deaf]).lost, 3, "a device was told nothing of a conversation that it is in");
        assert_eq!(check(&[log(&[(1, "a"), (3, "c")], &[])]).gaps, 1);
        assert_eq!(check(&[log(&[(1, "a"), (2, "a")], &[])]).repeats, 1, "one message under two numbers");
        assert_eq!(check(&[log(&[(1, "a"), (1, "a")], &[])]).disorder, 1, "one number twice");
        assert_eq!(check(&[log(&[(1, "a"), (2, "b"), (1, "a")], &[])]).disorder, 1);
        assert_eq!(check(&[log(good, &[]), log(&[(1, "a"), (2, "x"), (3, "c")], &[])]).disagreements, 1);
    }
}
