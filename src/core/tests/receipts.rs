//! Receipts of groups: those who wrote are told once a second who has it and who has read it.

use std::collections::BTreeMap;

use tidings_testkit::{Cluster, Device, frames::Attempt};
use tidings_wire::{ConversationId, Seq, UserId, frames::*};

const NONCE: [u8; 16] = [5; 16];

/// A member's place among those of the test, and how far it is.
type Told = Vec<(usize, u64, u64)>;

struct Chat {
    cluster: Cluster,
    group: ConversationId,
    devices: Vec<Device>,
    attempts: BTreeMap<usize, u64>,
}

impl Chat {
    fn new(reactors: u16) -> Self {
        let mut cluster = Cluster::new(reactors);
        let names = ["ann", "bob", "cat", "dan"];
        let devices: Vec<_> = names.iter().zip(1..).map(|(name, conn)| cluster.live(name, 1, conn)).collect();
        let group = ConversationId::group(devices[0].user, &NONCE);
        let mut this = Self { cluster, group, devices, attempts: BTreeMap::new() };
        let ids: Vec<_> = this.devices[1..].iter().map(|device| device.user.0).collect();
        let (settings, members) = (GroupSettings::default(), Users::new(&ids));
        let mut body = Vec::new();
        let control = GroupAct::Create { nonce: NONCE, settings, title: b"t", members }.write(&mut body);
        this.put(0, control, &body);
        this
    }

    fn put(&mut self, who: usize, control: Control, body: &[u8]) {
        let id = self.attempts.entry(who).or_default();
        *id += 1;
        let attempt = Attempt { control, body, ..Attempt::to(self.group, UserId::NONE, (*id, *id - 1)) };
        self.cluster.bytes(self.devices[who], &attempt.bytes());
        self.cluster.commit();
        self.devices.iter().for_each(|device| drop(self.cluster.take(*device)));
    }

    fn delivered(&mut self, who: usize, upto: u64) {
        self.cluster.ask(self.devices[who], &Delivered { conversation: self.group, upto: Seq(upto) });
    }

    fn read(&mut self, who: usize, upto: u64) {
        self.cluster.ask(self.devices[who], &Read { conversation: self.group, upto: Seq(upto), ordinal: upto });
    }

    /// What each is told when so long has passed.
    fn told_after(&mut self, ms: u64) -> Vec<Told> {
        self.cluster.later(100);
        self.cluster.commit();
        self.cluster.later(ms);
        let place = |user| self.devices.iter().position(|device| device.user == user).unwrap();
        let told = |receipt: Receipt| (place(receipt.member), receipt.delivered.0, receipt.read.0);
        let cluster = &mut self.cluster;
        let told_to = |device: &Device| cluster.take(*device).all::<Receipt>().into_iter().map(told).collect();
        self.devices.iter().map(told_to).collect()
    }
}

#[test]
fn those_who_wrote_in_a_group_are_told_who_has_it_once_a_second() {
    for reactors in [1, 2, 3] {
        let mut chat = Chat::new(reactors);
        chat.put(0, Control::TEXT, b"");
        chat.delivered(1, 1);
        chat.read(2, 2);
        assert!(chat.told_after(500).iter().all(Vec::is_empty), "they wait for company");
        chat.delivered(1, 2);
        chat.read(3, 1);
        // One for each, with the last of what it said; whoever wrote nothing is told nothing.
        assert_eq!(chat.told_after(1000), [vec![(1, 2, 0), (2, 2, 2), (3, 1, 1)], vec![], vec![], vec![]]);
        chat.put(1, Control::TEXT, b"");
        chat.read(3, 3);
        assert_eq!(chat.told_after(1100), [vec![(3, 3, 3)], vec![(3, 3, 3)], vec![], vec![]]);
        // What says nothing of one's own messages is not told.
        chat.put(1, Control::TEXT, b"");
        chat.read(3, 4);
        assert_eq!(chat.told_after(1100), [vec![], vec![(3, 4, 4)], vec![], vec![]]);
        assert!(chat.told_after(5000).iter().all(Vec::is_empty), "once");
        // In private, and to whoever is private.
        let private = Set::new(ConversationId::NONE, SettingKey::READ_PRIVATE, 1);
        chat.cluster.ask(chat.devices[2], &private);
        chat.cluster.commit();
        chat.devices.iter().for_each(|device| drop(chat.cluster.take(*device)));
        chat.read(2, 4);
        // Ann knew already that her message was read.
        assert_eq!(chat.told_after(1100), [vec![], vec![(2, 4, 2)], vec![], vec![]]);
        chat.put(2, Control::TEXT, b"");
        chat.read(0, 5);
        assert_eq!(chat.told_after(1100), [vec![], vec![(0, 5, 5)], vec![(0, 5, 0)], vec![]]);
    }
}
