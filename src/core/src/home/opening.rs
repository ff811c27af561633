//! How sessions begin, and how the server ends them.

use core::net::IpAddr;

use tidings_wire::{
    ErrorCode, Kind, Retry,
    frame::{self, Span},
    frames::{Activity, Bye, ByeReason, ErrorFrame, Welcome},
    limits,
};

use super::{
    Homes, SessionId,
    authentication::Authenticated,
    index::{EntryKey, Home, HomeKey},
    own::Entrance,
    retry::Unacknowledged,
    session::{Lists, Session, Sync},
    settings::age,
};
use crate::{
    budget::Network,
    context::HomeContext,
    counters::Counter,
    effects::ConnId,
    limits::{REFUSED_RETRY_MS, REGISTERING_TOKENS, SESSIONS_PER_USER},
};

impl Homes {
    /// Lets an authenticated device in: WELCOME. An older session of the same device is told that it is superseded; so is
    /// this connection, if it is the older one and only arrived later.
    ///
    /// # Errors
    /// [`ErrorCode::Full`] or [`ErrorCode::Superseded`], already written to `conn`, which is to be closed.
    pub(crate) fn open_session(
        &mut self,
        who: &Authenticated,
        (conn, address): (ConnId, IpAddr),
        cx: &mut impl HomeContext,
    ) -> Result<SessionId, ErrorCode> {
        if self.index.len() >= self.config.entities_max as usize && !self.index.has_home(who.user()) {
            return self.refuse_session(who, conn, ErrorCode::Full, "no more users fit on this server", cx);
        }
        let home = self.index.home(who.user());
        if let Err(code) = self.index.get(home).own.as_ref().map_or(Ok(()), |own| own.check(who)) {
            let text = match code {
                ErrorCode::DeviceRevoked => "this device was revoked by its user, or had to make room for another",
                _ => "a device was revoked since this token was issued: log in again",
            };
            return self.refuse_session(who, conn, code, text, cx);
        }
        let same_device = |id: &&SessionId| self.sessions.get(**id).is_some_and(|old| old.device == who.device());
        if let Some(old) = self.index.get(home).sessions.iter().find(same_device).copied() {
            let newer = self
                .sessions
                .get(old)
                .is_some_and(|old| who.connection_number() != 0 && old.connection_number > who.connection_number());
            if newer {
                // Not for good: a device whose clock went back gets in once its old session is gone.
                let text = "a later connection of this device is there already";
                return self.refuse_session(who, conn, ErrorCode::Superseded, text, cx);
            }
            self.close_with(old, ErrorCode::Superseded, 0, 0, "this device has connected again", cx);
        }
        if self.index.get(home).sessions.len() >= SESSIONS_PER_USER {
            let Some(outlived) = self.outlived(home, who.until(), cx.now()) else {
                return self.refuse_session(who, conn, ErrorCode::Full, "this user has too many sessions", cx);
            };
            let text = "too many sessions: one with a newer token takes this one's place";
            self.close_with(outlived, ErrorCode::Superseded, 0, 0, text, cx);
        }
        if let Err(code) = self.enter(home, who, cx) {
            return self.refuse_session(who, conn, code, "this user has too many devices", cx);
        }
        let (user, device, connection_number) = (who.user(), who.device(), who.connection_number());
        let (in_flight, fetches, sync) = (0, 0, Sync::Fresh);
        let id = self.sessions.open(Session {
            conn,
            home,
            user,
            device,
            network: Network::of(address),
            connection_number,
            in_flight,
            fetches,
            sync,
            ends: None,
            pushes: who.pushes(),
            payloads: who.payloads(),
            unacknowledged: Unacknowledged::NOTHING,
            issued: age(who.issued(), who.bound()),
            activity: Activity::Active,
            rung: None,
            entry: EntryKey::NONE,
            scope: who.scope(),
            revoked: false,
            resuming: false,
            lists: Lists::default(),
            ending: false,
        });
        let state = self.index.get_mut(home);
        state.sessions.push(id);
        if *state.name != *who.name() {
            state.name = who.name().into();
        }
        self.set_end(id, who.until(), cx.now());
        cx.count(Counter::SessionsOpened);
        let welcome = Welcome {
            version: u16::from(tidings_wire::VERSION),
            idle_timeout_s: self.config.idle_timeout_s,
            frame_max: limits::FRAME_MAX,
            payload_max: limits::PAYLOAD_MAX,
            window: who.scope().window().into(),
            user,
            device,
            lineage: self.config.lineage,
            session: id.0.to_u64(),
            server_time: cx.now().wall,
            redirect: Span::default(),
            token_until: who.until().unwrap_or_default(),
            capabilities: Welcome::UNPACKS,
        };
        frame::append(cx.out(conn), who.request_id(), &welcome);
        Ok(id)
    }

