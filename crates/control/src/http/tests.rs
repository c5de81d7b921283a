//! Requests and answers from bytes: whole, in pieces, cut short, mutilated and made of noise.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::answer::Received;
use super::*;

/// A repeatable source of noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

const BODY_MAX: usize = 1000;

type Requests = Vec<(String, String, Vec<u8>)>;

/// Everything that comes out of pieces of bytes, and how it ends.
fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Requests, Result<(), HttpError>) {
    let mut decoder = RequestDecoder::default();
    let mut found = Vec::new();
    let mut head: Option<RequestHead> = None;
    for piece in pieces {
        decoder.feed(piece);
        loop {
            let Some(begun) = &head else {
                match decoder.head() {
                    Ok(None) => break,
                    Ok(Some(begun)) => {
                        if let Err(error) = decoder.begin_body(&begun, BODY_MAX) {
                            return (found, Err(error));
                        }
                        head = Some(begun);
                    }
                    Err(error) => return (found, Err(error)),
                }
                continue;
            };
            match decoder.body() {
                Ok(None) => break,
                Ok(Some(body)) => found.push((begun.method.clone(), begun.target.clone(), body)),
                Err(error) => return (found, Err(error)),
            }
            head = None;
        }
    }
    (found, Ok(()))
}

const PIPELINE: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\n\
    POST /b?c HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello\
    POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n\
    3\r\nabc\r\n0A ; x=y\r\n0123456789\r\n0\r\nTrailer: yes\r\n\r\n\
    GET /e HTTP/1.0\r\n\r\nGET /f HTTP/1.1\nHost: x\n\n";

fn pipeline() -> Requests {
    let of = |method: &str, target: &str, body: &str| (method.into(), target.into(), body.into());
    vec![
        of("GET", "/a", ""),
        of("POST", "/b?c", "hello"),
        of("POST", "/d", "abc0123456789"),
        of("GET", "/e", ""),
        of("GET", "/f", ""),
    ]
}

#[test]
fn a_pipeline_in_pieces_of_every_size() {
    for size in 1..=PIPELINE.len() {
        assert_eq!(requests(PIPELINE.chunks(size)), (pipeline(), Ok(())), "pieces of {size}");
    }
}

#[test]
fn a_pipeline_cut_anywhere_is_a_beginning_of_the_whole() {
    for length in 0..PIPELINE.len() {
        let (found, end) = requests([&PIPELINE[..length]]);
        assert_eq!(end, Ok(()), "cut after {length}");
        assert_eq!(found, pipeline()[..found.len()], "cut after {length}");
    }
}

#[test]
fn noise_ends_and_its_pieces_do_not_matter() {
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = match round % 2 {
            0 => (0..noise.below(200)).map(|_| noise.byte()).collect(),
            _ => PIPELINE.to_vec(),
        };
        for _ in 0..noise.below(4) {
            if let Some(place) = noise.below(bytes.len().max(1)).checked_sub(1) {
                match noise.below(3) {
                    0 => bytes[place] = noise.byte(),
                    1 => drop(bytes.remove(place)),
                    _ => bytes.insert(place, b"\r\n:;0a, "[noise.below(8)]),
                }
            }
        }
        let (whole, _) = requests([bytes.as_slice()]);
        let (by_byte, _) = requests(bytes.chunks(1));
        let (by_some, _) = requests(bytes.chunks(1 + noise.below(50)));
        assert_eq!(whole, by_byte, "{:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(whole, by_some, "{:?}", String::from_utf8_lossy(&bytes));
    }
}

/// The status that a request with these bytes ends with.
fn status(bytes: &[u8]) -> u16 {
    requests([bytes]).1.unwrap_err().error.status()
}

#[test]
fn broken_heads_are_refused() {
    let cases: [(&str, u16); 14] = [
        ("\x16\x03\x01\x02\x00", 400),
        ("GET\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
    ];
    for (bytes, expected) in cases {
        assert_eq!(status(bytes.as_bytes()), expected, "{bytes}");
    }
}

#[test]
fn broken_chunks_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long_line = format!("1{}", ";".repeat(300));
    let cases = [
        ("x\r\n", 400),
        ("\r\n", 400),
        ("+3\r\nabc\r\n", 400),
        ("-1\r\n", 400),
        ("10000000000000000\r\n", 400),
        ("3\r\nabcd\r\n", 400),
        (long_line.as_str(), 400),
        ("3e9\r\n", 413),
        ("ffffffffffffffff\r\n", 413),
    ];
    for (body, expected) in cases {
        assert_eq!(status(format!("{head}{body}").as_bytes()), expected, "{body}");
    }
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let eleven = format!("{head}{}", chunk.repeat(11));
    assert_eq!(status(eleven.as_bytes()), 413, "the sum of the chunks counts");
}

