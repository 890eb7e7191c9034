//! The model list in OpenAI's shape.

use crate::catalogue::{KeyGrant, Model};
use serde::Serialize;

/// A page of models; there is only one page.
#[derive(Debug, Serialize)]
pub struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelView<'a>>,
}

/// One model.
#[derive(Debug, Serialize)]
pub struct ModelView<'a> {
    id: &'a str,
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    owned_by: &'static str,
}

impl<'a> ModelList<'a> {
    /// Of those that can be called with this key.
    pub fn new(models: impl Iterator<Item = &'a Model>, grant: &KeyGrant) -> Self {
        let data = models.filter(|model| is_callable(model, grant)).map(ModelView::new).collect();
        Self { object: "list", data }
    }
}

impl<'a> ModelView<'a> {
    /// Of one model. Who provides it is the operator's business.
    pub fn new(model: &'a Model) -> Self {
        let created = model.created.micros().div_euclid(1_000_000);
        Self { id: model.name.as_str(), object: "model", created, owned_by: "nexusroute" }
    }
}

/// May this key call the model, and has it a price and a provider?
pub fn is_callable(model: &Model, grant: &KeyGrant) -> bool {
    grant.may_call(model.name.as_str()) && model.price.is_some() && !model.routes.is_empty()
}
