//! Fetching the keys of a login server, from a file or an address, on a thread of its own: no reactor ever waits for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};

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
    /// Ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
        let place = match place.split_once("://") {
            None => Place::File(place.into()),
            Some(("https", _)) => Place::Address(place.into()),
            Some(("http", rest)) if is_loopback(rest) => Place::Address(place.into()),
            Some(_) => {
                return Err(format!(
                    "{place}: https:// or a file is expected: whoever can change the keys lets anybody in"
                ));
            }
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

fn is_loopback(authority: &str) -> bool {
    let host = authority.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host == "127.0.0.1" || host == "[::1]"
}

fn get(url: &str) -> Result<Vec<u8>, String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).build();
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        return Err(format!("status {}", answer.status()));
    }
    answer.body_mut().with_config().limit(JWKS_MAX + 1).read_to_vec().map_err(|error| error.to_string())
}

impl Refresher {
    /// Fetches the keys, and goes on doing so. An address that is down does not keep a server from starting: the set of the run before counts
    /// until it is there again, and with none nobody is let in by it.
    ///
    /// # Errors
    /// If a file is not a set of keys, or no thread can be had.
    pub fn start(source: Source) -> Result<Self, String> {
        let (say, news) = unbounded();
        let keys = match source.fetch() {
            Ok((keys, bytes)) => {
                keep(&source, &bytes, &say);
                keys
            }
            Err(error) if matches!(source.place, Place::File(_)) => return Err(error),
            Err(error) => {
                // Nobody hears of it before the server serves.
                let _heard_later = say.send(News::Failed(error));
                source.kept().unwrap_or_default()
            }
        };
        let ((ask, asked), (end, ended)) = (bounded(1), bounded(1));
        let trust = Trust::new(keys, ask);
        let kept = trust.clone();
        let mut wait = if kept.keys().is_empty() { source.every.min(RETRY) } else { source.every };
        let run = move || {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                crossbeam::select! {
                    recv(asked) -> _ => {}
                    recv(ended) -> _ => return,
                    default(wait) => {}
                }
                wait = source.every;
                let before = kept.keys().len();
                match source.fetch() {
                    Ok((keys, bytes)) => {
                        let count = keys.len();
                        kept.replace(keys);
                        keep(&source, &bytes, &say);
                        if count != before {
                            let _nobody_listens = say.send(News::Fetched(count));
                        }
                    }
                    Err(error) => {
                        wait = source.every.min(RETRY);
                        let _nobody_listens = say.send(News::Failed(error));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("keys".into()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Self { trust, news, end: Some(end), thread: Some(thread) })
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
        let _nobody_listens = say.send(News::Failed(format!("{}: {error}", source.copy.display())));
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was told on standard error.
            let _told = thread.join();
        }
    }
}
