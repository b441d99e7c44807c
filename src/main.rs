//! The command line of Tributary. Everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    tributary::cli::main()
}
