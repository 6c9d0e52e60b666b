//! `logs`: history in the order of time, and what comes.

use proptest::prelude::*;

use super::*;
use crate::api::stream::Codec;
use crate::output::format::StreamKind;
use crate::wire::json_line::JsonLine;

const NAMES: [&str; 2] = ["web", "db"];

/// Reads a step, as the control socket's clients get it.
fn step<'a>(
    feed: &mut Feed,
    recent: impl Fn(ServiceId) -> Option<&'a Recent>,
    out: &mut Vec<u8>,
) -> bool {
    let mut codec = JsonLine::default();
    feed.read(recent, |item, out| codec.line(item, out), out)
}

struct World {
    recents: Vec<Recent>,
    time: u64,
}

impl World {
    fn new(limit: usize) -> World {
        let mut recents: Vec<Recent> = NAMES.iter().map(|_| Recent::new(limit)).collect();
        recents
            .iter_mut()
            .for_each(|recent| recent.count_lines(true));
        World { recents, time: 0 }
    }

    fn say(&mut self, service: usize, text: &str) {
        self.mark(service, text, None);
    }

    fn say_bytes(&mut self, service: usize, bytes: &[u8]) {
        self.mark_bytes(service, bytes, None);
    }

    fn mark(&mut self, service: usize, text: &str, mark: Option<Mark>) {
        self.mark_bytes(service, text.as_bytes(), mark);
    }

    fn mark_bytes(&mut self, service: usize, bytes: &[u8], mark: Option<Mark>) {
        self.time += 1_000_000_000;
        let stamp = Stamp {
            wall: self.time,
            elapsed: 0,
        };
        let origin = Origin {
            stream: StreamKind::Tty,
            pid: 1,
        };
        match mark {
            None => self.recents[service].push(stamp, origin, bytes),
            Some(mark) => self.recents[service].mark(stamp, origin, mark),
        }
    }

    fn feed(&self, filter: Filter, lines: Option<u64>, follow: bool) -> Feed {
        let services = self.recents.iter().enumerate();
        let services =
            services.map(|(index, recent)| (ServiceId::new(index as u32, 0), NAMES[index], recent));
        Feed::new(services, filter, lines, follow)
    }

    fn read(&self, feed: &mut Feed) -> Vec<String> {
        let mut out = Vec::new();
        while step(feed, |id| self.recents.get(id.index()), &mut out) {}
        let text = String::from_utf8_lossy(&out).into_owned();
        let objects = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("service"), text("line"))
        });
        objects.collect()
    }

    fn all(&self, filter: Filter, lines: Option<u64>) -> Vec<String> {
        self.read(&mut self.feed(filter, lines, false))
    }
}

fn two_services() -> World {
    let mut world = World::new(10_000);
    world.say(0, "one\ntw");
    world.say(1, "ready\n");
    world.say(0, "o\nthree\n");
    world.say(1, "half");
    world
}

#[test]
fn services_are_told_in_the_order_of_time() {
    let lines = two_services().all(Filter::default(), None);
    assert_eq!(
        lines,
        ["web one", "db ready", "web two", "web three", "db half"]
    );
}

#[test]
fn the_last_lines_of_each() {
    let world = two_services();
    assert_eq!(
        world.all(Filter::default(), Some(1)),
        ["web three", "db half"]
    );
    let grep = Filter {
        grep: b"e".to_vec(),
        ..Filter::default()
    };
    assert_eq!(world.all(grep.clone(), Some(1)), ["db ready", "web three"]);
    assert_eq!(world.all(Filter::default(), Some(0)), [""; 0]);
}

#[test]
fn since_and_grep_choose() {
    let world = two_services();
    let filter = Filter {
        since: 3_000_000_000,
        grep: b"t".to_vec(),
    };
    assert_eq!(world.all(filter, None), ["web two", "web three"]);
}

