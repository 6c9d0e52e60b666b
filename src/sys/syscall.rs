//! System calls without the library (syscall(2)): they touch nothing but their own registers, not even errno, and no
//! page of the library's code.

/// Whether this machine's convention is known. Elsewhere every call fails with ENOSYS.
pub const IS_KNOWN: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The kernel's answer, an error as a number below 0.
///
/// # Safety
/// As the call has it; addresses lead to what outlives it.
#[cfg(target_arch = "x86_64")]
#[inline(always)] // Its caller may have no other page.
pub unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the kernel's convention for system calls (syscall(2)).
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[inline(always)] // Its caller may have no other page.
pub unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the kernel's convention for system calls (syscall(2)).
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}

/// Not known here.
///
/// # Safety
/// None needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)] // Its caller may have no other page.
pub unsafe fn call(_: libc::c_long, _: [usize; 5]) -> isize {
    -(libc::ENOSYS as isize)
}
