//! DEVICES and REVOKE: which devices a user has, and which are let in no more.

use tidings_wire::{
    DeviceId, ErrorCode, Frame, WireError,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{DeviceList, Devices, ListedDevice, Revoke},
};

use super::{
    Homes, SessionId,
    index::HomeKey,
    own::{Bound, OWN_RECORD_MAX},
    settings::{AGELESS, Answer, Until},
};
use crate::{context::HomeContext, lanes::Asker, limits::REAUTH_TOKENS, narrow::to_u32};

impl Homes {
    pub(super) fn on_devices(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let _devices: Devices = frame.fixed()?;
        let Some(home) = self.sessions.get(id).map(|session| session.home) else { return Ok(()) };
        let (rate, now) = (self.config.user_rate, cx.now().mono);
        if self.index.get_mut(home).bucket.take(rate, now).is_err() {
            self.refuse_frame(id, frame, ErrorCode::Busy, cx);
            return Ok(());
        }
        let asker = Asker { session: id, request_id: frame.header().request_id };
        // What is not durable yet is not told.
        match self.pending_version(home) {
            Some(_) if self.waits_for_devices(id) => self.refuse_frame(id, frame, ErrorCode::Busy, cx),
            Some(version) => self.answer_at(home, Until::Version(version), asker, Answer::Devices, cx),
            None => self.list_devices(asker, cx),
        }
        Ok(())
    }

    pub(super) fn on_revoke(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let Revoke { device } = frame.fixed()?;
        let Some(home) = self.sessions.get(id).map(|session| session.home) else { return Ok(()) };
        if let Err(code) = self.revoke(home, device, Asker { session: id, request_id: frame.header().request_id }, cx) {
            self.refuse_frame(id, frame, code, cx);
        }
        Ok(())
    }

    fn revoke(
        &mut self,
        home: HomeKey,
        device: DeviceId,
        asker: Asker,
        cx: &mut impl HomeContext,
    ) -> Result<(), ErrorCode> {
        let (rate, now) = (self.config.user_rate, cx.now());
        let state = self.index.get_mut(home);
        state.bucket.take(rate, now.mono).map_err(|_| ErrorCode::Busy)?;
        if cx.room() < OWN_RECORD_MAX {
            return Err(ErrorCode::Busy);
        }
        let is_registered =
            state.own.as_ref().is_some_and(|own| own.devices.iter().any(|known| known.device == device));
        if !is_registered && !self.is_connected(home, device) {
            return Err(ErrorCode::NoSuchDevice);
        }
        let state = self.index.get_mut(home);
        state.bucket.owe(REAUTH_TOKENS); // all of what the user keeps is written
        state.own.get_or_insert_default().revoke(device, now.wall);
        let until = self.changed_own(home, cx);
        self.answer_at(home, until, asker, Answer::Revoked, cx);
        Ok(())
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
        for id in open {
            let (Some(session), Some(own)) = (self.sessions.get(id), &self.index.get(home).own) else { continue };
            let bound = if session.issued == AGELESS { Bound::ToDevice } else { Bound::ToNone };
            let (code, text) = if own.is_barred(session.device) && id != asker {
                (ErrorCode::DeviceRevoked, "this device was revoked by its user")
            } else if id != asker && own.check_token(session.device, session.issued, bound).is_err() {
                (ErrorCode::TokenRevoked, "a device was revoked since this token was issued")
            } else {
                continue;
            };
            self.close_with(id, code, 0, 0, text, cx);
        }
    }

    /// Tells a session which devices its user has: registered ones in the order in which they came, then guests that are connected.
    pub(super) fn list_devices(&mut self, asker: Asker, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(asker.session) else { return };
        let (home, own_device) = (session.home, session.device);
        let state = self.index.get(home);
        let registered = state.own.as_ref().map_or(&[][..], |own| &own.devices);
        let guests = state.sessions.iter().filter_map(|id| self.sessions.get(*id)).map(|session| session.device);
        let mut frame = FrameBuilder::<DeviceList>::new(cx.out(session.conn));
        let (mut entries, mut count) = (frame.var(&[]), 0);
        let mut put = |device: DeviceId, since, seen, name_len| {
            let connected = if self.is_connected(home, device) { ListedDevice::CONNECTED } else { 0 };
            let this = if device == own_device { ListedDevice::THIS } else { 0 };
            let mut bytes = [0; ListedDevice::LEN];
            archive::write(&ListedDevice { device, flags: connected | this, since, seen, name_len }, &mut bytes);
            entries.len += frame.var(&bytes).len;
            count += 1;
        };
        for known in registered {
            let name_len = u8::try_from(known.name.len()).expect("a name is of at most 64 bytes");
            put(known.device, known.since.timestamp(), known.seen.timestamp(), name_len);
        }
        guests
            .filter(|device| device.is_guest())
            .for_each(|device| put(device, Default::default(), Default::default(), 0));
        let mut names = frame.var(&[]);
        registered.iter().for_each(|known| names.len += frame.var(known.name.as_bytes()).len);
        frame.finish(asker.request_id, &DeviceList { count, entry_len: to_u32(ListedDevice::LEN), entries, names });
    }
}
