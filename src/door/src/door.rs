//! One connection's door.

use std::{ops::Range, sync::Arc};

use crate::{
    http::{self, Answer},
    pages::Pages,
    sniff::{Speaks, TOO_MANY, refusal, sniff},
    tls::Tls,
    websocket::WebSocket,
};

/// Which doors there are.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// TLS, if there is a certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What may be spoken without TLS.
    pub plain: Vec<Speaks>,
    /// What may be spoken in TLS.
    pub sealed: Vec<Speaks>,
    /// Origins of pages that may connect, besides those of the host itself, as in `https://app.example`.
    pub origins: Vec<String>,
    /// What else is answered, if anything is.
    pub pages: Option<Arc<dyn Pages>>,
}

impl Rules {
    /// Frames as they are and WebSockets, without TLS.
    pub fn plain() -> Self {
        Self { plain: vec![Speaks::Raw, Speaks::Http], ..Self::default() }
    }

    /// Whether somebody who has just connected may speak as it does, without TLS.
    pub fn allows(&self, speaks: Speaks) -> bool {
        match speaks {
            Speaks::Tls => self.tls.is_some(),
            _ => self.plain.contains(&speaks),
        }
    }
}

/// Why nothing more comes through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer said that it is done.
    Closed,
    /// It asked for a page, and the output has it.
    Served,
    /// What it asked for it does not get; why, the output says.
    Refused,
    /// Frames are not taken here as they are.
    NotSpoken,
    /// It broke the rules of what it speaks: in words.
    Broken(&'static str),
}

/// Whether anything will be said after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// No: what it speaks is ended in good order.
    Yes,
    /// There may be more.
    No,
}

/// Where bytes of the stream lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In what was received.
    Here(Range<usize>),
    /// In the scratch space.
    Scratch(Range<usize>),
}

impl Place {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        let (Self::Here(range) | Self::Scratch(range)) = self;
        range.is_empty()
    }
}

/// What came of received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the bytes of the stream are that were in them.
    pub place: Place,
    /// Nothing comes after them.
    pub end: Option<End>,
}

/// What is spoken behind TLS, or instead of it.
#[derive(Debug)]
enum Framing {
    /// Not known yet: so much came.
    Unknown(Vec<u8>),
    Raw,
    WebSocket(WebSocket),
}

/// What is between one socket and its stream of frames.
#[derive(Debug)]
pub struct Door {
    /// Apart, since it is large, and WebSockets may do without.
    tls: Option<Box<Tls>>,
    framing: Framing,
    /// Received and not looked at: see [`Self::hold`].
    held: Vec<u8>,
    /// Goes out before the stream.
    said: Vec<u8>,
    /// Nothing more comes through.
    ended: Option<End>,
}

impl Door {
    /// The door of a connection whose first bytes are TLS or HTTP. `None` if TLS cannot begin: there is no certificate.
    pub fn new(speaks: Speaks, rules: &Rules) -> Option<Self> {
        let tls = match speaks {
            Speaks::Tls => Some(Box::new(Tls::new(rules.tls.as_ref()?).ok()?)),
            _ => None,
        };
        Some(Self { tls, framing: Framing::Unknown(Vec::new()), held: Vec::new(), said: Vec::new(), ended: None })
    }

