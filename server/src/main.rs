//! The binary `laurel`: reads the command line and hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    laurel_server::cli::main()
}
