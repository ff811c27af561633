//! Fetching the keys of a login server, from a file or an address, on a thread of its own: no reactor ever waits for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use ureq::http::Uri;

use super::jwks::{Expected, JWKS_MAX, JwksError, KeySet, Trust};

/// The last set that was fetched from an address, for a start while that is down.
const COPY: &str = "jwks.json";
/// How long an address may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// When one that could not be had is asked again.
const RETRY: Duration = Duration::from_secs(10);

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Address(String),
}

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// So many keys are trusted now.
    Fetched(usize),
    /// The keys could not be had; those from before stay.
    Failed(String),
}

/// Keeps the keys of a login server fresh.
#[derive(Debug)]
pub struct Refresher {
    trust: Trust,
    news: Receiver<News>,
    /// Ends the thread with it.
    _end: Sender<()>,
}

/// Where to get keys, and what their tokens must say.
#[derive(Clone, Debug)]
pub struct Source {
    place: Place,
    expected: Expected,
    every: Duration,
    copy: PathBuf,
}

impl Source {
    /// From a file, or an `https://` address (`http://` on loopback alone), looked at this often.
    ///
    /// # Errors
    /// If it is an address that anybody on the way could answer for.
    pub fn new(place: &str, expected: Expected, every: Duration, data: &Path) -> Result<Self, String> {
        let place = if place.contains("://") {
            let uri: Uri = place.parse().map_err(|error| format!("{place}: {error}"))?;
            let is_near = uri.host().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
            if uri.scheme_str() != Some("https") && !(uri.scheme_str() == Some("http") && is_near) {
                return Err(format!(
                    "{place}: https:// or a file is expected: whoever can change the keys lets anybody in"
                ));
            }
            Place::Address(place.into())
        } else {
            Place::File(place.into())
        };
        Ok(Self { place, expected, every, copy: data.join(COPY) })
    }

    fn fetch(&self) -> Result<(KeySet, Vec<u8>), String> {
        let (bytes, from) = match &self.place {
            Place::File(path) => (fs::read(path).map_err(|error| error.to_string()), path.display().to_string()),
            Place::Address(url) => (get(url), url.clone()),
        };
        let bytes = bytes.map_err(|error| format!("{from}: {error}"))?;
        if bytes.len() as u64 > JWKS_MAX {
            return Err(format!("{from}: more than {JWKS_MAX} bytes"));
        }
        let keys = KeySet::parse(&bytes, &self.expected).map_err(|error| format!("{from}: {error}"))?;
        Ok((keys, bytes))
    }

    /// The set of an address that was fetched last, in an earlier run.
    fn kept(&self) -> Result<KeySet, JwksError> {
        let bytes = fs::read(&self.copy).map_err(|error| JwksError::Format(error.to_string()))?;
        KeySet::parse(&bytes, &self.expected)
    }
}

fn get(url: &str) -> Result<Vec<u8>, String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).proxy(None).build();
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        return Err(format!("status {}", answer.status()));
    }
    answer.body_mut().with_config().limit(JWKS_MAX + 1).read_to_vec().map_err(|error| error.to_string())
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The thread that fetches.
struct Fetcher {
    source: Source,
    trust: Trust,
    say: Sender<News>,
    /// The set that is trusted, and whether the last attempt failed.
    known: Vec<u8>,
    is_down: bool,
}

impl Fetcher {
    fn run(mut self, asked: &Receiver<()>, ended: &Receiver<()>) {
        loop {
            let wait = if self.is_down { self.source.every.min(RETRY) } else { self.source.every };
            crossbeam::select! {
                recv(asked) -> _ => {}
                recv(ended) -> _ => return,
                default(wait) => {}
            }
            let begun_s = now_s();
            let fetched = self.source.fetch();
            let was_down = std::mem::replace(&mut self.is_down, fetched.is_err());
            match fetched {
                Ok((keys, bytes)) => {
                    let count = keys.len();
                    self.trust.replace(keys, begun_s);
                    if was_down || bytes != self.known {
                        tell(&self.say, News::Fetched(count));
                        keep(&self.source, &bytes, &self.say);
                        self.known = bytes;
                    }
                }
                // Once: until it is there again.
                Err(error) if !was_down => tell(&self.say, News::Failed(error)),
                Err(_) => {}
            }
        }
    }
}

/// Says something to whoever listens, if anybody does.
fn tell(say: &Sender<News>, news: News) {
    let _nobody_listens = say.send(news);
}

impl Refresher {
    /// Fetches the keys, and goes on doing so. An address that is down does not keep a server from starting: the set of the run before counts
    /// until it is there again, and with none nobody is let in by it.
    ///
    /// # Errors
    /// If a file is not a set of keys, or no thread can be had.
    pub fn start(source: Source) -> Result<Self, String> {
        let (say, news) = unbounded();
        let mut begun_s = now_s();
        let (keys, known, is_down) = match source.fetch() {
            Ok((keys, bytes)) => {
                keep(&source, &bytes, &say);
                (keys, bytes, false)
            }
            Err(error) if matches!(source.place, Place::File(_)) => return Err(error),
            Err(error) => {
                tell(&say, News::Failed(error));
                begun_s = 0;
                (source.kept().unwrap_or_default(), Vec::new(), true)
            }
        };
        let ((ask, asked), (end, ended)) = (bounded(1), bounded(1));
        let trust = Trust::new(keys, begun_s, ask);
        let fetcher = Fetcher { source, trust: trust.clone(), say, known, is_down };
        // Nobody waits for its end: an address that does not answer would hold up a stop.
        let started = std::thread::Builder::new().name("keys".into()).spawn(move || fetcher.run(&asked, &ended));
        started.map_err(|error| error.to_string())?;
        Ok(Self { trust, news, _end: end })
    }

    /// What verifiers share.
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// What happened since this was asked last.
    pub fn next_news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

/// Keeps what an address gave for the next start.
fn keep(source: &Source, bytes: &[u8], say: &Sender<News>) {
    let Place::Address(_) = source.place else { return };
    let same = fs::read(&source.copy).is_ok_and(|kept| kept == bytes);
    let kept: io::Result<()> = if same { Ok(()) } else { tidings_log::files::replace(&source.copy, bytes) };
    if let Err(error) = kept {
        tell(say, News::Failed(format!("{}: {error}", source.copy.display())));
    }
}
