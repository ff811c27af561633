//! What is shown to browsers besides the WebSocket: the seam through which a server answers plain requests.

use std::fmt;

/// Bytes of a request's body.
pub const BODY_MAX: usize = 1 << 10;

/// A request that does not ask for the WebSocket. But for `origin` a field that came twice counts as not there.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `GET`, `HEAD`, `POST` and others.
    pub method: &'a str,
    /// The path, without what is after a question mark.
    pub path: &'a str,
    /// By which name the server is called.
    pub host: Option<&'a str>,
    /// The page that it comes from, if one says so; empty if that makes no sense.
    pub origin: Option<&'a str>,
    /// Somebody on the way says that it passed it on.
    pub is_forwarded: bool,
    /// What the body is.
    pub content_type: Option<&'a str>,
    /// The version that is known already.
    pub if_none_match: Option<&'a str>,
    /// Whether the answer may be compressed with gzip.
    pub takes_gzip: bool,
    /// At most [`BODY_MAX`] bytes.
    pub body: &'a [u8],
}

/// Answers requests. Each connection gets one answer and is closed then. It runs on a reactor: it does no I/O.
pub trait Pages: fmt::Debug + Send + Sync {
    /// The whole response; `None`: there is nothing at that path.
    fn answer(&self, asked: &Asked<'_>) -> Option<Vec<u8>>;
}
