//! Administrators: they list and revoke the devices of every user of their tenant, on whatever reactor that is; nobody else does.

use tidings_testkit::{Cluster, Device, names::hello, user};
use tidings_wire::{DeviceId, ErrorCode, Kind, Timestamp, UserId, archive, frames::*};

const NOON: u64 = 1_000_000_000_000;

/// The devices in the answer.
fn listed(cluster: &mut Cluster, device: Device) -> Option<Vec<(u32, bool)>> {
    let out = cluster.take(device);
    let list = out.all::<DeviceList>().first().copied()?;
    let frames = out.frames();
    let frame = frames.iter().find(|frame| frame.kind() == Ok(Kind::DeviceList)).unwrap();
    let entries = frame.var(list.entries).unwrap().chunks(list.entry_len as usize);
    let read = |entry: &[u8]| {
        let entry: ListedDevice = archive::read(entry).unwrap();
        (entry.device.0, entry.flags & ListedDevice::CONNECTED != 0)
    };
    Some(entries.map(read).collect())
}

fn devices_of(user: UserId) -> Devices {
    Devices { user, ..Devices::OWN }
}

fn revoke_of(user: UserId, device: u32) -> Revoke {
    Revoke { user, ..Revoke::own(DeviceId(device)) }
}

fn revoke_all_of(user: UserId) -> Revoke {
    Revoke { user, flags: Revoke::ALL, ..Revoke::own(DeviceId(0)) }
}

/// A token of somebody on a device, issued that many microseconds after noon.
fn token(name: &str, after: u64) -> String {
    format!("{name}@{}", NOON + after)
}

fn enter(cluster: &mut Cluster, name: &str, after: u64, device: u32, conn: u64) -> Result<Device, ErrorCode> {
    cluster.enter(&hello(&token(name, after), device, 0), conn)
}

const GUEST: u32 = DeviceId::FIRST_GUEST;

#[test]
fn an_administrator_lists_and_revokes_anybodys_devices_once_durable() {
    for reactors in [1, 3] {
        let mut cluster = Cluster::new(reactors);
        cluster.now.wall = Timestamp(NOON);
        let admin = enter(&mut cluster, "ops-admin", 0, 1, 1).unwrap();
        for name in ["bob", "carol", "dave", "erin"] {
            let bob = user(name);
            let phone = enter(&mut cluster, name, 0, 1, 2).unwrap();
            let lost = enter(&mut cluster, name, 0, 2, 3).unwrap();
            let bound = format!("{}#{GUEST}", token(name, 0));
            let guest = cluster.enter(&hello(&bound, GUEST, 0), 4).unwrap();
            cluster.later(2_000);
            cluster.commit();
            cluster.ask(admin, &devices_of(bob));
            cluster.deliver();
            assert_eq!(listed(&mut cluster, admin), Some(vec![(1, true), (2, true), (GUEST, true)]));
            cluster.ask(admin, &revoke_of(bob, 9));
            cluster.deliver();
            assert_eq!(cluster.take(admin).error().0, ErrorCode::NoSuchDevice);
            cluster.ask(admin, &revoke_of(bob, 2));
            cluster.ask(admin, &devices_of(bob));
            cluster.deliver();
            assert!(cluster.take(admin).0.is_empty() && cluster.take(lost).0.is_empty(), "nothing before the commit");
            cluster.commit();
            cluster.deliver();
            assert_eq!(cluster.take(lost).error().0, ErrorCode::DeviceRevoked);
            let lists = cluster.take(admin).all::<DeviceList>();
            assert_eq!(
                lists.iter().map(|list| list.count).collect::<Vec<_>>(),
                [2, 2],
                "nor is it listed as if it were"
            );
            assert!(cluster.take(phone).0.is_empty() && cluster.take(guest).0.is_empty());

            // All of them, and whatever was issued before.
            cluster.now.wall = Timestamp(cluster.now.wall.0 + 1_000_000);
            cluster.ask(admin, &revoke_all_of(bob));
            cluster.deliver();
            cluster.commit();
            cluster.deliver();
            assert_eq!(listed(&mut cluster, admin), Some(vec![]));
            assert_eq!(cluster.take(phone).error().0, ErrorCode::DeviceRevoked);
            assert_eq!(cluster.take(guest).error().0, ErrorCode::DeviceRevoked);
        }
        // After a restart it is still so; with a new token they come as other devices.
        let later = cluster.now.wall.0 - NOON;
        cluster.restart();
        let mut conn = 100;
        for name in ["bob", "carol", "dave", "erin"] {
            let mut try_in = |after, device| {
                conn += 1;
                enter(&mut cluster, name, after, device, conn).map(drop)
            };
            assert_eq!(try_in(later, 1), Err(ErrorCode::DeviceRevoked));
            assert_eq!(try_in(0, 3), Err(ErrorCode::TokenRevoked));
            assert_eq!(try_in(later, 3), Ok(()));
            let bound = format!("{}#{}", token(name, 0), GUEST + 1);
            let refused = cluster.enter(&hello(&bound, GUEST + 1, 0), conn + 50).map(drop);
            assert_eq!(refused, Err(ErrorCode::TokenRevoked), "also one that was for another device alone");
        }
    }
}

