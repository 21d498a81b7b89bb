//! Problem details.

use shared::problem::{CONTENT_TYPE, Problem};

#[test]
fn a_problem_is_written_as_rfc_9457_says() {
    assert_eq!(CONTENT_TYPE, "application/problem+json");
    let problem = Problem::new(413, "too-large", "Request is too large").limit(11);
    let text = serde_json::to_string(&problem).expect("JSON");
    assert_eq!(
        text,
        r#"{"type":"/problems/too-large","title":"Request is too large","status":413,"limit":11}"#
    );
    assert_eq!(serde_json::from_str::<Problem>(&text).expect("its own text"), problem);
    let detailed = Problem::new(400, "bad", "Bad").detail("line 3");
    assert_eq!(detailed.detail.as_deref(), Some("line 3"));
}
