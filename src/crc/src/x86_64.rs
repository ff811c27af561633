//! With the processor's own instructions.

use std::{
    arch::x86_64::{
        _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    },
    sync::atomic::{AtomicU8, Ordering},
};

/// Words of a lane, at most: what is longer is taken in several rounds.
const LANE_MAX: usize = 128;
/// Bytes that are taken in lanes, at least. Joining lanes takes as long as some ten words, and of short ones little is gained.
const LANES_FROM: usize = 256;
const _: () = assert!(LANES_FROM >= 24, "each of three lanes has a word");

/// Castagnoli's polynomial without its x^32, the coefficient of x^31 in bit 0 (as all that follows has it).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// By a number of words: x^(64 words - 33) modulo the polynomial. A CRC times it, reduced by the instruction, which multiplies by x^33 besides, is that CRC
/// moved over so many words.
static OVER_WORDS: [u32; 2 * LANE_MAX + 1] = over_words();

const fn over_words() -> [u32; 2 * LANE_MAX + 1] {
    let mut powers = [0; 2 * LANE_MAX + 1];
    let (mut power, mut exponent, mut words) = (1_u32 << 31, 0, 1);
    while words < powers.len() {
        while exponent < 64 * words - 33 {
            power = if power & 1 == 0 { power >> 1 } else { (power >> 1) ^ POLYNOMIAL };
            exponent += 1;
        }
        powers[words] = power;
        words += 1;
    }
    powers
}

/// Stands for this processor having the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Instructions(());

/// Whether it has them: not known yet, no, yes.
static KNOWN: AtomicU8 = AtomicU8::new(0);
const NO: u8 = 1;
const YES: u8 = 2;

impl Instructions {
    #[inline]
    pub(crate) fn get() -> Option<Self> {
        match KNOWN.load(Ordering::Relaxed) {
            YES => Some(Self(())),
            NO => None,
            _ => Self::look(),
        }
    }

    #[cold]
    fn look() -> Option<Self> {
        let has = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq");
        KNOWN.store(if has { YES } else { NO }, Ordering::Relaxed);
        has.then_some(Self(()))
    }

    /// The CRC of what `crc` is of and all parts after it.
    #[inline]
    pub(crate) fn append<const N: usize>(self, crc: u32, parts: [&[u8]; N]) -> u32 {
        // SAFETY: whoever has one of these has looked whether the processor has what the function is compiled for.
        unsafe { append(crc, parts) }
    }
}

#[target_feature(enable = "sse4.2,pclmulqdq")]
fn append<const N: usize>(crc: u32, parts: [&[u8]; N]) -> u32 {
    let mut state = u64::from(!crc);
    for part in parts {
        state = if part.len() < LANES_FROM { short(state, part) } else { long(state, part) };
    }
    #[expect(clippy::cast_possible_truncation, reason = "the instruction's result has 32 bits")]
    let crc = state as u32;
    !crc
}

/// The state after a few bytes.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn short(mut state: u64, mut bytes: &[u8]) -> u64 {
    while let Some((words, rest)) = bytes.split_first_chunk::<32>() {
        for word in words.as_chunks().0 {
            state = _mm_crc32_u64(state, u64::from_le_bytes(*word));
        }
        bytes = rest;
    }
    while let Some((word, rest)) = bytes.split_first_chunk() {
        (state, bytes) = (_mm_crc32_u64(state, u64::from_le_bytes(*word)), rest);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the instruction's result has 32 bits")]
    let mut state = state as u32;
    if let Some((four, rest)) = bytes.split_first_chunk() {
        (state, bytes) = (_mm_crc32_u32(state, u32::from_le_bytes(*four)), rest);
    }
    while let Some((byte, rest)) = bytes.split_first() {
        (state, bytes) = (_mm_crc32_u8(state, *byte), rest);
    }
    state.into()
}

/// The state after many bytes.
#[inline(never)]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn long(mut state: u64, bytes: &[u8]) -> u64 {
    let (mut words, _) = bytes.as_chunks::<8>();
    while words.len() >= LANES_FROM / 8 {
        let lane = (words.len() / 3).min(LANE_MAX);
        let (first, rest) = words.split_at(lane);
        let (second, rest) = rest.split_at(lane);
        let (third, rest) = rest.split_at(lane);
        let (mut a, mut b, mut c) = (state, 0, 0);
        for ((first, second), third) in first.iter().zip(second).zip(third) {
            a = _mm_crc32_u64(a, u64::from_le_bytes(*first));
            b = _mm_crc32_u64(b, u64::from_le_bytes(*second));
            c = _mm_crc32_u64(c, u64::from_le_bytes(*third));
        }
        state = c ^ _mm_crc32_u64(0, times(a, OVER_WORDS[2 * lane]) ^ times(b, OVER_WORDS[lane]));
        words = rest;
    }
    short(state, &bytes[bytes.len() - 8 * words.len() - bytes.len() % 8..])
}

/// The product of a CRC and a power, not reduced.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn times(crc: u64, power: u32) -> u64 {
    let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(crc.cast_signed()), _mm_cvtsi64_si128(power.into()));
    _mm_cvtsi128_si64(product).cast_unsigned()
}
