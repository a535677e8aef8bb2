//! From a port of the host's loopback to an address inside of the namespaces,
//! which have no route to the host: through the supervisor's unix socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::control::Request;

/// Serves until the runtime it was called on ends.
pub(crate) async fn forward(control: &Path, inside: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let control = control.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, control.clone(), inside));
        }
    });
    Ok(address)
}

async fn relay(mut client: TcpStream, control: PathBuf, inside: SocketAddr) -> Result<()> {
    client.set_nodelay(true)?;
    let mut server = connect(&control, inside).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A connection to an address inside. One that is refused there ends at once.
pub(crate) async fn connect(control: &Path, address: SocketAddr) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(control).await?;
    let mut request = serde_json::to_vec(&Request::Connect { address })?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    Ok(stream)
}

/// Asks for a path over plain HTTP/1.0 and tells whether the answer is 200.
pub(crate) async fn http_ok(control: &Path, address: SocketAddr, path: &str) -> Result<bool> {
    use tokio::io::AsyncReadExt;
    let mut stream = connect(control, address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    Ok(head.ends_with(b"200"))
}
