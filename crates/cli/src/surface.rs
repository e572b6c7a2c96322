//! The APIs that clients speak, by the names that rules know them by.

use router_core::Operation;
use wire::translate::Shape;

/// All of them, with what a target must be able to do.
const ALL: [(&str, Operation); 16] = [
    ("chat_completions", Operation::Chat),
    ("completions", Operation::OpenAi),
    ("responses", Operation::Responses),
    ("messages", Operation::Messages),
    ("count_tokens", Operation::CountTokens),
    ("embeddings", Operation::OpenAi),
    ("rerank", Operation::Engine),
    ("score", Operation::Engine),
    ("classify", Operation::Engine),
    ("pooling", Operation::Engine),
    ("tokenize", Operation::Engine),
    ("detokenize", Operation::Engine),
    ("transcriptions", Operation::Audio),
    ("translations", Operation::Audio),
    ("converse", Operation::Converse),
    ("invoke", Operation::Invoke),
];

/// What a target must be able to do to answer at this surface.
pub(crate) fn operation(surface: &str) -> Option<Operation> {
    ALL.iter().find(|(name, _)| *name == surface).map(|(_, operation)| *operation)
}

/// Whether requests at this surface name the model in their path, as Bedrock's do.
pub(crate) fn names_model_in_path(surface: &str) -> bool {
    matches!(operation(surface), Some(Operation::Converse | Operation::Invoke))
}

/// The names of all surfaces.
pub(crate) fn names() -> String {
    ALL.map(|(name, _)| name).join(", ")
}

/// The shape of a surface that carries a conversation.
pub(crate) fn shape(surface: &str) -> Option<Shape> {
    match surface {
        "chat_completions" => Some(Shape::Chat),
        "responses" => Some(Shape::Responses),
        "messages" => Some(Shape::Messages),
        _ => None,
    }
}
