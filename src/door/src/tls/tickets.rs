//! Tickets with which a client comes back without a whole handshake. Their keys follow from a secret and the time: they change every
//! twelve hours, nobody has to hand them on, and nodes that share the secret take each other's tickets.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::ProducesTickets;

/// Bytes of the secret.
pub const SECRET_LEN: usize = 32;
/// How long a key makes tickets. It takes them for as long again.
const PERIOD_S: u64 = 12 * 3600;
/// Bytes of a period's number.
const PERIOD_LEN: usize = 8;
const CONTEXT: &[u8] = b"tidings v1 tls ticket key";

/// Makes tickets, and takes them back.
pub struct Tickets {
    secret: Prk,
    random: SystemRandom,
    /// Seconds since 1970.
    clock: fn() -> u64,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// With a secret that nodes may share, and a clock of seconds since 1970.
    pub fn new(secret: &[u8; SECRET_LEN], clock: fn() -> u64) -> Self {
        Self { secret: Prk::new_less_safe(HKDF_SHA256, secret), random: SystemRandom::new(), clock }
    }

    fn period(&self) -> u64 {
        (self.clock)() / PERIOD_S
    }

    fn key(&self, period: u64) -> LessSafeKey {
        let info = [CONTEXT, &period.to_be_bytes()];
        let key = self.secret.expand(&info, &AES_256_GCM).map(UnboundKey::from);
        LessSafeKey::new(key.expect("a key is not longer than what can be derived"))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD_S as u32
    }

    /// Period, nonce, what is sealed, tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let period = self.period();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut ticket = [&period.to_be_bytes()[..], &nonce, plain].concat();
        let (front, body) = ticket.split_at_mut(PERIOD_LEN + NONCE_LEN);
        let aad = Aad::from(&front[..PERIOD_LEN]);
        let tag = self.key(period).seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, body).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (period, rest) = cipher.split_first_chunk::<PERIOD_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (of, now) = (u64::from_be_bytes(*period), self.period());
        if of != now && of.checked_add(1) != Some(now) {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key(of).open_in_place(nonce, Aad::from(&period[..]), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(1_790_000_000 / PERIOD_S * PERIOD_S);

    #[test]
    fn a_ticket_is_taken_by_who_shares_the_secret_for_two_periods_and_by_nobody_else() {
        let clock = || NOW.load(Ordering::Relaxed);
        let (ours, twin, other) =
            (Tickets::new(&[1; 32], clock), Tickets::new(&[1; 32], clock), Tickets::new(&[2; 32], clock));
        let ticket = ours.encrypt(b"state").unwrap();
        assert_ne!(ticket, ours.encrypt(b"state").unwrap(), "no two are the same");
        assert_eq!(twin.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ours.decrypt(&changed), None, "byte {at} was changed");
            assert_eq!(ours.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        NOW.fetch_add(PERIOD_S, Ordering::Relaxed);
        assert_eq!(ours.decrypt(&ticket).as_deref(), Some(&b"state"[..]), "of the period before");
        NOW.fetch_add(PERIOD_S, Ordering::Relaxed);
        assert_eq!(ours.decrypt(&ticket), None, "too old");
    }
}
