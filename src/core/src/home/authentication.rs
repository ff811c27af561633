//! HELLO: from an unknown connection to an authenticated device. Needs no home, so it happens on whatever reactor accepted.

use alloc::boxed::Box;

use super::{own::Bound, retry::Pushes, session::Payloads};
use crate::{
    limits::{Bucket, EPHEMERAL_RATE, LONG_SEND, Rate, SERVICE_EPHEMERAL_RATE, SERVICE_SHARE},
    narrow::to_u32,
    time::Mono,
};
use tidings_wire::{
    DeviceId, ErrorCode, Frame, Kind, Timestamp, UserId,
    frames::{Hello, Reauth},
    limits,
};

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The tenant.
    pub tenant: Box<str>,
    /// The user's external name.
    pub name: Box<str>,
    /// The only device that may use the token, if it is bound to one.
    pub device: Option<DeviceId>,
    /// When it ends, if it does.
    pub until: Option<Timestamp>,
    /// When it was issued; 0: it does not say.
    pub issued: Timestamp,
    /// What it lets its sessions do.
    pub scope: Scope,
}

/// What a token lets its sessions do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// What a person does.
    #[default]
    User,
    /// What a program does that speaks with many: it may have more under way, and say more.
    Service,
    /// What a service may, and lists and revokes the devices of every user of its tenant.
    Admin,
}

impl Scope {
    /// SENDs that a session may have in flight.
    pub(super) const fn window(self) -> u16 {
        match self {
            Self::User => narrow(limits::WINDOW),
            Self::Service | Self::Admin => narrow(limits::SERVICE_WINDOW),
        }
    }

    /// Takes one SEND of its user's rate.
    #[inline]
    pub(super) fn take_send(self, bucket: &mut Bucket, rate: Rate, now: Mono) -> Result<(), u32> {
        match self {
            Self::User => bucket.take(rate, now),
            Self::Service | Self::Admin => bucket.take_part(rate, now, SERVICE_SHARE),
        }
    }

    /// The same of one with so many bytes, which takes one more for each [`LONG_SEND`] of them.
    #[cold]
    #[inline(never)]
    pub(super) fn take_long(self, bucket: &mut Bucket, rate: Rate, now: Mono, len: usize) -> Result<(), u32> {
        let more = to_u32(len / LONG_SEND);
        let more = if self == Self::User { more } else { more.div_ceil(SERVICE_SHARE) };
        bucket.take_many(rate, now, 1 + more)
    }

    /// What its user may say that is lost if need be.
    pub(super) fn ephemeral_rate(self) -> Rate {
        match self {
            Self::User => EPHEMERAL_RATE,
            Self::Service | Self::Admin => SERVICE_EPHEMERAL_RATE,
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "asserted")]
const fn narrow(window: u32) -> u16 {
    assert!(window <= u16::MAX as u32, "a session counts them in 16 bits");
    window as u16
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is not a token, or not signed with a key that is trusted.
    Invalid,
    /// It was valid once.
    Expired,
    /// Its tenant is not one of this server's.
    Tenant,
    /// The key that it names may be new: whoever comes again in a moment finds it known, or the token refused.
    TryAgain,
}

/// When somebody is to come again whose token cannot be judged yet.
pub const COME_AGAIN_MS: u32 = 1000;

/// Checks tokens.
pub trait Verifier {
    /// What `token` says, if it can be believed at `now`.
    ///
    /// # Errors
    /// Why not.
    fn verify(&self, token: &[u8], now: Timestamp) -> Result<Claims, TokenFault>;
}

/// A device whose token was checked. Only [`authenticate`] makes one.
#[derive(Clone, Debug)]
pub struct Authenticated {
    user: UserId,
    device: DeviceId,
    name: Box<str>,
    connection_number: u64,
    request_id: u64,
    until: Option<Timestamp>,
    issued: Timestamp,
    bound: Bound,
    device_name: Box<str>,
    pushes: Pushes,
    payloads: Payloads,
    scope: Scope,
}

/// What REAUTH brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// When the new token ends, if it does.
    pub until: Option<Timestamp>,
    /// When it was issued.
    pub issued: Timestamp,
    /// For which devices it is good.
    pub bound: Bound,
    /// What it lets the session do.
    pub scope: Scope,
}

impl Authenticated {
    /// The user.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The user's external name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the device's connection, 0 if it does not count them.
    pub fn connection_number(&self) -> u64 {
        self.connection_number
    }

    /// When the token ends, if it does.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// When the token was issued; 0: it does not say.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// For which devices it is good.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// What its sessions may do.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether the device acknowledges what is pushed to it.
    pub(super) fn pushes(&self) -> Pushes {
        self.pushes
    }