#[test]
fn nobody_else_administers_nor_an_administrator_another_tenant() {
    let mut cluster = Cluster::new(2);
    cluster.now.wall = Timestamp(NOON);
    let admin = enter(&mut cluster, "ops-admin", 0, 1, 1).unwrap();
    let bot = enter(&mut cluster, "a-bot", 0, 1, 2).unwrap();
    let alice = enter(&mut cluster, "alice", 0, 1, 3).unwrap();
    let bob = enter(&mut cluster, "bob", 0, 1, 4).unwrap();
    cluster.later(2_000);
    cluster.commit();
    let refused = |cluster: &mut Cluster, device, whose| {
        for ask in [revoke_of(whose, 1), revoke_all_of(whose)] {
            cluster.ask(device, &ask);
            cluster.deliver();
            assert_eq!(cluster.take(device).error().0, ErrorCode::NotAllowed);
        }
        cluster.ask(device, &devices_of(whose));
        cluster.deliver();
        assert_eq!(cluster.take(device).error().0, ErrorCode::NotAllowed);
    };
    refused(&mut cluster, alice, user("bob"));
    refused(&mut cluster, bot, user("bob"));
    refused(&mut cluster, admin, UserId::derive("another", "bob"));
    cluster.later(2_000);
    cluster.commit();
    assert!(cluster.take(bob).0.is_empty());
    // Somebody who was never here has no devices, and none is revoked.
    cluster.ask(admin, &devices_of(user("nobody")));
    cluster.deliver();
    assert_eq!(listed(&mut cluster, admin), Some(vec![]));
    cluster.ask(admin, &revoke_all_of(user("nobody")));
    cluster.deliver();
    assert_eq!(cluster.take(admin).error().0, ErrorCode::NoSuchDevice);
}

/// One's own: all but the device that asks.
#[test]
fn a_user_revokes_all_other_devices_and_stays() {
    let mut cluster = Cluster::new(1);
    cluster.now.wall = Timestamp(NOON);
    let phone = enter(&mut cluster, "bob", 0, 1, 1).unwrap();
    let laptop = enter(&mut cluster, "bob", 0, 2, 2).unwrap();
    let guest = enter(&mut cluster, "bob", 0, GUEST, 3).unwrap();
    cluster.later(2_000);
    cluster.commit();
    cluster.now.wall = Timestamp(NOON + 60_000_000);
    cluster.ask(phone, &Revoke { flags: Revoke::ALL, ..Revoke::own(DeviceId(0)) });
    cluster.commit();
    assert_eq!(listed(&mut cluster, phone), Some(vec![(1, true)]));
    for gone in [laptop, guest] {
        assert_eq!(cluster.take(gone).error().0, ErrorCode::DeviceRevoked);
    }
    cluster.later(2_000);
    cluster.commit();
    cluster.restart();
    assert!(enter(&mut cluster, "bob", 0, 1, 11).is_ok(), "with the token that it had");
    assert_eq!(enter(&mut cluster, "bob", 0, 3, 12).map(drop), Err(ErrorCode::TokenRevoked));
}

/// However many there are, and whatever their tokens are for: all end, and a token of before, for a device that comes later, stays void.
#[test]
fn all_of_very_many_devices_end_and_old_tokens_stay_void() {
    let mut cluster = Cluster::new(1);
    cluster.now.wall = Timestamp(NOON);
    let admin = enter(&mut cluster, "ops-admin", 0, 1, 1).unwrap();
    let bound = |device: u32, after| format!("{}#{device}", token("bob", after));
    let mut all = Vec::new();
    for device in (1..=60).chain(GUEST..GUEST + 4) {
        all.push(cluster.enter(&hello(&bound(device, 0), device, 0), 100 + u64::from(device)).unwrap());
        cluster.later(1_000);
        cluster.commit();
    }
    cluster.now.wall = Timestamp(NOON + 60_000_000);
    all.iter().for_each(|device| drop(cluster.take(*device)));
    cluster.ask(admin, &revoke_all_of(user("bob")));
    cluster.deliver();
    cluster.commit();
    cluster.deliver();
    assert_eq!(listed(&mut cluster, admin), Some(vec![]));
    for device in all {
        let out = cluster.take(device);
        assert!(out.0.is_empty() || out.error().0.closes(), "no session goes on");
        cluster.ask(device, &Ping { opaque: 1 });
        assert!(cluster.take(device).all::<Pong>().is_empty());
    }
    // A device that never came is registered with a new token; an old one for it is not good again.
    let fresh = 90_000_000;
    assert!(cluster.enter(&hello(&bound(500, fresh), 500, 0), 7).is_ok());
    assert_eq!(cluster.enter(&hello(&bound(500, 0), 500, 0), 8).map(drop), Err(ErrorCode::TokenRevoked));
}