    /// Keeps received bytes until somebody has time for them.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// What was kept.
    pub fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// True if bytes were kept.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// True while TLS is being agreed on: each step costs as much as a hundred messages.
    pub fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_up())
    }

    /// Why nothing more comes through, if that is so.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// True if nothing more can be said through it, although nobody was told: keys that are used up.
    pub fn is_dead(&self) -> bool {
        self.ended.is_none() && self.tls.as_ref().is_some_and(|tls| tls.is_over())
    }

    /// True if it is in TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// True if it is a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.framing, Framing::WebSocket(_))
    }

    /// True while something that came is not whole.
    pub fn is_inside(&self) -> bool {
        let tls = self.tls.as_ref().is_some_and(|tls| tls.is_inside());
        tls || match &self.framing {
            Framing::Unknown(head) => !head.is_empty(),
            Framing::Raw => false,
            Framing::WebSocket(socket) => socket.is_inside(),
        }
    }

    /// Takes received bytes; `scratch` is cleared.
    pub fn open(&mut self, bytes: &mut [u8], scratch: &mut Vec<u8>, rules: &Rules) -> Opened {
        scratch.clear();
        if self.ended.is_some() {
            return Opened { place: Place::Scratch(0..0), end: None };
        }
        let opened = self.open_layers(bytes, scratch, rules);
        self.ended = opened.end;
        opened
    }

    fn open_layers(&mut self, bytes: &mut [u8], scratch: &mut Vec<u8>, rules: &Rules) -> Opened {
        let Some(tls) = &mut self.tls else { return self.unframe(bytes, scratch, rules) };
        let ended = tls.open(bytes, scratch);
        let mut plain = std::mem::take(scratch);
        let mut opened = self.unframe(&mut plain, scratch, rules);
        if let Place::Here(range) = opened.place {
            opened.place = Place::Scratch(range);
            *scratch = plain;
        }
        opened.end = opened.end.or(ended);
        opened
    }

    fn unframe(&mut self, bytes: &mut [u8], scratch: &mut Vec<u8>, rules: &Rules) -> Opened {
        match &mut self.framing {
            Framing::Raw => Opened { place: Place::Here(0..bytes.len()), end: None },
            Framing::WebSocket(socket) => {
                let (range, end) = socket.open(bytes);
                Opened { place: Place::Here(range), end }
            }
            Framing::Unknown(head) => {
                head.extend_from_slice(bytes);
                let (range, end) = self.learn(scratch, rules);
                Opened { place: Place::Scratch(range), end }
            }
        }
    }

    /// Looks at what came of a stream of which is not known what it is. What is known to be of the stream goes to `scratch`.
    fn learn(&mut self, scratch: &mut Vec<u8>, rules: &Rules) -> (Range<usize>, Option<End>) {
        let Framing::Unknown(head) = &mut self.framing else { return (0..0, None) };
        let allowed = if self.tls.is_some() { &rules.sealed } else { &rules.plain };
        match sniff(head) {
            None => (0..0, None),
            Some(Speaks::Http) if !allowed.contains(&Speaks::Http) => {
                self.said = refusal(Speaks::Http).to_vec();
                (0..0, Some(End::Refused))
            }
            Some(Speaks::Raw) if !allowed.contains(&Speaks::Raw) => (0..0, Some(End::NotSpoken)),
            Some(Speaks::Tls) => (0..0, Some(End::Broken("TLS in TLS"))),
            Some(Speaks::Raw) => {
                *scratch = std::mem::take(head);
                self.framing = Framing::Raw;
                (0..scratch.len(), None)
            }
            Some(Speaks::Http) => match http::answer(head, rules) {
                Answer::More => (0..0, None),
                Answer::Served(answer) => {
                    self.said = answer;
                    (0..0, Some(End::Served))
                }
                Answer::Refused(answer) => {
                    self.said = answer;
                    (0..0, Some(End::Refused))
                }
                Answer::Upgrade(used, answer) => {
                    *scratch = head.split_off(used);
                    self.said = answer;
                    let mut socket = WebSocket::default();
                    let opened = socket.open(scratch);
                    self.framing = Framing::WebSocket(socket);
                    opened
                }
            },
        }
    }

    /// Its answer is not given: whoever asked has asked too often.
    pub fn withhold(&mut self) {
        self.said = TOO_MANY.to_vec();
    }

    /// True if there is something to say besides the stream.
    pub fn has_output(&self, last: Last) -> bool {
        let socket = match &self.framing {
            Framing::WebSocket(socket) => socket.has_output(last),
            _ => false,
        };
        socket || !self.said.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_output(last))
    }

    /// What goes to the socket: a part of the stream, with what else there is to say. An empty buffer is left in `stream`: either its own or
    /// `spare`.
    pub fn seal(&mut self, stream: &mut Vec<u8>, last: Last, mut spare: Vec<u8>) -> Vec<u8> {
        if self.tls.is_none() && stream.capacity() == 0 {
            std::mem::swap(stream, &mut spare);
        }
        match &mut self.framing {
            Framing::WebSocket(socket) => socket.seal(stream, last),
            // Who never got so far as to speak of frames is told nothing in frames.
            Framing::Unknown(head) if sniff(head) == Some(Speaks::Http) => stream.clear(),
            _ => {}
        }
        if !self.said.is_empty() {
            stream.splice(0..0, std::mem::take(&mut self.said));
        }
        match &mut self.tls {
            Some(tls) => tls.seal(stream, last, &mut spare),
            None => std::mem::swap(stream, &mut spare),
        }
        stream.clear();
        spare
    }
}
