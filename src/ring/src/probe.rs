//! Whether this kernel has what the ring needs, and if not, what to do about it.

use std::{fmt, io};

use io_uring::{IoUring, Probe, opcode};

/// Why there is no ring.
#[derive(Debug)]
pub enum SetupError {
    /// io_uring is switched off, by a sysctl or a seccomp filter.
    SwitchedOff(io::Error),
    /// The kernel is too old.
    TooOld {
        /// What it lacks.
        missing: &'static str,
    },
    /// Something else failed.
    Other {
        /// What was tried.
        step: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        match self {
            Self::SwitchedOff(error) => write!(
                f,
                "io_uring is switched off here ({error}): set sysctl kernel.io_uring_disabled=0 (as root), and in a \
                 container allow the io_uring system calls in its seccomp profile"
            ),
            Self::TooOld { missing } => {
                write!(f, "this kernel ({release}) lacks {missing} of io_uring: Linux 6.1 or newer is needed")
            }
            Self::Other { step, error } => write!(f, "io_uring could not be set up ({step}): {error}"),
        }
    }
}

impl std::error::Error for SetupError {}

impl SetupError {
    /// What a failed set-up call of the ring means.
    pub(crate) fn of_setup(error: io::Error) -> Self {
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::NOSYS) => {
                Self::SwitchedOff(error)
            }
            Some(rustix::io::Errno::INVAL) => Self::TooOld { missing: "DEFER_TASKRUN" },
            _ => Self::Other { step: "creating the ring", error },
        }
    }
}

/// Checks that every operation that the ring uses is known to the kernel.
pub(crate) fn check(ring: &IoUring) -> Result<(), SetupError> {
    let mut probe = Probe::new();
    let registered = ring.submitter().register_probe(&mut probe);
    registered.map_err(|error| SetupError::Other { step: "probing its operations", error })?;
    let needed = [
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::Recv::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::Write::CODE, "WRITE"),
        (opcode::Fsync::CODE, "FSYNC"),
        (opcode::Read::CODE, "READ"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    ];
    if let Some((_, missing)) = needed.into_iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(SetupError::TooOld { missing });
    }
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err(SetupError::TooOld { missing: "EXT_ARG or NODROP" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do() {
        let of = |errno: rustix::io::Errno| SetupError::of_setup(errno.into()).to_string();
        assert!(of(rustix::io::Errno::PERM).contains("kernel.io_uring_disabled"));
        assert!(of(rustix::io::Errno::NOSYS).contains("seccomp"));
        assert!(of(rustix::io::Errno::INVAL).contains("Linux 6.1"));
        assert!(of(rustix::io::Errno::NOMEM).contains("creating the ring"));
    }
}
