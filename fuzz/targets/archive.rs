//! Every archive that crosses a trust boundary: fixed parts of frames, and bodies and headers of the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_core::records::*;
use tidings_log::format::{BatchHeader, RecordHeader};
use tidings_wire::{
    archive::{Archived, read, write},
    frames::*,
};

/// What can be read can be written, and is the same when it is read again.
fn check<T: Archived + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = read::<T>(bytes) {
        let mut again = vec![0; T::LEN];
        write(&value, &mut again);
        assert_eq!(read::<T>(&again).expect("just written"), value);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check::<Hello>(bytes);
    check::<Welcome>(bytes);
    check::<Send>(bytes);
    check::<Sent>(bytes);
    check::<Message>(bytes);
    check::<Delivered>(bytes);
    check::<Read>(bytes);
    check::<Receipt>(bytes);
    check::<ReceiptOk>(bytes);
    check::<Resume>(bytes);
    check::<Changed>(bytes);
    check::<ChangedConversation>(bytes);
    check::<Fetch>(bytes);
    check::<Fetched>(bytes);
    check::<Ping>(bytes);
    check::<Pong>(bytes);
    check::<Bye>(bytes);
    check::<ErrorFrame>(bytes);
    check::<ReceiptRecord>(bytes);
    check::<HomeRecord>(bytes);
    check::<HomeEntryRecord>(bytes);
    check::<ConversationRow>(bytes);
    check::<MemberRow>(bytes);
    check::<ShardRow>(bytes);
    check::<SourcesRecord>(bytes);
    check::<SourceRecord>(bytes);
    check::<DeviceRecord>(bytes);
    check::<PairRecord>(bytes);
    check::<BatchHeader>(bytes);
    check::<RecordHeader>(bytes);
});