#[test]
fn a_follower_gets_what_comes_and_unfinished_lines_when_they_are_quiet() {
    let mut world = two_services();
    let mut feed = world.feed(Filter::default(), Some(0), true);
    assert_eq!(world.read(&mut feed), [""; 0]);
    world.say(0, "four\nname: ");
    assert_eq!(world.read(&mut feed), ["web four"]);
    world.mark(0, "", Some(Mark::Quiet));
    assert_eq!(world.read(&mut feed), ["web name: "]);
    world.mark(1, "", Some(Mark::End));
    assert_eq!(world.read(&mut feed), [""; 0]);
}

#[test]
fn who_does_not_follow_gets_what_there_was_when_he_asked() {
    let mut world = two_services();
    let mut feed = world.feed(Filter::default(), None, false);
    world.say(0, "later\n");
    world.say(1, " and later\n");
    assert_eq!(
        world.read(&mut feed),
        ["web one", "db ready", "web two", "web three", "db half"]
    );
    // Overtaken by the memory, he is told how much he missed.
    let mut feed = world.feed(Filter::default(), None, false);
    for number in 0..1000 {
        world.say(0, &format!("{number}\n"));
    }
    let lines = world.read(&mut feed);
    assert!(
        lines.iter().any(|line| line.ends_with(" lines dropped")) && lines.len() < 10,
        "{lines:?}"
    );
}

#[test]
fn a_new_process_begins_a_new_line() {
    let mut world = World::new(1000);
    world.say(0, "dying");
    world.mark(0, "", Some(Mark::End));
    world.say(0, "born\n");
    assert_eq!(
        world.all(Filter::default(), None),
        ["web dying", "web born"]
    );
}

#[test]
fn the_tail_of_a_forgotten_line_is_not_shown_as_a_line() {
    let mut world = World::new(400);
    for line in 0..100 {
        world.say(0, &format!("{line}\nbegin of {line} "));
        world.say(0, "and end\n");
    }
    let lines = world.all(Filter::default(), None);
    assert!(!lines.iter().any(|line| line == "web and end"), "{lines:?}");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("web begin of 99 and end")
    );
}

proptest! {
    #[test]
    fn a_slow_follower_is_told_of_every_line_it_lost(
        steps in proptest::collection::vec((1..40usize, any::<bool>()), 1..40),
    ) {
        let mut world = World::new(600);
        let mut feed = world.feed(Filter::default(), None, true);
        let (mut number, mut known) = (0usize, 0usize);
        for (count, look) in steps {
            let text: String = (number..number + count).map(|line| format!("line {line}\n")).collect();
            number += count;
            world.say(0, &text);
            if look {
                for line in world.read(&mut feed) {
                    let lost = line.strip_suffix(" lines dropped").or(line.strip_suffix(" line dropped"));
                    match lost.and_then(|rest| rest.strip_prefix("web ")) {
                        Some(lost) => known += lost.parse::<usize>().unwrap_or(0),
                        None => {
                            prop_assert_eq!(&line, &format!("web line {}", known));
                            known += 1;
                        }
                    }
                }
                prop_assert_eq!(known, number);
            }
        }
    }
}

#[test]
fn a_step_adds_little_whatever_the_record_is() {
    let mut world = World::new(1 << 20);
    world.say(0, &"\n".repeat(60_000));
    let mut feed = world.feed(Filter::default(), None, true);
    let mut out = Vec::new();
    let mut lines = 0;
    while step(&mut feed, |id| world.recents.get(id.index()), &mut out) {
        lines += memchr::memchr_iter(b'\n', &out).count();
        assert!(out.len() < 16 * 1024, "{}", out.len());
        out.clear();
    }
    assert_eq!(lines, 60_000);
}

