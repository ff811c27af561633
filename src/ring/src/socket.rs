//! Sockets as the ring wants them.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getpeername, ipproto, listen, socket_with, sockopt};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening socket that shares its address with others (`SO_REUSEPORT`): the kernel spreads connections over them. With
/// port 0 the first takes any port; ask [`local_addr`] and give it to the others.
///
/// # Errors
/// For example if somebody else listens there.
pub fn listener(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &addr)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Where a listener listens.
///
/// # Errors
/// If it is not a socket of the internet.
pub fn local_addr(listener: &OwnedFd) -> io::Result<SocketAddr> {
    TcpListener::from(listener.try_clone()?).local_addr()
}

/// Who is at the other end.
///
/// # Errors
/// If they are gone.
pub fn peer_addr(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let addr = getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    SocketAddr::try_from(addr).map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Sends small frames at once.
///
/// # Errors
/// If it is not a TCP socket.
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// Ends both directions: operations in flight complete, and no new one starts.
pub fn shutdown(socket: impl AsFd) {
    let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Ends only our direction: the peer reads what was sent, then the end.
pub fn shutdown_write(socket: impl AsFd) {
    let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// A connection to `addr`, made by blocking, for clients that drive a ring.
///
/// # Errors
/// If nobody listens there.
pub fn connect(addr: SocketAddr) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}
