//! The mask that clients put over what they send in a WebSocket (RFC 6455, 5.3).

use tidings_canary::{self as canary, Canary};

/// Four bytes that are repeated over a payload, from the next byte on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask(pub(crate) [u8; 4]);

impl Mask {
    /// Takes the mask off the next bytes of a payload, or puts it on.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(self.0.into_iter().cycle()) {
            *byte ^= mask;
        }
        if !canary::is(Canary::MaskBeginsAnew) {
            self.0.rotate_left(bytes.len() % 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_may_come_in_pieces_of_any_length() {
        let mask = [1, 20, 40, 250];
        let plain: Vec<u8> = (0..67).collect();
        let masked: Vec<u8> = plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for first in 0..=plain.len() {
            for second in first..=plain.len() {
                let (mut bytes, mut over) = (masked.clone(), Mask(mask));
                over.apply(&mut bytes[..first]);
                over.apply(&mut bytes[first..second]);
                over.apply(&mut bytes[second..]);
                assert_eq!(bytes, plain, "cut at {first} and {second}");
            }
        }
    }
}
