//! The two forms of an event: as it was decided, and without pictures of the face for a broker that
//! does not take them.
//!
//! * Both have the same id and say the same of everything else.
//! * They have other bytes, and so another digest and another signature.

use serde_json::Value;

/// The event without its pictures; `None` where it has none, or cannot be read.
pub fn without_pictures(event: &[u8]) -> Option<Vec<u8>> {
    let mut event: Value = serde_json::from_slice(event).ok()?;
    if take_pictures(&mut event) { serde_json::to_vec(&event).ok() } else { None }
}

/// Whether both are forms of one event: one of them has pictures, the other has none, and they are
/// the same in all else. The same bytes twice are one form.
pub fn are_two_forms(one: &[u8], other: &[u8]) -> bool {
    let read = |event| serde_json::from_slice::<Value>(event).ok();
    let (Some(mut one), Some(mut other)) = (read(one), read(other)) else { return false };
    take_pictures(&mut one) != take_pictures(&mut other) && one == other
}

/// Takes the pictures out; whether there were any.
fn take_pictures(event: &mut Value) -> bool {
    let Some(data) = event.get_mut("data") else { return false };
    let found = ["crop", "head"].map(|name| take(data, name)).contains(&true);
    let second = data.get_mut("second_view").is_some_and(|view| take(view, "crop"));
    found || second
}

/// Takes `name` out of an object; whether it was there.
fn take(object: &mut Value, name: &str) -> bool {
    object.as_object_mut().is_some_and(|fields| fields.remove(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = include_bytes!("golden/candidate-head.v2.json");

    #[test]
    fn without_its_pictures_an_event_has_no_picture_at_all_and_everything_else() {
        let bare = without_pictures(WHOLE).expect("it has some");
        assert!(!String::from_utf8_lossy(&bare).contains("base64"));
        let less: Value = serde_json::from_slice(&bare).expect("JSON");
        assert_eq!(less["data"]["second_view"]["score"], 0.58);
        assert_eq!(less["data"]["entry"], "E-0001");
        assert_eq!(without_pictures(&bare), None);
        assert_eq!(without_pictures(b"no event"), None);
        assert_eq!(without_pictures(b"{\"id\": 1}"), None);
    }

    #[test]
    fn two_forms_differ_in_their_pictures_and_in_nothing_else() {
        let bare = without_pictures(WHOLE).expect("it has some");
        assert!(are_two_forms(WHOLE, &bare) && are_two_forms(&bare, WHOLE));
        assert!(!are_two_forms(WHOLE, WHOLE) && !are_two_forms(&bare, &bare));
        let altered = |event: &[u8], change: &dyn Fn(&mut Value)| {
            let mut event: Value = serde_json::from_slice(event).expect("JSON");
            change(&mut event);
            serde_json::to_vec(&event).expect("JSON")
        };
        let changes: [&dyn Fn(&mut Value); 4] = [
            &|e| e["data"]["score"] = 0.9.into(),
            &|e| e["id"] = "other".into(),
            &|e| e["data"]["second_view"]["score"] = 0.9.into(),
            &|e| e["data"]["more"] = 1.into(),
        ];
        for change in changes {
            assert!(!are_two_forms(WHOLE, &altered(&bare, change)));
            assert!(!are_two_forms(&altered(WHOLE, change), &bare));
        }
        let other_face = altered(WHOLE, &|e| e["data"]["crop"]["base64"] = "AAAA".into());
        assert!(!are_two_forms(WHOLE, &other_face), "both have pictures, and other ones");
        assert!(!are_two_forms(b"no event", &bare));
    }
}
