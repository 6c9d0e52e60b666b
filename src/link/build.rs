//! The release binary carries no unwind tables: a panic aborts, so nobody reads them, and they are an eighth
//! of the file. The compiler cannot leave out those of the standard library and of libc; the linker can.

fn main() {
    println!("cargo::rerun-if-changed=src/link/no_unwind.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // Tests unwind: a panic of theirs is a result.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/src/link/no_unwind.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
