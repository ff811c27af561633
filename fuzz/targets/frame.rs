//! The frame decoder, as the first to see what a peer sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_wire::{Frame, Kind, frame::FixedPart, frames::*, limits::FRAME_MAX, split};

/// Reads a frame as what it says that it is.
fn fixed<T: FixedPart>(frame: &Frame<'_>) {
    if frame.kind() == Ok(T::KIND) {
        let _valid = frame.fixed::<T>();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(frame)) = split(rest, FRAME_MAX) {
        assert!(frame.bytes().len() <= rest.len() && !frame.bytes().is_empty());
        rest = &rest[frame.bytes().len()..];
        match frame.kind() {
            Ok(Kind::Hello) => {
                if let Ok(hello) = frame.fixed::<Hello>() {
                    let _token = frame.var(hello.token);
                }
            }
            Ok(Kind::Send) => {
                if let Ok(send) = frame.fixed::<Send>()
                    && let Ok(payload) = frame.var(send.payload)
                {
                    assert!(payload.len() < frame.bytes().len());
                }
            }
            Ok(Kind::Message) => {
                if let Ok(message) = frame.fixed::<Message>() {
                    let _parts = (frame.var(message.payload), frame.var(message.sender_name));
                }
            }
            Ok(Kind::Changed) => {
                if let Ok(changed) = frame.fixed::<Changed>() {
                    let _entries = frame.var(changed.entries);
                }
            }
            _ => {}
        }
        fixed::<Welcome>(&frame);
        fixed::<Sent>(&frame);
        fixed::<Delivered>(&frame);
        fixed::<Read>(&frame);
        fixed::<Receipt>(&frame);
        fixed::<ReceiptOk>(&frame);
        fixed::<Resume>(&frame);
        fixed::<Fetch>(&frame);
        fixed::<Fetched>(&frame);
        fixed::<Ping>(&frame);
        fixed::<Pong>(&frame);
        fixed::<Bye>(&frame);
        fixed::<ErrorFrame>(&frame);
    }
});
