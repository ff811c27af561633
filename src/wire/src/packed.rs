//! Payloads that travel compressed: LZ4 by whoever writes, which the server checks, keeps and passes on as it is. A peer that does not take them so
//! gets them unpacked.
//!
//! A packed payload is its length unpacked (u32, little-endian) and one LZ4 block
//! (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>).

use alloc::{vec, vec::Vec};

use crate::limits::PAYLOAD_MAX;

/// Bytes of the length.
const LENGTH: usize = 4;
/// Shorter payloads are not worth it.
pub const PACK_MIN: usize = 256;

/// Why a payload is not what its flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPacked;

/// A payload packed, if that makes it shorter.
pub fn pack(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < PACK_MIN || payload.len() > PAYLOAD_MAX as usize {
        return None;
    }
    let mut packed = vec![0; LENGTH + lz4_flex::block::get_maximum_output_size(payload.len())];
    packed[..LENGTH].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let len = LENGTH + lz4_flex::block::compress_into(payload, &mut packed[LENGTH..]).ok()?;
    packed.truncate(len);
    (len < payload.len()).then_some(packed)
}

/// What a packed payload says: at most `most` bytes, and more than it has packed.
///
/// # Errors
/// If it is not packed, or says more.
pub fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, NotPacked> {
    let (length, block) = packed.split_first_chunk::<LENGTH>().ok_or(NotPacked)?;
    let len = u32::from_le_bytes(*length) as usize;
    // Whoever says so much gets no memory for it before that is known to be allowed.
    if len > most || len <= packed.len() {
        return Err(NotPacked);
    }
    let mut payload = vec![0; len];
    match lz4_flex::block::decompress_into(block, &mut payload) {
        Ok(written) if written == len => Ok(payload),
        _ => Err(NotPacked),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_shorter_and_what_would_grow_is_left() {
        let words = b"all work and no play ".repeat(100);
        let packed = pack(&words).unwrap();
        assert!(packed.len() < words.len() / 10);
        assert_eq!(unpack(&packed, words.len()), Ok(words.clone()));
        assert_eq!(unpack(&packed, words.len() - 1), Err(NotPacked), "more than is allowed");
        assert_eq!(pack(&words[..PACK_MIN - 1]), None);
        let noise: Vec<u8> =
            (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ ((at * at) >> 3) as u8).collect();
        assert!(pack(&noise).is_none_or(|packed| packed.len() < noise.len()));
    }

    #[test]
    fn a_bomb_goes_off_nowhere() {
        let zeros = pack(&[0; PAYLOAD_MAX as usize]).unwrap();
        assert!(zeros.len() < 400);
        let mut bomb = zeros.clone();
        bomb[..LENGTH].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpack(&bomb, PAYLOAD_MAX as usize), Err(NotPacked), "it says that it is larger");
        bomb[..LENGTH].copy_from_slice(&1000u32.to_le_bytes());
        assert_eq!(unpack(&bomb, PAYLOAD_MAX as usize), Err(NotPacked), "it is larger than it says");
        bomb[..LENGTH].copy_from_slice(&(PAYLOAD_MAX).to_le_bytes());
        assert_eq!(unpack(&bomb[..bomb.len() - 9], PAYLOAD_MAX as usize), Err(NotPacked), "it is shorter than it says");
        for short in 0..LENGTH {
            assert_eq!(unpack(&zeros[..short], PAYLOAD_MAX as usize), Err(NotPacked));
        }
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_comes_back(seed in vec(any::<u8>(), 1..64), times in 1usize..200) {
            let payload: Vec<u8> = seed.iter().copied().cycle().take(seed.len() * times).collect();
            if let Some(packed) = pack(&payload) {
                prop_assert_eq!(unpack(&packed, PAYLOAD_MAX as usize), Ok(payload));
            }
        }

        #[test]
        fn noise_is_refused_or_read(packed in vec(any::<u8>(), 0..600), most in 0usize..5_000) {
            if let Ok(payload) = unpack(&packed, most) {
                prop_assert!(payload.len() <= most && payload.len() > packed.len());
            }
        }
    }
}
