//! Users whose token is their name.

use std::net::{IpAddr, Ipv4Addr};

use tidings_core::{Authenticated, Claims, Scope, TokenFault, Verifier, authenticate};
use tidings_wire::{DeviceId, Timestamp, UserId, frame::FrameBuilder, frames::Hello, limits::FRAME_MAX, split};

/// The tenant of everybody.
pub const TENANT: &str = "t";

/// Where everybody connects from.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Lets in whoever the token names: a name alone, or `name@issued` with the microseconds, or `name@issued#device` for one device only. Names that end with
/// `-bot` are those of services, with `-admin` those of administrators.
#[derive(Clone, Copy, Debug)]
pub struct AnyToken;

impl Verifier for AnyToken {
    fn verify(&self, token: &[u8], _: Timestamp) -> Result<Claims, TokenFault> {
        let token = std::str::from_utf8(token).map_err(|_| TokenFault::Invalid)?;
        let (name, rest) = token.split_once('@').unwrap_or((token, "0"));
        let (issued, device) = rest.split_once('#').map_or((rest, None), |(issued, device)| (issued, Some(device)));
        let number = |text: &str| text.parse::<u64>().map_err(|_| TokenFault::Invalid);
        let device = device.map(number).transpose()?.map(|device| DeviceId(device as u32));
        let issued = Timestamp(number(issued)?);
        let scope = match name.rsplit_once('-') {
            Some((_, "bot")) => Scope::Service,
            Some((_, "admin")) => Scope::Admin,
            _ => Scope::User,
        };
        Ok(Claims { tenant: TENANT.into(), name: name.into(), device, until: None, issued, scope })
    }
}

/// The user of a name.
pub fn user(name: &str) -> UserId {
    UserId::derive(TENANT, name)
}

/// A device that was let in.
pub fn authenticated(name: &str, device: u32) -> Authenticated {
    numbered(name, device, 0)
}

/// A device that was let in on a connection that it numbered.
pub fn numbered(name: &str, device: u32, connection_number: u64) -> Authenticated {
    entering(&hello(name, device, connection_number))
}

/// A device that was let in with a HELLO.
pub fn entering(hello: &[u8]) -> Authenticated {
    let frame = split(hello, FRAME_MAX).unwrap().unwrap();
    authenticate(&AnyToken, &frame, Timestamp(0)).unwrap()
}

/// The HELLO of a device.
pub fn hello(token: &str, device: u32, connection_number: u64) -> Vec<u8> {
    hello_called(token, device, connection_number, "")
}

/// The HELLO of a device that has a name.
pub fn hello_called(token: &str, device: u32, connection_number: u64, called: &str) -> Vec<u8> {
    hello_of(token, device, (connection_number, 0), called)
}

/// The HELLO of a device that acknowledges what is pushed to it.
pub fn hello_acknowledging(token: &str, device: u32) -> Vec<u8> {
    hello_of(token, device, (0, Hello::ACKNOWLEDGES), "")
}

fn hello_of(token: &str, device: u32, (connection_number, capabilities): (u64, u64), called: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Hello>::new(&mut bytes);
    let (token, device_name) = (frame.var(token.as_bytes()), frame.var(called.as_bytes()));
    let (version_min, version_max, user, device) = (1, 1, UserId::NONE, DeviceId(device));
    let hello = Hello { version_min, version_max, device, user, capabilities, token, connection_number, device_name };
    frame.finish(1, &hello);
    bytes
}
