//! A broken invariant ends the process: better down than wrong, and never a process that hangs.

/// From now on a panic on any thread is logged and aborts the process.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = std::thread::current();
        eprintln!(
            "catena stops: {} broke an invariant; this is a bug, please report it with the lines above",
            thread.name().unwrap_or("a thread"),
        );
        std::process::abort();
    }));
}
