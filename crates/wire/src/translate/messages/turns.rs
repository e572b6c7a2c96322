//! The conversation as targets of this shape want it: sides that take turns, and the system apart.

use crate::translate::is_anthropics;
use crate::unified::{Block, Content, Message, Request, Role};

/// Messages of one side that follow each other. The target wants the sides to take turns, and all results of tools in
/// the message after their calls, before anything else.
pub(crate) struct Turn<'a> {
    pub(crate) role: Role,
    pub(crate) blocks: Vec<&'a Block>,
}

pub(crate) fn turns(request: &Request) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for Message { role, content } in request.messages.iter().filter(|m| m.role != Role::System) {
        let blocks = content.iter().filter(|b| says_something(&b.content));
        match turns.last_mut().filter(|turn| turn.role == *role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { role: *role, blocks: blocks.collect() }),
        }
    }
    turns.retain(|turn| !turn.blocks.is_empty());
    for turn in turns.iter_mut().filter(|turn| turn.role == Role::User) {
        turn.blocks.sort_by_key(|b| !matches!(b.content, Content::ToolResult { .. }));
    }
    turns
}

/// Texts of nothing but space are refused by targets, and thoughts without Anthropic's seal too.
pub(crate) fn says_something(content: &Content) -> bool {
    match content {
        Content::Text(text) | Content::Refusal(text) => !text.trim().is_empty(),
        Content::Reasoning { signature, .. } => signature.as_deref().is_some_and(is_anthropics),
        Content::Sealed(data) => is_anthropics(data),
        Content::Image { .. } | Content::Document { .. } | Content::ToolCall { .. } | Content::ToolResult { .. } => {
            true
        }
    }
}

/// All that the system says, wherever it stood: this shape has one place for it.
pub(crate) fn system_blocks(request: &Request) -> Vec<&Block> {
    let blocks = request.messages.iter().filter(|m| m.role == Role::System).flat_map(|m| &m.content);
    blocks.filter(|b| says_something(&b.content)).collect()
}
