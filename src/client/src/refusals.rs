//! What the server refuses: each refusal goes to whoever asked, and says whether it is for good.

use tidings_wire::{ErrorCode, Kind, Retry, frames::ErrorFrame};

use crate::{event::Event, session::Session};

impl Session {
    /// ERROR, with the id of the request.
    pub(crate) fn on_error(&mut self, id: u64, error: &ErrorFrame) {
        let code = ErrorCode::from_u16(error.code);
        let retry_ms = u64::from(error.retry_after_ms);
        match error.retry {
            retry if retry == Retry::Stop as u8 && code == Some(ErrorCode::TokenExpired) => self.token_ended(),
            retry if retry == Retry::Stop as u8 => self.close(code.unwrap_or(ErrorCode::Malformed)),
            retry if retry == Retry::Reconnect as u8 => self.drop_link(retry_ms),
            retry => {
                let code = code.unwrap_or(ErrorCode::UnknownKind);
                if error.of_kind == Kind::Reauth as u8 {
                    self.events.push_back(Event::TokenRefused { code });
                } else if error.of_kind == Kind::Send as u8 {
                    self.on_send_error(error, code, retry == Retry::Later as u8);
                } else if error.of_kind == Kind::Resume as u8 {
                    self.on_resume_refused(id, retry_ms);
                } else if error.of_kind == Kind::Read as u8 {
                    self.on_read_refused(error.conversation, error.retry_after_ms);
                } else if error.of_kind == Kind::Activity as u8 {
                    self.on_activity_refused(retry_ms);
                } else if error.of_kind == Kind::Watch as u8 {
                    self.on_watch_refused(id, retry_ms);
                } else if error.of_kind == Kind::Fragment as u8 {
                    self.on_fragment_refused(id, (retry == Retry::Later as u8).then_some(retry_ms));
                } else if error.of_kind == Kind::More as u8 {
                    self.on_more_refused(id, (retry == Retry::Later as u8).then_some(retry_ms));
                } else if let Some(request) = self.requests.remove(&id) {
                    self.on_request_error(request, code, (retry == Retry::Later as u8).then_some(retry_ms));
                }
                // A refused DELIVERED is repeated by tick().
            }
        }
    }
}
