//! ADD, REMOVE, LEAVE and ROLE: who is in a group, and as what.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Seq, UserId,
    frames::{GroupAct, HistoryFrom, Role, RoleBody},
    limits::{GROUP_EVER_MAX, GROUP_MAX, NAMED_MAX},
};

use super::{
    super::{Act, Allowed, Changes, Feature, Seen, Situation},
    Group, check_newcomers, read,
};
use crate::conversation::membership::Membership;

/// Adds members.
#[derive(Debug)]
pub(in crate::features) struct Add;

/// Removes members.
#[derive(Debug)]
pub(in crate::features) struct Remove;

/// The sender leaves.
#[derive(Debug)]
pub(in crate::features) struct Leave;

/// Changes what a member may do.
#[derive(Debug)]
pub(in crate::features) struct ChangeRole;

/// A user's membership so far.
fn membership(seen: &Seen<'_>, user: UserId) -> Membership {
    seen.view.membership(user).cloned().unwrap_or_default()
}

/// There is room for so many more members, of whom so many never were here.
pub(super) fn check_room(seen: &Seen<'_>, more: usize, unknown: usize) -> Result<(), ErrorCode> {
    let fits = seen.members() + more <= GROUP_MAX && seen.view.members() + unknown <= GROUP_EVER_MAX;
    if fits { Ok(()) } else { Err(ErrorCode::GroupFull) }
}

/// A user becomes a member, who reads from where the group says.
pub(super) fn take_in(seen: &Seen<'_>, act: &Act<'_>, group: &Group<'_>, user: UserId, changes: &mut Changes) {
    let first = match group.settings().history {
        _ if canary::is(Canary::HistoryShown) => Seq(1),
        HistoryFrom::Beginning => Seq(1),
        HistoryFrom::Joining => act.seq,
    };
    let known = seen.view.member(user).is_some();
    if !(known && canary::is(Canary::ArrivalsOnly)) {
        changes.member(user, membership(seen, user).joined(act.seq, Role::Member, first));
    }
}

impl Feature for Add {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, GroupAct::Add(users)) = read(seen, act)? else { return Err(ErrorCode::BodyInvalid) };
        group.needs(seen, |settings| settings.add)?;
        check_room(seen, users.len(), 0)?;
        check_newcomers(seen, users)?;
        let unknown = users.iter().filter(|user| seen.view.member(*user).is_none()).count();
        check_room(seen, users.len(), unknown)?;
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((group, GroupAct::Add(users))) = read(seen, act) else { return };
        users.iter().for_each(|user| take_in(seen, act, &group, user, changes));
    }
}

impl Feature for Remove {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, GroupAct::Remove(users)) = read(seen, act)? else { return Err(ErrorCode::BodyInvalid) };
        group.needs(seen, |_| Role::Admin)?;
        let mut named: Vec<UserId> = users.iter().collect();
        named.sort_unstable();
        named.dedup();
        if users.is_empty() || named.len() < users.len() || users.len() > NAMED_MAX {
            return Err(ErrorCode::BodyInvalid);
        }
        let own = seen.role(seen.sender());
        for user in named {
            match seen.role(user) {
                Role::None => return Err(ErrorCode::NoSuchMember),
                Role::Owner => return Err(ErrorCode::LastOwner),
                // Whoever wants to go leaves.
                role if role >= own => return Err(ErrorCode::NotAllowed),
                _ => {}
            }
        }
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((_, GroupAct::Remove(users))) = read(seen, act) else { return };
        users.iter().for_each(|user| changes.member(user, membership(seen, user).left(act.seq, act.ordinal)));
    }
}

impl Feature for Leave {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        read(seen, act)?;
        let is_owner = seen.role(seen.sender()) == Role::Owner;
        if is_owner && seen.members() > 1 { Err(ErrorCode::LastOwner) } else { Ok(Allowed::New) }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.member(seen.sender(), membership(seen, seen.sender()).left(act.seq, act.ordinal));
    }
}

impl Feature for ChangeRole {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, GroupAct::Role(RoleBody { member, role })) = read(seen, act)? else {
            return Err(ErrorCode::BodyInvalid);
        };
        group.needs(seen, |_| Role::Owner)?;
        if role == Role::None {
            return Err(ErrorCode::BodyInvalid);
        }
        if member == seen.sender() {
            return Err(ErrorCode::LastOwner);
        }
        if seen.role(member) == Role::None { Err(ErrorCode::NoSuchMember) } else { Ok(Allowed::New) }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((_, GroupAct::Role(RoleBody { member, role }))) = read(seen, act) else { return };
        changes.member(member, membership(seen, member).with_role(role));
        if role == Role::Owner {
            changes.member(seen.sender(), membership(seen, seen.sender()).with_role(Role::Admin));
        }
    }
}
