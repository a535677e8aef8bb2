use super::*;

/// The head, the body, what is left, and whether all of it came: taken in pieces of each size.
fn answer(text: &str) -> Result<(Head, String, String, bool), Failure> {
    let mut first = None;
    for piece in 1..=text.len() {
        let answered = taken(text.as_bytes(), piece);
        let shown = format!("{answered:?}");
        match &first {
            None => first = Some((answered, shown)),
            Some((_, expected)) => assert_eq!(&shown, expected, "in pieces of {piece}"),
        }
    }
    first.unwrap().0
}

fn taken(bytes: &[u8], piece: usize) -> Result<(Head, String, String, bool), Failure> {
    let (mut head, begin) = (1..bytes.len())
        .step_by(1 + bytes.len() / 500)
        .chain([bytes.len()])
        .find_map(|end| Head::read(&bytes[..end]).transpose())
        .unwrap_or(Err(Failure::Ended))?;
    let (mut body, mut left) = (Vec::new(), Vec::new());
    for piece in bytes[begin..].chunks(piece) {
        let mut rest = piece;
        while let Some(data) = head.end.next(&mut rest)? {
            body.extend(data);
        }
        left.extend(rest);
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let is_all = head.end.is_reached();
    Ok((head, text(body), text(left), is_all))
}

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn where_a_body_ends() {
    for (answer_text, body, left, is_all) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage",
            "page",
            "",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npag",
            "pag",
            "",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npageHTTP/1.1",
            "page",
            "HTTP/1.1",
            true,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", "", true),
        ("HTTP/1.1 200 OK\r\n\r\npage", "page", "", false),
    ] {
        let (_, read, rest, all) = answer(answer_text).unwrap();
        assert_eq!((&*read, &*rest, all), (body, left, is_all), "{answer_text}");
    }
}

#[test]
fn a_body_in_chunks() {
    for (chunks, body, left, is_all) in [
        ("4\r\npage\r\n0\r\n\r\n", "page", "", true),
        (
            "2\r\npa\r\n2;name=\"x\"\r\nge\r\n00\r\nTrailer: x\r\nOther: y\r\n\r\n",
            "page",
            "",
            true,
        ),
        ("a \r\n0123456789\r\n0\r\n\r\n", "0123456789", "", true),
        ("0\r\n\r\nHTTP/1.1", "", "HTTP/1.1", true),
        ("4\r\npage\r\n", "page", "", false),
        ("4\r\npage\r\n0\r\n", "page", "", false),
    ] {
        let (_, read, rest, all) = answer(&chunked(chunks)).unwrap();
        assert_eq!((&*read, &*rest, all), (body, left, is_all), "{chunks}");
    }
    let bound = "x".repeat(ASIDE + 1);
    for broken in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "4\npage\r\n0\r\n\r\n",
        "4\r\npages\r\n",
        "4\r\npage\n0\r\n\r\n",
        "4\r\r\npage",
        "10000000000000000\r\n",
        "4;\npage",
        "0\r\nTrailer\n\r\n",
        &format!("4;{bound}\r\npage"),
        &format!("0\r\n{bound}"),
    ] {
        let text = chunked(broken);
        assert_eq!(
            taken(text.as_bytes(), 1000).unwrap_err(),
            Failure::NotHttp,
            "{broken}"
        );
    }
}

#[test]
fn what_may_carry_another_answer() {
    for (version, headers, goes_on) in [
        ("1.1", "content-length: 0", true),
        ("1.1", "content-length: 0\r\ncontent-length: 0", true),
        ("1.1", "transfer-encoding: chunked", true),
        ("1.1", "content-length: 0\r\nconnection: keep-alive", true),
        ("1.1", "content-length: 0\r\nConnection: Close", false),
        ("1.1", "content-length: 0\r\nconnection: x, close", false),
        (
            "1.1",
            "content-length: 0\r\nconnection: x\r\nconnection: close",
            false,
        ),
        ("1.1", "x: y", false),
        ("1.0", "content-length: 0", false),
        ("1.0", "content-length: 0\r\nconnection: keep-alive", false),
        // Two places where it could end.
        (
            "1.1",
            "content-length: 0\r\ntransfer-encoding: chunked",
            false,
        ),
    ] {
        let text = format!("HTTP/{version} 200 OK\r\n{headers}\r\n\r\n");
        assert_eq!(answer(&text).unwrap().0.goes_on, goes_on, "{text}");
    }
}

#[test]
fn heads_that_cannot_be_read() {
    for headers in [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: +4",
        "content-length: 4, 4",
        "content-length: -1",
        "content-length:",
        "content-length: 99999999999999999999",
        "transfer-encoding: gzip",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "no header",
        &"x: y\r\n".repeat(HEADERS + 1),
        &format!("x: {}", "y".repeat(ASIDE)),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
        assert_eq!(
            taken(text.as_bytes(), 1).unwrap_err(),
            Failure::NotHttp,
            "{headers:.60}"
        );
    }
    // The SETTINGS that a server of HTTP/2 begins with, and an alert and a handshake of TLS.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0];
    for (other, expected) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], Failure::NotHttp),
        (&settings, Failure::NotHttp),
        (&[0x15, 3, 1, 0, 2, 2, 70], Failure::TlsRecord),
        (&[0x16, 3, 3, 0, 4, 14, 0, 0, 0], Failure::TlsRecord),
    ] {
        assert_eq!(taken(other, 1).unwrap_err(), expected, "{other:?}");
    }
}

#[test]
fn what_a_head_says() {
    let text = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain \r\ncontent-encoding:gzip\r\ncontent-length: 0\r\n\r\n";
    let (head, ..) = answer(text).unwrap();
    assert_eq!(head.status, 404);
    assert_eq!(
        (&*head.content_type, &*head.content_encoding),
        (&b"text/plain"[..], &b"gzip"[..])
    );
    for (status, is_interim) in [(100, true), (103, true), (101, false), (200, false)] {
        let text = format!("HTTP/1.1 {status} x\r\n\r\n");
        assert_eq!(
            answer(&text).unwrap().0.is_interim(),
            is_interim,
            "{status}"
        );
    }
}
