//! The service of every contender, and the least that a static program can be: no library, 5 kB. It writes its
//! process id as eight bytes into the FIFO that the environment names as `FIFO`, and waits for the end; without
//! `FIFO` it ends at once. Compiled by `main.rs`, not by cargo.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const OPEN: usize = 2;
    pub const PAUSE: usize = 34;
    pub const GETPID: usize = 39;
    pub const EXIT: usize = 60;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    // SAFETY: the kernel's convention for system calls on x86-64.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _);
    }
    result
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym main)
}

/// `stack` is where the kernel put the count of arguments, the arguments, and the environment.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the layout is the kernel's, each list ends with null.
    unsafe {
        let count = *stack;
        let mut entry = stack.add(count + 2);
        while *entry != 0 {
            let text = *entry as *const u8;
            if starts_with_fifo(text) {
                announce(text.add(5));
            }
            entry = entry.add(1);
        }
        call(number::EXIT, 0, 0, 0);
    }
    loop {}
}

unsafe fn starts_with_fifo(text: *const u8) -> bool {
    let mut index = 0;
    // SAFETY: the text ends with a zero, at which the comparison stops.
    while index < 5 {
        if unsafe { *text.add(index) } != b"FIFO="[index] {
            return false;
        }
        index += 1;
    }
    true
}

unsafe fn announce(path: *const u8) -> ! {
    // SAFETY: a path that ends with a zero, and a number of eight bytes.
    unsafe {
        let fifo = call(number::OPEN, path as usize, 1, 0);
        let pid = call(number::GETPID, 0, 0, 0);
        call(number::WRITE, fifo, &raw const pid as usize, 8);
        loop {
            call(number::PAUSE, 0, 0, 0);
        }
    }
}
