use super::*;

#[test]
fn the_cookie_of_the_session_is_found_among_others() {
    let mut headers = HeaderMap::new();
    assert_eq!(cookie(&headers), None);
    headers.append(header::COOKIE, HeaderValue::from_static("a=b; watchpost=token; c=d"));
    assert_eq!(cookie(&headers), Some("token"));
}
