//! The limits of the control protocol. Reaching one is an answer that names it, and is counted where a server does it
//! ([`crate::Counts`]).

use core::time::Duration;

/// Bytes of a request's or an answer's head, and of a chunked body's trailer.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header fields of a request or an answer.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's body: a restore of 10 000 services with 30 destinations each.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of the line before a chunk, extensions included.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of an answer that a client reads: the listing of 100 000 services.
pub const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Connections of one page, unless the request says otherwise.
pub const CONN_PAGE_DEFAULT: u32 = 1_000;
/// Connections of one page at most.
pub const CONN_PAGE_MAX: u32 = 10_000;
/// Connections of clients that are only told that there are too many; more are closed without a word.
pub const REFUSALS_MAX: usize = 16;
/// How long a server reads on after an answer that ends a connection, so that the client sees the answer and not a
/// broken pipe.
pub const LINGER: Duration = Duration::from_secs(1);
/// How long a stopping server waits for requests under way.
pub const STOP: Duration = Duration::from_secs(5);
/// How long a client waits for a director to take its connection.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How long a client waits for a whole answer, unless told otherwise.
pub const ANSWER: Duration = Duration::from_secs(60);

/// What a server allows its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Client connections served at once, a thread each.
    pub clients: usize,
    /// How many of these are kept for root and the director's own user, so that readers can't lock them out.
    pub clients_reserved: usize,
    /// How long a connection may lie idle between requests.
    pub idle: Duration,
    /// How long a request may take from its first byte to its last.
    pub request: Duration,
    /// How long a client may take to read an answer.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 64,
            clients_reserved: 8,
            idle: Duration::from_secs(60),
            request: Duration::from_secs(30),
            answer: Duration::from_secs(30),
        }
    }
}

const _: () = assert!(CONN_PAGE_DEFAULT <= CONN_PAGE_MAX && HEAD_BYTES_MAX > CHUNK_LINE_BYTES_MAX);
