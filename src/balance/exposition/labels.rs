//! The labels of a wanted line.

/// What the labels of a series tell.
#[derive(Default)]
pub(super) struct Series {
    /// Probes and tools, not load.
    pub is_housekeeping: bool,
    /// Of a method that streams.
    pub is_stream: bool,
}

/// What the labels tell, and what follows them. `None`: they are broken.
pub(super) fn labels(rest: &[u8]) -> Option<(Series, &[u8])> {
    let mut series = Series::default();
    let Some(mut rest) = rest.trim_ascii_start().strip_prefix(b"{") else {
        return Some((series, rest));
    };
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"}") {
            return Some((series, after));
        }
        let (name, after) = label_name(rest)?;
        let after = after.trim_ascii_start().strip_prefix(b"=")?;
        let (text, after) = quoted(after.trim_ascii_start())?;
        match name {
            b"grpc_service" => series.is_housekeeping |= is_housekeeping(text),
            b"grpc_type" => series.is_stream |= text.ends_with(b"_stream"),
            _ => {}
        }
        rest = after.trim_ascii_start();
        match rest.first()? {
            b',' => rest = &rest[1..],
            b'}' => {}
            _ => return None,
        }
    }
}

fn label_name(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.first() == Some(&b'"') {
        return quoted(rest);
    }
    let end = rest
        .iter()
        .position(|byte| *byte == b'=' || byte.is_ascii_whitespace())?;
    (end > 0).then(|| rest.split_at(end))
}

/// The text between two quotes, escapes left in, and what follows.
fn quoted(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = rest.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// Probes and tools, not load. Readiness probes alone are 0.2 to 0.3 RPCs a second and pod, so a pod
/// that no client has found would never look idle.
fn is_housekeeping(service: &[u8]) -> bool {
    const HEALTH: &[u8] = b"grpc.health.v1.Health";
    const REFLECTION: &[u8] = b"grpc.reflection.";
    let matches = |service: &[u8]| service == HEALTH || service.starts_with(REFLECTION);
    if !service.contains(&b'\\') {
        return matches(service);
    }
    let mut bytes = service.iter().copied();
    let mut plain = Vec::with_capacity(service.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(
                bytes
                    .next()
                    .map(|next| if next == b'n' { b'\n' } else { next }),
            ),
            _ => plain.push(byte),
        }
    }
    matches(&plain)
}
