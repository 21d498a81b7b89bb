//! What this program writes is for its owner alone, whatever it is started with: files of exports, bundles, archives and logs hold
//! people's data, and no umask that somebody forgot may open them.

/// From here on no file or directory that this process or a child of it makes has rights for its group or for others.
pub fn files_of_this_process() {
    #[expect(unsafe_code, reason = "umask(2) has no safe form in the standard library")]
    // SAFETY: it sets a number of this process, before there are other threads.
    unsafe {
        libc::umask(0o077);
    }
}
