//! The binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    secateur::cli::main(std::env::args_os()).into()
}
