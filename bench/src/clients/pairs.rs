//! Pairs of connections: one sends, the other receives and confirms. Every message is checked: numbers without gap or repeat, and the
//! content's checksum.

use std::time::{Duration, Instant};

use tidings_ring::Wait;
use tidings_wire::{
    ConversationId, ErrorCode, Kind, Seq, UserId, frame,
    frames::{Delivered, ErrorFrame, Message, Sent},
    limits,
};

use super::{
    Came, Clients, Member,
    sending::{Payload, append_send},
    way::Way,
};
use crate::{
    Failure,
    drive::{
        Load, Mark, Offer, Outcome, Phases,
        offers::{Measured, Offers},
        pace::Pace,
    },
    target::Target,
};

/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(60);
/// What a server refuses that has more to do than it can, and what comes behind that.
const SHED: [Option<ErrorCode>; 2] = [Some(ErrorCode::Overloaded), Some(ErrorCode::OutOfOrder)];

/// One pair.
#[derive(Debug)]
struct Pair {
    conversation: ConversationId,
    peer: UserId,
    offers: Offers,
    /// What came and is acted upon once the turn is over: up to where the receiver confirms, and when something was answered.
    confirm: Option<Seq>,
    answered: Option<Instant>,
}

/// Pairs, connected. Their connections have places one after the other.
#[derive(Debug)]
pub struct Pairs {
    clients: Clients,
    pairs: Vec<Pair>,
    payload: Payload,
    depth: Option<u64>,
    /// Pairs of which something was refused for now.
    resting: Vec<usize>,
    /// Pairs that heard something in this turn.
    heard: Vec<usize>,
    measured: Measured,
}

fn user(connection: usize) -> String {
    format!("bench{connection}")
}

impl Load for Pairs {
    fn run(&mut self, offer: Offer, phases: Phases, mark: &mut dyn FnMut(Mark)) -> Result<Outcome, Failure> {
        let mut pace = Pace::new(offer, self.pairs.len(), phases);
        self.measured = Measured::new(pace.window());
        if let Offer::Closed { depth } = offer {
            self.depth = Some(depth);
            (0..self.pairs.len()).for_each(|pair| self.go_on(pair, Instant::now()));
        }
        loop {
            let now = Instant::now();
            while let Some(reached) = pace.mark(now) {
                if reached == Mark::End {
                    self.depth = None;
                }
                mark(reached);
            }
            while let Some((due, pair)) = pace.next(now) {
                self.pairs[pair].offers.put(due);
                self.go_on(pair, now);
            }
            if pace.is_done(|| self.unfinished()) {
                break;
            }
            self.turn(pace.wait(now))?;
        }
        let measured = std::mem::replace(&mut self.measured, Measured::nothing());
        let (due, seconds) = (pace.due, pace.seconds());
        Ok(Outcome { measured, due, late_us: pace.late_us, unfinished: self.unfinished(), seconds })
    }

    fn unfinished(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.offers.unfinished()).sum()
    }
}

impl Pairs {
    /// Connects everybody.
    ///
    /// # Errors
    /// If the server does not let them in.
    pub fn connect(target: &Target, pairs: usize, payload: usize) -> Result<Self, Failure> {
        Self::connect_by(&Way::default(), target, pairs, payload)
    }

    /// The same in some way.
    ///
    /// # Errors
    /// If the server does not let them in.
    pub fn connect_by(way: &Way, target: &Target, pairs: usize, payload: usize) -> Result<Self, Failure> {
        let id = |at| UserId::derive("default", &user(at));
        let mut clients = Clients::by(way, target.addr, 2 * pairs)?;
        let member = |at| Ok(Member { device: at as u32, token: target.token(&user(at))? });
        clients.let_in(0..2 * pairs, HERE_WITHIN, member)?;
        Ok(Self {
            clients,
            pairs: (0..pairs).map(|pair| Pair::new(id(2 * pair), id(2 * pair + 1))).collect(),
            payload: Payload::new(payload),
            depth: None,
            resting: Vec::new(),
            heard: Vec::new(),
            measured: Measured::nothing(),
        })
    }

    /// A pair writes what is due and fits into its window; in a closed loop as much is due as is missing.
    fn go_on(&mut self, at: usize, now: Instant) {
        let Self { clients, pairs, payload, depth, .. } = self;
        let pair = &mut pairs[at];
        if let Some(depth) = *depth {
            pair.offers.refill(depth, now);
        }
        let Some(out) = clients.out(2 * at) else { return };
        while let Some(id) = pair.offers.next(u64::from(limits::WINDOW), now) {
            append_send((pair.conversation, pair.peer), id, payload, out);
        }
    }

    fn turn(&mut self, wait: Wait) -> Result<(), Failure> {
        self.wake();
        let Self { clients, pairs, payload, resting, heard, measured, .. } = self;
        clients.turn(wait, |came| {
            let at = came.at / 2;
            if pairs[at].take(came, payload, measured)? && resting.last() != Some(&at) {
                resting.push(at);
            }
            if heard.last() != Some(&at) {
                heard.push(at);
            }
            Ok(())
        })?;
        while let Some(at) = self.heard.pop() {
            let pair = &mut self.pairs[at];
            if let Some(upto) = pair.confirm.take()
                && let Some(out) = self.clients.out(2 * at + 1)
            {
                frame::append(out, 3, &Delivered { conversation: pair.conversation, upto });
            }
            // In a closed loop the next is due since then.
            if let Some(answered) = pair.answered.take() {
                self.go_on(at, answered);
            }
        }
        Ok(())
    }

    /// Pairs that were refused something go on once they may.
    fn wake(&mut self) {
        if self.resting.is_empty() {
            return;
        }
        let now = Instant::now();
        for at in std::mem::take(&mut self.resting) {
            self.go_on(at, now);
            if self.pairs[at].offers.rests_until().is_some_and(|until| until > now) {
                self.resting.push(at);
            }
        }
    }
}

impl Pair {
    fn new(a: UserId, b: UserId) -> Self {
        let (conversation, offers) = (ConversationId::direct(a, b), Offers::new());
        Self { conversation, peer: b, offers, confirm: None, answered: None }
    }

    /// Something came: true if an attempt was refused for now.
    fn take(&mut self, came: &Came<'_, '_>, payload: &Payload, measured: &mut Measured) -> Result<bool, Failure> {
        let now = came.now;
        match came.kind() {
            Some(Kind::Sent) => {
                let Sent { client_msg_id: id, seq, .. } = came.read()?;
                let right = seq.0 == id.0 && id.0 == self.offers.answered() + 1;
                self.offers.on_sent(id.0, right, now, measured);
                self.answered = Some(now);
            }
            Some(Kind::Message) => {
                let message: Message = came.read()?;
                let id = message.client_msg_id.0;
                let right = message.seq.0 == id && came.frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
                self.offers.on_message(id, right, now, measured);
                self.confirm = Some(message.seq);
            }
            Some(Kind::Error) => {
                let error: ErrorFrame = came.read()?;
                if !SHED.contains(&ErrorCode::from_u16(error.code)) {
                    return Err(format!("the server refused: code {}", error.code).into());
                }
                let rest = Duration::from_millis(u64::from(error.retry_after_ms));
                self.offers.on_refused(now + rest, measured);
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}