proptest! {
    #[test]
    fn a_follower_that_is_overtaken_in_the_middle_of_a_record_loses_count_of_no_line(
        looks in proptest::collection::vec((1..400usize, 0..6usize), 1..30),
    ) {
        let mut world = World::new(8000);
        let mut feed = world.feed(Filter::default(), None, true);
        let (mut number, mut known, mut next) = (0usize, 0usize, 0usize);
        let mut out = Vec::new();
        for (count, steps) in looks.into_iter().chain([(1, usize::MAX)]) {
            let text: String = (number..number + count).map(|line| format!("{line}\n")).collect();
            number += count;
            world.say(0, &text);
            for _ in 0..steps {
                if !step(&mut feed, |id| world.recents.get(id.index()), &mut out) {
                    break;
                }
            }
            for line in String::from_utf8_lossy(&std::mem::take(&mut out)).lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                match line["dropped"].as_u64() {
                    Some(lost) => {
                        known += lost as usize;
                        next = known;
                    }
                    None => {
                        prop_assert_eq!(line["line"].as_str(), Some(&*next.to_string()));
                        known += 1;
                        next += 1;
                    }
                }
            }
        }
        prop_assert_eq!(known, number);
    }
}

#[test]
fn a_character_that_is_half_written_is_no_invalid_text() {
    let mut world = World::new(10_000);
    let mut follower = world.feed(Filter::default(), None, true);
    world.say_bytes(0, b"a\xed\x95");
    world.mark(0, "", Some(Mark::Quiet));
    assert_eq!(world.all(Filter::default(), None), ["web a"]);
    assert_eq!(world.read(&mut follower), ["web a"]);
    world.say_bytes(0, b"\x9c\n");
    assert_eq!(world.all(Filter::default(), None), ["web a\u{d55c}"]);
    assert_eq!(world.read(&mut follower), ["web \u{d55c}"]);
    // Its stream ends: now it is.
    world.say_bytes(0, b"b\xed\x95");
    world.mark(0, "", Some(Mark::End));
    assert_eq!(world.read(&mut follower), ["web b\u{fffd}"]);
}

#[test]
fn a_line_without_its_beginning_is_left_out_of_each_stream() {
    let mut recent = Recent::new(400);
    recent.count_lines(true);
    let origin = |stream| Origin { stream, pid: 1 };
    let (out, err) = (origin(StreamKind::Stdout), origin(StreamKind::Stderr));
    recent.push(Stamp::default(), out, b"a\xed\x95");
    recent.push(Stamp::default(), err, b"oops\n");
    recent.push(Stamp::default(), out, b"\x9c torn\nwhole\n");
    // Two records go.
    while recent.beginning().is_before(2) {
        recent.push(Stamp::default(), err, b"filling\n");
    }
    let mut text = Vec::new();
    let services = [(ServiceId::new(0, 0), "web", &recent)];
    let mut feed = Feed::new(services.into_iter(), Filter::default(), None, false);
    while step(&mut feed, |_| Some(&recent), &mut text) {}
    let text = String::from_utf8_lossy(&text);
    assert!(
        !text.contains("torn") && text.contains("\"whole\""),
        "{text}"
    );
}

#[test]
fn a_reader_that_is_overtaken_in_a_long_line_is_not_given_the_line_without_its_middle() {
    let mut world = World::new(400);
    let mut follower = world.feed(Filter::default(), None, true);
    world.say(0, "begun ");
    assert_eq!(world.read(&mut follower), [""; 0]);
    for _ in 0..20 {
        world.say(0, "and going on and on without an end ");
    }
    world.say(0, "end\nnext\n");
    let lines = world.read(&mut follower);
    assert_eq!(lines, ["web 1 line dropped", "web next"]);
}

#[test]
fn more_unfinished_lines_than_are_kept_are_given_out() {
    let mut recent = Recent::new(100_000);
    for pid in 0..20 {
        let stream = StreamKind::Tty;
        recent.push(
            Stamp::default(),
            Origin { stream, pid },
            format!("line {pid}").as_bytes(),
        );
    }
    let mut text = Vec::new();
    let services = [(ServiceId::new(0, 0), "web", &recent)];
    let mut feed = Feed::new(services.into_iter(), Filter::default(), None, false);
    while step(&mut feed, |_| Some(&recent), &mut text) {}
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.lines().count(), 20, "{text}");
}