    /// How the device takes packed payloads.
    pub(super) fn payloads(&self) -> Payloads {
        self.payloads
    }

    /// What the user calls the device; empty: it does not say.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// HELLO's request id, which WELCOME carries.
    pub fn request_id(&self) -> u64 {
        self.request_id
    }
}

/// How far a device's clock, which connections are numbered by, may be ahead of the server's: two days, in microseconds.
const NUMBERS_AHEAD_US: u64 = 2 * 24 * 3600 * 1_000_000;

/// Checks the first frame of a connection.
///
/// # Errors
/// What to tell the peer before closing.
pub fn authenticate(verifier: &impl Verifier, frame: &Frame<'_>, now: Timestamp) -> Result<Authenticated, ErrorCode> {
    if frame.kind() != Ok(Kind::Hello) {
        return Err(ErrorCode::HelloExpected);
    }
    let hello: Hello = frame.fixed().map_err(|error| error.code())?;
    let token = frame.var(hello.token).map_err(|error| error.code())?;
    let version = u16::from(tidings_wire::VERSION);
    if version < hello.version_min || version > hello.version_max {
        return Err(ErrorCode::Version);
    }
    let device_name = frame.var(hello.device_name).map_err(|error| error.code())?;
    let device_name = core::str::from_utf8(device_name).map_err(|_| ErrorCode::Malformed)?;
    if device_name.len() > limits::NAME_MAX {
        return Err(ErrorCode::Malformed);
    }
    let (claims, user) = check(verifier, token, hello.device, now)?;
    if !hello.user.is_none() && hello.user != user {
        return Err(ErrorCode::TokenWrongUser);
    }
    // A number that no clock has reached would keep every later connection of the device out: it is taken for none.
    let farthest = now.0.saturating_add(NUMBERS_AHEAD_US);
    let connection_number = if hello.connection_number > farthest { 0 } else { hello.connection_number };
    let (device, request_id) = (hello.device, frame.header().request_id);
    let bound = bound(&claims);
    let (Claims { name, until, issued, scope, .. }, device_name) = (claims, device_name.into());
    let acknowledges = hello.capabilities & Hello::ACKNOWLEDGES != 0;
    let pushes = if acknowledges { Pushes::UntilAcknowledged } else { Pushes::Once };
    let payloads = if hello.capabilities & Hello::UNPACKS != 0 { Payloads::AsTheyAre } else { Payloads::Unpacked };
    Ok(Authenticated {
        user,
        device,
        name,
        connection_number,
        request_id,
        until,
        issued,
        bound,
        device_name,
        pushes,
        payloads,
        scope,
    })
}

fn bound(claims: &Claims) -> Bound {
    if claims.device.is_some() { Bound::ToDevice } else { Bound::ToNone }
}

/// Checks REAUTH of a session of `user` on `device`.
///
/// # Errors
/// Why the token before stays.
pub fn reauthenticate(
    verifier: &impl Verifier,
    frame: &Frame<'_>,
    user: UserId,
    device: DeviceId,
    now: Timestamp,
) -> Result<Renewal, ErrorCode> {
    let reauth: Reauth = frame.fixed().map_err(|error| error.code())?;
    let token = frame.var(reauth.token).map_err(|error| error.code())?;
    let (claims, whose) = check(verifier, token, device, now)?;
    if whose != user {
        return Err(ErrorCode::TokenWrongUser);
    }
    Ok(Renewal { until: claims.until, issued: claims.issued, bound: bound(&claims), scope: claims.scope })
}

/// What a token says that is good for a device, and whose it is.
fn check(
    verifier: &impl Verifier,
    token: &[u8],
    device: DeviceId,
    now: Timestamp,
) -> Result<(Claims, UserId), ErrorCode> {
    if token.is_empty() {
        return Err(ErrorCode::TokenMissing);
    }
    if token.len() > limits::TOKEN_MAX {
        return Err(ErrorCode::TokenInvalid);
    }
    let claims = verifier.verify(token, now).map_err(|fault| match fault {
        TokenFault::Invalid => ErrorCode::TokenInvalid,
        TokenFault::Expired => ErrorCode::TokenExpired,
        TokenFault::Tenant => ErrorCode::TenantUnknown,
        TokenFault::TryAgain => ErrorCode::Busy,
    })?;
    if claims.name.is_empty() || claims.name.len() > limits::NAME_MAX || claims.tenant.len() > limits::NAME_MAX {
        return Err(ErrorCode::TokenInvalid);
    }
    if claims.device.is_some_and(|bound| bound != device) {
        return Err(ErrorCode::TokenWrongDevice);
    }
    let user = UserId::derive(&claims.tenant, &claims.name);
    Ok((claims, user))
}
