//! The `nudged` command; everything is in the library.

fn main() -> std::process::ExitCode {
    nudged::cli::main()
}
