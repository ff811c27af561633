//! Who types and who is there: asked for again and again, and forgotten with the connection.

use tidings_client::{Event, PresenceState, UserId};
use tidings_wire::{ConversationId, ErrorCode, Kind, Timestamp, frames::*};

use super::peer::*;

#[test]
fn whom_a_device_watches_it_asks_for_once_a_minute_after_each_connect_and_in_pieces() {
    let mut peer = Peer::live(super::config());
    let users: Vec<_> = (0..300).map(|at| UserId::derive("default", &format!("user{at}"))).collect();
    let group = ConversationId([2; 16]);
    peer.session.watch(&users, &[group]);
    let asked = |peer: &mut Peer| -> Vec<(u64, u32, ConversationId)> {
        let all = peer.sent().all::<Watch>();
        all.into_iter().map(|(id, watch)| (id, watch.users.len / 16, watch.conversation)).collect()
    };
    let first = asked(&mut peer);
    let what = |asked: &[(u64, u32, ConversationId)]| -> Vec<_> { asked.iter().map(|(_, n, of)| (*n, *of)).collect() };
    assert_eq!(what(&first), [(256, ConversationId::NONE), (44, ConversationId::NONE), (0, group)]);
    // One is refused for a while: it alone is asked for again.
    let error = ErrorFrame { retry_after_ms: 500, ..ErrorFrame::new(ErrorCode::RateLimited, Kind::Watch as u8) };
    peer.give(&bytes_of(first[1].0, &error));
    peer.later(500);
    assert_eq!(what(&asked(&mut peer)), [(44, ConversationId::NONE)]);
    peer.later(59_500);
    assert_eq!(what(&asked(&mut peer)), [(256, ConversationId::NONE), (0, group)]);
    // Nobody looks: nothing is asked; then everything is.
    peer.session.set_activity(Activity::Inactive);
    peer.session.set_activity(Activity::Inactive);
    let told = peer.sent();
    assert_eq!((told.all::<SetActivity>().len(), told.all::<Watch>().len()), (1, 0));
    peer.session.disconnected(peer.now);
    let request = peer.connect_with(|sent| {
        assert_eq!(sent.all::<SetActivity>()[0].1.activity, Activity::Inactive, "before it resumes");
        assert!(sent.all::<Watch>().is_empty());
    });
    peer.give(&changed(request, &[], 5, 0));
    peer.session.set_activity(Activity::Active);
    assert_eq!(asked(&mut peer).len(), 3);
}

#[test]
fn what_others_do_is_told_and_what_the_user_does_is_said_while_there_is_a_connection() {
    let mut peer = Peer::live(super::config());
    peer.events();
    peer.session.typing(here(), Doing::TYPING);
    let said = peer.sent().all::<Typing>();
    assert_eq!(said[0].1, Typing { conversation: here(), user: UserId::NONE, doing: Doing::TYPING });
    let (user, conversation, doing) = (user("bob"), here(), Doing::RECORDING);
    peer.give(&bytes_of(0, &Typing { conversation, user, doing }));
    let (state, last_seen) = (PresenceState::Offline, Timestamp(7_000_000));
    peer.give(&bytes_of(0, &Presence { user, state, last_seen }));
    peer.give(&bytes_of(0, &Setting::new(ConversationId::NONE, SettingKey::VISIBILITY, 2)));
    let told = [
        Event::Typing { conversation, user, doing },
        Event::Presence { user, state, last_seen },
        Event::Visibility { visibility: Visibility::Nobody },
    ];
    assert_eq!(peer.events(), told);
    // What was told on a connection that is over is told to nobody: it may be hidden meanwhile.
    peer.give(&bytes_of(0, &Typing { conversation, user, doing }));
    peer.give(&bytes_of(0, &Presence { user, state, last_seen }));
    peer.session.disconnected(peer.now);
    assert_eq!(peer.events(), [Event::Disconnected]);
    peer.session.typing(here(), Doing::NOTHING);
    peer.connect_with(|sent| assert!(sent.all::<Typing>().is_empty()));
}
