//! Lists of commands when the director is killed in them, and the journal that makes them whole.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rvs_dataplane::{Kernel, Options};

use crate::restore::{LARGE, rules};
use crate::support::{Director, LIMIT, RVS, SMALL, namespace};

const SERVICES: usize = 4000;
/// Moments within the time that a list takes, and as many at which the journal is there.
const TRIES: u32 = 5;

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum When {
    After(Duration),
    /// As soon as the journal is there, and so long after.
    Written(Duration),
}

impl When {
    /// Looks without a pause: a journal may be there for some milliseconds only. Waits no longer than the client.
    fn wait(self, director: &Director<'_>, client: &mut Child) {
        let (start, pin) = (Instant::now(), director.pins().join("JOURNAL"));
        let mut written = None;
        let mut come = || match self {
            Self::After(pause) => start.elapsed() >= pause,
            Self::Written(pause) => {
                if written.is_none() && pin.exists() {
                    written = Some(Instant::now());
                }
                written.is_some_and(|at| at.elapsed() >= pause)
            }
        };
        while !come() && client.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < LIMIT, "{self:?}");
        }
    }
}

/// Services and destinations.
fn used(director: &Director<'_>) -> (u64, u64) {
    let capacity = &director.json(&["status"])["capacity"];
    let services = director.json(&["services"])["services"].as_array().unwrap().clone();
    let dests = services.iter().map(|service| service["destinations"].as_array().unwrap().len() as u64);
    (capacity["services"]["used"].as_u64().unwrap(), dests.sum())
}

/// Begins a list, kills the director in it, and starts it again. Whether there was something to finish.
fn killed(director: &mut Director<'_>, args: &[&str], text: &str, when: When) -> bool {
    let mut command = director.client(RVS);
    command.arg("ipvsadm").args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    let mut stdin = client.stdin.take().unwrap();
    thread::scope(|scope| {
        // A client that does not read is no error.
        scope.spawn(move || drop(stdin.write_all(text.as_bytes())));
        when.wait(director, &mut client);
        director.end(Signal::SIGKILL);
    });
    client.wait().unwrap();
    director.start_again();
    assert!(!director.pins().join("JOURNAL").exists());
    let log = director.log();
    assert!(!log.contains("not finished"), "{log}");
    log.contains("finished the change of ")
}

#[test]
fn lists_are_whole_or_not_there_when_the_director_is_killed() {
    let netns = namespace();
    let mut director = Director::start(&netns, &LARGE);
    let rules = rules(SERVICES);
    let all = (SERVICES as u64, SERVICES as u64);
    let start = Instant::now();
    director.ipvsadm_reading(&["-R"], &rules).success();
    let took = start.elapsed();
    director.ipvsadm(&["-C"]).success();
    let mut finished = 0;
    for n in 0..2 * TRIES {
        let part = took * (n / 2) / TRIES;
        let when = if n % 2 == 0 { When::After(part) } else { When::Written(part / 8) };
        let was_finished = killed(&mut director, &["-R"], &rules, when);
        let now = used(&director);
        assert!(now == all || (now == (0, 0) && !was_finished), "-R, killed {when:?}: {now:?}");
        finished += u32::from(was_finished);
        if now != all {
            director.ipvsadm_reading(&["-R"], &rules).success();
        }
        let was_finished = n % 2 == 1 && killed(&mut director, &["-C"], "", When::Written(part / 32));
        let now = used(&director);
        assert!(now == (0, 0) || (now == all && !was_finished), "-C, killed {when:?}: {now:?}");
        finished += u32::from(was_finished);
        director.ipvsadm(&["-C"]).success();
    }
    assert!(finished > 0, "the director was killed {TRIES} times just when its journal was there");
}

const RULES: &str = "\
-A -t 203.0.113.1:80 -s wlc
-a -t 203.0.113.1:80 -r 10.0.0.2:80 -m -w 3
-A -t 203.0.113.2:80 -s rr
";

/// What a director finds that was killed after it had written that.
fn write_journal(director: &Director<'_>, text: &str) {
    let kernel = Kernel::open(&Options::new(director.instance()).unwrap()).unwrap();
    drop(kernel.write_journal(text.as_bytes()).unwrap());
}