    /// A device comes in: what is remembered of it.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`], [`ErrorCode::Full`].
    fn enter(&mut self, home: HomeKey, who: &Authenticated, cx: &mut impl HomeContext) -> Result<(), ErrorCode> {
        let (now, rate) = (cx.now(), self.config.user_rate);
        let sessions = &self.sessions;
        let Home { sessions: open, own, bucket, .. } = self.index.get_mut(home);
        if who.device().is_guest() && own.is_none() {
            return Ok(());
        }
        let own = own.get_or_insert_default();
        let is_new = own.is_new(who.device());
        // Each is remembered, and takes room in the log; so does a new name.
        if (is_new || own.is_renamed(who)) && bucket.take(rate, now.mono).is_err() {
            return Err(ErrorCode::RateLimited);
        }
        let of = |id: &SessionId| sessions.get(*id).map(|session| session.device);
        match own.enter(who, now.wall, |device| open.iter().any(|id| of(id) == Some(device))) {
            Entrance::Full => Err(ErrorCode::Full),
            Entrance::Known => Ok(()),
            Entrance::News => {
                bucket.owe(REGISTERING_TOKENS);
                self.changed_own(home, cx);
                Ok(())
            }
        }
    }

    fn refuse_session(
        &mut self,
        who: &Authenticated,
        conn: ConnId,
        code: ErrorCode,
        text: &str,
        cx: &mut impl HomeContext,
    ) -> Result<SessionId, ErrorCode> {
        cx.counters().error(code);
        let is_durable = self.index.find_home(who.user()).is_none_or(|home| self.pending_version(home).is_none());
        let (retry, retry_after_ms) = match code {
            // What a crash may take back is not said for good.
            ErrorCode::DeviceRevoked | ErrorCode::TokenRevoked if is_durable => (Retry::Stop, 0),
            _ => (Retry::Reconnect, REFUSED_RETRY_MS),
        };
        let error = ErrorFrame { retry: retry as u8, retry_after_ms, ..ErrorFrame::new(code, Kind::Hello as u8) };
        error.append(cx.out(conn), who.request_id(), text);
        Err(code)
    }

    /// Tells a session that the node stops, and ends it.
    pub(crate) fn say_bye(&mut self, id: SessionId, cx: &mut impl HomeContext) {
        let Some(conn) = self.sessions.get(id).map(|session| session.conn) else { return };
        frame::append(cx.out(conn), 0, &Bye { reason: ByeReason::Draining, retry_after_ms: 500 });
        cx.close(conn);
        self.close_session(id, cx.counters());
    }

    /// Ends a session with an error of its connection.
    pub(crate) fn close_with(
        &mut self,
        id: SessionId,
        code: ErrorCode,
        of_kind: u8,
        request_id: u64,
        text: &str,
        cx: &mut impl HomeContext,
    ) {
        let Some(conn) = self.sessions.get(id).map(|session| session.conn) else { return };
        cx.counters().error(code);
        ErrorFrame::new(code, of_kind).append(cx.out(conn), request_id, text);
        cx.close(conn);
        self.close_session(id, cx.counters());
    }
}
