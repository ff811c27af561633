//! DEVICES and REVOKE: which devices a user has, and which are let in no more.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    DeviceId, ErrorCode, Frame, Kind, UserId, WireError,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{DeviceList, Devices, ErrorFrame, ListedDevice, Revoke},
};

use super::{
    Homes, SessionId,
    authentication::Scope,
    index::HomeKey,
    own::{Bound, OWN_RECORD_MAX},
    settings::{AGELESS, Answer, Until},
};
use crate::{
    context::HomeContext,
    counters::Counter,
    ephemeral::{Act, Administrator, Ephemeral, Which},
    lanes::Asker,
    limits::{REAUTH_TOKENS, retry_ms},
    narrow::to_u32,
};

impl Homes {
    pub(super) fn on_devices(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let devices: Devices = frame.fixed()?;
        self.act_on_devices(id, frame, (devices.user, Act::List), cx);
        Ok(())
    }

    pub(super) fn on_revoke(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let Revoke { device, user, flags } = frame.fixed()?;
        let which = if flags & Revoke::ALL == 0 { Which::One(device) } else { Which::All };
        self.act_on_devices(id, frame, (user, Act::Revoke(which)), cx);
        Ok(())
    }

    fn act_on_devices(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        (whose, act): (UserId, Act),
        cx: &mut impl HomeContext,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let (home, user, scope) = (session.home, session.user, session.scope);
        let asker = Asker { session: id, request_id: frame.header().request_id };
        let (rate, now) = (self.config.user_rate, cx.now().mono);
        let bucket = &mut self.index.get_mut(home).bucket;
        let done = if bucket.take(rate, now).is_err() {
            Err(ErrorCode::Busy)
        } else if whose.is_none() {
            self.act_on_own(home, act, asker, cx)
        } else if (scope != Scope::Admin && !canary::is(Canary::AnybodyAdministers)) || whose.tenant() != user.tenant()
        {
            Err(ErrorCode::NotAllowed)
        } else {
            if act != Act::List {
                bucket.owe(REAUTH_TOKENS);
            }
            let administrator = Administrator { asker, reactor: self.config.layout.home(&user) };
            let message = Ephemeral::Administer { user: whose, administrator, act };
            cx.ephemeral(self.config.layout.home(&whose), message, &[]);
            Ok(())
        };
        if let Err(code) = done {
            self.refuse_frame(id, frame, code, cx);
        }
    }

    fn act_on_own(
        &mut self,
        home: HomeKey,
        act: Act,
        asker: Asker,
        cx: &mut impl HomeContext,
    ) -> Result<(), ErrorCode> {
        let Act::Revoke(which) = act else {
            // What is not durable yet is not told.
            match self.pending_version(home) {
                Some(_) if self.waits_for_devices(asker.session) => return Err(ErrorCode::Busy),
                Some(version) => self.answer_at(home, Until::Version(version), asker, Answer::Devices, cx),
                None => self.list_devices(asker, cx),
            }
            return Ok(());
        };
        let until = self.revoke(home, which, asker.session, cx)?;
        self.index.get_mut(home).bucket.owe(REAUTH_TOKENS); // all of what the user keeps is written
        self.answer_at(home, until, asker, Answer::Revoked, cx);
        Ok(())
    }

    /// An administrator asks for something about the devices of a user whose home, if it has one, is here.
    pub(super) fn administer(
        &mut self,
        user: UserId,
        administrator: Administrator,
        act: Act,
        cx: &mut impl HomeContext,
    ) {
        cx.count(Counter::Administered);
        let nobody = Asker { session: SessionId::NONE, request_id: 0 };
        let done = match (self.index.find_home(user), act) {
            (None, Act::List) => return self.list_to(administrator, None, cx),
            (None, Act::Revoke(_)) => Err(ErrorCode::NoSuchDevice),
            (Some(home), Act::List) => {
                // What is not durable yet is not told.
                let until = Until::Version(self.pending_version(home).unwrap_or(0));
                return self.answer_at(home, until, nobody, Answer::DevicesFor(administrator), cx);
            }
            (Some(home), Act::Revoke(which)) => {
                self.revoke(home, which, SessionId::NONE, cx).map(|until| (home, until))
            }
        };
        match done {
            Ok((home, until)) => self.answer_at(home, until, nobody, Answer::RevokedFor(administrator), cx),
            Err(code) => {
                cx.counters().error(code);
                let retry_after_ms = retry_ms(code);
                let error = ErrorFrame { retry_after_ms, ..ErrorFrame::new(code, Kind::Revoke as u8) };
                let mut bytes = Vec::new();
                error.append(&mut bytes, administrator.asker.request_id, "");
                cx.ephemeral(administrator.reactor, administrator.answered(), &bytes);
            }
        }
    }

    /// Tells an administrator which devices a user has.
    pub(super) fn list_to(&mut self, administrator: Administrator, home: Option<HomeKey>, cx: &mut impl HomeContext) {
        let mut bytes = Vec::new();
        self.write_devices(home, None, administrator.asker.request_id, &mut bytes);
        cx.ephemeral(administrator.reactor, administrator.answered(), &bytes);
    }