/// A journal of version 1 of this program, word by word: the next version reads it too.
const GOOD: &str = r#"{"pid":4711,"uid":7,"commands":3,"change":{"services":[
    {"key":{"protocol":"tcp","address":"203.0.113.1","port":80},"live":null},
    {"key":{"protocol":"udp","address":"203.0.113.3","port":53},"live":{"scheduler":"rr","flags":0,"destinations":[
        {"address":"10.0.0.3","port":53,"method":"dr","weight":1,"upper_threshold":0,"lower_threshold":0}]}}],
    "timeouts":{"tcp_s":60,"tcp_fin_s":30,"udp_s":10},"zeroed":{"services":[]}}}"#;

#[test]
fn a_journal_is_carried_out_or_refused_and_no_start_fails() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.ipvsadm_reading(&["-R"], RULES).success();
    let before = director.ipvsadm(&["-Sn"]).success();
    let senseless = GOOD.replace("10.0.0.3", "224.0.0.1");
    let refused = [
        ("", None),
        (&GOOD[..40], Some("journal: EOF while parsing")),
        ("frob", Some("journal: expected ident at line 1")),
        (
            &senseless,
            Some("journal: destination 224.0.0.1:53 of service 203.0.113.3:53/udp: address is not unicast"),
        ),
    ];
    for (text, reason) in refused {
        director.end(Signal::SIGKILL);
        write_journal(&director, text);
        director.start_again();
        let log = director.log();
        let warning =
            "warning: a change that was begun is not finished, and some of its services may be as before: ";
        assert_eq!(log.contains(warning), reason.is_some(), "{log}");
        assert!(reason.is_none_or(|reason| log.contains(&format!("{warning}{reason}"))), "{log}");
        assert_eq!(director.ipvsadm(&["-Sn"]).success(), before);
        assert!(!director.pins().join("JOURNAL").exists());
    }
    director.end(Signal::SIGKILL);
    write_journal(&director, GOOD);
    director.start_again();
    let line =
        "rvs director: finished the change of 3 commands of process 4711 (user 7), which was cut off\n";
    assert!(director.log().contains(line), "{}", director.log());
    let after = "-A -t 203.0.113.2:80 -s rr\n-A -u 203.0.113.3:53 -s rr\n-a -u 203.0.113.3:53 -r 10.0.0.3:53 -g -w 1\n";
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), after);
    assert_eq!(director.ipvsadm(&["-L", "--timeout"]).success(), "Timeout (tcp tcpfin udp): 60 30 10\n");
}

#[test]
fn a_journal_goes_when_everything_is_taken_down() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.end(Signal::SIGKILL);
    write_journal(&director, GOOD);
    director.stop().success();
    director.start_again();
    assert!(!director.log().contains("change"), "{}", director.log());
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "");
}

#[test]
fn a_list_is_refused_when_no_journal_can_be_written() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.ipvsadm(&["-A", "-t", "203.0.113.9:80"]).success();
    let before = director.ipvsadm(&["-Sn"]).success();
    let pin = director.pins().join("JOURNAL");
    fs::create_dir(&pin).unwrap();
    let message = director.ipvsadm_reading(&["-R"], RULES).failure(255);
    assert!(message.contains(&format!("write journal {}: ", pin.display())), "{message}");
    assert!(message.contains("; nothing was changed"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), before);
    assert!(director.log().contains("warning: write journal "), "{}", director.log());

    // What one step decides needs none; and what lies in its place keeps nobody from starting.
    director.ipvsadm(&["-a", "-t", "203.0.113.9:80", "-r", "10.0.0.2"]).success();
    director.end(Signal::SIGKILL);
    director.start_again();
    assert!(director.log().contains("warning: read journal "), "{}", director.log());
    fs::remove_dir(&pin).unwrap();
    director.ipvsadm_reading(&["-R"], RULES).success();
    assert_eq!(director.json(&["status"])["capacity"]["services"]["used"], 3);
}