#[test]
fn heads_and_trailers_have_limits() {
    let field = "X: y\r\n";
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}", field.repeat(limits::HEADERS_MAX));
    assert_eq!(status((many.clone() + "\r\n").as_bytes()), 431);
    let most = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", field.repeat(limits::HEADERS_MAX - 1));
    assert_eq!(requests([most.as_bytes()]).0.len(), 1);
    let begin = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    let long = |length: usize| format!("{begin}{}\r\n\r\n", "y".repeat(length - begin.len() - 4));
    assert_eq!(requests([long(limits::HEAD_BYTES_MAX).as_bytes()]).0.len(), 1);
    assert_eq!(status(long(limits::HEAD_BYTES_MAX + 1).as_bytes()), 431);
    assert_eq!(status(&b"GET /".repeat(limits::HEAD_BYTES_MAX)[..limits::HEAD_BYTES_MAX]), 400);
    let endless = format!("GET /{}", "a".repeat(limits::HEAD_BYTES_MAX));
    assert_eq!(status(endless.as_bytes()), 431);
    let trailer = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".to_owned();
    assert_eq!(status((trailer + &"a: b\r\n".repeat(3000)).as_bytes()), 431);
}

#[test]
fn heads_say_what_matters() {
    let head = |fields: &str| {
        let mut decoder = RequestDecoder::default();
        decoder.feed(format!("GET http://host/p?q HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        decoder.head().unwrap().unwrap()
    };
    assert_eq!(head("").target, "/p?q");
    assert!(head("").keep_alive);
    assert!(!head("Connection: TE, Close\r\n").keep_alive);
    assert!(head("Expect: 100-Continue\r\n").expects_continue);
    assert!(head("Content-Type: application/json;charset=utf-8\r\n").is_json);
    assert!(!head("Content-Type: application/jsonp\r\n").is_json);
    let mut old = RequestDecoder::default();
    old.feed(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    let old = old.head().unwrap().unwrap();
    assert!(!old.keep_alive && !old.expects_continue, "HTTP/1.0 knows neither");
}

fn answers(bytes: &[u8], size: usize) -> (Vec<Received>, Result<(), HttpError>) {
    let mut decoder = AnswerDecoder::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        loop {
            match decoder.answer() {
                Ok(Some(received)) => found.push(received),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    found.extend(decoder.end());
    (found, Ok(()))
}

#[test]
fn answers_are_read_as_they_are_written() {
    let good = Answer::json(200, &serde_json::json!({"a": [1, 2, 3]}));
    let refused = Answer::refusal(RequestError::MethodNotAllowed { allowed: vec!["GET".into()] }, "no");
    let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    bytes.extend(good.clone().encode(true, false));
    bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    bytes.extend(refused.clone().encode(false, false));
    bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nto the end");
    let of = |status, body: &[u8], keep_alive| Received { status, body: body.to_vec(), keep_alive };
    let expected = vec![
        of(200, &good.body, true),
        of(200, b"{}", true),
        of(405, &refused.body, false),
        of(200, b"to the end", false),
    ];
    for size in 1..=bytes.len() {
        assert_eq!(answers(&bytes, size), (expected.clone(), Ok(())), "pieces of {size}");
    }
    let text = String::from_utf8(refused.encode(true, true)).unwrap();
    assert!(text.contains("\r\nAllow: GET\r\n") && text.ends_with("\r\n\r\n"), "no body after HEAD: {text}");
}

#[test]
fn noise_is_no_answer() {
    let mut noise = Noise(7);
    let good = Answer::json(200, &[1, 2, 3]).encode(true, false);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=noise.below(3) {
            let place = noise.below(bytes.len());
            bytes[place] = noise.byte();
        }
        bytes.truncate(1 + noise.below(bytes.len()));
        assert_eq!(answers(&bytes, 1).0, answers(&bytes, bytes.len()).0);
    }
    assert!(answers(b"SSH-2.0-OpenSSH\r\n", 17).1.is_err());
}
