//! Archives that evolve by appending: the fixed parts of frames and of records in the log.
//!
//! Such an archive holds numbers, ids, small enums and [`Span`](crate::Span)s, never a relative pointer: its fields
//! stand at the same offsets for ever. New fields are only appended. A reader uses the prefix that it knows; fields
//! that an older writer did not have read as zero. `bytecheck` validates before anything is used.

use rkyv::{
    Archive, Deserialize, Portable, Serialize,
    api::low::{self, LowDeserializer, LowSerializer, LowValidator},
    bytecheck::CheckBytes,
    rancor::Failure,
    ser::{Positional, allocator::SubAllocator, writer::Buffer},
};

use crate::{error::WireError, limits::FIXED_MAX};

/// A struct that is stored or sent as an archive of this form.
pub trait Archived:
    Sized
    + Archive<
        Archived: Portable
                      + for<'a> CheckBytes<LowValidator<'a, Failure>>
                      + Deserialize<Self, LowDeserializer<Failure>>,
    > + for<'a, 'b> Serialize<LowSerializer<Buffer<'a>, SubAllocator<'b>, Failure>>
{
    /// Bytes of the first version ever published: a shorter archive is malformed.
    const FIRST_LEN: usize;
    /// Bytes of this version.
    const LEN: usize = size_of::<<Self as Archive>::Archived>();
}

/// Writes `value` over the first [`Archived::LEN`] bytes of `out`.
///
/// # Panics
/// If `out` is shorter than that: the caller sized it.
pub fn write<T: Archived>(value: &T, out: &mut [u8]) {
    let out = &mut out[..T::LEN];
    let written = low::to_bytes_in_with_alloc::<_, _, Failure>(value, Buffer::from(out), SubAllocator::empty())
        .expect("an archive without pointers needs its own size and no more");
    assert_eq!(written.pos(), T::LEN);
}

/// Reads a value from `bytes`, which hold exactly its archive in whatever version it was written.
///
/// # Errors
/// [`WireError::Body`] if the archive is shorter than its first version or fails bytecheck.
pub fn read<T: Archived>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() >= T::LEN {
        return checked(&bytes[..T::LEN]);
    }
    if bytes.len() < T::FIRST_LEN {
        return Err(WireError::Body);
    }
    let mut padded = [0; FIXED_MAX];
    padded[..bytes.len()].copy_from_slice(bytes);
    checked(&padded[..T::LEN])
}

fn checked<T: Archived>(bytes: &[u8]) -> Result<T, WireError> {
    let archived = low::access_pos::<T::Archived, Failure>(bytes, 0).map_err(|Failure| WireError::Body)?;
    low::deserialize::<T, Failure>(archived).map_err(|Failure| WireError::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
    struct V1 {
        a: u32,
        b: u64,
    }
    #[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
    struct V2 {
        a: u32,
        b: u64,
        c: u16,
        d: bool,
    }
    impl Archived for V1 {
        const FIRST_LEN: usize = 12;
    }
    impl Archived for V2 {
        const FIRST_LEN: usize = 12;
    }

    #[test]
    fn version_1_reads_version_2_and_version_2_reads_version_1() {
        let mut new = [0xff; 15];
        write(&V2 { a: 1, b: 2, c: 3, d: true }, &mut new);
        assert_eq!(read::<V1>(&new).unwrap(), V1 { a: 1, b: 2 });

        let mut old = [0; 12];
        write(&V1 { a: 7, b: 8 }, &mut old);
        assert_eq!(read::<V2>(&old).unwrap(), V2 { a: 7, b: 8, c: 0, d: false });
    }

    #[test]
    fn too_short_and_invalid_are_errors() {
        assert_eq!(read::<V1>(&[0; 11]), Err(WireError::Body));
        let mut bytes = [0; 15];
        bytes[14] = 9; // no bool
        assert_eq!(read::<V2>(&bytes), Err(WireError::Body));
    }
}
