//! The three calls to the operating system that the standard library does not wrap.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Lets the kernel interrupt the child when the thread that spawns it ends, and so also when this process is killed.
/// SIGINT is PostgreSQL's fast shutdown.
///
/// The signal follows the spawning *thread*: spawn from one that lives as long as the child should.
pub(super) fn die_with_this_thread(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        #[expect(
            unsafe_code,
            reason = "pre_exec has no safe form; the closure calls only async-signal-safe functions"
        )]
        // SAFETY: prctl and getppid are async-signal-safe and the closure allocates nothing.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                // The parent may have died before prctl; then no signal will come.
                if u32::try_from(libc::getppid()) != Ok(parent) {
                    return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
    }
    // A terminal's ctrl-c goes to the whole group: PostgreSQL is to stop after us, not with us.
    command.process_group(0);
}

/// Asks a child of ours for a fast shutdown.
pub(super) fn interrupt(child: &std::process::Child) {
    let Ok(pid) = i32::try_from(child.id()) else {
        return;
    };
    #[expect(unsafe_code, reason = "kill(2) has no safe form in the standard library")]
    // SAFETY: the child was not waited for, so its pid is still its own.
    unsafe {
        libc::kill(pid, libc::SIGINT);
    }
}

/// Whether this process runs as root, which PostgreSQL refuses.
pub(super) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "geteuid(2) has no safe form in the standard library")]
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe {
        libc::geteuid() == 0
    }
}
