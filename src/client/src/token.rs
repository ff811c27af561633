//! Tokens end: the application is asked for a new one in time, and the session goes on with it.

use tidings_wire::{ErrorCode, Timestamp, frame::FrameBuilder, frames::Reauth};

use crate::{
    config::{Time, Tokens},
    event::Event,
    session::{Link, Session},
};

/// How long before its end a new token is asked for, or in the last quarter of its time, whichever is later.
const ASK_BEFORE_MS: u64 = 60_000;

/// When the token ends.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// When WELCOME came, and what the server's clock was then.
    pub(crate) at_welcome: (Time, Timestamp),
    /// When the application is to be asked for a new token.
    pub(crate) ask_at: Option<Time>,
}

impl Session {
    /// The server counts the token until a moment of its own clock; 0: for ever.
    pub(crate) fn token_counts_until(&mut self, until: Timestamp) {
        let (since, then) = self.expiry.at_welcome;
        let server_now = then.0.saturating_add(self.now.0.saturating_sub(since.0));
        let left_us = until.0.saturating_sub(server_now);
        let before_us = (ASK_BEFORE_MS * 1000).min(left_us / 4);
        let asks = until != Timestamp(0) && self.config.tokens == Tokens::Renewed;
        self.expiry.ask_at = asks.then(|| Time(self.now.0.saturating_add(left_us - before_us)));
    }

    /// Asks for a new token, if it is time.
    pub(crate) fn ask_for_token(&mut self) {
        if self.expiry.ask_at.take_if(|at| *at <= self.now).is_some() {
            self.events.push_back(Event::TokenNeeded);
        }
    }

    /// The server does not count the token any more.
    pub(crate) fn token_ended(&mut self) {
        if self.config.tokens == Tokens::Fixed {
            return self.close(ErrorCode::TokenExpired);
        }
        self.drop_link(0);
        self.link = Link::Tokenless;
        self.expiry.ask_at = None;
        self.events.push_back(Event::TokenNeeded);
    }

    /// A new token: the session goes on with it, and connects with it from now on.
    pub fn renew(&mut self, token: &[u8]) {
        self.config.token = token.to_vec();
        match self.link {
            Link::Up => {
                let id = self.request_id();
                let mut reauth = FrameBuilder::<Reauth>::new(&mut self.out);
                let token = reauth.var(token);
                reauth.finish(id, &Reauth { token });
            }
            Link::Tokenless => self.link = Link::Down(self.now),
            Link::Down(_) | Link::Connecting | Link::Greeting | Link::Closed => {}
        }
    }
}
