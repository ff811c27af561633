//! Files that are gone, or older than they were: a start names them and refuses, until somebody says that it is meant.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tidings::process::{Launch, ServerProcess, TempDir};
use tidings_client::{Config, Event, Uv, blocking::Client};
use tidings_tests::binary;

struct Data {
    launch: Launch,
    dir: TempDir,
}

impl Data {
    /// A data directory in which both logs have messages, left by a server that was stopped or killed.
    fn left_by(end: fn(ServerProcess)) -> Self {
        let dir = TempDir::new("missing").unwrap();
        let config = dir.path().join("test.toml");
        fs::write(&config, "[log]\nsegment_bytes = 4194304\n").unwrap();
        let (data, listen) = (dir.path().join("data"), SocketAddr::from(([127, 0, 0, 1], 0)));
        let (binary, cores, config, canary) = (binary::tidings(), "0,1".into(), Some(config), None);
        let this = Self { launch: Launch { binary, data, listen, cores, config, canary }, dir };
        this.write_more(end);
        this
    }

    fn write_more(&self, end: fn(ServerProcess)) {
        let server = self.launch.start().unwrap();
        for user in 0..8 {
            let (from, to) = (format!("user{user}"), format!("user{}", user + 1));
            self.client(&server, &["send", "--user", &from, "--to", &to, "hello"]);
        }
        // Until homes have written down what they know, and a cursor may be told.
        for user in 0..=8 {
            while self.live(&server, &format!("user{user}")).session().save().is_none_or(|state| state.uv == Uv(0)) {}
        }
        end(server);
    }

    /// A new device of a user, which has caught up.
    fn live(&self, server: &ServerProcess, user: &str) -> Client {
        let token = self.command(&["token", "--user", user]).trim().as_bytes().to_vec();
        let mut live = Client::new(server.addr(), Config::new(user, 7, token));
        wait_for(&mut live, |event| matches!(event, Event::Synced));
        live
    }

    fn client(&self, server: &ServerProcess, arguments: &[&str]) -> String {
        self.command(&[arguments, &["--server", &server.addr().to_string()]].concat())
    }

