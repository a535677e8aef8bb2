//! Makes `echo.v1` from the .proto file.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = "proto";
    println!("cargo::rerun-if-changed={directory}/echo.proto");
    let described = protox::compile(["echo.proto"], [directory])?;
    tonic_prost_build::configure().compile_fds(described)?;
    Ok(())
}
