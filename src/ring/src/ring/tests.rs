//! The ring on this machine's kernel.

use super::*;
use crate::socket;

fn ring(buffers: u16) -> Ring {
    let config = RingConfig { submissions: 8, completions: 64, buffers, buffer_len: 16 };
    Ring::new(&config, Waker::new().unwrap()).unwrap()
}

/// Runs the ring until `until` found what it wants.
fn run<T>(ring: &mut Ring, mut until: impl FnMut(&mut Ring, Completion) -> Option<T>) -> T {
    for _ in 0..1000 {
        let mut completions = Vec::with_capacity(4);
        ring.turn(Wait::Upto(Duration::from_millis(100)), &mut completions);
        for completion in completions {
            if let Some(found) = until(ring, completion) {
                return found;
            }
        }
    }
    panic!("nothing came");
}

fn pair(ring: &mut Ring) -> (OwnedFd, OwnedFd) {
    let listener = socket::listener("127.0.0.1:0".parse().unwrap()).unwrap();
    ring.accept(&listener, Token(7));
    let mut none = Vec::new();
    ring.turn(Wait::Poll, &mut none);
    let client = socket::connect(socket::local_addr(&listener).unwrap()).unwrap();
    let server = run(ring, |_, completion| match completion {
        Completion::Accepted { token, result, more } => {
            assert!(token == Token(7) && more);
            Some(result.unwrap())
        }
        _ => None,
    });
    ring.cancel_accept(Token(7));
    (server, client)
}

#[test]
fn bytes_go_through_a_small_pool_that_runs_dry_and_recovers() {
    let mut ring = ring(2);
    let (server, client) = pair(&mut ring);
    ring.receive(&server, Token(1));
    let text: Vec<u8> = (0..200u8).collect();
    ring.send(&client, Token(2), text.clone(), 0);
    let (mut got, mut kept, mut starved, mut sent) = (Vec::new(), Vec::new(), 0, false);
    run(&mut ring, |ring, completion| {
        match completion {
            Completion::Sent { result, buffer, .. } => {
                assert_eq!((result.unwrap(), &buffer), (200, &text));
                sent = true;
            }
            Completion::Received { token, result, more } => {
                assert_eq!(token, Token(1));
                match result {
                    Received::Bytes(chunk) => {
                        got.extend_from_slice(ring.bytes(&chunk));
                        kept.push(chunk);
                    }
                    Received::NoBuffer => {
                        starved += 1;
                        kept.drain(..).for_each(|chunk| ring.give_back(chunk));
                    }
                    other => panic!("{other:?}"),
                }
                if !more {
                    ring.receive(&server, Token(1));
                }
            }
            _ => {}
        }
        (sent && got.len() == 200).then_some(())
    });
    assert_eq!(got, text);
    assert!(starved > 0, "two buffers of 16 bytes cannot hold 200");
}

#[test]
fn the_end_of_a_connection_and_a_wake_are_completions() {
    let mut ring = ring(2);
    let (server, client) = pair(&mut ring);
    ring.receive_once(&server, Token(1));
    drop(client);
    run(&mut ring, |_, completion| {
        matches!(completion, Completion::Received { result: Received::End, more: false, .. }).then_some(())
    });
    for _ in 0..3 {
        let waker = ring.waker.clone();
        let thread = std::thread::spawn(move || waker.wake());
        run(&mut ring, |_, completion| matches!(completion, Completion::Woken).then_some(()));
        thread.join().unwrap();
    }
}

#[test]
fn gathering_waits_for_as_many_as_are_wanted_or_for_the_time() {
    let (mut ring, mut completions) = (ring(2), Vec::with_capacity(4));
    ring.turn(Wait::Poll, &mut completions);
    ring.waker.wake();
    let begin = std::time::Instant::now();
    ring.turn(Wait::Gather { enough: 1, time: Duration::from_secs(30) }, &mut completions);
    assert!(matches!(completions[..], [Completion::Woken]) && begin.elapsed() < Duration::from_secs(20));
    completions.clear();
    ring.turn(Wait::Poll, &mut completions);
    ring.waker.wake();
    let (begin, time) = (std::time::Instant::now(), Duration::from_millis(30));
    ring.turn(Wait::Gather { enough: 2, time }, &mut completions);
    assert!(matches!(completions[..], [Completion::Woken]) && begin.elapsed() >= time, "{:?}", begin.elapsed());
}

