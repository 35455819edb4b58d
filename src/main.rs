//! The one binary; everything is in the library.

/// Live windows come and go as megabytes a camera; this allocator gives them back to the machine.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    camera_operator::cli::main()
}
