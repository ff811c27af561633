//! What may befall a world.

/// Something that befalls the world from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process is killed.
    Kill,
    /// The power goes.
    PowerLoss,
    /// The node is stopped in good order.
    Restart,
    /// The next recovery is interrupted by a loss of power.
    CrashInRecovery,
    /// Writes take long for a while.
    SlowDisk,
    /// Nothing can be created for a while.
    FullDisk,
    /// A write of the log fails, as a whole or after a part of it.
    WriteError,
    /// A read of history brings less than was asked for.
    ShortRead,
    /// A write says that it is done and is not.
    LostWrite,
    /// A write lands elsewhere.
    MisdirectedWrite,
    /// A bit turns over.
    BitFlip,
    /// A sector cannot be read any more.
    UnreadableSector,
    /// At the next start a file of a log is not there any more.
    LostFile,
    /// At the next start a file of a log is as it was once.
    OldFile,
    /// A connection is cut.
    Cut,
    /// A connection dies without a word to either end.
    HalfOpen,
    /// Everybody is cut off for a while.
    Partition,
    /// A device reads nothing for a while.
    StallReader,
    /// A connection becomes slow.
    SlowLink,
    /// A device's process ends; it comes back with what it saved.
    DeviceCrash,
    /// A device comes back without any memory.
    DeviceForgets,
    /// A device goes offline for a while.
    DeviceLeaves,
    /// A device is suspended for a while: it does nothing, and then goes on where it was.
    DeviceSleeps,
    /// A device's memory is copied to a second one, and both go on.
    DeviceCloned,
    /// A stranger connects and speaks nonsense, or nothing.
    Stranger,
    /// The node's wall clock jumps.
    ClockJump,
    /// A reactor gets no time for a while.
    Starve,
    /// The kernel refuses to accept a connection.
    AcceptError,
    /// The kernel takes only a part of some output.
    ShortSend,
    /// Lanes become slow for a while.
    SlowLanes,
    /// A reactor's proposals are dropped, as if another node led its shards now.
    LostLead,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::Kill,
        Self::PowerLoss,
        Self::Restart,
        Self::CrashInRecovery,
        Self::SlowDisk,
        Self::FullDisk,
        Self::WriteError,
        Self::ShortRead,
        Self::LostWrite,
        Self::MisdirectedWrite,
        Self::BitFlip,
        Self::UnreadableSector,
        Self::LostFile,
        Self::OldFile,
        Self::Cut,
        Self::HalfOpen,
        Self::Partition,
        Self::StallReader,
        Self::SlowLink,
        Self::DeviceCrash,
        Self::DeviceForgets,
        Self::DeviceLeaves,
        Self::DeviceSleeps,
        Self::DeviceCloned,
        Self::Stranger,
        Self::ClockJump,
        Self::Starve,
        Self::AcceptError,
        Self::ShortSend,
        Self::SlowLanes,
        Self::LostLead,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power loss",
            Self::Restart => "restart in good order",
            Self::CrashInRecovery => "crash in recovery",
            Self::SlowDisk => "slow disk",
            Self::FullDisk => "full disk",
            Self::WriteError => "write error",
            Self::ShortRead => "short read",
            Self::LostWrite => "lost write",
            Self::MisdirectedWrite => "misdirected write",
            Self::BitFlip => "bit flip",
            Self::UnreadableSector => "unreadable sector",
            Self::LostFile => "lost file",
            Self::OldFile => "older copy of a file",
            Self::Cut => "cut connection",
            Self::HalfOpen => "half-open connection",
            Self::Partition => "partition",
            Self::StallReader => "stalled reader",
            Self::SlowLink => "slow connection",
            Self::DeviceCrash => "device crash",
            Self::DeviceForgets => "device without memory",
            Self::DeviceLeaves => "device offline",
            Self::DeviceSleeps => "device suspended",
            Self::DeviceCloned => "device cloned",
            Self::Stranger => "stranger",
            Self::ClockJump => "clock jump",
            Self::Starve => "starved reactor",
            Self::AcceptError => "accept refused",
            Self::ShortSend => "short send",
            Self::SlowLanes => "slow lanes",
            Self::LostLead => "lost lead",
        }
    }

    /// True if this damages what was durable.
    pub fn is_media(self) -> bool {
        let media = [
            Self::LostWrite,
            Self::MisdirectedWrite,
            Self::BitFlip,
            Self::UnreadableSector,
            Self::LostFile,
            Self::OldFile,
        ];
        media.contains(&self)
    }
}
