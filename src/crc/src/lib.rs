//! CRC-32C (Castagnoli's polynomial, RFC 3720 appendix B.4) of what frames and records are made of: headers of some dozens of bytes, of which a message has
//! half a dozen, and payloads of about a kilobyte.
//!
//! An x86-64 processor with SSE 4.2 has an instruction that takes eight bytes into a CRC, in three cycles, of which it can begin one in each cycle. So bytes are
//! cut into three lanes, whose CRCs are made side by side and then joined: the CRC of a lane, moved over the bytes after it, is the lane's CRC times a power of x,
//! which a carry-less multiplication (PCLMULQDQ) and the same instruction make of it (V. Gopal et al., *Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction*,
//! Intel, 2011). Any other processor uses the crate `crc32c`, with which the tests compare.

#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The CRC of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The CRC of the bytes of which `crc` is the CRC, and `bytes` after them.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    append_all(crc, [bytes])
}

/// The CRC of all of `parts`, one after the other.
#[inline]
pub fn of_parts<const N: usize>(parts: [&[u8]; N]) -> u32 {
    append_all(0, parts)
}

#[inline]
fn append_all<const N: usize>(crc: u32, parts: [&[u8]; N]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(instructions) = x86_64::Instructions::get() {
        return instructions.append(crc, parts);
    }
    parts.into_iter().fold(crc, crc32c::crc32c_append)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(next).collect()
    }

    /// RFC 3720, appendix B.4, and the check value of the catalogues.
    #[test]
    fn published_values_come_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!((crc32c(&[]), append(7, &[])), (0, 7));
    }

    /// Bit by bit, as the polynomial says.
    fn slowly(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0x82f6_3b78 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    /// Around where lanes begin, a lane that is full, and several rounds.
    #[test]
    fn long_inputs_have_the_crc_that_the_polynomial_says() {
        let bytes = noise(100_003);
        for len in [1, 24, 255, 256, 257, 1_024, 3 * 8 * 128 - 1, 3 * 8 * 128, 3 * 8 * 128 + 257, 100_003] {
            assert_eq!(crc32c(&bytes[..len]), slowly(&bytes[..len]), "{len}");
            assert_eq!(::crc32c::crc32c(&bytes[..len]), slowly(&bytes[..len]), "{len}, the other way");
        }
    }

    /// Each number of words in a lane, several rounds, and each rest.
    #[test]
    fn every_length_up_to_some_rounds_is_right() {
        let bytes = noise(8 * 1024);
        for len in 0..bytes.len() {
            assert_eq!(crc32c(&bytes[..len]), ::crc32c::crc32c(&bytes[..len]), "{len}");
        }
        let long = noise(100_003);
        assert_eq!(crc32c(&long[3..]), ::crc32c::crc32c(&long[3..]));
    }

    proptest! {
        #[test]
        fn what_is_cut_anywhere_has_the_same_crc(bytes in prop::collection::vec(any::<u8>(), 0..4096), at in any::<prop::sample::Index>()) {
            let (before, after) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(append(crc32c(before), after), ::crc32c::crc32c(&bytes));
            prop_assert_eq!(of_parts([before, after]), ::crc32c::crc32c(&bytes));
        }
    }
}
