//! One client: its requests are read, answered and followed by the next.

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::Service;
use crate::Peer;
use crate::api::{RequestError, Response};
use crate::http::{Answer, HttpError, RequestDecoder, RequestHead};
use crate::limits;
use crate::routes::{self, Routed, Step};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// A client's connection.
pub(super) struct Connection<'a> {
    service: &'a Service,
    stream: UnixStream,
    peer: Peer,
    /// The client is one too many.
    refused: bool,
    decoder: RequestDecoder,
    /// The request under way is HEAD: its answer has no body.
    to_head: bool,
    /// When the request under way must have arrived; unset while there is none.
    deadline: Option<Instant>,
    chunk: Vec<u8>,
}

/// Why no further request is read.
enum End {
    /// There is nobody to answer.
    Gone,
    /// This is the last answer.
    Last(Answer),
}

impl From<HttpError> for End {
    fn from(error: HttpError) -> Self {
        Self::Last(error.into())
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(service: &'a Service, stream: UnixStream, peer: Peer, refused: bool) -> Self {
        let decoder = RequestDecoder::default();
        let chunk = vec![0; READ_BYTES];
        Self { service, stream, peer, refused, decoder, to_head: false, deadline: None, chunk }
    }

    /// Serves until either side has enough.
    pub(super) fn serve(mut self) {
        loop {
            match self.exchange() {
                Ok(()) => {}
                Err(End::Gone) => return,
                Err(End::Last(answer)) => return self.say_goodbye(answer),
            }
        }
    }

    /// One request and its answer. Errors end the connection; refusals that leave it intact don't.
    fn exchange(&mut self) -> Result<(), End> {
        self.to_head = false;
        let head = self.next(RequestDecoder::head)?;
        self.to_head = head.method == "HEAD";
        let answer = match self.admit(&head) {
            Ok(routed) => {
                let body = self.body(&head, routed.body_bytes_max())?;
                self.answer(routed.step(body))
            }
            // Where the next request begins is known only if this one has no body.
            Err(answer) => match self.decoder.begin_body(&head, 0).and_then(|()| self.decoder.body()) {
                Ok(Some(_)) if !self.refused => answer,
                _ => return Err(End::Last(answer)),
            },
        };
        self.deadline = None;
        let keep_alive = head.keep_alive && !self.service.clients.is_stopping();
        self.send(answer, keep_alive)?;
        if keep_alive { Ok(()) } else { Err(End::Gone) }
    }

    /// Whether the request may go on to its body.
    fn admit(&self, head: &RequestHead) -> Result<Routed, Answer> {
        if self.refused {
            return Err(self.busy());
        }
        let routed = routes::find(head)?;
        if routed.route.changes && !self.service.access.may_change(&self.peer) {
            let uid = self.peer.uid;
            let message = format!(
                "{} {}: user {uid} may read and not change; root and members of the control group may",
                head.method, routed.route.path,
            );
            return Err(Answer::refusal(RequestError::Forbidden { uid }, message));
        }
        Ok(routed)
    }

    fn busy(&self) -> Answer {
        let maximum = self.service.clients.limits().clients as u64;
        let message = format!("director: serves {maximum} clients already, try again");
        Answer::refusal(RequestError::Busy { maximum }, message)
    }

    fn body(&mut self, head: &RequestHead, bytes_max: usize) -> Result<Vec<u8>, End> {
        self.decoder.begin_body(head, bytes_max)?;
        if let Some(body) = self.decoder.body()? {
            return Ok(body);
        }
        if head.expects_continue {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.next(RequestDecoder::body)
    }

    fn answer(&self, step: Step) -> Answer {
        let request = match step {
            Step::Answer(answer) => return answer,
            Step::Ask(request) => request,
        };
        let handler = &self.service.handler;
        // A fault of the handler is this client's trouble and not that of the others.
        match catch_unwind(AssertUnwindSafe(|| handler(request, self.peer))) {
            Ok(response) => answer(response),
            Err(_) => {
                Answer::refusal(RequestError::Internal, "director: a fault of this program, see its log")
            }
        }
    }

    /// Reads until the decoder has what is asked for.
    fn next<T>(
        &mut self,
        decoded: impl Fn(&mut RequestDecoder) -> Result<Option<T>, HttpError>,
    ) -> Result<T, End> {
        loop {
            if let Some(found) = decoded(&mut self.decoder)? {
                return Ok(found);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<(), End> {
        let limits = self.service.clients.limits();
        let request = if self.refused { limits::LINGER } else { limits.request };
        let idle = self.decoder.is_idle();
        let now = Instant::now();
        let left = if idle && !self.refused {
            limits.idle
        } else {
            self.deadline.get_or_insert(now + request).saturating_duration_since(now)
        };
        match read_within(&mut self.stream, &mut self.chunk, left) {
            Ok([]) if idle => Err(End::Gone),
            Ok([]) if self.service.clients.is_stopping() => {
                Err(End::Last(Answer::refusal(RequestError::Unavailable, "director: is ending")))
            }
            Ok([]) => Err(End::Last(Answer::refusal(RequestError::Malformed, "request: cut short"))),
            Ok(bytes) => {
                self.decoder.feed(bytes);
                Ok(())
            }
            Err(ErrorKind::TimedOut) if self.refused => Err(End::Last(self.busy())),
            Err(ErrorKind::TimedOut) if !idle => {
                let error = RequestError::TimedOut { limit_s: request.as_secs() };
                Err(End::Last(Answer::refusal(error, format!("request: not complete after {request:?}"))))
            }
            Err(_) => Err(End::Gone),
        }
    }

    fn send(&mut self, answer: Answer, keep_alive: bool) -> Result<(), End> {
        self.service.clients.count_answer(answer.status);
        self.write(&answer.encode(keep_alive, self.to_head))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        let deadline = Instant::now() + self.service.clients.limits().answer;
        while !bytes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_write_timeout(Some(left)).is_err() {
                return Err(End::Gone);
            }
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Gone),
            }
        }
        Ok(())
    }

    /// Sends the last answer, and reads on for a while: to a client that is still sending, a closed connection would
    /// be a broken pipe, and it might never look at the answer.
    fn say_goodbye(mut self, answer: Answer) {
        let sent = self.send(answer, false);
        if sent.is_err() || self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + limits::LINGER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match read_within(&mut self.stream, &mut self.chunk, left) {
                Ok([]) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Reads what there is, waiting at most that long. No bytes: the other side has ended. `TimedOut` is the only error
/// that does not mean that the connection is gone.
fn read_within<'b>(
    stream: &mut UnixStream,
    chunk: &'b mut [u8],
    limit: Duration,
) -> Result<&'b [u8], ErrorKind> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut);
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.kind())?;
        match stream.read(chunk) {
            Ok(count) => return Ok(chunk.get(..count).unwrap_or_default()),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(ErrorKind::TimedOut),
                other => return Err(other),
            },
        }
    }
}

/// What a client gets to read.
fn answer(response: Response) -> Answer {
    match response {
        Response::Services(listing) => Answer::json(200, &listing),
        Response::Service(service) => Answer::json(200, &service),
        Response::Connections(page) => Answer::json(200, &page),
        Response::Status(status) => Answer::json(200, &status),
        Response::Counters(counters) => Answer::json(200, &counters),
        Response::Marks(rules) => Answer::json(200, &rules),
        Response::Timeouts(timeouts) => Answer::json(200, &timeouts),
        Response::Settings(settings) => Answer::json(200, &settings),
        Response::Applied(applied) => Answer::json(200, &applied),
        Response::Stopped(stopped) => Answer::json(200, &stopped),
        Response::Failed(failure) => {
            let (status, body) = failure.answer();
            Answer::json(status, &body)
        }
    }
}
