//! Parts of the static C library that this program never uses, answered with nothing.
//!
//! Error texts and start-up code refer to translated messages, C's formatted input and output, wide
//! characters and their conversion, and through them to the dynamic loader: about 400 kB of a static
//! binary, none of which the program calls. A definition here is found before the library's own, and so
//! what hangs on it is left out. Nothing in the program formats through C, asks for a locale, or loads
//! code; `strerror` goes on to work, in English.
//!
//! The linker is told to take the first definition (`-z muldefs`), so that another version of the library
//! costs the room again, and not the build.
#![cfg(all(target_env = "gnu", target_feature = "crt-static"))]

use std::ffi::{c_char, c_int};

/// gettext(3) without a catalogue: the message itself.
// SAFETY: the name and the signature are the library's; it gives the message back, as gettext does.
#[unsafe(no_mangle)]
extern "C" fn __dcgettext(_: *const c_char, message: *const c_char, _: c_int) -> *const c_char {
    message
}

/// The public name of the same.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn dcgettext(_: *const c_char, message: *const c_char, _: c_int) -> *const c_char {
    message
}

/// Where the stack lies: the standard library asks in order to tell an overflow from another fault, and
/// takes no for an answer. The real one reads /proc/self/maps through scanf(3), at each start.
// SAFETY: it touches none of its arguments and reports an error, which callers have to expect.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np() -> c_int {
    libc::ENOSYS
}

/// The formatted output of C fails; only the library's own last words before an abort go through it.
macro_rules! output_fails {
    ($($name:ident)*) => { $(
        // SAFETY: it touches none of its arguments; a negative count is an error that printf(3) has.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> c_int {
            -1
        }
    )* };
}

output_fails! { __vfprintf_internal __vfwprintf_internal __fxprintf }

/// The conversions of the C locale, which stdio refers to and calls for wide characters only.
// SAFETY: as large as the library's own, and never read: nothing makes a stream wide.
#[unsafe(no_mangle)]
static __wcsmbs_gconv_fcts_c: [usize; 4] = [0; 4];

/// What finds the conversions of another locale; there is none.
macro_rules! never_called {
    ($($name:ident)*) => { $(
        // SAFETY: it does nothing; it is reached for wide characters of other locales only.
        #[unsafe(no_mangle)]
        extern "C" fn $name() {}
    )* };
}

never_called! { __wcsmbs_load_conv __wcsmbs_clone_conv __wcsmbs_named_conv }
