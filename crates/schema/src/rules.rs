//! The verdict on an object, reached without an API server: strict decoding, defaults, types and limits, list keys, CEL.
//!
//! It answers as the API server does for a create by kubectl, which asks for unknown fields to be refused. What only a server
//! knows is left out: quotas, admission plugins, the budget that CEL rules may use up.

mod defaults;
mod types;

use std::collections::BTreeMap;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use regex::Regex;
use serde_json::Value;

use crate::node::{Kind, Node};
use crate::path::Path;

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The place, as the API server writes it.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// The rules of one version of a kind, ready to be applied.
pub struct Rules {
    root: Node,
    patterns: BTreeMap<String, Regex>,
    compiled: CompiledSchema,
    validator: Validator,
}

impl Rules {
    /// Reads the rules of the schema at `spec.versions[].schema.openAPIV3Schema` of a definition.
    ///
    /// # Errors
    /// A pattern or a CEL rule that cannot be read; with the text of it.
    pub fn new(schema: &Value) -> Result<Self, Fault> {
        let root = Node::read(schema);
        let mut patterns = BTreeMap::new();
        let mut bad = None;
        each(&root, &mut |node| {
            let Kind::Text { pattern: Some(pattern), .. } = &node.kind else { return };
            match Regex::new(pattern) {
                Ok(read) => drop(patterns.insert(pattern.clone(), read)),
                Err(error) => bad = Some(Fault { path: pattern.clone(), message: error.to_string() }),
            }
        });
        let compiled = compile_schema(schema);
        unreadable(&compiled, &mut bad);
        bad.map_or_else(|| Ok(Self { root, patterns, compiled, validator: Validator::new() }), Err)
    }

    /// The schema as a tree.
    #[must_use]
    pub fn schema(&self) -> &Node {
        &self.root
    }

    /// The object as it would be stored, less what the server itself adds to `metadata`.
    ///
    /// # Errors
    /// All faults that the first of these finds: unknown fields; types, limits and list keys; CEL rules.
    pub fn judge(&self, object: &Value) -> Result<Value, Vec<Fault>> {
        let mut faults = Vec::new();
        types::unknown(&self.root, object, &Path::default(), &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut stored = object.clone();
        defaults::fill(&self.root, &mut stored);
        types::check(&self.root, &self.patterns, &stored, &Path::default(), &mut faults);
        types::check_name(&stored, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut seen = stored.clone();
        defaults::without_nulls(&self.root, &mut seen);
        match self.validator.validate_compiled(&self.compiled, &seen, None) {
            Ok(()) => Ok(stored),
            Err(errors) => {
                let fault = |error: kube_cel::ValidationError| Fault { path: error.field_path, message: error.message };
                Err(errors.into_vec().into_iter().map(fault).collect())
            }
        }
    }
}

/// Calls `work` with every place at or below `node`.
fn each<'a>(node: &'a Node, work: &mut dyn FnMut(&'a Node)) {
    work(node);
    match &node.kind {
        Kind::Object { fields, .. } => fields.values().for_each(|field| each(field, work)),
        Kind::Map { values: below, .. } | Kind::List { items: below, .. } => each(below, work),
        _ => {}
    }
}

fn unreadable(compiled: &CompiledSchema, bad: &mut Option<Fault>) {
    for error in compiled.compilation_errors() {
        *bad = Some(Fault { path: "x-kubernetes-validations".to_owned(), message: error.to_string() });
    }
    let below =
        compiled.properties.values().chain(compiled.items.as_deref()).chain(compiled.additional_properties.as_deref());
    below.for_each(|below| unreadable(below, bad));
}

#[cfg(test)]
mod tests;
