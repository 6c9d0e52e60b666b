//! `tests/schedule/cron.json`, and a newer copy beside the checkout where there is one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::{Expression, Schedule, Timestamp, Zone};
use super::{bundled, next};

/// As of the tzdata that a vector states, where that differs from the database in this program.
fn zone(name: &str) -> Zone {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/schedule/zoneinfo-2025b")
        .join(name);
    match fs::read(&path) {
        Ok(bytes) => Zone::from_file(name, &path.display().to_string(), &bytes).unwrap(),
        Err(_) => bundled(name),
    }
}

fn files() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("tests/schedule/cron.json");
    let shared = root.join("../shared/vectors/cron.json");
    assert!(own.exists());
    [own, shared]
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
        .collect()
}

#[test]
fn every_vector_is_met() {
    for file in files() {
        let vectors = file["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 33);
        for vector in vectors {
            let text = |key: &str| vector[key].as_str().unwrap();
            let expression = Expression::parse(text("expr")).unwrap();
            let schedule = Schedule::new(vec![expression], zone(text("zone")));
            let mut at = Timestamp(vector["after_unix"].as_i64().unwrap());
            assert_eq!(Timestamp::from_rfc3339(text("after")), Ok(at), "{vector}");
            let shown = vector["next"].as_array().unwrap().iter();
            for (seconds, shown) in vector["next_unix"].as_array().unwrap().iter().zip(shown) {
                at = schedule.next(at).unwrap();
                assert_eq!(Some(at.0), seconds.as_i64(), "{vector}");
                assert_eq!(at.rfc3339(schedule.zone()), shown.as_str().unwrap());
            }
        }
    }
}

#[test]
fn every_invalid_one_is_refused() {
    for file in files() {
        for text in file["invalid"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}

#[test]
fn the_same_instant_counts_once() {
    let expressions = ["0 12 * * *", "0 0,12 * * *", "0 */12 * * *"];
    let expressions = expressions.map(|text| Expression::parse(text).unwrap());
    let schedule = Schedule::new(expressions.to_vec(), bundled("UTC"));
    let first = schedule.next(Timestamp(0)).unwrap();
    assert_eq!(first, Timestamp(43_200));
    assert_eq!(schedule.next(first), Some(Timestamp(86_400)));
}

#[test]
fn rare_dates_are_found() {
    // A fifth Monday in February is the 29th.
    let times = next("0 0 * 2 MON#5", "UTC", "2025-01-01T00:00:00Z", 3);
    assert_eq!(
        times,
        [
            "2044-02-29T00:00:00+00:00",
            "2072-02-29T00:00:00+00:00",
            // 2100 is no leap year.
            "2112-02-29T00:00:00+00:00",
        ]
    );
    let times = next("0 9 1W,31W * *", "UTC", "2027-04-15T00:00:00Z", 3);
    assert_eq!(
        times,
        [
            // The 1st is a Saturday: the Monday behind it, since Friday is in another month.
            "2027-05-03T09:00:00+00:00",
            "2027-05-31T09:00:00+00:00",
            "2027-06-01T09:00:00+00:00",
        ]
    );
}

#[test]
fn a_time_that_is_always_skipped_never_comes() {
    // 02:00 to 02:59 on the last Sunday of March is the gap itself; elapsed time has nothing there.
    let times = next(
        "* 2 * 3 SUNL",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "2027-01-01T00:00:00Z",
        1,
    );
    assert_eq!(times, [""; 0]);
    let times = next(
        "0 2 * 3 SUNL",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "2027-01-01T00:00:00Z",
        1,
    );
    assert_eq!(times, ["2027-03-28T03:00:00+02:00"]);
}

#[test]
fn seconds_come_first_of_six() {
    let times = next("*/20 59 23 31 12 ?", "UTC", "2026-12-31T23:59:00Z", 3);
    assert_eq!(
        times,
        [
            "2026-12-31T23:59:20+00:00",
            "2026-12-31T23:59:40+00:00",
            "2027-12-31T23:59:00+00:00",
        ]
    );
}

#[test]
fn fixed_seconds_in_a_gap_are_one_run() {
    let times = next(
        "*/10 30 2 * * *",
        "Europe/Berlin",
        "2027-03-28T00:00:00Z",
        2,
    );
    assert_eq!(
        times,
        ["2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]
    );
}

#[test]
fn an_interval_counts_from_where_it_is_asked() {
    let times = next("@every 90s", "UTC", "2027-01-01T00:00:00Z", 2);
    assert_eq!(
        times,
        ["2027-01-01T00:01:30+00:00", "2027-01-01T00:03:00+00:00"]
    );
}

#[test]
fn the_last_year_of_the_calendar_is_the_end() {
    assert_eq!(next("0 0 1 1 *", "UTC", "9998-06-01T00:00:00Z", 2).len(), 1);
    let schedule = super::schedule("* * * * *", "Europe/Berlin");
    assert_eq!(schedule.next(Timestamp(i64::MAX)), None);
    assert_eq!(schedule.next(Timestamp(i64::MIN)), None);
}
