//! What the server and the client have in common, and what is worth copying of each.

pub mod discovery;
pub mod metrics;
pub mod report;

/// The service, made from its .proto file.
pub mod echo {
    tonic::include_proto!("evenkeel.echo.v1");
}
