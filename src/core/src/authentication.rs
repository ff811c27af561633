//! HELLO: from an unknown connection to an authenticated device. Needs no home, so it happens on whatever reactor accepted.

use alloc::boxed::Box;

use tidings_wire::{DeviceId, ErrorCode, Frame, Kind, Timestamp, UserId, frames::Hello, limits};

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The tenant.
    pub tenant: Box<str>,
    /// The user's external name.
    pub name: Box<str>,
    /// The only device that may use the token, if it is bound to one.
    pub device: Option<DeviceId>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is not a token, or not signed with a key that is trusted.
    Invalid,
    /// It was valid once.
    Expired,
}

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

    /// HELLO's request id, which WELCOME carries.
    pub fn request_id(&self) -> u64 {
        self.request_id
    }
}

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
    if token.is_empty() {
        return Err(ErrorCode::TokenMissing);
    }
    if token.len() > limits::TOKEN_MAX {
        return Err(ErrorCode::TokenInvalid);
    }
    let claims = verifier.verify(token, now).map_err(|fault| match fault {
        TokenFault::Invalid => ErrorCode::TokenInvalid,
        TokenFault::Expired => ErrorCode::TokenExpired,
    })?;
    if claims.name.is_empty() || claims.name.len() > limits::NAME_MAX || claims.tenant.len() > limits::NAME_MAX {
        return Err(ErrorCode::TokenInvalid);
    }
    let user = UserId::derive(&claims.tenant, &claims.name);
    if !hello.user.is_none() && hello.user != user {
        return Err(ErrorCode::TokenWrongUser);
    }
    if claims.device.is_some_and(|device| device != hello.device) {
        return Err(ErrorCode::TokenWrongDevice);
    }
    let (device, connection_number, request_id) = (hello.device, hello.connection_number, frame.header().request_id);
    Ok(Authenticated { user, device, name: claims.name, connection_number, request_id })
}
