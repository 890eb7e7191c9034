//! The model list in Gemini's shape.

use super::path::Verb;
use crate::catalogue::{KeyGrant, Model};
use crate::openai::models::is_callable;
use serde::Serialize;

/// A page of models; there is only one page.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    models: Vec<ModelView<'a>>,
}

/// One model.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelView<'a> {
    name: String,
    base_model_id: &'a str,
    version: &'static str,
    display_name: &'a str,
    description: &'static str,
    output_token_limit: u64,
    supported_generation_methods: Vec<&'static str>,
}

impl<'a> ModelList<'a> {
    /// Of those that can be called with this key.
    pub fn new(models: impl Iterator<Item = &'a Model>, grant: &KeyGrant) -> Self {
        Self { models: models.filter(|model| is_callable(model, grant)).map(ModelView::new).collect() }
    }
}

impl<'a> ModelView<'a> {
    /// Of one model. What kind of model it is, nobody knows here: all verbs are named, and a provider refuses what it
    /// cannot do.
    pub fn new(model: &'a Model) -> Self {
        let name = model.name.as_str();
        let verbs = [Verb::Generate, Verb::Stream, Verb::CountTokens, Verb::Embed, Verb::BatchEmbed];
        Self {
            name: format!("models/{name}"),
            base_model_id: name,
            version: "1",
            display_name: name,
            description: "",
            output_token_limit: model.max_output_tokens,
            supported_generation_methods: verbs.into_iter().map(Verb::name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Label, Moment};

    #[test]
    fn a_model_is_shown_as_google_shows_it() {
        let model = Model {
            name: Label::try_new("acme/m").unwrap(),
            created: Moment::from_micros(0),
            price: None,
            max_output_tokens: 7,
            limit: None,
            routes: Vec::new(),
        };
        assert_eq!(
            serde_json::to_value(ModelView::new(&model)).unwrap(),
            serde_json::json!({
                "name": "models/acme/m", "baseModelId": "acme/m", "version": "1", "displayName": "acme/m",
                "description": "", "outputTokenLimit": 7, "supportedGenerationMethods": [
                    "generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"],
            })
        );
    }
}
