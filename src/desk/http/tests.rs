use super::read::{shown_stage, verdicts_of};
use super::*;
use crate::delivery::event::{CloudEvent, EventId, ReviewStage, ReviewState, ReviewVerdict};
use crate::desk::pages::views::OwnStanding;
use crate::judgement::{Confidence, Opinion};

fn state(stage: ReviewStage, said: &[&str]) -> Vec<u8> {
    let wall = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let verdict = |reviewer: &&str| ReviewVerdict {
        reviewer: (*reviewer).to_owned(),
        opinion: Opinion::Same,
        confidence: Confidence::High,
        judged_at: wall,
    };
    let data = ReviewState {
        candidate: EventId::from_u128(1),
        state: stage,
        given: 1,
        until: None,
        reviewer: None,
        envelope: None,
        refused: None,
        verdicts: said.iter().map(verdict).collect(),
    };
    let now = crate::clock::Now { wall, monotonic: Duration::ZERO };
    let device = crate::delivery::DeviceId::new("cam-7").unwrap();
    CloudEvent::new(EventId::from_u128(2), &device, now, data).to_json().unwrap()
}

#[test]
fn that_two_people_differ_is_told_to_nobody_whose_own_verdict_does_not_count() {
    use OwnStanding::{Counted, Open, Refused, Sent};
    for own in [Open, Sent, Refused] {
        assert_eq!(shown_stage(ReviewStage::ThirdNeeded, false, own), ReviewStage::Pending);
    }
    assert_eq!(shown_stage(ReviewStage::ThirdNeeded, false, Counted), ReviewStage::ThirdNeeded);
    assert_eq!(shown_stage(ReviewStage::Refuted, true, Open), ReviewStage::Refuted);
}

#[test]
fn what_each_said_is_of_the_state_in_which_it_ended_among_those_of_one_moment() {
    let states = [
        state(ReviewStage::Pending, &[]),
        b"no state".to_vec(),
        state(ReviewStage::Confirmed, &["dora", "emil"]),
        state(ReviewStage::Confirmed, &["mallory"]),
    ];
    let said = |ended| -> Vec<String> {
        verdicts_of(&states, ended).into_iter().map(|verdict| verdict.reviewer).collect()
    };
    assert_eq!(said(ReviewStage::Confirmed), ["dora", "emil"]);
    assert_eq!(said(ReviewStage::Withdrawn), Vec::<String>::new());
}

#[test]
fn the_cookie_of_the_session_is_found_among_others() {
    let mut headers = HeaderMap::new();
    assert_eq!(cookie(&headers, cookie_name(false)), None);
    headers.append(header::COOKIE, HeaderValue::from_static("a=b; watchpost=token; c=d"));
    assert_eq!(cookie(&headers, cookie_name(false)), Some("token"));
    assert_eq!(cookie(&headers, cookie_name(true)), None, "over TLS a plain one is nobody's");
    let ours = "watchpost=planted; __Host-watchpost=token";
    headers.insert(header::COOKIE, HeaderValue::from_static(ours));
    assert_eq!(cookie(&headers, cookie_name(true)), Some("token"));
}

#[tokio::test]
async fn nothing_that_a_device_has_written_is_hidden_on_a_page() {
    let place = "north\u{202E}etag \u{2066}<b>\u{200F}\u{061C}";
    let page = read::page(maud::html! { p title=(place) { (place) } "\n" });
    let body = axum::body::to_bytes(page.into_body(), 1 << 20).await.expect("a page");
    let text = String::from_utf8(body.to_vec()).expect("text");
    let once = "north[U+202E]etag [U+2066]&lt;b&gt;[U+200F][U+061C]";
    assert_eq!(text, format!("<p title=\"{once}\">{once}</p>\n"));
}

#[tokio::test]
async fn browsers_are_told_to_come_back_over_tls_where_the_desk_speaks_it_and_nowhere_else() {
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    for speaks_tls in [true, false] {
        let router = Router::new()
            .route("/", get(async || "page"))
            .layer(middleware::from_fn_with_state(speaks_tls, with_strict_transport));
        let request = Request::builder().uri("/").body(axum::body::Body::empty()).expect("one");
        let response = TowerToHyperService::new(router).call(request).await.expect("an answer");
        let told = response.headers().get(header::STRICT_TRANSPORT_SECURITY);
        assert_eq!(told.is_some_and(|v| v == STRICT), speaks_tls);
    }
}
