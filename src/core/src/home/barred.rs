//! Who blocks a user, as conversations tell: its devices are told nothing of it, so it is no change of the index, and has records of its own. It keeps the user from
//! taking them into groups.

use alloc::vec::Vec;
use core::ops::Bound;

use tidings_wire::{
    BatchPosition, UserId,
    frames::{GroupAct, Send},
};

use super::{Homes, index::HomeKey, upkeep::Waiting};
use crate::{
    context::{Context, HomeContext},
    conversation::state::ReplayError,
    lanes::{Blocking, Named},
    narrow::to_u32,
    placement::origin,
    records::{BarredPeer, BarredRecord, RecordKind, listed_len, put, take},
    replay::Replayed,
};

/// Those who are in one row.
const BARRED_PER_ROW: usize = 256;

/// The most bytes of a record.
pub(super) const BARRED_RECORD_MAX: usize = listed_len::<BarredRecord>() + BARRED_PER_ROW * listed_len::<BarredPeer>();

impl Homes {
    /// Somebody blocks a user, or does not any more.
    pub(super) fn bar(&mut self, home: HomeKey, peer: UserId, blocking: Blocking, cx: &mut impl HomeContext) {
        if self.take_barred(home, BarredPeer { peer, blocking }) {
            self.unwritten_barred.push_back((home, peer));
            self.flush_barred(cx);
        }
    }

    fn take_barred(&mut self, home: HomeKey, BarredPeer { peer, blocking }: BarredPeer) -> bool {
        if blocking == Blocking(0) {
            return false; // it never did
        }
        let known = self.barred.entry((home.0, peer)).or_default();
        let rises = blocking > *known;
        *known = blocking.max(*known);
        rises
    }

    /// Puts into the log what found no room there. Until it is there nothing is claimed of what was told.
    pub(super) fn flush_barred(&mut self, cx: &mut impl Context) {
        while cx.room() >= BARRED_RECORD_MAX
            && let Some((home, peer)) = self.unwritten_barred.pop_front()
        {
            let blocking = self.barred[&(home.0, peer)];
            let (at, shard) = self.append_barred(RecordKind::Barred, home, &[BarredPeer { peer, blocking }], cx);
            cx.want_write();
            self.waiting[shard as usize].push_back((at, Waiting::Barred { home }));
        }
    }

    fn append_barred(
        &self,
        kind: RecordKind,
        home: HomeKey,
        peers: &[BarredPeer],
        cx: &mut impl Context,
    ) -> (BatchPosition, u16) {
        let user = self.index.get(home).user;
        let shard = self.config.layout.user_shard(&user);
        let at = cx.append(kind, shard, |body| {
            put(body, &BarredRecord { user, count: to_u32(peers.len()) });
            peers.iter().for_each(|peer| put(body, peer));
        });
        (at, shard)
    }

    /// Puts into the log again who blocks a user, after those up to one. `None`: there are no others.
    pub(super) fn barred_again(
        &self,
        home: HomeKey,
        after: UserId,
        cx: &mut impl Context,
    ) -> Option<(UserId, BatchPosition)> {
        let of_home = (Bound::Excluded((home.0, after)), Bound::Unbounded);
        let next = self.barred.range(of_home).take_while(|((of, _), _)| *of == home.0).take(BARRED_PER_ROW);
        let peers: Vec<_> = next.map(|((_, peer), blocking)| BarredPeer { peer: *peer, blocking: *blocking }).collect();
        let last = peers.last()?.peer;
        Some((last, self.append_barred(RecordKind::BarredRow, home, &peers, cx).0))
    }

    /// A record of it that recovery read. Of two the greater counts, so their order does not matter.
    pub(super) fn replay_barred(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let mut body = record.body;
        let BarredRecord { user, count } = take(&mut body).map_err(|_| ReplayError::Body)?;
        let home = self.index.home(user);
        for _ in 0..count {
            let peer = take(&mut body).map_err(|_| ReplayError::Body)?;
            self.take_barred(home, peer);
        }
        self.index.get_mut(home).base.add(origin(self.config.log, record.at));
        Ok(())
    }

    /// Whether those whom a message takes into a group let its sender do that. Not part of what most messages pass through.
    #[cold]
    #[inline(never)]
    pub(super) fn named(&self, home: HomeKey, send: &Send, body: &[u8]) -> Named {
        let first = self.barred.range((home.0, UserId::NONE)..).next();
        if first.is_none_or(|((of, _), _)| *of != home.0) {
            return Named::Willing; // as of most: nobody blocks it
        }
        let Ok(Some(GroupAct::Create { members: users, .. } | GroupAct::Add(users))) =
            GroupAct::read(send.control, body)
        else {
            return Named::Willing;
        };
        let is_barred_by = |peer: UserId| self.barred.get(&(home.0, peer)).is_some_and(|blocking| blocking.is_on());
        if users.iter().any(is_barred_by) { Named::Blocking } else { Named::Willing }
    }
}
