//! Whole handshakes of TLS, one after the other, and `openssl s_server` to compare with.

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;
use tidings::front_door::{SELF_SIGNED, SELF_SIGNED_KEY};

use crate::{Failure, clients::way::Way, cpu};

/// Connects, handshakes and ends, one after the other.
#[derive(Debug, Serialize)]
pub struct Handshake {
    count: usize,
    cpu_us_each: f64,
    /// What a core could do of them.
    per_s_and_core: f64,
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} us, {:.0} a second and core", self.cpu_us_each, self.per_s_and_core)
    }
}

/// Handshakes; what they cost the process at the other end.
///
/// # Errors
/// If one fails.
pub fn handshakes(count: usize, way: &Way, addr: SocketAddr, pid: u32) -> Result<Handshake, Failure> {
    let one = || {
        let mut tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        let mut client = way.client()?;
        while client.is_handshaking() {
            client.complete_io(&mut tcp)?;
        }
        client.send_close_notify();
        while client.wants_write() {
            client.write_tls(&mut tcp)?;
        }
        tcp.flush()?;
        // Until the other end is done, too.
        let _reset = tcp.read_to_end(&mut Vec::new());
        Ok::<_, Failure>(())
    };
    (0..count / 10).try_for_each(|_| one())?;
    let before = cpu::usage(pid)?.cpu_us;
    (0..count).try_for_each(|_| one())?;
    let cpu_us_each = (cpu::usage(pid)?.cpu_us - before) as f64 / count as f64;
    Ok(Handshake { count, cpu_us_each, per_s_and_core: 1e6 / cpu_us_each })
}

/// `openssl s_server` with the same certificate, on the server's core.
pub struct OpenSsl {
    child: Child,
    addr: SocketAddr,
}

impl OpenSsl {
    /// Starts it.
    ///
    /// # Errors
    /// If it is not there, or does not listen.
    pub fn start(data: &Path, core: &str) -> Result<Self, Failure> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("taskset");
        command.args(["-c", core, "openssl", "s_server", "-quiet", "-tls1_3", "-num_tickets", "1", "-accept"]);
        command.arg(addr.port().to_string());
        command.arg("-cert").arg(data.join(SELF_SIGNED)).arg("-key").arg(data.join(SELF_SIGNED_KEY));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let this = Self { child, addr };
        let until = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > until {
                return Err("openssl s_server does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// Where it listens, and its process.
    pub fn whereabouts(&self) -> (SocketAddr, u32) {
        (self.addr, self.child.id())
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