    /// Lets devices in no more, but for the one of the session that wants it. Gives until when that is to be waited for.
    fn revoke(
        &mut self,
        home: HomeKey,
        which: Which,
        asker: SessionId,
        cx: &mut impl HomeContext,
    ) -> Result<Until, ErrorCode> {
        if cx.room() < OWN_RECORD_MAX {
            return Err(ErrorCode::Busy);
        }
        let (now, own_device) = (cx.now().wall, self.sessions.get(asker).map(|session| session.device));
        match which {
            Which::One(device) => {
                if !self.is_registered(home, device) && !self.is_connected(home, device) {
                    return Err(ErrorCode::NoSuchDevice);
                }
                self.index.get_mut(home).own.get_or_insert_default().revoke(device, now);
                self.mark_revoked(home, |connected| connected == device);
            }
            Which::All => {
                let state = self.index.get(home);
                let known = state.own.iter().flat_map(|own| &own.devices).map(|known| known.device);
                let connected = state.sessions.iter().filter_map(|id| self.sessions.get(*id));
                let all = known.chain(connected.map(|session| session.device));
                let mut others: Vec<DeviceId> = all.filter(|device| Some(*device) != own_device).collect();
                others.sort_unstable();
                others.dedup();
                self.index.get_mut(home).own.get_or_insert_default().revoke_all(&others, now);
                self.mark_revoked(home, |connected| Some(connected) != own_device);
            }
        }
        Ok(self.changed_own(home, cx))
    }

    /// Sessions of these devices end at the commit, whatever is remembered of those that are let in no more.
    fn mark_revoked(&mut self, home: HomeKey, which: impl Fn(DeviceId) -> bool) {
        for at in 0..self.index.get(home).sessions.len() {
            let id = self.index.get(home).sessions[at];
            if let Some(session) = self.sessions.get_mut(id) {
                session.revoked |= which(session.device);
            }
        }
    }

    fn is_registered(&self, home: HomeKey, device: DeviceId) -> bool {
        let own = &self.index.get(home).own;
        own.as_ref().is_some_and(|own| own.devices.iter().any(|known| known.device == device))
    }

    /// True if a device has a session.
    pub(super) fn is_connected(&self, home: HomeKey, device: DeviceId) -> bool {
        let of = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.device == device);
        self.index.get(home).sessions.iter().any(of)
    }

    /// Ends what a revocation ends: sessions of devices that are barred, and those that an older token opened for a device that is not known; not
    /// the one that asked for it.
    pub(super) fn end_revoked(&mut self, home: HomeKey, asker: SessionId, cx: &mut impl HomeContext) {
        let open = self.index.get(home).sessions.clone();
        for id in open.into_iter().filter(|id| *id != asker) {
            let (Some(session), Some(own)) = (self.sessions.get(id), &self.index.get(home).own) else { continue };
            let bound = if session.issued == AGELESS { Bound::ToDevice } else { Bound::ToNone };
            if session.revoked && !canary::is(Canary::RevokedLetIn) || own.is_barred(session.device) {
                self.close_with(id, ErrorCode::DeviceRevoked, 0, 0, "this device was revoked", cx);
            } else if own.check_token(session.device, session.issued, bound).is_err() {
                let text = "a device was revoked since this token was issued";
                self.close_with(id, ErrorCode::TokenRevoked, 0, 0, text, cx);
            }
        }
    }

    /// The session that asked for a revocation ends, too, if it revoked its own device.
    pub(super) fn end_asker(&mut self, asker: SessionId, cx: &mut impl HomeContext) {
        if self.sessions.get(asker).is_some_and(|session| session.revoked) {
            self.close_with(asker, ErrorCode::DeviceRevoked, 0, 0, "this device was revoked", cx);
        }
    }

    /// Tells a session which devices its user has.
    pub(super) fn list_devices(&mut self, asker: Asker, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(asker.session) else { return };
        let (home, device, conn) = (session.home, session.device, session.conn);
        self.write_devices(Some(home), Some(device), asker.request_id, cx.out(conn));
    }

    /// Which devices a user has, `this` of which asks: registered ones in the order in which they came, then guests that are connected.
    fn write_devices(&self, home: Option<HomeKey>, this: Option<DeviceId>, request_id: u64, out: &mut Vec<u8>) {
        let state = home.map(|home| self.index.get(home));
        let registered = state.and_then(|state| state.own.as_ref()).map_or(&[][..], |own| &own.devices);
        let sessions = state.iter().flat_map(|state| &state.sessions).filter_map(|id| self.sessions.get(*id));
        let mut frame = FrameBuilder::<DeviceList>::new(out);
        let (mut entries, mut count) = (frame.var(&[]), 0);
        let mut put = |device: DeviceId, since, seen, name_len| {
            let is_connected = home.is_some_and(|home| self.is_connected(home, device));
            let connected = if is_connected { ListedDevice::CONNECTED } else { 0 };
            let this = if Some(device) == this { ListedDevice::THIS } else { 0 };
            let mut bytes = [0; ListedDevice::LEN];
            archive::write(&ListedDevice { device, flags: connected | this, since, seen, name_len }, &mut bytes);
            entries.len += frame.var(&bytes).len;
            count += 1;
        };
        for known in registered {
            let name_len = u8::try_from(known.name.len()).expect("a name is of at most 64 bytes");
            put(known.device, known.since.timestamp(), known.seen.timestamp(), name_len);
        }
        let guests = sessions.map(|session| session.device).filter(|device| device.is_guest());
        guests.for_each(|device| put(device, Default::default(), Default::default(), 0));
        let mut names = frame.var(&[]);
        registered.iter().for_each(|known| names.len += frame.var(known.name.as_bytes()).len);
        frame.finish(request_id, &DeviceList { count, entry_len: to_u32(ListedDevice::LEN), entries, names });
    }
}
