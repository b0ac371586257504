//! What is left out of a photo's result before it leaves this process.

use publisher::{Json, Photo};
use serde_json::{Map, Value};

/// Takes these fields out of a result. One that is no JSON object has none of them.
pub(crate) fn redact(fields: &[String], photo: &mut Photo) {
    let result = photo.result.as_ref().map(|result| serde_json::from_str::<Map<String, Value>>(result.as_str()));
    let Some(Ok(mut result)) = result else { return };
    result.retain(|name, _| !fields.contains(name));
    photo.result = Json::new(&result).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Findings;

    fn redacted(fields: &[&str], result: &impl serde::Serialize) -> String {
        let json = serde_json::json!({ "photoId": "p-1", "status": "COMPLETED", "version": 1, "result": result });
        let mut photo: Photo = serde_json::from_value(json).unwrap();
        redact(&fields.iter().map(ToString::to_string).collect::<Vec<_>>(), &mut photo);
        photo.result.unwrap().as_str().to_owned()
    }

    #[test]
    fn the_fields_that_are_named_are_gone_and_the_others_stay() {
        assert_eq!(redacted(&["b", "absent"], &serde_json::json!({"a": 1.50, "b": {"c": 2}})), r#"{"a":1.5}"#);
        assert_eq!(redacted(&["b"], &"no object"), r#""no object""#);
    }

    #[test]
    fn every_field_of_a_result_can_be_named() {
        let findings = Findings {
            name: "a.jpg".into(),
            width: 1,
            height: 1,
            captured_at: Some("2026-11-22T23:10:30".into()),
            sharpness: 0.5,
            thumbnail: "/t".into(),
        };
        assert_eq!(redacted(&Findings::FIELDS, &findings), "{}");
    }
}
