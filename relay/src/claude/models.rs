//! The model list in Anthropic's shape.

use crate::catalogue::{KeyGrant, Model};
use crate::openai::models::is_callable;
use chrono::SecondsFormat;
use serde::Serialize;

/// A page of models; there is only one page.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    data: Vec<ModelView<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// One model.
#[derive(Debug, Serialize)]
pub struct ModelView<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    /// RFC 3339, in whole seconds.
    created_at: String,
    lifecycle: &'static str,
}

impl<'a> ModelList<'a> {
    /// Of those that can be called with this key.
    pub fn new(models: impl Iterator<Item = &'a Model>, grant: &KeyGrant) -> Self {
        let data: Vec<ModelView<'a>> =
            models.filter(|model| is_callable(model, grant)).map(ModelView::new).collect();
        let (first_id, last_id) = (data.first().map(|model| model.id), data.last().map(|model| model.id));
        Self { data, has_more: false, first_id, last_id }
    }
}

impl<'a> ModelView<'a> {
    /// Of one model. Who provides it is the operator's business.
    pub fn new(model: &'a Model) -> Self {
        let name = model.name.as_str();
        let created_at = model.created.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { r#type: "model", id: name, display_name: name, created_at, lifecycle: "active" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{KeyStatus, Priced, ProviderFormat, ProviderKey, Route, Secret};
    use domain::{AccountId, KeyId, Label, Moment, PriceVersionId, Prices};
    use rust_decimal::Decimal;
    use serde_json::json;
    use uuid::Uuid;

    fn model(name: &str) -> Model {
        let label = |text: &str| Label::try_new(text).unwrap();
        let prices: Prices = serde_json::from_value(json!({"input": "1", "output": "2"})).unwrap();
        Model {
            name: label(name),
            created: Moment::from_micros(1_700_000_000_999_999),
            price: Some(Priced { version: PriceVersionId::from_uuid(Uuid::nil()), prices }),
            max_output_tokens: 10,
            limit: None,
            routes: vec![Route {
                provider: label("p"),
                format: ProviderFormat::OpenAi,
                custom: None,
                base_url: "https://x".into(),
                speaks_responses: false,
                keys: vec![ProviderKey { name: Label::try_new("main").unwrap(), secret: Secret::new("k") }],
                upstream_model: label("u"),
                cost: None,
                priority: 0,
                weight: 1,
                limit: None,
            }],
        }
    }

    fn grant() -> KeyGrant {
        KeyGrant {
            key: KeyId::from_uuid(Uuid::nil()),
            account: AccountId::from_uuid(Uuid::nil()),
            status: KeyStatus::Active,
            expires_at: None,
            models: Some(vec!["a".into(), "b".into(), "unpriced".into()]),
            ip_allow: Vec::new(),
            budget: None,
            multiplier: Decimal::ONE,
            limits: Vec::new(),
            last_use: std::sync::Arc::default(),
        }
    }

    #[test]
    fn the_list_is_one_page_of_what_the_key_may_call() {
        let unpriced = Model { price: None, ..model("unpriced") };
        let models = [model("a"), model("b"), model("foreign"), unpriced];
        let list = serde_json::to_value(ModelList::new(models.iter(), &grant())).unwrap();
        let view = |name: &str| {
            json!({"type": "model", "id": name, "display_name": name,
                "created_at": "2023-11-14T22:13:20Z", "lifecycle": "active"})
        };
        assert_eq!(
            list,
            json!({"data": [view("a"), view("b")], "has_more": false, "first_id": "a", "last_id": "b"})
        );
        let none = serde_json::to_value(ModelList::new([].iter(), &grant())).unwrap();
        assert_eq!(none, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
    }
}