    fn command(&self, arguments: &[&str]) -> String {
        let data = self.launch.data.to_str().unwrap();
        let output = Command::new(&self.launch.binary).args(arguments).args(["--data", data]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends to each user once more, who must get it at once: homes know nothing of messages that are no more.
    fn send_and_receive(&self, server: &ServerProcess) {
        for user in 0..8 {
            let (from, to) = (format!("user{user}"), format!("user{}", user + 1));
            let mut live = self.live(server, &to);
            self.client(server, &["send", "--user", &from, "--to", &to, "again"]);
            wait_for(&mut live, |event| matches!(event, Event::Message(message) if message.payload == b"again"));
        }
    }

    fn log(&self, log: u8) -> PathBuf {
        self.launch.data.join(format!("log-{log:03}"))
    }

    /// Why the server does not start.
    fn refusal(&self) -> String {
        self.launch.start().expect_err("a start must notice").to_string()
    }

    fn restore(&self) -> String {
        self.command(&["restore"])
    }
}

fn wait_for(client: &mut Client, wanted: impl Fn(&Event) -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if client.poll(Duration::from_millis(100)).unwrap().as_ref().is_some_and(&wanted) {
            return;
        }
    }
    panic!("it does not come");
}

fn stop(server: ServerProcess) {
    assert!(server.stop().unwrap().0.success());
}

fn kill(server: ServerProcess) {
    server.kill().unwrap();
}

fn segments(log: &Path) -> Vec<PathBuf> {
    fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The number of the segment in a file; 0: it holds none.
fn generation(file: &Path) -> u32 {
    let bytes = fs::read(file).unwrap();
    let is_segment = bytes.get(8..16) == Some(b"tdsegmt1");
    if is_segment { u32::from_le_bytes(bytes[19..23].try_into().unwrap()) } else { 0 }
}

#[test]
fn a_log_that_is_missing_is_named_and_refused_until_it_is_given_up() {
    for end in [stop, kill] {
        let data = Data::left_by(end);
        let before = fs::read_to_string(data.launch.data.join("control.json")).unwrap();
        fs::remove_dir_all(data.log(1)).unwrap();
        for _ in 0..2 {
            let refusal = data.refusal();
            assert!(refusal.contains("log 1: ") && refusal.contains("all of it is missing"), "{refusal}");
        }
        let told = data.restore();
        assert!(told.contains("log 1 ends with segment 0, batch 0; it had at least segment"), "{told}");
        assert!(told.contains("log 0 ends with segment") && told.contains("nothing is missing"), "{told}");
        let server = data.launch.start().unwrap();
        data.send_and_receive(&server);
        let line = |text: &str| text.lines().find(|line| line.contains("\"lineage\"")).unwrap().to_string();
        let now = fs::read_to_string(data.launch.data.join("control.json")).unwrap();
        assert_ne!(line(&before), line(&now), "what devices have may be more than what is here");
        stop(server);
        drop(data.launch.start().unwrap());
    }
}

#[test]
fn segments_that_are_missing_empty_or_headless_are_named_and_refused() {
    let all: [fn(&Path); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, b"").unwrap(),
        |file| fs::write(file, vec![0; 4 << 20]).unwrap(),
    ];
    for (at, harm) in all.into_iter().enumerate() {
        let data = Data::left_by(if at == 1 { kill } else { stop });
        segments(&data.log(0)).iter().for_each(|file| harm(file));
        let refusal = data.refusal();
        assert!(refusal.contains("log 0: ") && refusal.contains("missing"), "{refusal}");
    }
    // Only the newest: it was prepared and may have held acknowledged batches.
    let data = Data::left_by(kill);
    let newest = segments(&data.log(0)).into_iter().max_by_key(|file| generation(file)).unwrap();
    fs::remove_file(newest).unwrap();
    let refusal = data.refusal();
    assert!(refusal.contains("log 0: ") && refusal.contains("missing"), "{refusal}");
}

#[test]
fn an_older_copy_of_a_log_is_refused() {
    let data = Data::left_by(stop);
    // The file with the messages. Of others, which are prepared at leisure, it is not known when they are there.
    let (file, aside) = (data.log(0).join("000000.seg"), data.dir.path().join("aside"));
    fs::copy(&file, &aside).unwrap();
    data.write_more(stop);
    fs::copy(&aside, &file).unwrap();
    let control = || fs::read(data.launch.data.join("control.json")).unwrap();
    let before = control();
    let refusal = data.refusal();
    assert!(refusal.contains("log 0: ") && refusal.contains("was durable"), "{refusal}");
    assert_eq!(control(), before, "a start that is refused is not counted");
    let told = data.restore();
    assert!(told.contains("it had at least segment"), "{told}");
    drop(data.launch.start().unwrap());
}

#[test]
fn logs_of_another_server_are_refused() {
    for logs in [&[1][..], &[0, 1]] {
        let (data, other) = (Data::left_by(stop), Data::left_by(stop));
        for log in logs {
            fs::remove_dir_all(data.log(*log)).unwrap();
            fs::rename(other.log(*log), data.log(*log)).unwrap();
        }
        let refusal = data.refusal();
        assert!(refusal.contains(&format!("log {}: ", logs[0])) && refusal.contains("missing"), "{refusal}");
        // Its own it takes again.
        for log in logs {
            fs::rename(data.log(*log), other.log(*log)).unwrap();
        }
        drop(other.launch.start().unwrap());
    }
}

#[test]
fn a_control_file_that_is_older_than_the_logs_is_refused_however_often_and_a_restore_goes_above_it() {
    let data = Data::left_by(stop);
    let copies = ["control.json", "control.copy.json"];
    let kept = copies.map(|copy| fs::read(data.launch.data.join(copy)).unwrap());
    (0..2).for_each(|_| data.write_more(stop));
    let put_back = || {
        for (copy, bytes) in copies.iter().zip(&kept) {
            fs::write(data.launch.data.join(copy), bytes).unwrap();
        }
    };
    put_back();
    for _ in 0..4 {
        let refusal = data.refusal();
        assert!(refusal.contains("was written in start 3") && refusal.contains("older than the logs"), "{refusal}");
    }
    // What homes know of conversations that are lost with their log is from the runs that the control file does not know of.
    fs::remove_dir_all(data.log(1)).unwrap();
    data.restore();
    let server = data.launch.start().unwrap();
    data.send_and_receive(&server);
    stop(server);
    drop(data.launch.start().unwrap());
}

#[test]
fn what_a_server_writes_is_its_owners_alone_whatever_the_umask() {
    let data = Data::left_by(kill);
    let mut waiting = vec![data.launch.data.clone()];
    while let Some(path) = waiting.pop() {
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o777, if found.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if found.is_dir() {
            waiting.extend(segments(&path));
        }
    }
    let shell = format!("umask 0; exec {} serve --data $0 --listen 127.0.0.1:0", data.launch.binary.display());
    let wide = data.dir.path().join("wide");
    let mut server =
        Command::new("sh").args(["-c", &shell]).arg(&wide).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert!(line.starts_with("ready "), "{line}");
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(fs::metadata(&wide).unwrap().mode() & 0o777, 0o700);
    let segment = segments(&wide.join("log-000")).pop().unwrap();
    assert_eq!(fs::metadata(segment).unwrap().mode() & 0o777, 0o600);
}
