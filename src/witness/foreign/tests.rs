use proptest::prelude::*;

use super::*;

#[test]
fn an_address_is_plain_http_and_nothing_else() {
    let read = |text: &str| text.parse::<SubmissionUrl>().map(|url| url.to_string());
    assert_eq!(read("http://witness.example").unwrap(), "http://witness.example:80");
    assert_eq!(read("http://127.0.0.1:8081/a/b/").unwrap(), "http://127.0.0.1:8081/a/b");
    for other in [
        "https://witness.example",
        "http://",
        "http://a b",
        "http://w:0",
        "http://w:99999",
        "http://w/a?b",
        "http://user@w",
        "w",
        "http://w/a\r\nX: y",
    ] {
        let refused = read(other).unwrap_err().to_string();
        assert!(refused.contains("proxy"), "{refused}");
    }
}

#[test]
fn an_answer_has_a_status_and_a_body_whole_or_in_chunks() {
    let read = |text: &str| parse_reply(text.as_bytes());
    let whole = "HTTP/1.1 409 Conflict\r\ncontent-length: 3\r\n\r\n12\nrest";
    assert_eq!(read(whole), Some((409, "12\n".into())));
    assert_eq!(read("HTTP/1.0 200 OK\r\n\r\nline\n"), Some((200, "line\n".into())));
    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
    assert_eq!(read(chunks), Some((200, "abcde".into())));
    for broken in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
    ] {
        assert_eq!(read(broken), None, "{broken}");
    }
}

#[test]
fn an_answer_that_comes_a_byte_at_a_time_has_an_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let drips = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Never silent for long, and never at an end by itself.
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let time = Duration::from_millis(100);
    let refused = submit_within(time, &url, "submission").unwrap_err();
    let kinds = [std::io::ErrorKind::TimedOut, std::io::ErrorKind::WouldBlock];
    assert!(kinds.contains(&refused.kind()), "{refused}");
    drips.join().unwrap();
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes: Vec<u8>, text in "(HTTP/1.1 200 OK\r\n)?(transfer-encoding: chunked|content-length: |\r\n|[0-9a-f]|:){0,30}") {
        let _ = (parse_reply(&bytes), unchunked(&bytes));
        let _ = (parse_reply(text.as_bytes()), unchunked(text.as_bytes()));
    }
}
