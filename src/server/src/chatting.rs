//! Devices that chat, each on a thread of its own, through a server that may die at any time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tidings_client::{
    ClientMsgId, Config, ConversationId, Event, Seq, UserId,
    blocking::{Client, Server},
};

use crate::transcript::DeviceLog;

/// One device: who it is, whom it writes to.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its user.
    pub user: String,
    /// Its number.
    pub device: u32,
    /// A token for it.
    pub token: String,
    /// Where the server is, and how it speaks to it.
    pub server: Server,
    /// The users that it writes to, in turn.
    pub peers: Vec<String>,
    /// The users that write to it.
    pub writers: Vec<String>,
}

/// How a chatting behaves.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Messages that a device has on their way at most.
    pub depth: usize,
    /// Rest after each message that was sent.
    pub rest: Duration,
    /// How long devices may take to finish.
    pub patience: Duration,
}

#[derive(Debug, Default)]
struct Common {
    stop_sending: AtomicBool,
    finish: AtomicBool,
    flushed: AtomicUsize,
    acked: AtomicUsize,
    seen: AtomicUsize,
    connected: AtomicUsize,
    reconnects: AtomicUsize,
    heads: Mutex<HashMap<ConversationId, Seq>>,
}

/// A chatting of devices at work.
#[derive(Debug)]
pub struct Chatting {
    common: Arc<Common>,
    threads: Vec<JoinHandle<DeviceLog>>,
}

/// What a chatting has done so far.
#[derive(Debug, Clone, Copy)]
pub struct FleetProgress {
    /// Messages acknowledged.
    pub acked: usize,
    /// Messages released, over all devices.
    pub seen: usize,
    /// Devices that are connected.
    pub connected: usize,
    /// Times that a device connected again.
    pub reconnects: usize,
}

impl Chatting {
    /// Sets devices to work.
    pub fn start(members: &[Member], pace: Pace) -> Self {
        let common = Arc::new(Common::default());
        let start = |member: &Member| {
            let (member, common) = (member.clone(), Arc::clone(&common));
            std::thread::spawn(move || Worker::new(member, pace, common).run())
        };
        Self { threads: members.iter().map(start).collect(), common }
    }

    /// What was done so far.
    pub fn progress(&self) -> FleetProgress {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        FleetProgress {
            acked: read(&self.common.acked),
            seen: read(&self.common.seen),
            connected: read(&self.common.connected),
            reconnects: read(&self.common.reconnects),
        }
    }

    /// No new messages; waits until everything is acknowledged and every device has everything. Their logs.
    ///
    /// # Panics
    /// If a device's thread did.
    pub fn finish(self) -> Vec<DeviceLog> {
        self.common.stop_sending.store(true, Ordering::SeqCst);
        while self.common.flushed.load(Ordering::SeqCst) < self.threads.len() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.common.finish.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("a device's thread ends well")).collect()
    }
}

struct Worker {
    member: Member,
    pace: Pace,
    common: Arc<Common>,
    client: Client,
    log: DeviceLog,
    texts: HashMap<ClientMsgId, Vec<u8>>,
    last: HashMap<ConversationId, Seq>,
    written: usize,
}

impl Worker {
    fn new(member: Member, pace: Pace, common: Arc<Common>) -> Self {
        let client = Client::new(
            member.server.clone(),
            Config::new(&member.user, member.device, member.token.clone().into_bytes()),
        );
        let id = |name: &String| UserId::derive(tidings_client::DEFAULT_TENANT, name);
        let partners = member.peers.iter().chain(&member.writers).map(id);
        let log = DeviceLog {
            device: format!("{}/{}", member.user, member.device),
            expected: partners.map(|partner| ConversationId::direct(id(&member.user), partner)).collect(),
            ..DeviceLog::default()
        };
        let (texts, last) = (HashMap::new(), HashMap::new());
        Self { member, pace, common, client, log, texts, last, written: 0 }
    }

    fn run(mut self) -> DeviceLog {
        let mut rested = Instant::now();
        while !self.common.stop_sending.load(Ordering::Relaxed) {
            if self.texts.len() < self.pace.depth && rested <= Instant::now() && !self.member.peers.is_empty() {
                self.write();
                rested = Instant::now() + self.pace.rest;
            }
            self.poll();
        }
        let until = Instant::now() + self.pace.patience;
        // The others learn from the events how much there is: it is not enough that the answers have come.
        while !self.texts.is_empty() && Instant::now() < until {
            self.poll();
        }
        if !self.client.session().is_flushed() {
            self.log.surprises.push(format!("{} messages were never acknowledged", self.texts.len()));
        }
        self.common.flushed.fetch_add(1, Ordering::SeqCst);
        while !self.is_done() {
            if Instant::now() > until {
                self.log.surprises.push("did not get everything in time".into());
                break;
            }
            self.poll();
        }
        self.client.session().leave();
        // The server may be gone by now; then there is nobody to say good-bye to.
        let _gone = self.client.poll(Duration::ZERO);
        self.log
    }

    fn write(&mut self) {
        let peer = &self.member.peers[self.written % self.member.peers.len()];
        let text = format!("{} {}", self.log.device, self.written).into_bytes();
        let peer = UserId::derive(tidings_client::DEFAULT_TENANT, peer);
        let id = self.client.session().send(peer, &text);
        self.texts.insert(id, text);
        self.written += 1;
    }

    fn poll(&mut self) {
        match self.client.poll(Duration::from_millis(2)) {
            Ok(Some(event)) => self.on_event(event),
            Ok(None) => {}
            Err(error) => self.log.surprises.push(error.to_string()),
        }
    }

    fn on_event(&mut self, event: Event) {
        let count = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Connected => {
                count(&self.common.connected);
            }
            Event::Disconnected => {
                self.common.connected.fetch_sub(1, Ordering::Relaxed);
                count(&self.common.reconnects);
            }
            Event::Sent { conversation, id, seq, .. } => {
                let text = self.texts.remove(&id).unwrap_or_default();
                self.log.acked.push((conversation, seq, text));
                count(&self.common.acked);
                let mut heads = self.common.heads.lock().expect("no device's thread panics");
                let head = heads.entry(conversation).or_default();
                *head = (*head).max(seq);
            }
            Event::Message(message) => {
                self.last.insert(message.conversation, message.seq);
                self.log.saw(&message);
                count(&self.common.seen);
                if message.seq.0.is_multiple_of(5) {
                    self.client.session().read(message.conversation, message.seq, message.ordinal);
                }
            }
            Event::SendFailed { id, code, .. } => {
                self.texts.remove(&id);
                self.log.surprises.push(format!("a message was refused: {code}"));
            }
            Event::Rejected { code } => self.log.surprises.push(format!("turned away: {code}")),
            Event::Lost { from, upto, .. } => self.log.surprises.push(format!("messages {from} to {upto} are gone")),
            _ => {}
        }
    }

    /// True once everybody has flushed and this device has all of its conversations.
    fn is_done(&mut self) -> bool {
        if !self.common.finish.load(Ordering::SeqCst) {
            return false;
        }
        let heads = self.common.heads.lock().expect("no device's thread panics");
        self.log.expected.iter().all(|id| heads.get(id).is_none_or(|head| self.last.get(id) >= Some(head)))
    }
}
