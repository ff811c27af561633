//! What users and addresses fill of the log; see [`budget`](crate::budget).

use alloc::boxed::Box;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ErrorCode, UserId};

use super::{Homes, SessionId};
use crate::{budget::SEND_COST, time::Mono};

/// Somebody who has filled as much of the log as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The user.
    pub user: UserId,
    /// The user's external name.
    pub name: Box<str>,
    /// Whose budget it is.
    pub whose: Whose,
}

/// Whose budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The user's.
    User,
    /// That of the address which the user connects from.
    Address,
}

impl Homes {
    /// A SEND of a session with so many bytes of payload and body is paid for: by its user and by its address, or by none.
    pub(super) fn spend(&mut self, id: SessionId, len: u64, now: Mono) -> Result<(), (ErrorCode, u32)> {
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        if canary::is(Canary::BudgetForgotten) {
            return Ok(());
        }
        let (home, address, cost) = (self.index.get_mut(session.home), session.address, SEND_COST + len);
        let of_user = home.spent.after(cost, self.config.user_budget, now);
        let of_address = self.addresses.spent(address);
        match (of_user, of_address.after(cost, self.config.address_budget, now)) {
            (Ok(user), Ok(after)) => {
                (home.spent, *of_address) = (user, after);
                Ok(())
            }
            (of_user, of_address) => {
                let whose = if of_user.is_err() { Whose::User } else { Whose::Address };
                let wait_ms = of_user.err().into_iter().chain(of_address.err()).max().unwrap_or(0);
                if self.over_budget.is_none() {
                    self.over_budget = Some(OverBudget { user: home.user, name: home.name.clone(), whose });
                }
                Err((ErrorCode::BudgetExceeded, wait_ms))
            }
        }
    }

    /// Somebody who was refused since the last call.
    pub(crate) fn take_over_budget(&mut self) -> Option<OverBudget> {
        self.over_budget.take()
    }
}
