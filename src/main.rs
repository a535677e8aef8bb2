//! Only starts: everything is in the library, where tests reach it.

fn main() -> anyhow::Result<std::process::ExitCode> {
    evenkeel::cli::main()
}
