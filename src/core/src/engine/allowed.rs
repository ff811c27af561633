//! Whether what somebody wants to do is allowed: by its feature, and by what there is room for.

use tidings_wire::{
    ClientMsgId, ErrorCode, Seq, Timestamp,
    frames::{Control, Role, streamed::control::OPEN},
};

use super::{ConversationKey, Conversations};
use crate::{
    conversation::{
        changes::{Change, Changes},
        view::{Verdict, View},
    },
    features::{self, Act, Actors, Allowed, Feature, KEPT_MAX, Nature, Seen, Situation, Target},
    lanes::{Named, SendCommand},
};

impl Conversations {
    /// What is remembered of a message, proposed or stored.
    pub(super) fn target(&self, key: ConversationKey, seq: Seq) -> Option<Target> {
        let proposed = self.view(key).overlay.and_then(|overlay| overlay.message(seq));
        if let Some(fact) = proposed {
            let (author, written, nature) = (fact.sender, fact.ts, Nature::of(fact.control, fact.weight));
            let expires_at = Timestamp(fact.expires_at.0 / 1_000_000 * 1_000_000);
            return Some(Target { author, written, nature, expires_at });
        }
        let conversation = self.get(key);
        let written = conversation.index.get(&self.chunks, seq)?.written;
        let author = conversation.state.members[written.member() as usize].user;
        let (nature, expires_at) = (written.nature(), written.expires_at());
        Some(Target { author, written: written.at(), nature, expires_at })
    }

    /// Whether a new attempt is allowed by its feature. A repeat is answered as it was; and one that was done before has no number of its
    /// own, so it is not remembered, but whatever came after it, it is still done.
    pub(super) fn allowed(
        &self,
        view: &View<'_>,
        send: &SendCommand,
        said: (&[u8], &Situation),
        verdict: Verdict,
    ) -> Verdict {
        match verdict {
            Verdict::New => self.allowed_by_feature(view, send, said),
            Verdict::Refused(ErrorCode::Stale, _) => match self.allowed_by_feature(view, send, said) {
                done @ Verdict::Done(_) => done,
                _ => verdict,
            },
            _ => verdict,
        }
    }

    fn allowed_by_feature(
        &self,
        view: &View<'_>,
        send: &SendCommand,
        (body, situation): (&[u8], &Situation),
    ) -> Verdict {
        let refuse = |code| Verdict::Refused(code, ClientMsgId(0));
        let Some(row) = features::find(self.config.features, send.control) else {
            return refuse(ErrorCode::ControlUnknown);
        };
        let seen = Seen::new(*view, (send.conversation, send.sender), send.control);
        // The two of a one-to-one conversation always are.
        let may_be_former = send.conversation.is_group() && row.actors == Actors::Members;
        if may_be_former && (seen.role(send.sender) == Role::None || features::is_deleted(view)) {
            return refuse(features::refusal_of_former(view));
        }
        let ordinal = view.ordinal() + row.weight.counts();
        let act = Act { seq: view.head().next(), ordinal, target: send.target, body };
        match row.feature.judge(&seen, &act, situation) {
            Err(code) => return refuse(code),
            Ok(Allowed::Done(first)) => return Verdict::Done(first),
            Ok(Allowed::New) => {}
        }
        if send.control == Control::TEXT {
            return Verdict::New; // it changes nothing, and names nobody
        }
        self.changes_allowed(row.feature, (&seen, &act), send)
    }

    /// There is room for what something changes that is no text.
    #[inline(never)]
    fn changes_allowed(
        &self,
        feature: &dyn Feature,
        (seen, act): (&Seen<'_>, &Act<'_>),
        send: &SendCommand,
    ) -> Verdict {
        let refuse = |code| Verdict::Refused(code, ClientMsgId(0));
        if send.control == OPEN && self.streams.is_full() {
            return refuse(ErrorCode::Busy);
        }
        if send.named == Named::Blocking {
            return refuse(ErrorCode::Blocked);
        }
        // Only what was judged is ever applied, here as well.
        let mut changes = Changes::default();
        feature.apply(seen, act, &mut changes);
        let too_much = |change: &Change| matches!(change, Change::Keep(_, kept) if kept.len() > KEPT_MAX);
        if changes.iter().any(too_much) { refuse(ErrorCode::BodyInvalid) } else { Verdict::New }
    }
}