#[test]
fn files_are_written_and_read_and_buffers_come_back() {
    let mut ring = ring(2);
    let path = std::env::temp_dir().join(format!("tidings-ring-{}", std::process::id()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    ring.write(&file, Token(5), 100, b"..hello".to_vec(), 2);
    run(&mut ring, |_, completion| match completion {
        Completion::Written { token, result, start, buffer } => {
            assert_eq!((token, result.unwrap(), start, &buffer[..]), (Token(5), 5, 2, &b"..hello"[..]));
            Some(())
        }
        _ => None,
    });
    ring.read(&file, Token(6), 102, vec![0; 10]);
    run(&mut ring, |_, completion| match completion {
        Completion::Read { result, buffer, .. } => {
            assert_eq!((result.unwrap(), &buffer[..3]), (3, &b"llo"[..]));
            Some(())
        }
        _ => None,
    });
    assert_eq!(ring.buffered_ops(), 1, "only the waker's read is left");
}

#[test]
fn dropping_a_ring_with_operations_in_flight_lets_go_of_everything() {
    let mut ring = ring(2);
    let (server, _client) = pair(&mut ring);
    ring.receive(&server, Token(1));
    let mut none = Vec::new();
    ring.turn(Wait::Poll, &mut none);
    drop(ring);
}

/// More completes than the queue holds, while nobody takes any of it: the kernel keeps the rest aside, and nothing is lost.
#[test]
fn completions_that_overflow_the_queue_are_all_there() {
    const READS: u64 = 200;
    let config = RingConfig { submissions: 8, completions: 8, buffers: 2, buffer_len: 16 };
    let mut ring = Ring::new(&config, Waker::new().unwrap()).unwrap();
    let path = std::env::temp_dir().join(format!("tidings-overflow-{}", std::process::id()));
    std::fs::write(&path, b"hello").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for nth in 0..READS {
        ring.read(&file, Token(nth), 0, vec![0; 5]);
    }
    let (mut done, mut overflowed) = (std::collections::BTreeSet::new(), false);
    run(&mut ring, |ring, completion| {
        overflowed |= ring.ring.submission().cq_overflow();
        if let Completion::Read { token, result, buffer } = completion {
            assert!(result.unwrap() == 5 && buffer == b"hello" && done.insert(token.0), "each once");
        }
        (done.len() as u64 == READS).then_some(())
    });
    assert!(overflowed, "a queue of eight cannot hold two hundred");
}

/// How a write with an fdatasync behind it ended.
fn synced(ring: &mut Ring, file: impl AsFd, len: usize) -> io::Result<usize> {
    ring.write_and_sync(file, Token(7), 0, vec![b'x'; len], 0);
    run(ring, |_, completion| match completion {
        Completion::Written { token: Token(7), buffer, start: 0, result } => {
            assert_eq!(buffer.len(), len, "the buffer comes back");
            Some(result)
        }
        _ => None,
    })
}

#[test]
fn writes_with_an_fdatasync_behind_them_end_once_each_and_chains_are_not_cut_where_the_queue_is_full() {
    let mut ring = ring(2);
    let path = std::env::temp_dir().join(format!("tidings-ring-synced-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let only_read = std::fs::File::open(&path).unwrap();
    // The queue holds eight, and one place is taken: so one of the chains would be cut. Where its write fails, a flush of its own would not be canceled.
    let count = 9;
    for file in [&file, &only_read] {
        ring.cancel_accept(Token(99));
        for at in 0..count {
            ring.write_and_sync(file, Token(at), 3 * at, vec![9, b'a', b'b', b'c'], 1);
        }
        let (mut ended, mut failed) = (Vec::new(), 0);
        run(&mut ring, |_, completion| {
            if let Completion::Written { token, buffer, start, result } = completion {
                assert_eq!((buffer.len(), start), (4, 1));
                match result {
                    Ok(len) => assert_eq!(len, 3),
                    Err(error) => {
                        assert_eq!(error.raw_os_error(), Some(Errno::BADF.raw_os_error()), "what the write says");
                        failed += 1;
                    }
                }
                ended.push(token.0);
            }
            (ended.len() as u64 == count).then_some(())
        });
        ended.sort_unstable();
        assert_eq!((ended, ring.buffered_ops()), ((0..count).collect(), 1), "each once; only the waker is left");
        assert!(failed == 0 || failed == count);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"abc".repeat(9));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_write_is_not_durable_whose_flush_fails_and_a_short_one_says_how_short_it_is() {
    let mut ring = ring(2);
    // A pipe takes bytes, and cannot be flushed.
    let (_reader, writer) = io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let error = synced(&mut ring, &writer, 10).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()), "{error}");
    let took = synced(&mut ring, &writer, 1 << 20).unwrap();
    assert!(took > 0 && took < 1 << 20, "{took} bytes of what a pipe does not hold");
}
